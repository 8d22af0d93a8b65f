//! Segments that ClickHouse has stored, unknown to the collector, and that the disk then damages: what is left of
//! them is not stored a second time.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use crate::harness::{Collector, Proxy, Setup, eventually};

const REQUESTS: usize = 20;

/// Has a segment stored whose answer is lost, kills the collector, damages the file, and starts it again.
#[track_caller]
fn assert_nothing_is_repeated(damage: impl Fn(&mut Vec<u8>)) {
    let server = Collector::start();
    // A merge would take the copies away.
    server.admin_sql("SYSTEM STOP MERGES weir.events");
    let proxy = Proxy::start(server.engine_port());
    let setup = Setup::new().without_demo().on_server(server.setup(), proxy.port());
    let collector = setup.with(&["--segment-age", "300ms"]).start();
    proxy.lose_answers(usize::MAX);
    let mut client = collector.client();
    for _ in 0..REQUESTS {
        let event = format!(r#"{{"type":"kept","url":"/","eventId":"{}"}}"#, Uuid::now_v7());
        let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{event}]}}"#);
        assert_eq!(client.send("POST", "/api/events", &[], body.as_bytes()).unwrap().status, 200);
    }
    server.await_events(REQUESTS);
    let setup = collector.kill();
    for name in setup.segments() {
        let path: PathBuf = setup.data_dir().join("journal").join(name);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }
    proxy.lose_answers(0);
    let collector = setup.start();
    collector.await_loaded();
    assert_eq!(server.sql("SELECT count(), uniqExact(event_id) FROM weir.events"), "20\t20");
    let dropped = eventually("damage in the figures", || {
        Some(collector.figures().count("weir_journal_bytes_dropped_total")).filter(|bytes| *bytes > 0)
    });
    assert!(dropped < 10_000, "{dropped}");
}

#[test]
fn a_bit_flipped_in_a_stored_segment_repeats_no_row() {
    assert_nothing_is_repeated(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

#[test]
fn a_bit_flipped_at_the_end_of_a_stored_segment_repeats_no_row() {
    assert_nothing_is_repeated(|bytes| {
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
    });
}

#[test]
fn a_stored_segment_cut_off_in_the_middle_repeats_no_row() {
    assert_nothing_is_repeated(|bytes| bytes.truncate(bytes.len() * 2 / 3));
}

#[test]
fn what_is_stored_twice_is_counted_twice() {
    let collector = Collector::start();
    for copy in 0..8 {
        collector.admin_sql(&format!(
            "INSERT INTO weir.events (project_id, type, event_id, received_at) \
             SETTINGS insert_deduplication_token = '{copy}' VALUES ('00000000-0000-0000-0000-000000000001', 'copied', \
             '00000000-0000-0000-0000-000000000002', '2026-11-22 00:00:00')"
        ));
    }
    collector.admin_sql("OPTIMIZE TABLE weir.events");
    assert_eq!(collector.sql("SELECT count(), uniqExact(event_id) FROM weir.events"), "8\t1");
    assert_eq!(collector.sql("SELECT count() FROM weir.events FINAL"), "1");
}
