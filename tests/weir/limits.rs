//! Limits of requests a minute at the public API: who is refused, who is not, and what refusals say. The limits here
//! are so low that a bucket gets another request after 20 seconds, longer than a test takes to empty it.

use crate::harness::{Answer, Collector, Findings, Setup};

const EVENT: &str = r#"{"projectKey":"pk_live_demo","type":"x","visitorId":"v","url":"https://a.example/"}"#;
const PAGE: &str = "https://shop.example";
const OK: &str = r#"200 {"received":1}"#;
const LIMITED: &str = "429 rate_limited";

/// Posts an event that a trusted proxy has from these addresses.
fn post_from(collector: &Collector, hops: &str) -> Answer {
    collector.post_with(&[("X-Forwarded-For", hops), ("Origin", PAGE)], EVENT)
}

/// What a refusal says about its limit, which `policy` names, in headers and words.
fn check_refusal(findings: &mut Findings, case: &str, answer: &Answer, policy: &str, limited: &str) {
    findings.check(case, answer.gist(), LIMITED);
    let wait = answer.header("retry-after").unwrap_or_default().to_owned();
    findings.holds(
        format!("{case}: Retry-After: {wait}"),
        wait.parse().is_ok_and(|wait: u64| (1..=20).contains(&wait)),
    );
    findings.check(case, answer.header("ratelimit-policy"), Some(&*format!("\"{policy}\";q=3;w=60")));
    findings.check(case, answer.header("ratelimit"), Some(&*format!("\"{policy}\";r=0;t={wait}")));
    let message = format!("over the limit of 3 requests a minute for one {limited}; come again in {wait} s");
    findings.check(case, answer.json()["error"]["message"].as_str(), Some(&*message));
    let exposed = answer.header("access-control-expose-headers");
    findings.check(case, exposed, Some("retry-after, ratelimit, ratelimit-policy"));
}

#[test]
fn an_address_over_its_limit_is_refused_and_no_other() {
    let limits = ["--rate-limit-address", "3", "--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"];
    let collector = Setup::new().with(&limits).start();
    let mut findings = Findings::default();
    let many = format!(
        r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#,
        [r#"{"type":"x","url":"/"}"#; 500].join(",")
    );
    let hop = [("X-Forwarded-For", "203.0.113.7"), ("Origin", PAGE)];
    findings.check(
        "a batch is one request",
        collector.post_with(&hop, many).gist(),
        r#"200 {"received":500}"#,
    );
    findings.check("the second", post_from(&collector, "203.0.113.7").gist(), OK);
    let third = post_from(&collector, "203.0.113.7");
    findings.check("the third", third.gist(), OK);
    findings.check("what is taken says nothing of limits", third.header("ratelimit"), None);
    let refused = post_from(&collector, "203.0.113.7");
    check_refusal(&mut findings, "the fourth", &refused, "address", "client address");
    findings.check("the page", refused.header("access-control-allow-origin"), Some(PAGE));
    // The same client by other words, then others.
    for (hops, expected) in [
        ("198.51.100.1, 203.0.113.7", LIMITED),
        ("198.51.100.1, 203.0.113.7, 10.1.2.3", LIMITED),
        ("::ffff:203.0.113.7", LIMITED),
        ("203.0.113.7, 203.0.113.8", OK),
        ("203.0.113.8", OK),
        ("", OK),
        ("2001:db8::1", OK),
        ("2001:db8::2", OK),
        ("2001:db8:0:0:1::1", OK),
        ("2001:db8::3", LIMITED),
        ("2001:db8:0:1::1", OK),
    ] {
        findings.check(hops, post_from(&collector, hops).gist(), expected);
    }
    // A preflight and the script are nobody's events.
    for (method, path) in [("OPTIONS", "/api/events"), ("GET", "/weir.js")] {
        let answer = collector.client().send(method, path, &hop, b"").unwrap();
        findings.check(format!("{method} {path}"), answer.status, 200);
    }
    let limited = collector.figures().count(r#"weir_requests_limited_total{limit="address"}"#);
    findings.check("refusals counted", limited, 5);
    findings.report();
    collector.await_events(500 + 2 + 7);
}

#[test]
fn a_refused_address_keeps_its_connection_and_need_not_send_its_body() {
    let collector = Setup::new().with(&["--rate-limit-address", "3"]).start();
    let mut findings = Findings::default();
    let mut client = collector.client();
    let mut post = |body: &[u8]| client.send("POST", "/api/events", &[], body).unwrap();
    for _ in 0..3 {
        assert_eq!(post(EVENT.as_bytes()).gist(), OK);
    }
    // What stands in the body does not matter, for it is not looked at.
    for body in [EVENT, "", "{", "x".repeat(5_000).as_str()] {
        let answer = post(body.as_bytes());
        findings.check(format!("{body:.10}"), answer.gist(), LIMITED);
        findings.check(format!("the connection after {body:.10}"), answer.header("connection"), None);
    }
    for (head, body) in [
        ("Content-Length: 100", ""),
        ("Content-Length: 100", "{"),
        ("Content-Length: 100000000", ""),
        ("Content-Length: 100\r\nExpect: 100-continue", ""),
        ("Transfer-Encoding: chunked", "3\r\n{ \n\r\n"),
    ] {
        let mut client = collector.client();
        let request = format!("POST /api/events HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n{body}");
        client.write(request.as_bytes()).unwrap();
        let answer = client.read_answer().unwrap();
        findings.check(format!("{head} and {body:?}"), answer.gist(), LIMITED);
        let closes = answer.header("connection");
        findings.check(format!("the connection after {head} and {body:?}"), closes, Some("close"));
    }
    findings.report();
}

#[test]
fn a_project_over_its_limit_is_refused_and_no_other() {
    let collector = Setup::new().with(&["--rate-limit-project", "3"]).start();
    collector.create_project("other", "pk_live_other", &["https://other.example"]);
    let mut findings = Findings::default();
    let post = |key: &str, more: &str| collector.post(EVENT.replace("pk_live_demo", key).replace('{', more));
    let broken = r#"{"timestamp":"soon","#;
    for (case, key, more, expected) in [
        ("an event", "pk_live_demo", "{", OK),
        ("an event that is not valid", "pk_live_demo", broken, "400 invalid_timestamp timestamp"),
        ("an unknown key", "pk_live_unknown", "{", "401 unknown_project_key"),
        ("an event of another project", "pk_live_other", "{", OK),
        ("the third", "pk_live_demo", "{", OK),
    ] {
        findings.check(case, post(key, more).gist(), expected);
    }
    check_refusal(&mut findings, "the fourth", &post("pk_live_demo", "{"), "project", "project");
    findings.check("one that is not valid", post("pk_live_demo", broken).gist(), LIMITED);
    // Pages that may not send for a project do not use up what it may.
    let foreign = EVENT.replace("pk_live_demo", "pk_live_other");
    for _ in 0..5 {
        let answer = collector.post_with(&[("Origin", PAGE)], &foreign);
        findings.check("a foreign page", answer.gist(), "403 origin_not_allowed");
    }
    for expected in [OK, OK, LIMITED] {
        findings.check("the other project", post("pk_live_other", "{").gist(), expected);
    }
    let figures = collector.figures();
    let limited = |limit: &str| figures.count(&format!("weir_requests_limited_total{{limit=\"{limit}\"}}"));
    findings.check(
        "refusals counted",
        [limited("project"), limited("address"), limited("api_key")],
        [3, 0, 0],
    );
    findings.report();
    collector.await_events(2 + 3);
}

/// ClickHouse is away here: nobody is asked for a key once the address has had its share.
#[test]
fn a_header_that_anybody_can_write_gets_round_no_limit() {
    let nowhere = Setup::new().without_demo().env("WEIR_CLICKHOUSE_URL", "http://127.0.0.1:9");
    let collector = nowhere.env("WEIR_RATE_LIMIT_ADDRESS", "3").start();
    let statuses: Vec<u16> =
        (0..6).map(|number| post_from(&collector, &format!("203.0.113.{number}")).status).collect();
    assert_eq!(statuses, [503, 503, 503, 429, 429, 429]);
}
