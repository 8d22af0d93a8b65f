//! Each status with its shape: who gets which, and that every refusal says what was wrong.

use super::{batch, event, snippet};
use crate::harness::{Client, Collector, Findings, Setup, eventually, signal_process};

const OK: &str = r#"200 {"received":1}"#;

#[test]
fn keys_and_origins_decide_who_may_send() {
    let collector = Setup::new().with(&["--project-refresh", "100ms"]).start();
    let origins = ["https://shop.example", "https://*.shop.example", "http://localhost:3000"];
    collector.create_project("closed", "pk_closed", &origins);
    collector.create_project("gone", "pk_gone", &[]);
    collector.weir(&["project", "disable", "pk_gone"]);
    collector.create_project("subdomains", "pk_sub", &["*.shop.example"]);
    let mut findings = Findings::default();
    let long = "k".repeat(5_000);
    for (key, origin, expected) in [
        ("pk_live_demo", None, OK),
        ("pk_live_demo", Some("https://anybody.example"), OK),
        ("pk_live_demo", Some("null"), OK),
        ("pk_live_demo ", None, "401 unknown_project_key"),
        ("PK_LIVE_DEMO", None, "401 unknown_project_key"),
        ("' OR 1=1 --", None, "401 unknown_project_key"),
        ("\\u0000", None, "401 unknown_project_key"),
        (&long, None, "401 unknown_project_key"),
        ("unknown", Some("https://anybody.example"), "401 unknown_project_key"),
        ("pk_gone", None, "403 project_disabled"),
        ("pk_closed", None, OK),
        ("pk_closed", Some("https://shop.example"), OK),
        ("pk_closed", Some("https://www.shop.example"), OK),
        ("pk_closed", Some("https://a.b.shop.example"), OK),
        ("pk_closed", Some("http://localhost:3000"), OK),
        ("pk_closed", Some("http://localhost:3001"), "403 origin_not_allowed"),
        ("pk_closed", Some("http://shop.example"), "403 origin_not_allowed"),
        ("pk_closed", Some("https://evilshop.example"), "403 origin_not_allowed"),
        ("pk_closed", Some("https://shop.example.evil"), "403 origin_not_allowed"),
        ("pk_closed", Some("null"), "403 origin_not_allowed"),
        ("pk_sub", Some("https://a.shop.example"), OK),
        ("pk_sub", Some("https://shop.example"), "403 origin_not_allowed"),
    ] {
        let headers: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
        for body in [snippet("x", ""), batch(&[event("x", "")], "")] {
            let answer = collector.post_with(&headers, body.replace("pk_live_demo", key));
            findings.check(format!("{key:.20} from {origin:?}"), answer.gist(), expected);
            findings.check(
                format!("{origin:?} echoed"),
                answer.header("access-control-allow-origin"),
                origin,
            );
        }
    }
    findings.report();
}

#[test]
fn paths_and_methods_are_matched_exactly() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    for (method, path, status, allow) in [
        ("POST", "/api/events", 400, None),
        ("POST", "/api/events?a=b", 400, None),
        ("GET", "/api/events", 405, Some("POST")),
        ("PUT", "/api/events", 405, Some("POST")),
        ("DELETE", "/api/events", 405, Some("POST")),
        ("PATCH", "/api/events", 405, Some("POST")),
        ("BREW", "/api/events", 405, Some("POST")),
        ("HEAD", "/api/events", 405, Some("POST")),
        ("OPTIONS", "/api/events", 200, None),
        ("POST", "/api/events/", 404, None),
        ("POST", "/API/events", 404, None),
        ("POST", "/api//events", 404, None),
        ("POST", "/api/events/x", 404, None),
        ("POST", "/", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/metrics", 404, None),
        ("GET", "/healthz", 404, None),
    ] {
        let answer = client.send(method, path, &[], b"").unwrap();
        let case = format!("{method} {path}");
        findings.check(&case, (answer.status, answer.header("allow")), (status, allow));
        if !matches!(method, "HEAD" | "OPTIONS") {
            let code = ["invalid_json", "not_found", "method_not_allowed"]
                [[400, 404, 405].iter().position(|known| *known == status).unwrap()];
            findings.check(&case, answer.gist(), format!("{status} {code}"));
        }
    }
    findings.report();
}

#[test]
fn any_content_type_is_json() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    for content_type in [
        None,
        Some(""),
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        Some("application/json; charset=iso-8859-1"),
        Some("text/plain;charset=UTF-8"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/octet-stream"),
        Some("image/png"),
        Some("nonsense"),
    ] {
        let headers: Vec<_> = content_type.iter().map(|value| ("Content-Type", *value)).collect();
        let body = snippet("x", r#","data":{"a":"é"}"#);
        let answer = client.send("POST", "/api/events", &headers, body.as_bytes()).unwrap();
        findings.check(format!("{content_type:?}"), answer.gist(), OK);
        findings.check("type of the answer", answer.header("content-type"), Some("application/json"));
        findings.check("cached by none", answer.header("cache-control"), None);
    }
    findings.report();
}

#[test]
fn a_slow_client_is_told_so() {
    let collector = Setup::new().with(&["--header-timeout", "300ms", "--body-timeout", "300ms"]).start();
    let mut findings = Findings::default();
    let head = "POST /api/events HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n";
    for (sent, expected) in [
        (head.to_owned(), "408 headers_too_slow"),
        (format!("{head}Content-Length: 9\r\n\r\n{{"), "408 body_too_slow"),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"), "408 body_too_slow"),
    ] {
        let mut client = collector.client();
        let answer = client.send_raw(sent.as_bytes()).unwrap();
        findings.check(&sent, answer.gist(), expected);
        findings.check(&sent, answer.header("access-control-allow-origin"), Some("https://a.example"));
        findings.check(&sent, answer.header("connection"), Some("close"));
        findings.holds(format!("{expected}: the connection stays open"), client.is_closed());
    }
    findings.report();
}

/// Stops a process, and lets it go on at the end.
struct Paused(u32);

impl Paused {
    fn new(pid: u32) -> Self {
        signal_process(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal_process(self.0, "CONT");
    }
}

#[test]
fn what_cannot_be_made_durable_now_is_503_and_comes_again() {
    let setup = Setup::new().with(&["--journal-max", "1MiB", "--segment-size", "1MiB"]);
    let collector = setup.start();
    let mut findings = Findings::default();
    let send = |body: &str| {
        let mut client = Client::connect(collector.listen).unwrap();
        client.send("POST", "/api/events", &[("Origin", "null")], body.as_bytes()).unwrap()
    };
    findings.check("a known key", send(&snippet("before", "")).gist(), OK);
    collector.await_loaded();
    let paused = Paused::new(collector.engine_pid().expect("the engine runs"));
    let unknown = snippet("x", "").replace("pk_live_demo", "pk_unheard_of");
    let large = snippet("large", &format!(r#","data":{{"a":"{}"}}"#, "x".repeat(60_000)));
    let mut kept = 0;
    let full = loop {
        let answer = send(&large);
        if answer.status != 200 || kept > 100 {
            break answer;
        }
        kept += 1;
    };
    for (case, answer, code) in [
        ("a key that cannot be looked up", send(&unknown), "project_lookup_unavailable"),
        ("a full journal", full, "journal_full"),
    ] {
        findings.check(case, answer.gist(), format!("503 {code}"));
        let wait = answer.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
        findings.holds(
            format!("{case}: Retry-After is {wait:?}"),
            wait.is_some_and(|wait| (1..=60).contains(&wait)),
        );
        findings.check(case, answer.header("access-control-allow-origin"), Some("null"));
        findings.check(
            case,
            answer.header("access-control-expose-headers"),
            Some("retry-after, ratelimit, ratelimit-policy"),
        );
    }
    // What is wrong in itself is still told so.
    findings.check("an invalid body", send("{").gist(), "400 invalid_json");
    findings.holds(format!("{kept} events of 60 kB fitted into 1 MiB"), (5..=20).contains(&kept));
    drop(paused);
    collector.await_events(1 + kept);
    findings.check("afterwards", send(&large).gist(), OK);
    // As the answer said: a little later.
    eventually("the key to be looked up", || {
        (send(&unknown).gist() == "401 unknown_project_key").then_some(())
    });
    findings.report();
}
