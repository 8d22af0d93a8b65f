//! ClickHouse away: the collector goes on, and catches up when it is back. Another collector's engine is the
//! server here, so that it can be stopped and started.

use std::time::Duration;

use crate::harness::{Answer, Collector, Setup, eventually, free_port};

/// A collector that feeds the tables of `server`.
fn beside(server: &Setup) -> Setup {
    let port = server.engine_port();
    Setup::new().without_demo().on_server(server, port).with(&[
        "--degraded-after",
        "2s",
        "--project-refresh",
        "200ms",
    ])
}

fn event(key: &str) -> String {
    format!(r#"{{"type":"away","visitorId":"v_1","projectKey":"{key}","url":"https://a.test/"}}"#)
}

#[track_caller]
fn assert_taken(collector: &Collector, count: usize) {
    for _ in 0..count {
        let answer = collector.post(event("pk_live_demo"));
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"received":1}"#));
    }
}

#[track_caller]
fn assert_come_back_later(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (503, code));
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&wait), "Retry-After: {wait}");
}

/// The word of `/readyz`, whose status must be 200.
#[track_caller]
fn standing(collector: &Collector) -> String {
    let answer = collector.operations("/readyz");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["status"].as_str().unwrap().to_owned()
}

fn journal_bytes(setup: &Setup) -> u64 {
    let size =
        |name: &String| std::fs::metadata(setup.data_dir().join("journal").join(name)).map_or(0, |f| f.len());
    setup.segments().iter().map(size).sum()
}

#[track_caller]
fn count(server: &Collector) -> String {
    server.sql("SELECT count(), uniqExact(event_id) FROM weir.events")
}

#[test]
fn what_comes_while_clickhouse_is_away_is_kept_and_loaded_later() {
    let server = Collector::start();
    let collector = beside(server.setup()).start();
    assert_taken(&collector, 3);
    server.await_events(3);
    assert_eq!(standing(&collector), "ready");

    let server = server.kill();
    assert_taken(&collector, 5);
    let small = journal_bytes(collector.setup());
    assert!(small > 0, "nothing is on disk");
    assert_come_back_later(&collector.post(event("pk_live_unheard")), "project_lookup_unavailable");
    eventually("degraded", || (standing(&collector) == "degraded").then_some(()));
    let reasons = eventually("the backlog's age as a reason", || {
        let reasons = collector.operations("/readyz").json()["reasons"].to_string();
        reasons.contains("segments wait for clickhouse").then_some(reasons)
    });
    assert!(reasons.contains("clickhouse does not take segments"), "{reasons}");
    assert_taken(&collector, 200);
    assert!(journal_bytes(collector.setup()) > small, "the backlog does not grow on disk");
    // However long it lasts: the first segments by age, and then few large ones.
    let segments = collector.setup().segments();
    assert!(segments.len() <= 4, "{segments:?}");

    let server = server.start();
    collector.await_loaded();
    assert_eq!(count(&server), "208\t208");
    eventually("ready", || (standing(&collector) == "ready").then_some(()));
    assert_eq!(
        eventually("401", || {
            let answer = collector.post(event("pk_live_unheard"));
            (answer.status != 503).then_some(answer)
        })
        .status,
        401
    );
}

#[test]
fn a_collector_that_starts_while_clickhouse_is_away_knows_its_keys_and_loses_nothing() {
    let server = Collector::start();
    let collector = beside(server.setup()).start();
    assert_taken(&collector, 1);
    server.await_events(1);
    eventually("a snapshot of the keys", || {
        let snapshot = std::fs::read_to_string(collector.data_dir().join("projects.json")).ok()?;
        snapshot.contains("pk_live_demo").then_some(())
    });

    let server = server.kill();
    assert_taken(&collector, 10);
    let collector = collector.kill().start();
    assert_taken(&collector, 10);
    assert_come_back_later(&collector.post(event("pk_live_unheard")), "project_lookup_unavailable");
    assert_eq!(standing(&collector), "degraded");
    // A stop leaves what cannot be loaded to the next start, in the time it was given.
    let (status, collector) = collector.kill().with(&["--shutdown-timeout", "1s"]).start().stop();
    assert_eq!(status.code(), Some(0));
    assert!(!collector.segments().is_empty(), "the journal has lost its segments");
    let collector = collector.start();

    let server = server.start();
    collector.await_loaded();
    assert_eq!(count(&server), "21\t21");
}

#[test]
fn a_collector_started_against_a_dead_url_serves_and_migrates_when_clickhouse_appears() {
    let server = Setup::new();
    // The password is drawn when an engine is first prepared.
    let server = server.start().kill();
    let dead = free_port();
    let nowhere = Setup::new().without_demo().env("WEIR_CLICKHOUSE_URL", &format!("http://127.0.0.1:{dead}"));
    let refused = nowhere.start();
    assert_eq!((refused.operations("/healthz").status, standing(&refused).as_str()), (200, "degraded"));
    assert_come_back_later(&refused.post(event("pk_live_demo")), "project_lookup_unavailable");
    drop(refused);

    let collector = beside(&server).with(&["--clickhouse-database", "fresh"]).start();
    assert_eq!(standing(&collector), "degraded");
    let server = server.start();
    let tables = "SELECT count() FROM system.tables WHERE database = 'fresh' AND name IN ('events', 'rejected_events')";
    eventually("the tables", || (server.admin_sql(tables) == "2").then_some(()));
    eventually("ready", || (standing(&collector) == "ready").then_some(()));
    assert_eq!(
        collector.weir(&[
            "project",
            "create",
            "late",
            "--key",
            "pk_live_demo",
            "--clickhouse-database",
            "fresh"
        ]),
        "pk_live_demo"
    );
    eventually("a key that is known", || (collector.post(event("pk_live_demo")).status == 200).then_some(()));
    let rows = "SELECT count() FROM fresh.events";
    eventually("a row", || (server.admin_sql(rows) != "0").then_some(()));
}

#[test]
fn a_stop_while_clickhouse_is_away_ends_within_its_time() {
    let server = Collector::start();
    let collector = beside(server.setup()).with(&["--shutdown-timeout", "2s"]).start();
    assert_taken(&collector, 1);
    let _server = server.kill();
    assert_taken(&collector, 1);
    let begun = std::time::Instant::now();
    let (status, said, setup) = collector.stop_with("TERM");
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "{took:?}");
    assert!(said.contains("left segments in the journal"), "{said}");
    assert_eq!(setup.segments().len(), 1);
}
