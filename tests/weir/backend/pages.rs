//! Pages that call with `fetch`, as the documents' own example does.

use super::{PATH, gist, new_key, object, post};
use crate::harness::{Collector, Findings, Setup};

const PAGE: &str = "https://shop.example";

#[test]
fn a_page_may_ask_send_and_read_every_answer() {
    let collector = Setup::new().with(&["--project-refresh", "100ms"]).start();
    let key = new_key(&collector, &["--origin", PAGE]);
    let mut findings = Findings::default();
    for asked in [None, Some("content-type,idempotency-key,x-api-key")] {
        let mut headers = vec![("Origin", PAGE), ("Access-Control-Request-Method", "POST")];
        headers.extend(asked.map(|names| ("Access-Control-Request-Headers", names)));
        let answer = collector.client().send("OPTIONS", PATH, &headers, b"").unwrap();
        findings.check("preflight", (answer.status, answer.body.as_str()), (200, ""));
        let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
        for name in ["content-type", "x-api-key", "idempotency-key"] {
            findings.holds(format!("{name} in {allowed}"), allowed.split(',').any(|one| one.trim() == name));
        }
        findings.check("page", answer.header("access-control-allow-origin"), Some(PAGE));
        findings.check("a day", answer.header("access-control-max-age"), Some("86400"));
    }
    let good = object(&[r#"{"type":"t","data":{}}"#]);
    for (key, origin, body, status) in [
        (key.as_str(), PAGE, good.as_str(), 201),
        (&key, PAGE, "{", 400),
        ("weir_sk_none", PAGE, &good, 401),
        (&key, "null", &good, 403),
        (&key, "https://other.example", &good, 403),
    ] {
        let answer = post(&collector, key, &[("Origin", origin)], body);
        let case = format!("{status} to {origin}");
        findings.check(&case, answer.status, status);
        findings.check(&case, answer.header("access-control-allow-origin"), Some(origin));
        findings.check(&case, answer.header("access-control-allow-credentials"), Some("true"));
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        findings.holds(&case, exposed.contains("retry-after"));
        findings.check(&case, answer.header("cache-control"), None);
    }
    findings.report();
    collector.await_events(1);
}

/// The key decides, not the pages that the project lists for its public keys.
#[test]
fn a_backend_sends_no_origin_and_may_always() {
    let collector = Collector::start();
    let key = new_key(&collector, &["--origin", PAGE]);
    let array = r#"[{"source":"s","event_type":"t","data":{}}]"#;
    assert_eq!(gist(&post(&collector, &key, &[], array)), r#"201 {"ingested":1}"#);
}
