//! A machine's clock that is set, while a collector runs and while none does.

use tempfile::TempDir;

use super::*;

const HOUR: i64 = 3_600_000;

/// When what waits is due, and since when it waits.
async fn moments(queue: &Queue) -> Vec<(Timestamp, Timestamp)> {
    let waiting = queue.due(META, Timestamp::MAX, ALL, &BTreeSet::new()).await.unwrap();
    waiting.iter().map(|waiting| (waiting.due, waiting.since)).collect()
}

/// A queue in which so many conversions wait since [`NOW`].
async fn waiting(count: usize) -> (TempDir, Clock, Queue) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..count)).await.unwrap();
    (folder, clock, queue)
}

#[tokio::test]
async fn a_clock_that_is_set_while_it_runs_holds_up_nothing_and_hurries_nothing() {
    for change in [-5 * HOUR, 5 * HOUR, -24 * 400 * HOUR] {
        let (_folder, clock, queue) = waiting(2).await;
        let first = key(&queue, META, "0").await;
        let retry = Outcome::Retry { due: NOW.shifted(60_000) };
        queue.settle(META, vec![(first, settled(retry, 1))]).await.unwrap();

        let now = NOW.shifted(change);
        clock.correct(now);
        assert_eq!(due(&queue, META, now).await, ["1"], "{change}");
        assert_eq!(moments(&queue).await, [(now, now), (now.shifted(60_000), now)]);
        let none = BTreeSet::new();
        assert_eq!(queue.next_due(META, &none).await.unwrap(), Some(now));
        assert_eq!(queue.counts().await.unwrap(), [count(META, 2, 0, Some(now))]);
        queue.accept(many(META, 2..3)).await.unwrap();
        assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Repeated]);
        let retry = Outcome::Retry { due: now.shifted(30_000) };
        let third = key(&queue, META, "2").await;
        queue.settle(META, vec![(third, settled(retry, 1))]).await.unwrap();
        clock.set(now.shifted(29_999));
        assert_eq!(due(&queue, META, clock.now()).await, ["1"]);
        clock.set(now.shifted(60_000));
        assert_eq!(due(&queue, META, clock.now()).await, ["1", "2", "0"]);
        // What it is remembered for has not been changed either.
        clock.set(now.shifted(72 * HOUR - 1));
        assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Repeated]);
        clock.set(now.shifted(72 * HOUR));
        assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Queued]);
    }
}

#[tokio::test]
async fn what_was_queued_in_the_future_is_sent_after_a_start() {
    let (folder, clock, queue) = waiting(2).await;
    let first = key(&queue, META, "0").await;
    let retry = Outcome::Retry { due: NOW.shifted(60_000) };
    queue.settle(META, vec![(first, settled(retry, 1))]).await.unwrap();
    queue.close();

    let now = NOW.shifted(-1_000 * HOUR);
    clock.set(now);
    let queue = open(folder.path(), &clock);
    assert_eq!(due(&queue, META, now).await, ["1"]);
    assert_eq!(moments(&queue).await, [(now, now), (now.shifted(60_000), now)]);
    queue.accept(many(META, 2..3)).await.unwrap();
    assert_eq!(due(&queue, META, now).await, ["1", "2"], "by arrival still");
    clock.set(now.shifted(60_000));
    assert_eq!(due(&queue, META, clock.now()).await, ["1", "2", "0"]);
}

#[tokio::test]
async fn nothing_is_due_later_than_the_longest_delay() {
    let (folder, clock, queue) = waiting(1).await;
    let first = key(&queue, META, "0").await;
    queue.settle(META, vec![(first, settled(Outcome::Retry { due: Timestamp::MAX }, 1))]).await.unwrap();
    assert_eq!(due(&queue, META, NOW.shifted(24 * HOUR - 1)).await, [""; 0]);
    assert_eq!(due(&queue, META, NOW.shifted(24 * HOUR)).await, ["0"]);
    queue.close();
    // It was queued before the clock was set back, and is due no later after a start.
    clock.set(NOW.shifted(-30 * HOUR));
    let queue = open(folder.path(), &clock);
    assert_eq!(due(&queue, META, clock.now().shifted(24 * HOUR)).await, ["0"]);
}

#[tokio::test]
async fn nothing_is_too_old_after_a_start_for_a_clock_that_was_set_while_it_ran() {
    for change in [5 * 24 * HOUR, -5 * 24 * HOUR] {
        for works_on in [false, true] {
            let (folder, clock, queue) = waiting(1).await;
            let now = NOW.shifted(change);
            clock.correct(now);
            if works_on {
                queue.accept(many(GA4, 0..1)).await.unwrap();
            }
            queue.close();

            clock.set(now.shifted(HOUR));
            let queue = open(folder.path(), &clock);
            // The hour between was no time for a clock that had been set back.
            let late = if change < 0 { HOUR } else { 0 };
            let came = now.shifted(late);
            assert_eq!(moments(&queue).await, [(came, came)], "{change} {works_on}");
            assert_eq!(due(&queue, META, clock.now()).await, ["0"]);
            clock.set(now.shifted(72 * HOUR - 1));
            assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Repeated]);
            clock.set(now.shifted(72 * HOUR + late));
            assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Queued]);
        }
    }
}

#[tokio::test]
async fn nothing_is_too_old_when_a_clock_that_was_behind_is_set_right_while_it_is_off() {
    let (folder, clock, queue) = waiting(1).await;
    queue.close();
    for hours in [-5 * 24, 1] {
        clock.set(NOW.shifted(hours * HOUR));
        let queue = open(folder.path(), &clock);
        assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Repeated]);
        queue.close();
    }
    let queue = open(folder.path(), &clock);
    let came = moments(&queue).await[0].0;
    assert!(came >= NOW && came <= NOW.shifted(HOUR), "{came:?}");
}

#[tokio::test]
async fn an_id_of_the_future_is_remembered_no_longer_than_others() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW.shifted(9_000 * HOUR));
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..1)).await.unwrap();
    let first = key(&queue, META, "0").await;
    queue.settle(META, vec![(first, settled(Outcome::Sent, 1))]).await.unwrap();
    queue.close();
    clock.set(NOW);
    let queue = open(folder.path(), &clock);
    assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Repeated]);
    clock.set(NOW.shifted(72 * HOUR));
    assert_eq!(queue.accept(many(META, 0..1)).await.unwrap(), [Accepted::Queued]);
}
