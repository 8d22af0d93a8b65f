//! What operators see: probes, figures, logs, and how a collector stops.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::{
    Client, Collector, Figures, Load, Random, Setup, assert_exactly_once, eventually, free_port,
};

const EVENT: &str = r#"{"type":"a","visitorId":"v_1","projectKey":"pk_live_demo","url":"https://a.test/"}"#;

fn readiness(operations: SocketAddr) -> Option<(u16, String, String)> {
    let answer = Client::connect(operations).ok()?.send("GET", "/readyz", &[], b"").ok()?;
    let json = answer.json();
    Some((answer.status, json["status"].as_str()?.to_owned(), json["reasons"].to_string()))
}

#[test]
fn readiness_follows_a_collector_from_its_start_to_its_end() {
    let operations = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let starting = Setup::new().with(&["--ops-listen", &operations.to_string()]).spawn();
    let first = eventually("a first answer", || readiness(operations));
    assert_eq!(first, (503, "unavailable".into(), r#"["the collector is starting"]"#.into()));
    let collector = starting.await_serving();
    assert_eq!(readiness(operations), Some((200, "ready".into(), "[]".into())));
    let health = collector.operations("/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));

    // A request whose second half comes when the collector is to stop already.
    let mut client = collector.client();
    let head = format!("POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", EVENT.len());
    let (early, late) = EVENT.split_at(20);
    client.write((head + early).as_bytes()).unwrap();
    eventually("an open request", || {
        let figures = Figures::parse(&collector.operations("/metrics").body);
        (figures.count("weir_connections_open") == 1).then_some(())
    });
    collector.signal("TERM");
    let draining = eventually("draining", || readiness(operations).filter(|(status, ..)| *status == 503));
    assert_eq!(draining.2, r#"["the collector is draining"]"#);
    // The word is out a moment before the door is shut.
    eventually("no more connections", || Client::connect(collector.listen).is_err().then_some(()));
    let answer = client.send_raw(late.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"received":1}"#));
    assert_eq!(answer.header("connection"), Some("close"));
    let (status, _, setup) = collector.await_stopped();
    assert_eq!(status.code(), Some(0));
    assert!(setup.segments().is_empty(), "loaded before the end");
}

#[test]
fn figures_move_as_their_descriptions_say() {
    let collector = Collector::start();
    let repeated = EVENT.replacen('{', r#"{"eventId":"0190a000-0000-7000-8000-000000000001","#, 1);
    for (body, status) in [
        (EVENT, 200),
        (&repeated, 200),
        (&repeated, 200),
        (r#"{"projectKey":"pk_live_demo","events":[{"type":"a","url":"/"},{"type":""}]}"#, 200),
        ("nonsense", 400),
        (&EVENT.replace("pk_live_demo", "pk_live_none"), 401),
    ] {
        assert_eq!(collector.post(body).status, status, "{body}");
    }
    collector.await_loaded();
    let shown = collector.operations("/metrics");
    assert!(shown.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let figures = Figures::parse(&shown.body);
    for (sample, expected) in [
        ("weir_events_total{outcome=\"accepted\"}", 3),
        ("weir_events_total{outcome=\"repeated\"}", 1),
        ("weir_events_total{outcome=\"rejected\"}", 2),
        ("weir_rejections_total{reason=\"empty_field\"}", 1),
        ("weir_rejections_total{reason=\"invalid_json\"}", 1),
        ("weir_requests_total{status=\"200\"}", 4),
        ("weir_requests_total{status=\"400\"}", 1),
        ("weir_requests_total{status=\"401\"}", 1),
        ("weir_request_seconds_count", 6),
        ("weir_project_cache_total{outcome=\"miss\"}", 2),
        ("weir_project_cache_total{outcome=\"hit\"}", 3),
        ("weir_rows_total{outcome=\"loaded\"}", 4),
        ("weir_rows_total{outcome=\"refused\"}", 0),
        ("weir_journal_bytes", 0),
        ("weir_engine_starts_total", 1),
        ("weir_panics_total", 0),
    ] {
        assert_eq!(figures.count(sample), expected, "{sample} in\n{}", shown.body);
    }
    for sample in
        ["weir_journal_syncs_total", "weir_insert_seconds_count", "weir_inserts_total{outcome=\"done\"}"]
    {
        assert!(figures.count(sample) > 0, "{sample} in\n{}", shown.body);
    }
    assert!(figures.families.iter().all(|name| name.starts_with("weir_")), "{:?}", figures.families);
}

#[track_caller]
fn assert_stops_in_order(signal: &str) {
    let mut random = Random::seeded(signal);
    let load = Load::start(4, &mut random);
    let collector = Collector::start();
    load.aim(&collector);
    std::thread::sleep(Duration::from_millis(500 + random.below(1_500)));
    load.hold();
    let (status, said, setup) = collector.stop_with(signal);
    assert_eq!(status.code(), Some(0));
    assert!(setup.segments().is_empty(), "{:?}", setup.segments());
    let mut messages: Vec<String> = Vec::new();
    for line in said.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        if line["target"] != "weir::engine" {
            messages.push(line["message"].as_str().unwrap().to_owned());
        }
    }
    let count = |text: &str| messages.iter().filter(|message| *message == text).count();
    assert_eq!((count("serving"), count("stopped")), (1, 1), "{messages:?}");
    assert_eq!(messages.last().map(String::as_str), Some("stopped"), "{messages:?}");
    let collector = setup.start();
    load.aim(&collector);
    let sent = load.finish();
    collector.await_loaded();
    assert_exactly_once(&collector, &sent);
}

#[test]
fn sigterm_under_load_loses_nothing() {
    assert_stops_in_order("TERM");
}

#[test]
fn sigint_under_load_loses_nothing() {
    assert_stops_in_order("INT");
}

#[test]
fn the_soft_limit_on_open_files_is_raised() {
    let collector = Setup::new().with(&["--max-connections", "4000000000"]).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", collector.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
    if words[4] != "unlimited" {
        assert_eq!(collector.await_log("--max-connections")["level"], "WARN");
    }
}

#[test]
fn an_event_is_visible_within_two_seconds() {
    let collector = Collector::start();
    let mut delays = Vec::new();
    for count in 1..=5 {
        assert_eq!(collector.post(EVENT).status, 200);
        let answered = Instant::now();
        collector.await_events(count);
        delays.push(answered.elapsed());
    }
    delays.sort_unstable();
    eprintln!("visible after {delays:?}");
    assert!(delays[2] < Duration::from_secs(2), "{delays:?}");
}
