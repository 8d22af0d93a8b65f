//! Segments that the disk damages, while they wait, while they are parked, or after ClickHouse has stored them, unknown
//! to the collector: what is left of them is stored once, and what is lost is told.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use uuid::Uuid;

use crate::harness::{Collector, Proxy, Setup, eventually, weir};

const REQUESTS: usize = 20;

/// The url of an event, which stands in its row as it is.
fn url(number: usize) -> String {
    format!("/numbered/{number:04}")
}

/// Sends numbered events one after the other: each is a record of its own.
#[track_caller]
fn send(collector: &Collector, numbers: std::ops::Range<usize>) {
    let mut client = collector.client();
    for number in numbers {
        let (id, url) = (Uuid::now_v7(), url(number));
        let event = format!(r#"{{"type":"kept","url":"{url}","eventId":"{id}"}}"#);
        let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{event}]}}"#);
        assert_eq!(client.send("POST", "/api/events", &[], body.as_bytes()).unwrap().status, 200);
    }
}

/// Has a segment stored whose answer is lost, kills the collector, damages the file, and starts it again.
#[track_caller]
fn assert_nothing_is_repeated(damage: impl Fn(&mut Vec<u8>)) {
    let server = Collector::start();
    // A merge would take the copies away.
    server.admin_sql("SYSTEM STOP MERGES weir.events");
    let proxy = Proxy::start(server.engine_port());
    let setup = Setup::new().without_demo().on_server(server.setup(), proxy.port());
    // All of them in one segment, however slow the machine is.
    let collector = setup.with(&["--segment-age", "3s"]).start();
    proxy.lose_answers(usize::MAX);
    send(&collector, 0..REQUESTS);
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

/// Flips a bit in the row of one event, between others in its segment.
#[track_caller]
fn damage_between(setup: &Setup, lost: usize) {
    let holds = |bytes: &[u8], number: usize| {
        let url = url(number);
        bytes.windows(url.len()).position(|window| window == url.as_bytes())
    };
    let mut damaged = 0;
    for name in setup.segments() {
        let path = setup.data_dir().join("journal").join(name);
        let bytes = fs::read(&path).unwrap();
        let Some(at) = holds(&bytes, lost) else { continue };
        let (before, after) = (holds(&bytes, lost - 1).unwrap(), holds(&bytes, lost + 1).unwrap());
        assert!(before < at && at < after, "the damage is in the middle");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 1, "segments with the event");
}

/// Holds that all of these events but the lost one are stored, once, and that log and figures tell of that one.
#[track_caller]
fn assert_told_and_the_rest_stored(
    server: &Collector,
    collector: &Collector,
    (sent, lost): (std::ops::Range<usize>, usize),
    line: &str,
) {
    let line = collector.await_log(line);
    assert_eq!((&line["level"], &line["records"]), (&"ERROR".into(), &1.into()), "{line}");
    collector.await_loaded();
    let expected: BTreeSet<String> = sent.filter(|number| *number != lost).map(url).collect();
    let stored = server.sql("SELECT url FROM weir.events");
    assert_eq!(stored.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    assert_eq!(stored.lines().count(), expected.len(), "an event is stored twice");
    let figures = collector.figures();
    let bytes = figures.count("weir_journal_bytes_dropped_total");
    assert_eq!(figures.count("weir_journal_records_dropped_total"), 1);
    assert_eq!(line["bytes"], bytes);
    // A record of one event, and nothing of its neighbours.
    assert!((100..500).contains(&bytes), "{bytes} bytes");
    assert_eq!(figures.count("weir_journal_parked"), 0);
    eventually("ready", || (collector.operations("/readyz").json()["status"] == "ready").then_some(()));
}

#[test]
fn a_record_damaged_in_a_waiting_segment_is_told_and_its_neighbours_are_stored() {
    let server = Collector::start();
    let setup = Setup::new().without_demo().on_server(server.setup(), server.engine_port());
    let collector = setup.with(&["--segment-rows", "5"]).start();
    // Its project is known from now on, and from segment to segment there are five.
    send(&collector, 0..5);
    collector.await_loaded();
    let server = server.kill();
    send(&collector, 5..20);
    let setup = collector.kill();
    assert!(setup.segments().len() >= 3, "{:?}", setup.segments());
    damage_between(&setup, 12);
    let server = server.start();
    let collector = setup.start();
    assert_told_and_the_rest_stored(&server, &collector, (0..20, 12), "damaged records are not sent");
}

#[test]
fn a_record_damaged_in_a_parked_segment_is_told_and_its_neighbours_are_stored_when_tried_again() {
    let limits = ["--segment-rows", "5", "--segment-age", "3s", "--parked-pause", "1h"];
    let collector = Setup::new().with(&limits).start();
    collector.admin_sql("ALTER TABLE weir.events DROP COLUMN os");
    send(&collector, 0..10);
    eventually("two parked segments", || {
        (collector.figures().count("weir_journal_parked") == 2).then_some(())
    });
    damage_between(collector.setup(), 7);
    collector.admin_sql("ALTER TABLE weir.events ADD COLUMN os LowCardinality(String)");
    let retry = ["journal", "retry", "--ops-listen", &collector.operations.to_string()];
    let output = weir().args(retry).output().unwrap();
    assert!(output.stdout.starts_with(b"2 parked segments are tried now"), "{output:?}");
    assert_told_and_the_rest_stored(&collector, &collector, (0..10, 7), "left damaged records out");
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
