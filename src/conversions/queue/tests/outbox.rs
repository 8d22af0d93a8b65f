//! What operators are told, and how it gets into the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::journal::{DiskDirectory, Item, Journal, JournalSettings};
use crate::row::{Layout, Table};

/// The rows as JSON, with the name of their table.
pub(super) fn told(rows: &[OutboxRow]) -> Vec<(&'static str, serde_json::Value)> {
    let read = |row: &OutboxRow| {
        let layout = Layout::parse(&row.table.header()).unwrap();
        (row.table.name(), serde_json::from_str(&layout.to_json(&row.row).unwrap()).unwrap())
    };
    rows.iter().map(read).collect()
}

pub(super) async fn outbox(queue: &Queue) -> Vec<OutboxRow> {
    queue.take_outbox(10_000, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn every_step_is_told_once_and_each_has_a_later_moment() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(vec![incoming(META, "a"), incoming(META, "a")]).await.unwrap();
    let place = key(&queue, META, "a").await;
    let steps = [
        (Outcome::Retry { due: NOW }, 1),
        (Outcome::Paused, 2),
        (Outcome::Retry { due: NOW }, 3),
        (Outcome::Dead, 4),
    ];
    for (number, (outcome, attempt)) in steps.into_iter().enumerate() {
        // The clock stands still first, and then it is set back.
        clock.set(NOW.shifted(if number < 2 { 0 } else { -60_000 }));
        queue.settle(META, vec![(place, settled(outcome, attempt))]).await.unwrap();
    }
    queue.replay(Some(META)).await.unwrap();
    let place = key(&queue, META, "a").await;
    queue.settle(META, vec![(place, settled(Outcome::Sent, 1))]).await.unwrap();

    let told = told(&outbox(&queue).await);
    let received: Vec<_> = told.iter().filter(|(table, _)| *table == "conversions").collect();
    assert_eq!(received.len(), 1);
    let steps: Vec<_> = told
        .iter()
        .filter(|(table, _)| *table == "conversion_deliveries")
        .map(|(_, row)| format!("{} {} {}", row["status"], row["attempt"], row["answer"]).replace('"', ""))
        .collect();
    let expected = [
        "queued 0 ",
        &format!("retrying 1 {:?}", Outcome::Retry { due: NOW }),
        "paused 2 Paused",
        &format!("retrying 3 {:?}", Outcome::Retry { due: NOW }),
        "dead 4 Dead",
        "queued 0 ",
        "sent 1 Sent",
    ];
    assert_eq!(steps, expected);
    let deliveries: Vec<_> = told.into_iter().skip(1).map(|(_, row)| row).collect();
    let moments: Vec<_> = deliveries.iter().map(|row| row["at"].as_str().unwrap()).collect();
    assert!(moments.windows(2).all(|two| two[0] < two[1]), "{moments:?}");
    let ids: BTreeSet<_> = deliveries.iter().map(|row| row["delivery_id"].to_string()).collect();
    assert_eq!(ids.len(), deliveries.len());
    assert_eq!(deliveries[1]["latency_ms"], 40);
}

#[tokio::test]
async fn a_conversions_row_has_all_of_it_and_a_denied_ones_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    queue.accept(vec![incoming(META, "a"), denied(META, "b")]).await.unwrap();
    let rows = outbox(&queue).await;
    let told = told(&rows);
    let expected = serde_json::json!({
        "project_id": "00000000-0000-0000-0000-000000000007", "integration": META, "platform": "meta",
        "conversion_id": "a", "event_type": "purchase", "timestamp": NOW.shifted(-5_000).to_string(),
        "received_at": NOW.to_string(), "email_sha256": "e".repeat(64), "phone_sha256": "",
        "first_name_sha256": "", "last_name_sha256": "", "external_id": "customer-1", "client_id": "client-1",
        "address": "203.0.113.9", "user_agent": "Browser/1",
        "source_url": "https://shop.example/thanks?mail=jane", "value": 12.5, "currency": "EUR",
        "order_id": "order-1", "content_ids": ["sku-1", "sku-2"], "content_name": "", "content_type": "",
        "custom_data": "{\"coupon\":\"SPRING\"}",
    });
    assert_eq!(told[0], ("conversions", expected.clone()));

    let denied = told.iter().find(|(table, row)| *table == "conversions" && row["conversion_id"] == "b");
    let mut nobody = expected;
    for (name, value) in nobody.as_object_mut().unwrap() {
        match name.as_str() {
            "conversion_id" => *value = "b".into(),
            "custom_data" => *value = "{}".into(),
            "email_sha256" | "external_id" | "client_id" | "address" | "user_agent" | "source_url"
            | "order_id" => {
                *value = "".into();
            }
            _ => {}
        }
    }
    assert_eq!(denied.unwrap().1, nobody);
    let (_, last) = told.last().unwrap();
    assert_eq!((&last["status"], &last["answer"]), (&"consent_denied".into(), &"no consent".into()));
    assert_eq!(due(&queue, META, NOW).await, ["a"], "what is denied is not sent");
    for row in rows.iter().filter(|row| row.number >= rows[rows.len() - 2].number) {
        let bytes = String::from_utf8_lossy(&row.row);
        assert!(
            !["eeee", "jane", "customer", "client-1", "203.0", "Browser", "SPRING"]
                .iter()
                .any(|text| bytes.contains(text))
        );
    }
}

#[tokio::test]
async fn rows_leave_the_outbox_up_to_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path(), &Clock::manual(NOW));
    queue.accept(many(META, 0..3)).await.unwrap();
    let rows = outbox(&queue).await;
    assert_eq!(rows.len(), 6);
    assert_eq!(queue.take_outbox(2, usize::MAX).await.unwrap(), rows[..2]);
    assert_eq!(queue.take_outbox(9, rows[0].row.len() + rows[1].row.len()).await.unwrap(), rows[..2]);
    assert_eq!(queue.take_outbox(9, 1).await.unwrap(), rows[..1]);
    queue.forget_outbox(rows[3].number).await.unwrap();
    assert_eq!(outbox(&queue).await, rows[4..]);
}

fn journal(folder: &Path, max_bytes: u64) -> Journal {
    let settings = JournalSettings { segment_age: Duration::ZERO, max_bytes, ..JournalSettings::default() };
    let directory = Arc::new(DiskDirectory::open(folder).unwrap());
    Journal::open(directory, &settings, &Clock::manual(NOW)).unwrap()
}

/// Every row in the journal, by its table, with how often it is there; and the months of each segment.
async fn in_journal(journal: &Journal) -> (BTreeMap<(u8, Vec<u8>), u32>, Vec<BTreeSet<u32>>) {
    let (mut rows, mut months) = (BTreeMap::new(), Vec::new());
    journal.close();
    while journal.backlog().bytes() > 0 {
        let segment = journal.backlog().take().await;
        let mut reader = journal.backlog().read(&segment).unwrap().unwrap();
        let mut of_segment = BTreeSet::new();
        while let Item::Record(head, body) = reader.next_item().unwrap() {
            of_segment.insert(head.received_at.month());
            let layout = Layout::parse(&Table::from_tag(head.tag).unwrap().header()).unwrap();
            let mut rest = body;
            for _ in 0..head.rows {
                let row = layout.take_row(&mut rest).unwrap().to_vec();
                *rows.entry((head.tag, row)).or_default() += 1;
            }
            assert!(rest.is_empty());
        }
        months.push(of_segment);
        journal.backlog().delete(&segment).unwrap();
    }
    (rows, months)
}

async fn until_told(queue: &Queue) {
    while !outbox(queue).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_told_gets_into_the_journal_by_month() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    let journal = journal(other.path(), u64::MAX);
    queue.accept(many(META, 0..30)).await.unwrap();
    // It came in November, and is sent in December.
    clock.set(NOW.shifted(30 * 86_400_000));
    let sent = key(&queue, META, "3").await;
    queue.settle(META, vec![(sent, settled(Outcome::Sent, 1))]).await.unwrap();
    let mut expected: Vec<_> =
        outbox(&queue).await.into_iter().map(|row| (row.table.tag(), row.row)).collect();
    let following = tokio::spawn({
        let (queue, journal) = (queue.clone(), journal.clone());
        async move { follow(&queue, &journal).await }
    });
    until_told(&queue).await;
    queue.accept(vec![denied(GA4, "later")]).await.unwrap();
    until_told(&queue).await;
    queue.close();
    following.await.expect("it ends with the queue");

    let (rows, months) = in_journal(&journal).await;
    assert!(rows.values().all(|times| *times == 1));
    expected.retain(|row| !rows.contains_key(row));
    assert_eq!((expected.len(), rows.len()), (0, 63));
    assert!(months.iter().all(|months| months.len() == 1), "{months:?}");
    assert_eq!(months.into_iter().flatten().collect::<BTreeSet<_>>(), BTreeSet::from([202_611, 202_612]));
}

#[tokio::test]
async fn a_journal_that_refuses_takes_nothing_out_of_the_queue() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let queue = open(folder.path(), &Clock::manual(NOW));
    let full = journal(other.path(), 0);
    queue.accept(many(META, 0..3)).await.unwrap();
    let rows = outbox(&queue).await;
    let following = tokio::time::timeout(Duration::from_millis(200), follow(&queue, &full));
    assert!(following.await.is_err(), "it goes on trying");
    assert_eq!(outbox(&queue).await, rows);
}
