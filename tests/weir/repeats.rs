//! Clients that send an event again, under its id: one row under `FINAL` whatever happens, and one row plainly
//! counted where one collector has seen all copies within its window.

use std::fmt::Write as _;

use uuid::Uuid;

use crate::harness::{Collector, Random, Setup};

/// An event that is sent several times, and need not look the same each time.
struct Repeated {
    id: Uuid,
    timestamp: Option<String>,
}

impl Repeated {
    /// Ids of either kind, with and without a time of their own.
    fn draw(random: &mut Random) -> Self {
        let id = if random.below(2) == 0 { Uuid::now_v7() } else { Uuid::new_v4() };
        let month = 1 + random.below(9);
        let timestamp = (random.below(2) == 0).then(|| format!("2026-0{month}-01T10:00:00.123Z"));
        Self { id, timestamp }
    }

    fn many(random: &mut Random, count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::draw(random)).collect()
    }

    fn members(&self) -> String {
        let Self { id, timestamp } = self;
        let mut members = format!(r#""type":"again","url":"https://a.test/","eventId":"{id}""#);
        if let Some(timestamp) = timestamp {
            write!(members, r#","timestamp":"{timestamp}""#).unwrap();
        }
        members
    }
}

/// One body of these events: each time with another clock to be corrected by, and in either format.
fn body(events: &[Repeated], random: &mut Random) -> String {
    let sent_at = ["", r#","sentAt":"2026-01-01T00:00:00Z""#, r#","sentAt":"2031-05-05T05:05:05+05:00""#];
    let sent_at = sent_at[usize::try_from(random.below(3)).unwrap()];
    if let [event] = events {
        return format!(r#"{{"projectKey":"pk_live_demo","visitorId":"v",{}{sent_at}}}"#, event.members());
    }
    let events: Vec<String> = events.iter().map(|event| format!("{{{}}}", event.members())).collect();
    format!(r#"{{"projectKey":"pk_live_demo","events":[{}]{sent_at}}}"#, events.join(","))
}

#[track_caller]
fn send(collector: &Collector, events: &[Repeated], random: &mut Random) {
    let answer = collector.post(body(events, random));
    assert_eq!((answer.status, answer.body), (200, format!("{{\"received\":{}}}", events.len())));
}

/// Sends each event alone, several times at once.
fn send_at_once(collectors: &[&Collector], events: &[Repeated], random: &mut Random) {
    std::thread::scope(|scope| {
        for events in events.chunks(5) {
            for copy in 0..2 + random.below(4) {
                let mut random = random.branch();
                let collector = collectors[usize::try_from(copy).unwrap() % collectors.len()];
                scope.spawn(move || {
                    for event in events {
                        send(collector, std::slice::from_ref(event), &mut random);
                    }
                });
            }
        }
    });
}

/// Rows, and rows under `FINAL`.
fn counts(store: &Collector) -> (usize, usize) {
    let count = |table: &str| store.sql(&format!("SELECT count() FROM {table}")).parse().unwrap();
    (count("weir.events"), count("weir.events FINAL"))
}

/// Holds that `FINAL` shows these events once each, whatever else has been stored.
#[track_caller]
fn assert_final(store: &Collector, events: &[Repeated]) {
    let shown =
        store.sql("SELECT event_id, count() FROM weir.events FINAL GROUP BY event_id ORDER BY event_id");
    let mut shown: Vec<(Uuid, &str)> = shown
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(id, n)| (id.parse().unwrap(), n))
        .collect();
    let mut expected: Vec<(Uuid, &str)> = events.iter().map(|event| (event.id, "1")).collect();
    shown.sort_unstable();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let keys = store.sql(
        "SELECT max(keys) FROM (SELECT uniqExact(project_id, type, sort_time) AS keys FROM weir.events GROUP BY event_id)",
    );
    assert_eq!(keys, "1", "two sends have two sorting keys");
}

/// A second collector on the first one's ClickHouse.
fn beside(server: &Collector) -> Setup {
    Setup::new().without_demo().on_server(server.setup(), server.engine_port())
}

#[test]
fn copies_that_one_collector_sees_are_one_row_and_after_a_restart_one_under_final() {
    let mut random = Random::seeded("repeats to one collector");
    let collector = Collector::start();
    let events = Repeated::many(&mut random, 40);
    send_at_once(&[&collector], &events, &mut random);
    // Later, together, and while the first copies are already stored.
    collector.await_loaded();
    send(&collector, &events, &mut random);
    send_at_once(&[&collector], &events[..10], &mut random);
    collector.await_loaded();
    assert_eq!(counts(&collector), (40, 40));

    let collector = collector.kill().start();
    send(&collector, &events, &mut random);
    send_at_once(&[&collector], &events, &mut random);
    collector.await_loaded();
    let (rows, merged) = counts(&collector);
    assert_eq!(merged, 40);
    assert!((40..=80).contains(&rows), "{rows} rows: one life has stored a copy twice");
    assert_final(&collector, &events);
    // A merge leaves what FINAL shows.
    collector.admin_sql("OPTIMIZE TABLE weir.events FINAL");
    assert_eq!(counts(&collector), (40, 40));
}

#[test]
fn copies_across_two_collectors_are_one_row_under_final() {
    let mut random = Random::seeded("repeats to two collectors");
    let first = Collector::start();
    let second = beside(&first).start();
    let events = Repeated::many(&mut random, 40);
    send_at_once(&[&first, &second], &events, &mut random);
    send(&second, &events, &mut random);
    second.await_loaded();
    first.await_loaded();
    let (rows, merged) = counts(&first);
    assert_eq!(merged, 40);
    assert!((40..=80).contains(&rows), "{rows} rows: one collector has stored a copy twice");

    let second = second.kill().start();
    send_at_once(&[&second, &first], &events, &mut random);
    second.await_loaded();
    first.await_loaded();
    let (rows, merged) = counts(&first);
    assert_eq!(merged, 40);
    assert!((40..=120).contains(&rows), "{rows} rows: one life has stored a copy twice");
    assert_final(&first, &events);
}

#[test]
fn a_small_window_forgets_old_ids_and_final_does_not() {
    let mut random = Random::seeded("repeats behind a window");
    let collector = Setup::new().with(&["--recent-events", "64"]).start();
    let events = Repeated::many(&mut random, 600);
    // What one INSERT holds twice ClickHouse stores once, and merges drop the rest.
    collector.admin_sql("SYSTEM STOP MERGES weir.events");
    for _ in 0..2 {
        for batch in events.chunks(100) {
            send(&collector, batch, &mut random);
        }
        // The latest is known still.
        send(&collector, &events[599..], &mut random);
        collector.await_loaded();
    }
    let (rows, merged) = counts(&collector);
    assert_eq!(merged, 600);
    // At most 64 were remembered of the first round.
    assert!((600 + 600 - 64..=1_200).contains(&rows), "{rows} rows");
    assert_final(&collector, &events);
}

#[test]
fn copies_with_a_months_end_between_them_are_never_merged_and_hidden_by_final_only() {
    let mut random = Random::seeded("repeats across a month's end");
    let collector = Collector::start();
    let events = Repeated::many(&mut random, 20);
    send(&collector, &events, &mut random);
    collector.await_loaded();
    // What a collector stored of the same sends a month ago; only the time of receipt tells it from these.
    collector.admin_sql(
        "INSERT INTO weir.events SELECT * REPLACE (addMonths(received_at, -1) AS received_at) FROM weir.events",
    );
    // And once more this month, by a collector that knows nothing of the first time.
    let collector = collector.kill().start();
    send(&collector, &events, &mut random);
    collector.await_loaded();
    assert_eq!(counts(&collector), (60, 20));

    collector.admin_sql("OPTIMIZE TABLE weir.events FINAL");
    let months = "SELECT uniqExact(_partition_id), uniqExact(event_id) FROM weir.events";
    assert_eq!(collector.sql(months), "2\t20");
    assert_eq!(counts(&collector), (40, 20), "the README says how these are counted");
    assert_final(&collector, &events);
}
