//! What an operator deletes.

use super::outbox::{outbox, told};
use super::unreadable::rewrite;
use super::*;

/// A queue with so many dead letters of each integration, and one conversion more of each that waits.
async fn queue_with(folder: &Path, dead: usize) -> Queue {
    let queue = open(folder, &Clock::manual(NOW));
    for integration in [META, GA4] {
        queue.accept(many(integration, 0..=dead)).await.unwrap();
        let waiting = queue.due(integration, NOW, ALL, &BTreeSet::new()).await.unwrap();
        let ends = waiting[..dead].iter().map(|waiting| (waiting.key, settled(Outcome::Dead, 1)));
        queue.settle(integration, ends.collect()).await.unwrap();
    }
    queue
}

/// Waiting and dead, of each integration.
async fn counts(queue: &Queue) -> Vec<(String, u64, u64)> {
    let counts = queue.counts().await.unwrap();
    counts.into_iter().map(|count| (count.integration, count.waiting, count.dead)).collect()
}

fn left(of: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    of.iter().map(|(name, waiting, dead)| ((*name).to_owned(), *waiting, *dead)).collect()
}

fn discarded(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn dead_letters_are_deleted_of_one_integration_or_of_all_and_nothing_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let many = CHANGED_AT_ONCE + 3;
    let queue = queue_with(folder.path(), many).await;
    assert_eq!(queue.discard_dead(Some("shop/met"), usize::MAX).await.unwrap(), discarded(&[]));
    assert_eq!(queue.discard_dead(Some(META), 2).await.unwrap(), discarded(&[(META, 2)]));
    let some = many as u64;
    assert_eq!(counts(&queue).await, left(&[(GA4, 1, some), (META, 1, some - 2)]));
    assert_eq!(queue.discard_dead(Some(META), usize::MAX).await.unwrap(), discarded(&[(META, many - 2)]));
    assert_eq!(counts(&queue).await, left(&[(GA4, 1, some), (META, 1, 0)]));
    assert_eq!(queue.discard_dead(None, usize::MAX).await.unwrap(), discarded(&[(GA4, many)]));
    assert_eq!(counts(&queue).await, left(&[(GA4, 1, 0), (META, 1, 0)]));
    assert_eq!(queue.replay(None).await, Ok(0));
    // What was counted along the way is what a start counts.
    let account = queue.0.file.account().unwrap();
    queue.close();
    let again = open(folder.path(), &Clock::manual(NOW)).0.file.account().unwrap();
    assert_eq!((account.bytes, account.waiting), (again.bytes, again.waiting));
}

#[tokio::test]
async fn a_conversion_is_deleted_by_its_id_whether_it_waits_or_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let queue = queue_with(folder.path(), 2).await;
    assert_eq!(queue.discard(None, "none").await.unwrap(), discarded(&[]));
    // 0 and 1 are dead, 2 waits.
    assert_eq!(queue.discard(Some(META), "0").await.unwrap(), discarded(&[(META, 1)]));
    assert_eq!(counts(&queue).await, left(&[(GA4, 1, 2), (META, 1, 1)]));
    assert_eq!(queue.discard(None, "0").await.unwrap(), discarded(&[(GA4, 1)]));
    let waiting = key(&queue, META, "2").await;
    assert_eq!(queue.discard(None, "2").await.unwrap(), discarded(&[(GA4, 1), (META, 1)]));
    assert_eq!(counts(&queue).await, left(&[(GA4, 0, 1), (META, 0, 1)]));
    assert_eq!(due(&queue, META, Timestamp::MAX).await, [""; 0]);
    // An answer that comes now changes nothing, and a copy is not queued.
    queue.settle(META, vec![(waiting, settled(Outcome::Dead, 1))]).await.unwrap();
    assert_eq!(queue.accept(many(META, 2..3)).await.unwrap(), [Accepted::Repeated]);
    assert_eq!(counts(&queue).await, left(&[(GA4, 0, 1), (META, 0, 1)]));
}

#[tokio::test]
async fn what_is_deleted_is_told_as_dead_and_leaves_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    queue.accept(many(META, 0..2)).await.unwrap();
    let (first, second) = (key(&queue, META, "0").await, key(&queue, META, "1").await);
    queue.settle(META, vec![(first, settled(Outcome::Dead, 3))]).await.unwrap();
    queue.close();
    rewrite(folder.path(), META, second, b"no JSON");
    let queue = open(folder.path(), &Clock::manual(NOW));
    assert_eq!(due(&queue, META, NOW).await, [""; 0]);
    let rows = outbox(&queue).await;
    queue.forget_outbox(rows.last().unwrap().number).await.unwrap();
    assert_eq!(queue.discard(None, "0").await.unwrap(), discarded(&[(META, 1)]));
    // One without an id has one that was made up, as it is shown.
    let made_up = queue.dead(META, 1).await.unwrap().remove(0).id;
    assert_eq!(queue.discard(None, &made_up).await.unwrap(), discarded(&[(META, 1)]));
    let rows = told(&outbox(&queue).await);
    let steps: Vec<_> = rows
        .iter()
        .map(|(table, row)| format!("{table} {} {} {}", row["status"], row["attempt"], row["answer"]))
        .collect();
    let expected = |attempt| format!(r#"conversion_deliveries "dead" {attempt} "discarded by an operator""#);
    assert_eq!(steps, [expected(3), expected(0)]);
    let moment = |row: &(&str, serde_json::Value)| row.1["at"].as_str().unwrap().to_owned();
    assert_eq!(moment(&rows[0]), NOW.shifted(2).to_string(), "later than the one before");
}

#[tokio::test]
async fn the_id_of_what_is_deleted_or_sent_again_is_remembered_anew() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..4)).await.unwrap();
    let waiting = queue.due(META, NOW, ALL, &BTreeSet::new()).await.unwrap();
    let ends = waiting[..2].iter().map(|waiting| (waiting.key, settled(Outcome::Dead, 0)));
    queue.settle(META, ends.collect()).await.unwrap();
    // Dead since they waited for too long, which is no shorter than an id is remembered.
    let remember = i64::try_from(settings().remember.as_millis()).unwrap();
    clock.set(NOW.shifted(remember));
    assert_eq!(queue.discard(None, "0").await.unwrap(), discarded(&[(META, 1)]));
    assert_eq!(queue.replay(None).await, Ok(1));
    assert_eq!(queue.discard(None, "2").await.unwrap(), discarded(&[(META, 1)]));
    clock.set(NOW.shifted(2 * remember - 1));
    assert_eq!(queue.accept(many(META, 0..3)).await.unwrap(), [Accepted::Repeated; 3]);
    assert_eq!(queue.accept(many(META, 3..4)).await.unwrap(), [Accepted::Queued], "left alone");
    clock.set(NOW.shifted(2 * remember));
    assert_eq!(queue.accept(many(META, 0..3)).await.unwrap(), [Accepted::Queued; 3]);
}

#[tokio::test]
async fn an_id_is_found_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    let ids = ["\"", "a\\b", "größe/1", "\u{7}\n", "unreadable-0", "{\"id\":\"x\"}", "p"];
    queue.accept(ids.iter().map(|id| incoming(META, id)).collect()).await.unwrap();
    // Others have this one as a value, and have to be read.
    assert_eq!(queue.discard(None, "SPRING").await.unwrap(), discarded(&[]));
    assert_eq!(queue.discard(None, "urchase").await.unwrap(), discarded(&[]));
    for (gone, id) in (1..).zip(ids) {
        assert_eq!(queue.discard(Some(META), id).await.unwrap(), discarded(&[(META, 1)]), "{id}");
        assert_eq!(due(&queue, META, NOW).await, ids[gone..], "{id}");
    }
}
