//! Requests sent again: the same ids in the answer, the same number of rows.

use super::{gist, ids, new_key, object, post};
use crate::harness::{Collector, Findings, Setup};

const EVENTS: &[&str] = &[
    r#"{"type":"plain","data":{"n":1}}"#,
    r#"{"type":"timed","data":{},"timestamp":"2024-05-05T05:05:05Z"}"#,
    r#"{"type":"v4","data":{},"id":"67e55044-10b1-426f-9247-bb680e5fe0c8"}"#,
    r#"{"type":"v7","data":{},"id":"0192aa00-0000-7000-8000-0000000000aa"}"#,
    r#"{"type":"plain","data":{"n":2}}"#,
];

const ORDER: [(&str, &str); 1] = [("Idempotency-Key", "order 4711")];

/// Rows, and rows under `FINAL`.
fn counts(store: &Collector) -> (usize, usize) {
    let count = |table: &str| store.sql(&format!("SELECT count() FROM {table}")).parse().unwrap();
    (count("weir.events"), count("weir.events FINAL"))
}

/// Holds that all rows of one event sort alike, else no merge would find them.
#[track_caller]
fn assert_one_sorting_key(store: &Collector) {
    let keys = "SELECT max(keys) FROM \
                (SELECT uniqExact(project_id, type, sort_time) AS keys FROM weir.events GROUP BY event_id)";
    assert_eq!(store.sql(keys), "1", "two sends have two sorting keys");
}

#[test]
fn a_request_sent_again_has_the_same_ids_and_is_stored_once_also_after_a_restart() {
    let collector = Collector::start();
    let key = new_key(&collector, &[]);
    let body = object(EVENTS);
    let first = ids(&post(&collector, &key, &ORDER, &body));
    assert_eq!((first.len(), &*first[2]), (5, "67e55044-10b1-426f-9247-bb680e5fe0c8"));
    assert_eq!(first[3], "0192aa00-0000-7000-8000-0000000000aa");
    assert!([0, 1, 4].iter().all(|index| first[*index].as_bytes()[14] == b'5'), "{first:?}");
    let stored = || {
        collector.await_loaded();
        let ids = collector.sql("SELECT event_id FROM weir.events ORDER BY toString(event_id)");
        ids.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(stored(), sorted);

    // At once by many, and later.
    std::thread::scope(|scope| {
        let send = || assert_eq!(ids(&post(&collector, &key, &ORDER, &body)), first);
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(send)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    // The other shape has the same events, so they have the same ids.
    let array = object(EVENTS).replace(r#"{"source":"backend","events":"#, "").replace("]}", "]");
    let array = array.replace(r#""type":"#, r#""source":"backend","event_type":"#);
    assert_eq!(gist(&post(&collector, &key, &ORDER, array)), r#"201 {"ingested":5}"#);
    collector.await_loaded();
    assert_eq!(counts(&collector), (5, 5));

    let collector = collector.kill().start();
    assert_eq!(ids(&post(&collector, &key, &ORDER, &body)), first);
    collector.await_loaded();
    let (rows, merged) = counts(&collector);
    assert_eq!((rows, merged), (10, 5), "a restart forgets the ids, FINAL does not");
    assert_one_sorting_key(&collector);

    let other = Setup::new().without_demo().on_server(collector.setup(), collector.engine_port()).start();
    assert_eq!(ids(&post(&other, &key, &ORDER, &body)), first);
    other.await_loaded();
    assert_eq!(counts(&collector).1, 5);
    assert_one_sorting_key(&collector);
}

#[test]
fn what_is_not_the_same_request_is_stored_again() {
    let collector = Collector::start();
    let (key, other_key) = (new_key(&collector, &[]), new_key(&collector, &[]));
    let mut findings = Findings::default();
    let body = object(&[r#"{"type":"t","data":{}}"#]);
    let mut seen = Vec::new();
    for (case, key, headers) in [
        ("no header", &key, &[][..]),
        ("no header again", &key, &[]),
        ("a header", &key, &ORDER),
        ("another header", &key, &[("Idempotency-Key", "order 4712")]),
        ("in capitals", &key, &[("Idempotency-Key", "ORDER 4711")]),
        ("another key of the project", &other_key, &ORDER),
    ] {
        let ids = ids(&post(&collector, key, headers, &body));
        findings.holds(case, ids.len() == 1 && !seen.contains(&ids));
        seen.push(ids);
    }
    // Two copies in one request.
    let own = r#"{"type":"own","data":{},"id":"67e55044-10b1-426f-9247-bb680e5fe0c8"}"#;
    let answer = post(&collector, &key, &[], object(&[own, own]));
    findings.check("twice within", answer.json()["events_received"].as_u64(), Some(2));
    // A refused request reserves no id.
    let half = post(
        &collector,
        &key,
        &[("Idempotency-Key", "half")],
        object(&[r#"{"type":"half","data":{}}"#, "7"]),
    );
    findings.check("half", half.status, 400);
    let whole =
        post(&collector, &key, &[("Idempotency-Key", "half")], object(&[r#"{"type":"half","data":{}}"#]));
    findings.check("whole", whole.status, 201);
    findings.report();
    collector.await_loaded();
    assert_eq!(counts(&collector), (8, 8));
}
