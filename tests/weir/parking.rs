//! Which rows are to blame, and which segments step aside: a table that refuses everything blames no row, and a
//! segment that cannot be loaded blocks no other.

use std::time::Duration;

use uuid::Uuid;

use crate::harness::{Collector, Figures, Random, Setup, eventually};

const GOOD: &str = "SELECT count(), uniqExact(event_id) FROM weir.events WHERE type = 'good'";
const REFUSED: &str = "SELECT count(), uniqExact(JSONExtractString(event, 'event_id')) FROM weir.rejected_events \
    WHERE reason = 'refused_by_clickhouse'";
const NO_POISON: &str = "ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'";

fn patient() -> Setup {
    Setup::new().with(&["--parked-pause", "1s"])
}

/// Sends one batch of these types.
#[track_caller]
fn send<'a>(collector: &Collector, types: impl IntoIterator<Item = &'a str>) {
    let event = |kind| format!(r#"{{"type":"{kind}","url":"/","eventId":"{}"}}"#, Uuid::now_v7());
    let events: Vec<String> = types.into_iter().map(event).collect();
    let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#, events.join(","));
    let answer = collector.post(body);
    assert_eq!((answer.status, answer.body), (200, format!("{{\"received\":{}}}", events.len())));
}

fn parked(collector: &Collector) -> u64 {
    Figures::parse(&collector.operations("/metrics").body).count("weir_journal_parked")
}

#[track_caller]
fn await_parked(collector: &Collector, count: u64) {
    eventually(&format!("{count} parked segments"), || (parked(collector) == count).then_some(()));
}

#[track_caller]
fn await_ready(collector: &Collector) {
    eventually("ready", || (collector.operations("/readyz").json()["status"] == "ready").then_some(()));
}

/// Makes the table refuse every row, sends, and puts it right again.
#[track_caller]
fn assert_nothing_is_blamed(refuse: &str, put_right: &str) {
    let collector = patient().start();
    send(&collector, ["good"; 20]);
    collector.await_events(20);
    collector.admin_sql(refuse);
    send(&collector, ["good"; 60]);
    await_parked(&collector, 1);
    send(&collector, ["good"; 10]);
    await_parked(&collector, 2);
    // Some rounds of trying again.
    let tries = || {
        Figures::parse(&collector.operations("/metrics").body)
            .count("weir_inserts_total{outcome=\"retried\"}")
    };
    let before = tries();
    eventually("more attempts", || (tries() >= before + 3).then_some(()));
    assert_eq!(collector.sql("SELECT count() FROM weir.rejected_events"), "0");
    let readiness = collector.operations("/readyz");
    assert_eq!((readiness.status, &readiness.json()["status"]), (200, &"degraded".into()));
    assert!(readiness.body.contains("refuses every row"), "{}", readiness.body);

    collector.admin_sql(put_right);
    collector.await_loaded();
    assert_eq!(collector.sql(GOOD), "90\t90");
    assert_eq!(collector.sql("SELECT count() FROM weir.rejected_events"), "0");
    await_ready(&collector);
}

#[test]
fn a_constraint_that_refuses_every_row_blames_none() {
    assert_nothing_is_blamed(
        "ALTER TABLE weir.events ADD CONSTRAINT closed CHECK type = 'nothing'",
        "ALTER TABLE weir.events DROP CONSTRAINT closed",
    );
}

#[test]
fn a_materialized_column_that_throws_for_every_row_blames_none() {
    assert_nothing_is_blamed(
        "ALTER TABLE weir.events ADD COLUMN broken UInt8 MATERIALIZED throwIf(type != '')",
        "ALTER TABLE weir.events DROP COLUMN broken",
    );
}

#[test]
fn good_rows_of_a_parked_segment_need_no_others_once_the_table_takes_some() {
    let collector = patient().start();
    collector.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT closed CHECK type = 'nothing'");
    send(&collector, (0..60).map(|index| if index == 7 { "poison" } else { "good" }));
    await_parked(&collector, 1);
    // Nothing else comes: what there is to see is in the segment itself.
    collector.admin_sql(NO_POISON);
    collector.admin_sql("ALTER TABLE weir.events DROP CONSTRAINT closed");
    collector.await_loaded();
    assert_eq!((collector.sql(GOOD), collector.sql(REFUSED)), ("59\t59".into(), "1\t1".into()));
    await_ready(&collector);
}

/// As many poisoned as good ones, in runs of ten.
fn runs_of_poison(events: usize) -> impl Iterator<Item = &'static str> {
    (0..events).map(|index| if index / 10 % 2 == 0 { "good" } else { "poison" })
}

const CLOSE: &str = "ALTER TABLE weir.events ADD CONSTRAINT closed CHECK type = 'nothing'";
const OPEN: &str = "ALTER TABLE weir.events DROP CONSTRAINT closed";

#[test]
fn a_table_that_closes_between_two_searches_blames_no_good_row() {
    let server = Collector::start();
    server.admin_sql(NO_POISON);
    let setup = patient().without_demo().on_server(server.setup(), server.engine_port());
    // It dies when it has stored a good part of the segment, and lives again when the table takes nothing.
    let starting = setup.clone().env("WEIR_FAILPOINT", "part_loaded").spawn();
    let dying = starting.await_serving();
    send(&dying, runs_of_poison(100));
    assert_eq!(dying.await_stopped().0.code(), None);
    assert_ne!(server.sql(GOOD), "0\t0");
    server.admin_sql(CLOSE);
    let collector = setup.start();
    await_parked(&collector, 1);
    collector.await_log("a segment stays parked");
    assert_eq!(server.sql("SELECT count() FROM weir.rejected_events"), "0");

    server.admin_sql(OPEN);
    collector.await_loaded();
    assert_eq!((server.sql(GOOD), server.sql(REFUSED)), ("50\t50".into(), "50\t50".into()));
}

#[test]
fn a_table_that_closes_during_a_search_blames_no_good_row() {
    let collector = patient().start();
    collector.admin_sql(NO_POISON);
    send(&collector, runs_of_poison(600));
    eventually("a part that is stored", || (collector.sql(GOOD) != "0\t0").then_some(()));
    collector.admin_sql(CLOSE);
    await_parked(&collector, 1);
    collector.admin_sql(OPEN);
    let good = 300 + bear_witness(&collector);
    assert_eq!(collector.sql(GOOD), format!("{good}\t{good}"));
    assert_eq!(collector.sql(REFUSED), "300\t300");
}

/// Sends good events until nothing is parked: rows that were all refused wait for others that are taken. Gives how
/// many it were.
#[track_caller]
fn bear_witness(collector: &Collector) -> usize {
    let mut sent = 0;
    eventually("an empty journal", || {
        send(collector, ["good"]);
        sent += 1;
        std::thread::sleep(Duration::from_millis(500));
        (parked(collector) == 0).then_some(())
    });
    collector.await_loaded();
    sent
}

#[test]
fn a_table_that_closes_and_opens_all_the_time_blames_no_good_row() {
    let collector = patient().start();
    collector.admin_sql(NO_POISON);
    let mut random = Random::seeded("a table that closes and opens");
    let mut sent = 0;
    for _ in 0..12 {
        send(&collector, runs_of_poison(40));
        sent += 20;
        collector.admin_sql(CLOSE);
        std::thread::sleep(Duration::from_millis(50 + random.below(250)));
        collector.admin_sql(OPEN);
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
    }
    let (good, refused) = (sent + bear_witness(&collector), sent);
    assert_eq!(collector.sql(GOOD), format!("{good}\t{good}"));
    assert_eq!(collector.sql(REFUSED), format!("{refused}\t{refused}"));
}

#[test]
fn a_poisoned_event_alone_is_parked_until_the_table_has_taken_others() {
    let collector = patient().start();
    collector.admin_sql(NO_POISON);
    send(&collector, ["poison"]);
    await_parked(&collector, 1);
    // It is parked on disk too; whoever opens the journal next has seen nothing yet.
    let collector = collector.kill().start();
    collector.await_log("parked a segment");
    collector.await_log("a segment stays parked");
    assert_eq!(collector.sql("SELECT count() FROM weir.rejected_events"), "0");
    assert!(collector.setup().segments().iter().any(|name| name.ends_with(".parted")));
    let good = bear_witness(&collector);
    assert_eq!((collector.sql(GOOD), collector.sql(REFUSED)), (format!("{good}\t{good}"), "1\t1".into()));
    await_ready(&collector);
    assert_eq!(parked(&collector), 0);
}

#[test]
fn dozens_of_refused_rows_among_good_ones_part_from_them() {
    let collector = Collector::start();
    collector.admin_sql(NO_POISON);
    // Every second one, and a run of them: neither must look like a table that refuses everything.
    send(&collector, (0..60).map(|index| if index % 2 == 0 { "poison" } else { "good" }));
    collector.await_loaded();
    assert_eq!((collector.sql(GOOD), collector.sql(REFUSED)), ("30\t30".into(), "30\t30".into()));
    send(&collector, (0..21).map(|index| if index < 20 { "poison" } else { "good" }));
    collector.await_loaded();
    assert_eq!((collector.sql(GOOD), collector.sql(REFUSED)), ("31\t31".into(), "50\t50".into()));
    let figures = Figures::parse(&collector.operations("/metrics").body);
    assert_eq!(figures.count("weir_rows_total{outcome=\"refused\"}"), 50);
    assert_eq!(figures.count("weir_journal_parked"), 0);
    await_ready(&collector);
}

#[test]
fn a_file_that_vanishes_or_breaks_while_it_waits_blocks_nobody() {
    let server = Collector::start();
    let port = server.engine_port();
    let collector = patient()
        .without_demo()
        .on_server(server.setup(), port)
        .with(&["--segment-rows", "10", "--load-concurrency", "2"])
        .start();
    send(&collector, ["good"; 10]);
    collector.await_loaded();
    let server = server.kill();
    for _ in 0..5 {
        send(&collector, ["good"; 10]);
    }
    // Two are under way, the others behind them: one of each vanishes, one of each breaks.
    let mut names =
        eventually("five segments", || Some(collector.setup().segments()).filter(|names| names.len() >= 5));
    names.sort();
    let file = |name: &str| collector.data_dir().join("journal").join(name);
    for vanishing in [&names[0], &names[2]] {
        std::fs::remove_file(file(vanishing)).unwrap();
    }
    for breaking in [&names[1], &names[3]] {
        let mut bytes = std::fs::read(file(breaking)).unwrap();
        bytes[8] ^= 1;
        std::fs::write(file(breaking), bytes).unwrap();
    }
    let server = server.start();
    send(&collector, ["good"; 10]);
    eventually("nothing but what is set aside", || {
        let names = collector.setup().segments();
        (names.len() == 2 && names.iter().all(|name| name.ends_with(".damaged"))).then_some(())
    });
    assert_eq!(server.sql(GOOD), "30\t30");
    eventually("nothing parked", || (parked(&collector) == 0).then_some(()));
    await_ready(&collector);
    // What is in memory of the journal is what is on disk.
    let (status, said, setup) = collector.stop_with("TERM");
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(setup.segments().len(), 2);
}
