//! The demo page: that it is there when it was asked for, and that it shows rows of the demo project alone.

use std::net::SocketAddr;

use crate::harness::{Answer, Client, Collector, Setup, eventually, free_port, signal_process};

const IDS: [&str; 2] = ["0190a000-0000-7000-8000-000000000001", "0190a000-0000-7000-8000-000000000002"];

fn event(key: &str, id: &str) -> String {
    format!(
        r#"{{"type":"signup","visitorId":"v_1","userId":"u_1","projectKey":"{key}","url":"https://a.test/?q=<b>",
           "eventId":"{id}","data":{{"plan":"pro"}}}}"#
    )
}

fn rows(collector: &Collector, ids: &[&str]) -> Answer {
    collector.operations(&format!("/demo/rows?ids={}", ids.join(",")))
}

#[test]
fn there_is_no_demo_unless_it_is_asked_for() {
    let collector = Setup::new().without_demo().start();
    for path in ["/demo", "/demo/rows", &format!("/demo/rows?ids={}", IDS[0])] {
        let answer = collector.operations(path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
        assert!(!answer.body.contains("/demo"), "{}", answer.body);
    }
}

#[test]
fn the_page_may_run_its_own_scripts_and_nothing_else() {
    let collector = Collector::start();
    let page = collector.operations("/demo?step=2");
    assert_eq!(page.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(nonce.len() >= 22, "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let collectors = format!("connect-src 'self' http://{};", collector.listen);
    for directive in ["default-src 'none';", "base-uri 'none'", "frame-ancestors 'none'", &collectors] {
        assert!(policy.contains(directive), "{directive} in {policy}");
    }
    let again = collector.operations("/demo");
    assert_ne!(again.header("content-security-policy"), Some(policy), "a nonce serves once");

    let source = page.body.split("async src=\"http://").nth(1).unwrap().split('"').next().unwrap();
    let (host, path) = source.split_at(source.find('/').unwrap());
    assert_eq!(host, collector.listen.to_string());
    let script = Client::connect(host.parse().unwrap()).unwrap().send("GET", path, &[], b"").unwrap();
    assert_eq!((script.status, script.header("content-type")), (200, Some("text/javascript; charset=utf-8")));

    let head = Client::connect(collector.operations).unwrap().send("HEAD", "/demo", &[], b"").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn an_event_is_shown_as_its_row_when_it_is_one() {
    let collector = Collector::start();
    assert_eq!(rows(&collector, &IDS).body, r#"{"rows":[]}"#);
    collector.create_project("shop", "pk_shop", &[]);
    assert_eq!(collector.post(event("pk_live_demo", IDS[0])).status, 200);
    assert_eq!(collector.post(event("pk_shop", IDS[1])).status, 200);
    // The other one is a row as well then, and is nobody's business here.
    collector.await_events(2);
    let shown = rows(&collector, &IDS);
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    let json = shown.json();
    assert_eq!(json["rows"].as_array().unwrap().len(), 1, "{json}");
    let row = &json["rows"][0];
    for (column, value) in [
        ("event_id", IDS[0]),
        ("type", "signup"),
        ("url", "https://a.test/?q=<b>"),
        ("visitor_id", "v_1"),
        ("user_id", "u_1"),
        ("properties", r#"{"plan":"pro"}"#),
    ] {
        assert_eq!(row[column], value, "{column} of {row}");
    }
    let received = collector.sql(&format!(
        "SELECT replace(toString(received_at), ' ', 'T') || 'Z' FROM weir.events WHERE event_id = '{}'",
        IDS[0]
    ));
    assert_eq!(row["received_at"], received.as_str());
}

#[test]
fn ids_that_are_none_or_too_many_are_refused() {
    let collector = Collector::start();
    let quoted = format!("{}')%20OR%20(1=1", IDS[0]);
    for ids in [&[""] as &[&str], &["x"], &[IDS[0], ""], &[&quoted], &[IDS[0]; 101]] {
        let answer = rows(&collector, ids);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_ids"), "{ids:?}");
    }
    assert_eq!(collector.operations("/demo/rows").status, 400);
    assert_eq!(rows(&collector, &[IDS[0]; 100]).status, 200);
}

#[test]
fn without_clickhouse_the_page_is_told_so() {
    let collector = Collector::start();
    let engine = collector.engine_pid().expect("an engine");
    signal_process(engine, "KILL");
    let answer =
        eventually("a refusal", || Some(rows(&collector, &IDS)).filter(|answer| answer.status == 503));
    assert_eq!(answer.code(), "clickhouse_unavailable");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(collector.operations("/demo").status, 200);
    eventually("rows again", || (rows(&collector, &IDS).status == 200).then_some(()));
}

#[test]
fn the_demo_waits_for_its_tables() {
    let operations = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let late = Setup::new().with(&["--no-migrate", "--ops-listen", &operations.to_string()]).spawn();
    let ask = |path| Client::connect(operations).ok()?.send("GET", path, &[], b"").ok();
    let path = format!("/demo/rows?ids={}", IDS[0]);
    eventually("a collector that serves", || ask("/readyz").filter(|answer| answer.status == 200));
    let refused = ask(&path).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "demo_starting"));
    late.setup().weir(&["migrate"]);
    late.await_serving();
}
