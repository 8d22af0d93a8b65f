//! Requests as browsers send them from other origins' pages.

use crate::harness::{Answer, Collector, Findings, Setup};

const PAGE: &str = "https://www.shop.example";
const BODY: &str =
    r#"{"projectKey":"pk_live_demo","type":"x","visitorId":"v","url":"https://www.shop.example/"}"#;

/// What a page needs to be allowed to read an answer.
fn check_readable(findings: &mut Findings, case: &str, answer: &Answer, origin: Option<&str>) {
    findings.check(format!("{case}: origin"), answer.header("access-control-allow-origin"), origin);
    let credentials = answer.header("access-control-allow-credentials");
    findings.check(format!("{case}: credentials"), credentials, Some("true"));
    let vary = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
    findings.holds(format!("{case}: Vary is {vary:?}"), vary.split(',').any(|name| name.trim() == "origin"));
    let origins = answer.headers.iter().filter(|(name, _)| name == "access-control-allow-origin").count();
    findings.check(format!("{case}: origins named"), origins, usize::from(origin.is_some()));
    findings.check(format!("{case}: cookies"), answer.header("set-cookie"), None);
    findings.check(format!("{case}: Cache-Control"), answer.header("cache-control"), None);
}

#[test]
fn beacons_and_keepalive_fetches_arrive() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let agent = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0");
    let requests: [(&str, &[(&str, &str)]); 4] = [
        (
            "a beacon of text",
            &[("Content-Type", "text/plain;charset=UTF-8"), ("Cookie", "a=b"), ("Sec-Fetch-Mode", "no-cors")],
        ),
        (
            "a beacon of JSON",
            &[("Content-Type", "application/json"), ("Cookie", "a=b"), ("Sec-Fetch-Mode", "cors")],
        ),
        ("a beacon of bytes", &[("Cookie", "a=b"), ("Sec-Fetch-Mode", "no-cors")]),
        (
            "a keepalive fetch",
            &[("Content-Type", "text/plain"), ("Sec-Fetch-Mode", "cors"), ("Accept", "*/*")],
        ),
    ];
    let mut client = collector.client();
    for (case, own) in requests {
        for origin in [PAGE, "null", "http://localhost:3000", "chrome-extension://abcdefgh"] {
            let headers =
                [&[("Origin", origin), ("Accept-Encoding", "gzip, deflate, br, zstd"), agent], own].concat();
            let answer = client.send("POST", "/api/events", &headers, BODY.as_bytes()).unwrap();
            let case = format!("{case} from {origin}");
            findings.check(&case, answer.gist(), r#"200 {"received":1}"#);
            check_readable(&mut findings, &case, &answer, Some(origin));
            findings.check(
                &case,
                answer.header("access-control-expose-headers"),
                Some("retry-after, ratelimit, ratelimit-policy"),
            );
        }
    }
    collector.await_events(16);
    findings.check("browsers", collector.sql("SELECT DISTINCT browser FROM weir.events"), "Firefox");
    findings.report();
}

#[test]
fn a_preflight_is_granted_for_a_day_whatever_it_asks_for() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    for (path, method, headers) in [
        ("/api/events", "POST", Some("content-type")),
        ("/api/events", "POST", Some("content-encoding,content-type,x-custom")),
        ("/api/events", "POST", None),
        ("/api/v1/events", "POST", Some("content-type,x-api-key")),
    ] {
        for origin in [PAGE, "null"] {
            let mut asked = vec![("Origin", origin), ("Access-Control-Request-Method", method)];
            asked.extend(headers.map(|names| ("Access-Control-Request-Headers", names)));
            let answer = client.send("OPTIONS", path, &asked, b"").unwrap();
            let case = format!("{path} {headers:?} from {origin}");
            findings.holds(
                format!("{case}: {answer:?}"),
                matches!(answer.status, 200 | 204) && answer.body.is_empty(),
            );
            check_readable(&mut findings, &case, &answer, Some(origin));
            findings.check(&case, answer.header("access-control-max-age"), Some("86400"));
            let methods = answer.header("access-control-allow-methods").unwrap_or_default();
            findings.holds(format!("{case}: {methods:?}"), methods.split(',').any(|m| m.trim() == method));
            let granted =
                answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
            for name in headers.unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
                findings.holds(format!("{case}: {granted:?}"), granted.split(',').any(|g| g.trim() == name));
            }
        }
    }
    findings.report();
}

#[test]
fn a_page_can_read_every_refusal() {
    let collector = Setup::new().with(&["--project-refresh", "100ms"]).start();
    collector.create_project("closed", "pk_closed", &["https://other.example"]);
    let mut findings = Findings::default();
    let closed = BODY.replace("pk_live_demo", "pk_closed");
    let unknown = BODY.replace("pk_live_demo", "pk_unknown");
    let large = "x".repeat(2 * 1024 * 1024);
    let requests: [(&str, &str, &str, Option<&str>, u16); 10] = [
        ("POST", "/api/events", BODY, None, 200),
        ("POST", "/api/events", "{", None, 400),
        ("POST", "/api/events", &unknown, None, 401),
        ("POST", "/api/events", &closed, None, 403),
        ("POST", "/nowhere", "", None, 404),
        ("GET", "/api/events", "", None, 405),
        ("POST", "/api/events", &large, None, 413),
        ("POST", "/api/events", "x", Some("gzip"), 400),
        ("POST", "/api/events", "x", Some("compress"), 415),
        ("POST", "/nowhere", &large, None, 404),
    ];
    for (method, path, body, encoding, status) in requests {
        for origin in [Some(PAGE), Some("null"), None] {
            let mut headers: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
            headers.extend(encoding.map(|encoding| ("Content-Encoding", encoding)));
            let answer = collector.client().send(method, path, &headers, body.as_bytes()).unwrap();
            let case = format!("{method} {path} {body:.20} {encoding:?} from {origin:?}");
            let status = if status == 403 && origin.is_none() { 200 } else { status };
            findings.check(&case, answer.status, status);
            check_readable(&mut findings, &case, &answer, origin);
            findings.check(
                &case,
                answer.header("access-control-expose-headers"),
                Some("retry-after, ratelimit, ratelimit-policy"),
            );
        }
    }
    findings.report();
}
