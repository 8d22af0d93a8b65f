//! What is kept, in which order, and what is not queued twice.

use super::*;

#[tokio::test]
async fn what_was_accepted_is_there_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    let accepted = queue.accept(vec![incoming(META, "a"), denied(META, "b"), incoming(GA4, "a")]).await;
    assert_eq!(accepted.unwrap(), [Accepted::Queued, Accepted::Denied, Accepted::Queued]);
    let retry = Outcome::Retry { due: NOW.shifted(9_000) };
    let first = key(&queue, META, "a").await;
    queue.settle(META, vec![(first, settled(retry, 1))]).await.unwrap();
    let other = key(&queue, GA4, "a").await;
    queue.settle(GA4, vec![(other, settled(Outcome::Dead, 3))]).await.unwrap();
    let rows = queue.take_outbox(100, usize::MAX).await.unwrap();
    queue.close();
    assert_eq!(queue.accept(vec![incoming(META, "c")]).await, Err(QueueError::Closed));
    assert_eq!(queue.check(), Err(QueueError::Closed));
    assert_eq!(queue.counts().await, Err(QueueError::Closed));

    clock.set(NOW.shifted(1_000));
    let queue = open(folder.path(), &clock);
    let waiting = queue.due(META, NOW.shifted(9_000), ALL, &BTreeSet::new()).await.unwrap();
    let expected = Waiting {
        key: first,
        conversion: conversion(META, "a"),
        attempts: 1,
        since: NOW,
        due: NOW.shifted(9_000),
        bytes: serde_json::to_string(&conversion(META, "a")).unwrap().len(),
    };
    assert_eq!(waiting, [expected]);
    let letter = DeadLetter {
        integration: GA4.to_owned(),
        id: "a".to_owned(),
        event_type: "purchase".to_owned(),
        occurred_at: Some(NOW.shifted(-5_000)),
        attempts: 3,
        why: "Dead".to_owned(),
        at: NOW.shifted(1),
    };
    assert_eq!(queue.dead(GA4, 10).await.unwrap(), [letter]);
    assert_eq!(queue.dead(META, 10).await.unwrap(), []);
    assert_eq!(queue.take_outbox(100, usize::MAX).await.unwrap(), rows);
    let counts = [count(GA4, 0, 1, None), count(META, 1, 0, Some(NOW))];
    assert_eq!(queue.counts().await.unwrap(), counts);
    // Its number is none that was given before.
    queue.accept(vec![incoming(META, "c")]).await.unwrap();
    assert!(key(&queue, META, "c").await > rows.last().unwrap().number);
}

#[tokio::test]
async fn a_copy_is_not_queued_while_its_id_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    let twice = queue.accept(vec![incoming(META, "a"), incoming(META, "a")]).await.unwrap();
    assert_eq!(twice, [Accepted::Queued, Accepted::Repeated]);
    let sent = key(&queue, META, "a").await;
    queue.settle(META, vec![(sent, settled(Outcome::Sent, 1))]).await.unwrap();
    queue.close();

    let hours = |hours: i64| NOW.shifted(hours * 3_600_000);
    clock.set(hours(72).shifted(-1));
    let queue = open(folder.path(), &clock);
    assert_eq!(queue.accept(vec![incoming(META, "a")]).await.unwrap(), [Accepted::Repeated]);
    let elsewhere = Conversion { project_id: Uuid::nil(), ..conversion(META, "a") };
    let elsewhere = Incoming::Queue { platform: "meta", conversion: elsewhere };
    let others = queue.accept(vec![incoming(GA4, "a"), elsewhere]).await.unwrap();
    assert_eq!(others, [Accepted::Queued, Accepted::Queued]);

    clock.set(hours(72));
    assert_eq!(queue.accept(vec![incoming(META, "a")]).await.unwrap(), [Accepted::Queued]);
    // The first time that it was remembered is over, and must not end the second.
    clock.set(hours(73));
    queue.accept(vec![incoming(META, "b")]).await.unwrap();
    assert_eq!(queue.accept(vec![incoming(META, "a")]).await.unwrap(), [Accepted::Repeated]);
}

#[tokio::test]
async fn a_denied_conversion_does_not_stand_in_the_way_of_an_allowed_one() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    assert_eq!(queue.accept(vec![denied(META, "a")]).await.unwrap(), [Accepted::Denied]);
    assert_eq!(queue.accept(vec![incoming(META, "a")]).await.unwrap(), [Accepted::Queued]);
    assert_eq!(due(&queue, META, NOW).await, ["a"]);
}

#[tokio::test]
async fn a_full_queue_takes_a_request_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let settings = QueueSettings { max_events: 3, ..settings() };
    let queue = Queue::open(folder.path(), &settings, &clock).unwrap();
    queue.accept(many(META, 0..2)).await.unwrap();
    assert_eq!(queue.check(), Ok(()));
    assert_eq!(queue.accept(many(META, 2..4)).await, Err(QueueError::Full));
    assert_eq!(due(&queue, META, NOW).await, ["0", "1"]);
    // The one that was refused was not remembered, and copies take no room.
    assert_eq!(queue.accept(many(META, 0..3)).await.unwrap()[2], Accepted::Queued);
    assert_eq!(queue.check(), Err(QueueError::Full));
    assert_eq!(queue.accept(many(META, 0..3)).await.unwrap(), [Accepted::Repeated; 3]);
    assert_eq!(queue.accept(many(GA4, 9..10)).await, Err(QueueError::Full));
    let first = key(&queue, META, "0").await;
    queue.settle(META, vec![(first, settled(Outcome::Dead, 1))]).await.unwrap();
    queue.accept(many(GA4, 9..10)).await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_kept_fill_the_queue_and_leave_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let settings = QueueSettings { max_bytes: 1_000, ..settings() };
    let queue = Queue::open(folder.path(), &settings, &clock).unwrap();
    queue.accept(many(META, 0..2)).await.unwrap();
    assert_eq!(queue.accept(vec![denied(META, "d")]).await, Err(QueueError::Full));
    let last = queue.take_outbox(100, usize::MAX).await.unwrap().last().unwrap().number;
    queue.forget_outbox(last).await.unwrap();
    assert_eq!(queue.accept(many(META, 2..3)).await, Err(QueueError::Full), "two conversions are left");
    for id in ["0", "1"] {
        let sent = key(&queue, META, id).await;
        queue.settle(META, vec![(sent, settled(Outcome::Sent, 1))]).await.unwrap();
    }
    queue.accept(many(META, 2..3)).await.unwrap();
}

#[tokio::test]
async fn what_is_due_comes_by_due_and_then_by_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    queue.accept(many(META, 0..5)).await.unwrap();
    queue.accept(many("shop/meta2", 5..6)).await.unwrap();
    let none = BTreeSet::new();
    for (id, millis) in [("0", 30), ("1", 10), ("2", 10)] {
        let retry = Outcome::Retry { due: NOW.shifted(millis) };
        queue.settle(META, vec![(key(&queue, META, id).await, settled(retry, 1))]).await.unwrap();
    }
    assert_eq!(due(&queue, META, NOW.shifted(-1)).await, [""; 0]);
    assert_eq!(due(&queue, META, NOW).await, ["3", "4"]);
    assert_eq!(due(&queue, META, NOW.shifted(10)).await, ["3", "4", "1", "2"]);
    assert_eq!(due(&queue, META, NOW.shifted(30)).await, ["3", "4", "1", "2", "0"]);
    assert_eq!(queue.next_due(META, &none).await.unwrap(), Some(NOW));

    let ids = |waiting: Vec<Waiting>| {
        waiting.into_iter().map(|waiting| waiting.conversion.id).collect::<Vec<_>>().join(" ")
    };
    let now = NOW.shifted(30);
    assert_eq!(ids(queue.due(META, now, (3, usize::MAX), &none).await.unwrap()), "3 4 1");
    let json = serde_json::to_vec(&conversion(META, "3")).unwrap().len();
    assert_eq!(ids(queue.due(META, now, (9, 2 * json), &none).await.unwrap()), "3 4");
    assert_eq!(ids(queue.due(META, now, (9, 1), &none).await.unwrap()), "3", "one comes whatever its length");
    let taken = BTreeSet::from([key(&queue, META, "3").await, key(&queue, META, "4").await]);
    assert_eq!(ids(queue.due(META, now, (2, usize::MAX), &taken).await.unwrap()), "1 2");
    assert_eq!(queue.next_due(META, &taken).await.unwrap(), Some(NOW.shifted(10)));
    assert_eq!(queue.next_due("shop/met", &none).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_settled_is_not_settled_again() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    queue.accept(many(META, 0..2)).await.unwrap();
    let (first, second) = (key(&queue, META, "0").await, key(&queue, META, "1").await);
    queue.settle(META, vec![(first, settled(Outcome::Sent, 1))]).await.unwrap();
    let rows = queue.take_outbox(100, usize::MAX).await.unwrap();
    queue.settle(META, vec![(first, settled(Outcome::Dead, 1))]).await.unwrap();
    queue.settle(GA4, vec![(second, settled(Outcome::Dead, 1))]).await.unwrap();
    assert_eq!(queue.take_outbox(100, usize::MAX).await.unwrap(), rows);
    assert_eq!(queue.counts().await.unwrap(), [count(META, 1, 0, Some(NOW))]);
}

#[tokio::test]
async fn dead_letters_are_queued_again_under_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    let all = CHANGED_AT_ONCE + 3;
    queue.accept(many(META, 0..all)).await.unwrap();
    queue.accept(many(GA4, 0..1)).await.unwrap();
    for integration in [META, GA4] {
        let waiting = queue.due(integration, NOW, ALL, &BTreeSet::new()).await.unwrap();
        let dead = waiting.iter().map(|waiting| (waiting.key, settled(Outcome::Dead, 4))).collect();
        queue.settle(integration, dead).await.unwrap();
    }
    assert_eq!(queue.dead(META, 2).await.unwrap().len(), 2);
    assert_eq!(queue.replay(Some("shop/met")).await.unwrap(), 0);

    clock.set(NOW.shifted(60_000));
    assert_eq!(queue.replay(Some(META)).await.unwrap(), all);
    let counts = [count(GA4, 0, 1, None), count(META, all as u64, 0, Some(NOW.shifted(60_000)))];
    assert_eq!(queue.counts().await.unwrap(), counts);
    let waiting = queue.due(META, NOW.shifted(60_000), ALL, &BTreeSet::new()).await.unwrap();
    let ids: BTreeSet<_> = waiting.iter().map(|waiting| waiting.conversion.id.clone()).collect();
    assert_eq!(ids.len(), all);
    assert!(waiting.iter().all(|waiting| waiting.attempts == 0 && waiting.due == NOW.shifted(60_000)));
    assert_eq!(queue.replay(None).await.unwrap(), 1);
    assert_eq!(queue.replay(None).await.unwrap(), 0);
    assert_eq!(queue.accept(many(GA4, 0..1)).await.unwrap(), [Accepted::Repeated]);
}

#[tokio::test]
async fn ids_that_have_expired_are_forgotten_in_small_steps() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..300)).await.unwrap();
    clock.set(NOW.shifted(100 * 3_600_000));
    let mut left = Vec::new();
    for _ in 0..6 {
        queue.settle(META, vec![(u64::MAX, settled(Outcome::Sent, 1))]).await.unwrap();
        left.push(queue.write(|tables| tables.remembered()).await.unwrap());
    }
    // Twice in each round: by the settling and by the looking.
    assert_eq!(left, [300 - 64, 300 - 3 * 64, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_dispatcher_hears_of_arrivals_for_its_integration_alone() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    let (mut meta, mut ga4) = (queue.arrivals(META), queue.arrivals(GA4));
    queue.accept(many(META, 0..1)).await.unwrap();
    queue.accept(many(META, 0..1)).await.unwrap();
    assert!(meta.next().await);
    let silence = Duration::from_millis(20);
    assert!(tokio::time::timeout(silence, meta.next()).await.is_err(), "a copy is no arrival");
    assert!(tokio::time::timeout(silence, ga4.next()).await.is_err());
    let first = key(&queue, META, "0").await;
    queue.settle(META, vec![(first, settled(Outcome::Dead, 1))]).await.unwrap();
    queue.replay(None).await.unwrap();
    assert!(meta.next().await, "what is queued again has arrived");
    queue.close();
    assert!(!meta.next().await);
    assert!(!queue.arrivals(META).next().await);
}
