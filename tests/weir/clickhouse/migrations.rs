//! The tables.

use bytes::Bytes;
use weir::clickhouse::{Insert, MigrationError, Store};
use weir::row::Table;

use super::Server;

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_and_from_many_at_once_makes_the_tables_once() {
    let server = Server::start().await;
    let stores: Vec<Store> = (0..6).map(|_| server.store()).collect();
    let tasks: Vec<_> =
        stores.iter().cloned().map(|store| tokio::spawn(async move { store.migrate().await })).collect();
    for task in tasks {
        task.await.expect("no panic").expect("migrated");
    }
    server.store().migrate().await.expect("again");
    assert_eq!(
        server.sql("SELECT name FROM system.tables WHERE database = 'weir' ORDER BY name").await,
        "api_keys\nconversion_deliveries\nconversions\nevents\nmigrations\nproject_keys\nrejected_events"
    );
    assert_eq!(
        server.sql("SELECT DISTINCT number FROM migrations ORDER BY number").await,
        "1\n2\n3\n4\n5\n6"
    );
    let uncommented = "SELECT table, name FROM system.columns WHERE database = 'weir' AND comment = ''";
    assert_eq!(server.sql(uncommented).await, "");
    assert_eq!(server.store().degraded_tables().await.expect("a look"), []);
    server.stop().await;
}

/// What a version without API keys wrote and made: its rows are kept, and its segments, whose header names fewer
/// columns, are loaded still.
#[tokio::test(flavor = "multi_thread")]
async fn tables_and_segments_from_before_backends_are_taken_over() {
    let (server, store) = Server::with_tables().await;
    for column in ["api_source", "source_id", "metadata"] {
        server.sql(&format!("ALTER TABLE events DROP COLUMN {column}")).await;
    }
    server.sql("ALTER TABLE migrations DELETE WHERE number >= 4 SETTINGS mutations_sync = 1").await;
    server.sql("INSERT INTO events (visitor_id) SELECT 'older'").await;
    store.migrate().await.expect("migrated");

    let columns = &Table::Events.columns()[..20];
    assert_eq!(columns[19].0, "bot");
    let mut segment = vec![20];
    for text in columns.iter().map(|(name, _)| name).chain(columns.iter().map(|(_, kind)| kind)) {
        segment.push(u8::try_from(text.len()).expect("short"));
        segment.extend_from_slice(text.as_bytes());
    }
    let mut row = super::rows::encode([super::rows::plain(1)]);
    assert!(row.ends_with(&[0, 0, 0]), "three empty texts, which the older version did not write");
    row.truncate(row.len() - 3);
    segment.extend(row);
    let insert = Insert { table: "events", token: "old", query_id: "old" };
    store.insert(&insert, vec![Bytes::from(segment)].into_iter()).await.expect("inserted");
    let rows = "SELECT visitor_id, bot, api_source, source_id, concat(metadata, '.') FROM events ORDER BY visitor_id";
    assert_eq!(server.sql(rows).await, "older\tfalse\t\t\t.\nv\tfalse\t\t\t.");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_has_the_name_it_is_given() {
    let server = Server::start().await;
    let mut access = server.engine.access();
    "my-events".clone_into(&mut access.database);
    let store = Store::new(&access);
    assert!(store.version().await.is_ok(), "the version is told before there is a database");
    store.migrate().await.expect("migrated");
    assert_eq!(super::answer(&access, "SELECT count() FROM `my-events`.events").await.expect("a count"), "0");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_drifted_is_named_with_its_column_and_types() {
    let (server, store) = Server::with_tables().await;
    server.sql("ALTER TABLE events MODIFY COLUMN timestamp DateTime64(6, 'UTC')").await;
    server.sql("ALTER TABLE events DROP COLUMN referrer").await;
    server.sql("ALTER TABLE events ADD COLUMN extra String").await;
    server.sql("DROP TABLE rejected_events").await;
    server.sql("ALTER TABLE api_keys DROP COLUMN revoked").await;
    let error = store.migrate().await.expect_err("it has drifted");
    assert!(matches!(error, MigrationError::Drift(_)), "{error}");
    let text = error.to_string();
    for part in [
        "column timestamp of table events is DateTime64(6, 'UTC'), expected DateTime64(3, 'UTC')",
        "table events lacks column referrer String",
        "table rejected_events is missing",
        "table api_keys lacks column revoked Bool",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(store.check_tables().await.expect("a look").len(), 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_versions_number_is_no_error() {
    let (server, store) = Server::with_tables().await;
    server.sql("INSERT INTO migrations (number, name) SELECT 9000, 'later'").await;
    store.migrate().await.expect("fine");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_synced_is_degraded() {
    let (server, store) = Server::with_tables().await;
    server.sql("ALTER TABLE events RESET SETTING fsync_after_insert").await;
    server.sql("ALTER TABLE api_keys RESET SETTING fsync_part_directory").await;
    server.sql("ALTER TABLE rejected_events MODIFY SETTING non_replicated_deduplication_window = 0").await;
    let degraded = store.degraded_tables().await.expect("a look");
    let mut named: Vec<_> =
        degraded.iter().map(|table| (table.table.as_str(), table.lacks.clone())).collect();
    named.sort();
    assert_eq!(
        named,
        [
            ("api_keys", vec!["fsync_part_directory"]),
            ("events", vec!["fsync_after_insert"]),
            ("rejected_events", vec!["non_replicated_deduplication_window"])
        ]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_and_path_come_from_urls_and_from_paths() {
    let (server, _store) = Server::with_tables().await;
    let cases = [
        (
            "https://example.com/pricing?utm_source=x&utm_medium=a%20b+c",
            "example.com",
            "/pricing",
            "x",
            "a b c",
        ),
        ("/pricing?utm_source=x", "", "/pricing", "x", ""),
        ("https://Ex.COM", "ex.com", "/", "", ""),
        ("https://ex.com?utm_source=q", "ex.com", "/", "q", ""),
        ("/", "", "/", "", ""),
        ("/a?next=https://evil.example/b", "", "/a", "", ""),
        ("/foo.bar/baz", "", "/foo.bar/baz", "", ""),
        ("//cdn.example/p", "cdn.example", "/p", "", ""),
        ("http://[::1]:80/a", "[::1]", "/a", "", ""),
        ("https://u:p@h.example:8443/a/b?c#f", "h.example", "/a/b", "", ""),
        ("app://shop/x?utm_source=1", "shop", "/x", "1", ""),
        ("/a?xutm_source=n&utm_source=y", "", "/a", "y", ""),
        ("/a?utm_source=%ff", "", "/a", "\u{fffd}", ""),
        ("https://münchen.example/ä#x?y", "münchen.example", "/ä", "", ""),
    ];
    for (number, (url, ..)) in cases.iter().enumerate() {
        let id = format!("00000000-0000-0000-0000-{number:012}");
        server.sql(&format!("INSERT INTO events (event_id, url) SELECT '{id}', '{url}'")).await;
    }
    for (url, host, path, source, medium) in cases {
        let sql = format!("SELECT host, path, utm_source, utm_medium FROM events WHERE url = '{url}'");
        // Spaces at the end are trimmed from an answer.
        let expected = format!("{host}\t{path}\t{source}\t{medium}");
        assert_eq!(server.sql(&sql).await, expected.trim_end(), "{url}");
    }
    server.stop().await;
}
