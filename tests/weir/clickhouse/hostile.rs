//! Values that are meant to hurt, and the errors that tell bad rows from bad tables.

use std::fmt::Write as _;

use weir::clickhouse::Class;
use weir::event::Timestamp;
use weir::row::{EventRow, Table};

use super::Server;
use super::rows::{RECEIVED, encode, insert, plain};

fn nested(depth: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    })
}

/// `data`, and whether `properties` can hold it.
fn documents() -> Vec<(String, bool)> {
    let keys: Vec<_> = (0..6_000).map(|number| format!("\"k{number}\":{number}")).collect();
    let mut all: Vec<(String, bool)> = vec![
        (nested(63), true),
        (nested(1_500), false),
        (format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63)), true),
        (format!("{{\"{}\":1}}", "k".repeat(60_000)), true),
        (format!("{{{}}}", keys.join(",")), true),
    ];
    all.extend(
        [
            (r#"{"n":1e400}"#, false),
            (r#"{"a":[1e400]}"#, false),
            (r#"{"s":"\ud800"}"#, false),
            (r#"{"n":123456789012345678901234567890}"#, false),
            (r#"{"a.b":1,"a":{"b":2}}"#, true),
            (r#"{"a":1,"a":2}"#, true),
            (r#"{"a":1,"a":{"b":2}}"#, true),
            ("{\"a\\u0000b\":\"x\\u0000y\"}", true),
            ("{\"a\u{0}\":\"\u{0}\"}", false),
            (r#"{"":1,".":{"":2},"`":"'"}"#, true),
            (r#"{"d":"2024-01-01","e":"99999-99-99"}"#, true),
            (r#"{"a":[1,"x",null,true,{"b":[2]}]}"#, true),
            (" { \"a\" : 1 } ", true),
            ("not json", false),
            ("[1]", false),
            ("", false),
        ]
        .map(|(text, fits)| (text.to_owned(), fits)),
    );
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_fail_no_insert_and_are_kept_byte_for_byte() {
    let (server, store) = Server::with_tables().await;
    let documents = documents();
    let good = r#"{"plan":"pro","price":12.5}"#;
    let rows = documents.iter().enumerate().flat_map(|(number, (data, _))| {
        let id = 2 * number as u128;
        [EventRow { data, ..plain(id) }, EventRow { data: good, ..plain(id + 1) }]
    });
    insert(&store, Table::Events, "hostile", &encode(rows)).await.expect("inserted");
    server.sql("OPTIMIZE TABLE events FINAL").await;
    for (number, (data, fits)) in documents.iter().enumerate() {
        let of = |id: usize| format!("FROM events WHERE event_id = '00000000-0000-0000-0000-{id:012x}'");
        let stored = server.sql(&format!("SELECT hex(data) {}", of(2 * number))).await;
        assert_eq!(stored, hex(data), "{data:.80}");
        let kept = server.sql(&format!("SELECT properties::String != '{{}}' {}", of(2 * number))).await;
        assert_eq!(kept == "1", *fits, "{data:.80}");
        let price = "SELECT properties.plan.:String, properties.price.:Float64";
        assert_eq!(server.sql(&format!("{price} {}", of(2 * number + 1))).await, "pro\t12.5");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_at_the_ends_of_what_can_be_stored_come_back() {
    let (server, store) = Server::with_tables().await;
    for (number, moment) in
        [Timestamp::MIN, Timestamp::from_millis(-1), Timestamp::MAX].into_iter().enumerate()
    {
        let row = EventRow {
            timestamp: moment,
            sort_time: moment,
            claimed_timestamp: Some(moment),
            ..plain(number as u128)
        };
        insert(&store, Table::Events, &format!("moment {number}"), &encode([row])).await.expect("inserted");
        let millis = format!(
            "SELECT toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(claimed_timestamp) FROM events \
             WHERE event_id = '00000000-0000-0000-0000-{number:012x}'"
        );
        let moment = moment.as_millis();
        assert_eq!(server.sql(&millis).await, format!("{moment}\t{moment}"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_values_are_told_from_errors_of_tables() {
    let (server, store) = Server::with_tables().await;
    // What an operator may have added, the code it fails with, and whom that blames.
    let rejected: &[(&str, u32)] = &[
        ("ADD COLUMN c UInt8 MATERIALIZED toUInt8(visitor_id)", 6),
        ("ADD COLUMN c Date MATERIALIZED toDate(visitor_id)", 38),
        ("ADD COLUMN c DateTime MATERIALIZED parseDateTimeBestEffort(visitor_id)", 41),
        ("ADD COLUMN c Decimal32(2) MATERIALIZED toDecimal32('1e30' || user_id, 2)", 69),
        ("ADD COLUMN c UInt8 MATERIALIZED accurateCast(300 + length(user_id), 'UInt8')", 70),
        ("ADD COLUMN c Float64 MATERIALIZED toFloat64(visitor_id)", 72),
        ("ADD COLUMN c JSON MATERIALIZED CAST(visitor_id, 'JSON')", 117),
        ("ADD COLUMN c Array(UInt8) MATERIALIZED CAST(visitor_id, 'Array(UInt8)')", 130),
        (
            "ADD COLUMN c FixedString(2) MATERIALIZED toFixedString(visitor_id || visitor_id || visitor_id, 2)",
            131,
        ),
        ("ADD COLUMN c UInt8 MATERIALIZED intDiv(1, length(user_id))", 153),
        ("ADD COLUMN c UUID MATERIALIZED toUUID(visitor_id)", 376),
        ("ADD COLUMN c UInt8 MATERIALIZED throwIf(visitor_id = 'v')", 395),
        ("ADD COLUMN c UInt8 MATERIALIZED accurateCast(received_at, 'UInt8')", 407),
        ("ADD COLUMN c Bool MATERIALIZED CAST(visitor_id, 'Bool')", 467),
        ("ADD CONSTRAINT c CHECK visitor_id != 'v'", 469),
        ("ADD COLUMN c IPv4 MATERIALIZED toIPv4(visitor_id)", 675),
        ("ADD COLUMN c Enum8('q' = 1) MATERIALIZED CAST(visitor_id, 'Enum8(\\'q\\' = 1)')", 691),
    ];
    for (change, code) in rejected {
        server.sql(&format!("ALTER TABLE events {change}")).await;
        let error = insert(&store, Table::Events, change, &encode([plain(1)])).await.expect_err(change);
        assert_eq!((error.server_code(), error.class()), (Some(*code), Class::Reject), "{change}: {error}");
        assert_eq!(store.check_tables().await.expect("a look"), [], "{change}");
        let what = if change.contains("CONSTRAINT") { "CONSTRAINT" } else { "COLUMN" };
        server.sql(&format!("ALTER TABLE events DROP {what} c")).await;
    }

    server.sql("CREATE TABLE strict (a UInt8) ENGINE = MergeTree ORDER BY a").await;
    server
        .sql("CREATE MATERIALIZED VIEW watch TO strict AS SELECT throwIf(visitor_id = 'v') AS a FROM events")
        .await;
    let error =
        insert(&store, Table::Events, "view", &encode([plain(1)])).await.expect_err("the view throws");
    assert_eq!((error.server_code(), error.class()), (Some(395), Class::Reject), "{error}");
    server.sql("DROP TABLE strict SYNC").await;
    let error = insert(&store, Table::Events, "lost", &encode([plain(1)])).await.expect_err("no target");
    assert_eq!(error.class(), Class::Retry, "{error}");
    server.sql("DROP TABLE watch SYNC").await;

    let mut cut = encode([plain(1)]);
    // The last three are lengths, a cut before which has another code.
    cut.truncate(cut.len() - 4);
    let error = insert(&store, Table::Events, "cut", &cut).await.expect_err("half a row");
    assert_eq!((error.server_code(), error.class()), (Some(33), Class::Reject), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drifted_table_refuses_rows_instead_of_storing_nonsense() {
    let (server, store) = Server::with_tables().await;
    let row = encode([EventRow { received_at: Timestamp::from_millis(RECEIVED), ..plain(1) }]);
    server.sql("ALTER TABLE events MODIFY COLUMN timestamp DateTime64(6, 'UTC')").await;
    let error = insert(&store, Table::Events, "a", &row).await.expect_err("another type");
    assert_eq!(error.server_code(), Some(117), "{error}");
    assert_eq!(store.check_tables().await.expect("a look").len(), 1, "which the caller looks for first");
    server.sql("ALTER TABLE events MODIFY COLUMN timestamp DateTime64(3, 'UTC')").await;

    server.sql("ALTER TABLE events DROP COLUMN user_agent").await;
    let error = insert(&store, Table::Events, "b", &row).await.expect_err("a column less");
    assert_eq!(error.server_code(), Some(117), "{error}");
    assert_eq!(store.check_tables().await.expect("a look").len(), 1, "which the caller looks for first");
    server.sql("ALTER TABLE events ADD COLUMN user_agent String").await;

    server.sql("ALTER TABLE events ADD COLUMN more String DEFAULT 'x'").await;
    insert(&store, Table::Events, "c", &row).await.expect("a column more does no harm");
    assert_eq!(server.sql("SELECT count() FROM events").await, "1");
    server.sql("DROP TABLE events SYNC").await;
    let error = insert(&store, Table::Events, "d", &row).await.expect_err("no table");
    assert_eq!((error.server_code(), error.class()), (Some(60), Class::Retry), "{error}");
    server.stop().await;
}
