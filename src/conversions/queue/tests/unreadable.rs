//! Entries that this version cannot read: of another one, or damaged.

use redb::ReadableTable as _;

use super::outbox::{outbox, told};
use super::*;
use crate::conversions::queue::tables::{OUTBOX, WAITING};

/// What another version might have written, for which this one lacks something; it tells whose it is.
pub(super) fn foreign(id: &str) -> String {
    format!(r#"{{"id":"{id}","project_id":"{}","who":"jane@example.com"}}"#, Uuid::from_u128(7))
}

/// Gives a waiting conversion other JSON, in the file of a queue that is closed.
pub(super) fn rewrite(folder: &Path, integration: &str, key: Key, json: &[u8]) {
    let database = redb::Database::open(folder.join("queue.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut waiting = transaction.open_table(WAITING).unwrap();
    let (due, since, told, attempts) = {
        let held = waiting.get((integration, key)).unwrap().expect("it waits");
        let (due, since, told, attempts, ..) = held.value();
        (due, since, told, attempts)
    };
    waiting.insert((integration, key), (due, since, told, attempts, "meta", json)).unwrap();
    drop(waiting);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_becomes_a_dead_letter_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..4)).await.unwrap();
    let keys = [key(&queue, META, "0").await, key(&queue, META, "2").await];
    queue.settle(META, vec![(keys[1], settled(Outcome::Retry { due: NOW }, 3))]).await.unwrap();
    queue.close();
    rewrite(folder.path(), META, keys[0], b"\xff no JSON");
    rewrite(folder.path(), META, keys[1], foreign("2").as_bytes());

    let queue = open(folder.path(), &clock);
    let told_before = outbox(&queue).await.len();
    assert_eq!(queue.check(), Ok(()));
    let one = queue.due(META, NOW, (1, usize::MAX), &BTreeSet::new()).await.unwrap();
    assert_eq!(one[0].conversion.id, "1", "whatever stood before it");
    assert_eq!(due(&queue, META, NOW).await, ["1", "3"]);
    assert_eq!(queue.counts().await.unwrap(), [count(META, 2, 2, Some(NOW))]);
    let letters = queue.dead(META, 10).await.unwrap();
    let letters: Vec<_> =
        letters.iter().map(|letter| (letter.id.as_str(), letter.attempts, letter.why.as_str())).collect();
    let made_up = format!("unreadable-{}", keys[0]);
    let lacking = "does not read: missing field `integration` at line 1 column 87";
    let no_json = "does not read: no JSON at byte 1";
    assert_eq!(letters, [(made_up.as_str(), 0, no_json), ("2", 3, lacking)]);
    let rows = told(&outbox(&queue).await);
    let steps: Vec<_> = rows[told_before..]
        .iter()
        .map(|(_, row)| (row["conversion_id"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    assert_eq!(steps, [(made_up.as_str(), "dead"), ("2", "dead")]);
    assert!(rows.iter().all(|(_, row)| !row.to_string().contains("jane@example.com")));

    // No version of ours can send them, and none throws them away.
    clock.set(NOW.shifted(1_000));
    assert_eq!(queue.replay(None).await, Ok(0));
    queue.close();
    let queue = open(folder.path(), &clock);
    assert_eq!(queue.dead(META, 10).await.unwrap().len(), 2);
    assert_eq!(due(&queue, META, NOW).await, ["1", "3"]);
}

#[tokio::test]
async fn what_has_become_unreadable_can_be_settled() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    queue.accept(many(META, 0..2)).await.unwrap();
    let keys = [key(&queue, META, "0").await, key(&queue, META, "1").await];
    queue.close();
    for (key, id) in keys.into_iter().zip(["0", "1"]) {
        rewrite(folder.path(), META, key, foreign(id).as_bytes());
    }
    let queue = open(folder.path(), &Clock::manual(NOW));
    let ends = [Outcome::Sent, Outcome::Dead];
    let ends = keys.into_iter().zip(ends).map(|(key, end)| (key, settled(end, 1))).collect();
    queue.settle(META, ends).await.unwrap();
    assert_eq!(queue.counts().await.unwrap(), [count(META, 0, 1, None)]);
}

#[tokio::test]
async fn those_that_can_be_read_are_queued_again_from_among_many_that_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    let all = 2 * CHANGED_AT_ONCE + 2;
    queue.accept(many(META, 0..all)).await.unwrap();
    let waiting = queue.due(META, NOW, ALL, &BTreeSet::new()).await.unwrap();
    queue.close();
    for waiting in &waiting[..all - 1] {
        rewrite(folder.path(), META, waiting.key, foreign(&waiting.conversion.id).as_bytes());
    }
    let queue = open(folder.path(), &Clock::manual(NOW));
    let last = &waiting[all - 1];
    assert_eq!(due(&queue, META, NOW).await, [last.conversion.id.as_str()]);
    queue.settle(META, vec![(last.key, settled(Outcome::Dead, 1))]).await.unwrap();
    assert_eq!(queue.replay(Some(META)).await, Ok(1));
    assert_eq!(queue.replay(Some(META)).await, Ok(0));
    assert_eq!(queue.counts().await.unwrap(), [count(META, 1, all as u64 - 1, Some(NOW))]);
}

#[tokio::test]
async fn an_entry_of_the_schedule_without_a_conversion_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..2)).await.unwrap();
    let first = key(&queue, META, "0").await;
    queue.close();
    let database = redb::Database::open(folder.path().join("queue.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(WAITING).unwrap().remove((META, first)).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let queue = open(folder.path(), &clock);
    assert_eq!(due(&queue, META, NOW).await, ["1"]);
    assert_eq!(queue.counts().await.unwrap(), [count(META, 1, 0, Some(NOW))]);
}

#[tokio::test]
async fn a_row_of_a_table_that_is_not_known_waits_for_who_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..1)).await.unwrap();
    let rows = outbox(&queue).await;
    queue.close();
    let database = redb::Database::open(folder.path().join("queue.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(OUTBOX).unwrap().insert(1, (250, 0, &b"of another version"[..])).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let queue = open(folder.path(), &clock);
    assert_eq!(queue.take_outbox(rows.len(), usize::MAX).await.unwrap(), rows);
    queue.forget_outbox(rows.last().unwrap().number).await.unwrap();
    assert_eq!(outbox(&queue).await, []);
    let left = queue.read(|file| Ok(file.open_table(OUTBOX)?.get(1)?.map(|row| row.value().0))).await;
    assert_eq!(left, Ok(Some(250)));
}
