//! What stands between a sealed segment and its rows: values that a table refuses, tables that have drifted, answers
//! that are lost.

use uuid::Uuid;

use crate::harness::{Collector, Figures, Load, Proxy, Random, Setup, assert_exactly_once, eventually};

/// A batch of events of type `good`, but for every `nth`, which is of type `bad`; and how many those are.
fn batch(events: usize, nth: usize, bad: &str) -> (String, usize) {
    let is_bad = |index: usize| index % nth == nth / 2;
    let event = |index| {
        let kind = if is_bad(index) { bad } else { "good" };
        format!(r#"{{"type":"{kind}","url":"/{index}","eventId":"{}"}}"#, Uuid::now_v7())
    };
    let all: Vec<String> = (0..events).map(event).collect();
    let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#, all.join(","));
    (body, (0..events).filter(|index| is_bad(*index)).count())
}

#[track_caller]
fn assert_taken(collector: &Collector, body: &str, events: usize) {
    let answer = collector.post(body);
    assert_eq!((answer.status, answer.body), (200, format!("{{\"received\":{events}}}")));
}

fn figures(collector: &Collector) -> Figures {
    Figures::parse(&collector.operations("/metrics").body)
}

#[test]
fn a_segment_whose_last_request_fills_a_piece_is_loaded() {
    let collector = Collector::start();
    let filling = "x".repeat(30_000);
    let event = format!(r#"{{"type":"good","url":"/","data":{{"filling":"{filling}"}}}}"#);
    let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#, vec![event; 20].join(","));
    assert_taken(&collector, &body, 20);
    collector.await_loaded();
    assert_eq!(collector.sql(COUNTS), "20\t20");
}

const COUNTS: &str = "SELECT count(), uniqExact(event_id) FROM weir.events WHERE type = 'good'";
const REFUSED: &str = "SELECT count(), uniqExact(JSONExtractString(event, 'event_id')) FROM weir.rejected_events \
    WHERE reason = 'refused_by_clickhouse'";

#[test]
fn an_event_that_breaks_a_constraint_is_parted_from_its_neighbours() {
    let collector = Collector::start();
    collector.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'");
    let (body, bad) = batch(200, 67, "poison");
    assert_eq!(bad, 3);
    assert_taken(&collector, &body, 200);
    collector.await_loaded();
    assert_eq!(collector.sql(COUNTS), "197\t197");
    assert_eq!(collector.sql("SELECT count() FROM weir.events"), "197");
    assert_eq!(collector.sql(REFUSED), "3\t3");
    let kept = collector.sql(
        "SELECT JSONExtractString(event, 'url'), source, position(message, '469') > 0 FROM weir.rejected_events ORDER BY 1",
    );
    assert_eq!(kept, "/100\tsdk\t1\n/167\tsdk\t1\n/33\tsdk\t1");
    let figures = figures(&collector);
    assert_eq!(figures.count("weir_rows_total{outcome=\"refused\"}"), 3);
    assert_eq!(figures.count("weir_rows_total{outcome=\"loaded\"}"), 197);
    assert_eq!(figures.count("weir_inserts_total{outcome=\"bisected\"}"), 1);
    assert_eq!(collector.operations("/readyz").json()["status"], "ready");
}

#[test]
fn a_kill_in_the_middle_of_parting_repeats_nothing() {
    let mut random = Random::seeded("kills while a segment is parted");
    let collector = Collector::start();
    collector.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'");
    let (body, bad) = batch(600, 12, "poison");
    assert_taken(&collector, &body, 600);
    let mut collector = collector;
    let mut killed_while_parting = 0;
    for _ in 0..3 {
        eventually("a segment that is parted, or gone", || {
            let segments = collector.setup().segments();
            let parting = segments.iter().any(|name| name.ends_with(".parted"));
            (parting || segments.is_empty()).then_some(())
        });
        std::thread::sleep(std::time::Duration::from_millis(random.below(300)));
        killed_while_parting += collector.setup().segments().len();
        collector = collector.kill().start();
    }
    assert!(killed_while_parting > 0, "no kill came in time");
    collector.await_loaded();
    let good = 600 - bad;
    assert_eq!(collector.sql(COUNTS), format!("{good}\t{good}"));
    assert_eq!(collector.sql(REFUSED), format!("{bad}\t{bad}"));
}

#[test]
fn an_event_that_makes_a_view_throw_harms_no_neighbour() {
    let collector = Collector::start();
    collector.admin_sql(
        "CREATE TABLE weir.seen (event_id UUID, thrown UInt8) ENGINE = MergeTree ORDER BY event_id",
    );
    collector.admin_sql(
        "CREATE MATERIALIZED VIEW weir.guard TO weir.seen AS \
         SELECT event_id, throwIf(type = 'thrown') AS thrown FROM weir.events",
    );
    let (body, bad) = batch(50, 50, "thrown");
    assert_eq!(bad, 1);
    assert_taken(&collector, &body, 50);
    collector.await_loaded();
    assert_eq!(collector.sql(COUNTS), "49\t49");
    // ClickHouse stores the rows before it asks the view, which has none of the insert's: a view that throws harms
    // itself. Whether stored or refused, the event is in one place.
    let stored = collector.sql("SELECT count() FROM weir.events WHERE type = 'thrown'");
    assert!([("1", "0\t0"), ("0", "1\t1")].contains(&(&stored, &collector.sql(REFUSED))), "stored: {stored}");
    assert_eq!(collector.operations("/readyz").json()["status"], "ready");
}

/// Breaks a table, sends, and puts it right again.
#[track_caller]
fn assert_parked_until_put_right(drift: &str, put_right: &str, column: &str) {
    let collector = Setup::new().with(&["--parked-pause", "500ms"]).start();
    let (body, _) = batch(20, 100, "bad");
    assert_taken(&collector, &body, 20);
    collector.await_events(20);
    collector.admin_sql(drift);
    let (body, _) = batch(30, 100, "bad");
    assert_taken(&collector, &body, 30);
    let line = collector.await_log("parked a segment");
    assert_eq!(line["level"], "ERROR");
    assert!(line["error"].as_str().unwrap().contains(column), "{line}");
    assert_eq!(figures(&collector).count("weir_journal_parked"), 1);
    let readiness = collector.operations("/readyz");
    assert_eq!((readiness.status, &readiness.json()["status"]), (200, &"degraded".into()), "{readiness:?}");
    assert!(readiness.body.contains("parked"), "{readiness:?}");
    // The collector goes on, and what comes now is not held up by what is parked, only refused like it.
    let (body, _) = batch(10, 100, "bad");
    assert_taken(&collector, &body, 10);
    eventually("a second parked segment", || {
        (figures(&collector).count("weir_journal_parked") == 2).then_some(())
    });
    assert!(collector.setup().segments().iter().all(|name| name.ends_with(".segment")), "nothing is parted");

    collector.admin_sql(put_right);
    collector.await_loaded();
    assert_eq!(collector.sql(COUNTS), "60\t60");
    assert_eq!(collector.sql("SELECT count() FROM weir.rejected_events"), "0");
    eventually("ready", || (collector.operations("/readyz").json()["status"] == "ready").then_some(()));
    assert_eq!(figures(&collector).count("weir_journal_parked"), 0);
}

#[test]
fn a_dropped_column_parks_segments_until_it_is_back() {
    let drop = "ALTER TABLE weir.events DROP COLUMN os";
    let add = "ALTER TABLE weir.events ADD COLUMN os LowCardinality(String)";
    assert_parked_until_put_right(drop, add, "os");
}

#[test]
fn a_changed_type_parks_segments_until_it_is_changed_back() {
    let change = "ALTER TABLE weir.events MODIFY COLUMN timestamp DateTime64(6, 'UTC')";
    let back = "ALTER TABLE weir.events MODIFY COLUMN timestamp DateTime64(3, 'UTC')";
    assert_parked_until_put_right(change, back, "timestamp");
}

#[test]
fn an_answer_that_is_lost_after_the_insert_was_done_repeats_nothing() {
    let server = Collector::start();
    let proxy = Proxy::start(server.engine_port());
    let collector = Setup::new().without_demo().on_server(server.setup(), proxy.port()).start();
    let mut random = Random::seeded("lost answers");
    let load = Load::start(2, &mut random);
    load.aim(&collector);
    for round in 1..=3 {
        proxy.lose_answers(round);
        let lost: usize = (1..=round).sum();
        eventually("answers that are lost", || (proxy.lost() == lost).then_some(()));
    }
    let sent = load.finish();
    assert!(sent.iter().all(|sent| sent.acknowledged && sent.lives == 1));
    collector.await_loaded();
    assert_exactly_once(&server, &sent);
    assert!(figures(&collector).count("weir_inserts_total{outcome=\"retried\"}") >= 6);
}

#[test]
fn an_answer_that_is_lost_while_parting_repeats_nothing() {
    let server = Collector::start();
    server.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'");
    let proxy = Proxy::start(server.engine_port());
    let collector = Setup::new().without_demo().on_server(server.setup(), proxy.port()).start();
    let (body, bad) = batch(100, 40, "poison");
    // Its key is looked up, and the answer to the first INSERT is a refusal that arrives.
    assert_taken(&collector, &body, 100);
    collector.await_log("parting a segment");
    proxy.lose_answers(4);
    collector.await_loaded();
    assert!(proxy.lost() > 0, "no answer was lost");
    let good = 100 - bad;
    assert_eq!(server.sql(COUNTS), format!("{good}\t{good}"));
    assert_eq!(server.sql(REFUSED), format!("{bad}\t{bad}"));
}
