//! Rows as they are encoded, inserted, and read back.

use std::collections::HashSet;
use std::io;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use uuid::Uuid;
use weir::clickhouse::{Class, ClickHouseError, Insert, RowSource, Store};
use weir::event::Timestamp;
use weir::row::{EventRow, RejectedRow, Table};

use super::{Server, client};

/// A moment in November 2026, in milliseconds.
pub(super) const RECEIVED: i64 = 1_795_000_000_000;

pub(super) fn plain(id: u128) -> EventRow<'static> {
    EventRow {
        project_id: Uuid::from_u128(7),
        source: "sdk",
        kind: "click",
        event_id: Uuid::from_u128(id),
        visitor_id: "v",
        user_id: "",
        url: "/pricing",
        referrer: "",
        data: "{}",
        timestamp: Timestamp::from_millis(RECEIVED),
        claimed_timestamp: None,
        sort_time: Timestamp::EPOCH,
        received_at: Timestamp::from_millis(RECEIVED),
        address: "",
        user_agent: "",
        browser: "",
        browser_version: "",
        os: "",
        device: "",
        bot: false,
        api_source: "",
        source_id: "",
        metadata: "",
    }
}

pub(super) fn encode<'a>(rows: impl IntoIterator<Item = EventRow<'a>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    rows.into_iter().for_each(|row| row.encode(&mut bytes));
    bytes
}

pub(super) async fn insert(
    store: &Store,
    table: Table,
    token: &str,
    rows: &[u8],
) -> Result<(), ClickHouseError> {
    let query_id = Uuid::new_v4().to_string();
    let insert = Insert { table: table.name(), token, query_id: &query_id };
    let pieces: Vec<Bytes> = std::iter::once(Bytes::from(table.header()))
        .chain(rows.chunks(100_000).map(Bytes::copy_from_slice))
        .collect();
    store.insert(&insert, pieces.into_iter()).await
}

/// An event that owns its texts.
#[derive(Clone, Debug)]
struct Owned {
    texts: Vec<String>,
    ids: (u128, u128),
    times: [i64; 3],
    claimed: Option<i64>,
    bot: bool,
}

impl Owned {
    fn row(&self) -> EventRow<'_> {
        let text = |position: usize| self.texts[position].as_str();
        let moment = |millis: i64| Timestamp::from_millis(millis);
        EventRow {
            project_id: Uuid::from_u128(self.ids.0),
            source: text(0),
            kind: text(1),
            event_id: Uuid::from_u128(self.ids.1),
            visitor_id: text(2),
            user_id: text(3),
            url: text(4),
            referrer: text(5),
            data: text(6),
            timestamp: moment(self.times[0]),
            claimed_timestamp: self.claimed.map(moment),
            sort_time: moment(self.times[1]),
            received_at: moment(self.times[2]),
            address: text(7),
            user_agent: text(8),
            browser: text(9),
            browser_version: text(10),
            os: text(11),
            device: text(12),
            bot: self.bot,
            api_source: text(13),
            source_id: text(14),
            metadata: text(15),
        }
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    let moment = Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis();
    // Receipt within two months: more than 100 partitions in one insert are refused, and never happen.
    let received = RECEIVED..RECEIVED + 40 * 86_400_000;
    let text = prop_oneof![".{0,40}", "[\\x00-\\x7f]{0,300}", Just(String::new())];
    (
        proptest::collection::vec(text, 16),
        any::<(u128, u128)>(),
        (moment.clone(), moment.clone(), received),
        proptest::option::of(moment),
        any::<bool>(),
    )
        .prop_map(|(texts, ids, times, claimed, bot)| Owned {
            texts,
            ids,
            times: [times.0, times.1, times.2],
            claimed,
            bot,
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encoded_is_what_the_table_holds() {
    let (server, store) = Server::with_tables().await;
    let mut runner = TestRunner::deterministic();
    let rows: Vec<Owned> =
        (0..600).map(|_| owned().new_tree(&mut runner).expect("a row").current()).collect();
    let sent = encode(rows.iter().map(Owned::row));
    insert(&store, Table::Events, "all", &sent).await.expect("inserted");

    let names: Vec<_> = Table::Events.columns().iter().map(|(name, _)| *name).collect();
    let sql = format!("SELECT {} FROM events", names.join(", "));
    let mut cursor = client(&server.engine.access())
        .query_raw(&sql)
        .fetch_bytes("RowBinaryWithNamesAndTypes")
        .expect("rows");
    let read = cursor.collect().await.expect("rows");
    let read = read.strip_prefix(Table::Events.header().as_slice()).expect("the very header we send");
    let layout = weir::row::Layout::parse(&Table::Events.header()).expect("a header");
    let split = |mut rows: &[u8]| {
        let mut all = Vec::new();
        while !rows.is_empty() {
            all.push(layout.take_row(&mut rows).expect("a whole row").to_vec());
        }
        all.sort();
        all
    };
    assert_eq!(split(read), split(&sent));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_stores_its_rows_once_also_after_the_engine_was_killed() {
    let (server, store) = Server::with_tables().await;
    let rows = encode((1..=1_000).map(plain));
    for _ in 0..2 {
        insert(&store, Table::Events, "segment-1", &rows).await.expect("inserted");
    }
    assert_eq!(server.sql("SELECT count() FROM events").await, "1000");
    let killed = server.engine.pid().expect("it runs");
    let pid = rustix::process::Pid::from_raw(killed.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
    super::eventually("another child answers", async || {
        server.engine.pid().is_some_and(|pid| pid != killed) && store.version().await.is_ok()
    })
    .await;
    insert(&store, Table::Events, "segment-1", &rows).await.expect("inserted");
    assert_eq!(server.sql("SELECT count() FROM events").await, "1000");
    insert(&store, Table::Events, "segment-2", &encode([plain(2_000)])).await.expect("inserted");
    assert_eq!(server.sql("SELECT count() FROM events").await, "1001");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_million_rows_are_one_block() {
    let (server, store) = Server::with_tables().await;
    let rows = encode((1..=500_000).map(plain));
    insert(&store, Table::Events, "large", &rows).await.expect("inserted");
    let parts = "SELECT max(max_block_number), sum(rows) FROM system.parts WHERE table = 'events' AND active";
    assert_eq!(server.sql(parts).await, "1\t500000");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_are_stored_whatever_bytes_they_hold() {
    let (server, store) = Server::with_tables().await;
    let row = RejectedRow {
        received_at: Timestamp::from_millis(RECEIVED),
        project_id: Uuid::from_u128(7),
        source: "sdk",
        event: b"\xff\x00{",
        reason: "bad_url",
        message: "a message",
    };
    let mut rows = Vec::new();
    row.encode(&mut rows);
    insert(&store, Table::RejectedEvents, "one", &rows).await.expect("inserted");
    assert_eq!(server.sql("SELECT hex(event), reason FROM rejected_events").await, "FF007B\tbad_url");
    server.stop().await;
}

struct Breaking(Option<Bytes>);

impl RowSource for Breaking {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.0.take().map(Some).ok_or_else(|| io::Error::other("the disk"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_read_to_their_end_are_not_stored() {
    let (server, store) = Server::with_tables().await;
    let mut bytes = Table::Events.header();
    bytes.extend(encode((1..=10).map(plain)));
    let insert = Insert { table: "events", token: "t", query_id: "breaking" };
    let error = store.insert(&insert, Breaking(Some(bytes.into()))).await.expect_err("it breaks");
    assert!(matches!(error, ClickHouseError::Source(_)), "{error}");
    super::eventually("the query is gone", async || {
        server.sql("SELECT count() FROM system.processes WHERE query_id = 'breaking'").await == "0"
    })
    .await;
    assert_eq!(server.sql("SELECT count() FROM events").await, "0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_ids_are_read_back_by_range_and_project() {
    let (server, store) = Server::with_tables().await;
    let late = EventRow { received_at: Timestamp::from_millis(RECEIVED + 1), ..plain(3) };
    let foreign = EventRow { project_id: Uuid::from_u128(8), ..plain(4) };
    insert(&store, Table::Events, "t", &encode([plain(1), plain(2), late, foreign])).await.expect("inserted");
    let key = |project: u128, id: u128| (Uuid::from_u128(project), Uuid::from_u128(id));
    let wanted: HashSet<_> = [key(7, 1), key(7, 3), key(7, 4), key(7, 5)].into();
    let moment = Timestamp::from_millis(RECEIVED);
    let stored = store.stored_event_ids(moment, moment, &wanted).await.expect("read");
    assert_eq!(stored, [key(7, 1)].into());
    let stored = store.stored_event_ids(moment, moment.shifted(1), &wanted).await.expect("read");
    assert_eq!(stored, [key(7, 1), key(7, 3)].into());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_no_fault_of_the_rows() {
    let (server, store) = Server::with_tables().await;
    let Server { engine, dir, .. } = server;
    engine.stop().await;
    let error = insert(&store, Table::Events, "t", &encode([plain(1)])).await.expect_err("nobody there");
    assert_eq!((error.code(), error.class()), ("clickhouse_unreachable", Class::Retry), "{error}");
    drop(dir);
}
