//! Event ids: kept as given, made where there is none, and an event sent twice is stored once.

use std::collections::HashSet;

use super::{batch, event, snippet};
use crate::harness::{Collector, Findings};

const OK: &str = r#"200 {"received":1}"#;
const V7: &str = "0192aa00-0000-7000-8000-0000000000aa";
const V4: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn id(id: &str) -> String {
    format!(r#","eventId":"{id}""#)
}

#[test]
fn ids_are_kept_as_given_and_made_where_there_is_none() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let given = [
        (V4, V4),
        (V7, V7),
        ("A7E55044-10B1-426F-9247-BB680E5FE0C8", "a7e55044-10b1-426f-9247-bb680e5fe0c8"),
        ("b7e5504410b1426f9247bb680e5fe0c8", "b7e55044-10b1-426f-9247-bb680e5fe0c8"),
        ("c7e55044-10b1-126f-9247-bb680e5fe0c8", "c7e55044-10b1-126f-9247-bb680e5fe0c8"),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ];
    for (sent, _) in given {
        findings.check(sent, collector.post(snippet(sent, &id(sent))).gist(), OK);
    }
    for sent in
        ["1", "not-a-uuid", "67e55044-10b1-426f-9247-bb680e5fe0c", "00000000-0000-0000-0000-000000000000"]
    {
        findings.check(sent, collector.post(snippet(sent, &id(sent))).gist(), "400 invalid_event_id eventId");
        let batch = batch(&[event("x", &id(sent))], "");
        findings.check(sent, collector.post(batch).gist(), "400 invalid_event_id events[0].eventId");
    }
    let none = vec![event("none", ""); 50];
    findings.check("none", collector.post(batch(&none, "")).gist(), r#"200 {"received":50}"#);
    findings.check("none", collector.post(snippet("none", "")).gist(), OK);
    collector.await_events(given.len() + none.len() + 1);
    for (sent, stored) in given {
        let query = format!("SELECT event_id FROM weir.events WHERE type = '{sent}'");
        findings.check(sent, collector.sql(&query), stored);
    }
    let made = collector.sql("SELECT event_id FROM weir.events WHERE type = 'none'");
    findings.check("distinct ids", made.lines().collect::<HashSet<_>>().len(), none.len() + 1);
    findings.holds(format!("not all v7: {made}"), made.lines().all(|id| id.as_bytes()[14] == b'7'));
    let time = "SELECT count() FROM weir.events WHERE type = 'none' AND \
                abs(dateDiff('millisecond', received_at, UUIDv7ToDateTime(event_id))) > 1";
    findings.check("ids from another time than receipt", collector.sql(time), "0");
    findings.report();
}

#[test]
fn an_event_sent_again_is_received_again_and_stored_once() {
    let collector = Collector::start();
    collector.create_project("other", "pk_live_other", &[]);
    let mut findings = Findings::default();
    for (kind, more) in [
        ("v4", id(V4)),
        ("v7", id(V7)),
        (
            "timed",
            format!(r#"{},"timestamp":"2025-01-15T10:30:00Z""#, id("a7e55044-10b1-426f-9247-bb680e5fe0c8")),
        ),
    ] {
        for _ in 0..3 {
            findings.check(kind, collector.post(snippet(kind, &more)).gist(), OK);
        }
        let twice = batch(&[event(kind, &more), event(kind, &more), event(&format!("{kind} new"), "")], "");
        findings.check(kind, collector.post(twice).gist(), r#"200 {"received":3}"#);
        let other = snippet(kind, &more).replace("pk_live_demo", "pk_live_other");
        findings.check(kind, collector.post(other).gist(), OK);
    }
    let within = id("b7e55044-10b1-426f-9247-bb680e5fe0c8");
    let same = batch(&[event("within", &within), event("within", &within)], "");
    findings.check("twice within", collector.post(same).gist(), r#"200 {"received":2}"#);
    // An invalid copy reserves nothing.
    let half = id("c7e55044-10b1-426f-9247-bb680e5fe0c8");
    let invalid = batch(&[format!(r#"{{"type":"half"{half}}}"#), event("half", &half)], "");
    findings.check("an invalid copy first", collector.post(invalid).json()["received"].as_u64(), Some(1));

    let storm = id("d7e55044-10b1-426f-9247-bb680e5fe0c8");
    let answers = std::thread::scope(|scope| {
        let send = || collector.post(snippet("storm", &storm)).gist();
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<HashSet<_>>()
    });
    findings.check("32 at once", answers, HashSet::from([OK.to_owned()]));

    collector.await_loaded();
    let counts = "SELECT type, count() FROM weir.events GROUP BY type ORDER BY type";
    let expected = [
        "half\t1",
        "storm\t1",
        "timed\t2",
        "timed new\t1",
        "v4\t2",
        "v4 new\t1",
        "v7\t2",
        "v7 new\t1",
        "within\t1",
    ];
    findings.check("rows without FINAL", collector.sql(counts).lines().collect::<Vec<_>>(), expected);
    findings.report();
}

/// A restart forgets which ids came: ClickHouse drops the copy then, whatever kind of id it is.
#[test]
fn an_event_sent_again_after_a_restart_is_one_event() {
    let events = [
        ("v4", id(V4)),
        ("v7", id(V7)),
        (
            "timed",
            format!(r#"{},"timestamp":"2025-01-15T10:30:00Z""#, id("a7e55044-10b1-426f-9247-bb680e5fe0c8")),
        ),
    ];
    let mut findings = Findings::default();
    let first = Collector::start();
    for (kind, more) in &events {
        findings.check(kind, first.post(snippet(kind, more)).gist(), OK);
    }
    first.await_events(events.len());
    let (status, setup) = first.stop();
    assert!(status.success(), "{status}");
    let second = setup.start();
    for (kind, more) in &events {
        findings.check(kind, second.post(snippet(kind, more)).gist(), OK);
    }
    second.await_loaded();
    let counts = "SELECT type, count() FROM weir.events FINAL GROUP BY type ORDER BY type";
    findings.check("rows", second.sql(counts).lines().collect::<Vec<_>>(), ["timed\t1", "v4\t1", "v7\t1"]);
    findings.report();
}
