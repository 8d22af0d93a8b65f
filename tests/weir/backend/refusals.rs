//! Every way to be refused: what is said, and that nothing of the request is stored.

use std::io::Write as _;

use super::{PATH, gist, new_key, object, post};
use crate::harness::{Collector, Findings, Setup};

const UNAUTHORIZED: &str = "401 Invalid or missing API key";
const ONE: &str = r#"{"type":"t","data":{}}"#;

#[track_caller]
fn assert_nothing_stored(collector: &Collector) {
    collector.await_loaded();
    let counts = "SELECT (SELECT count() FROM weir.events), (SELECT count() FROM weir.rejected_events)";
    assert_eq!(collector.sql(counts), "0\t0");
}

#[test]
fn bodies_that_are_wrong_are_told_what_where_and_what_was_expected() {
    let collector = Collector::start();
    let key = new_key(&collector, &[]);
    let mut findings = Findings::default();
    let neither = "expected an object with source and events, or an array of events";
    let text = "expected a string that is not empty";
    let cases = [
        (String::new(), format!("the body is not JSON: it is empty; {neither}")),
        ("7".into(), format!("the body is a number; {neither}")),
        ("{}".into(), format!("source is missing; {text}")),
        (format!(r#"{{"events":[{ONE}]}}"#), format!("source is missing; {text}")),
        (r#"{"source":"s"}"#.into(), "events is missing; expected an array of events".into()),
        (object(&[]), "events holds no event; expected at least one".into()),
        ("[]".into(), "the body holds no event; expected at least one".into()),
        (object(&[r#"{"data":{}}"#]), format!("events[0].type is missing; {text}")),
        (object(&[r#"{"type":"t"}"#]), "events[0].data is missing; expected an object".into()),
        (object(&[r#"{"type":"t","data":"{}"}"#]), "events[0].data is a string; expected an object".into()),
        (
            object(&[ONE, r#"{"type":"t","data":[]}"#, ONE, r#"{"data":{}}"#]),
            format!(
                "nothing is stored, since 2 of 4 events are not valid: events[1].data is an array; expected an \
                 object | events[3].type is missing; {text}"
            ),
        ),
        (r#"[{"source":"s","event_type":"t"}]"#.into(), "[0].data is missing; expected an object".into()),
        (object(&vec![ONE; 1_001]), "events holds over 1000 events; expected no more".into()),
        (
            object(&[ONE, &format!(r#"{{"type":"t","data":{{"a":"{}"}}}}"#, "x".repeat(65_536))]),
            "nothing is stored, since 1 of 2 events is not valid: events[1] has over 65536 bytes of JSON; expected \
             no more"
                .into(),
        ),
    ];
    for (body, expected) in &cases {
        let case = &body[..body.len().min(60)];
        findings.check(case, gist(&post(&collector, &key, &[], body)), format!("400 {expected}"));
    }
    // The last of a thousand spoils them all.
    let mut events = vec![ONE; 999];
    events.push("[]");
    let answer = gist(&post(&collector, &key, &[], object(&events)));
    let expected = "400 nothing is stored, since 1 of 1000 events is not valid: events[999] is an array; expected \
                    an object";
    findings.check("the last", answer, expected);
    let alone = object(&[&format!(r#"{{"type":"t","data":{{"a":"{}"}}}}"#, "x".repeat(65_536))]);
    let expected = "413 events[0] has over 65536 bytes of JSON; expected no more";
    findings.check("alone", gist(&post(&collector, &key, &[], alone)), expected);
    findings.report();
    assert_nothing_stored(&collector);
}

#[test]
fn who_may_not_send_is_told_so_before_the_body_is_looked_at() {
    let collector = Setup::new().with(&["--project-refresh", "100ms"]).start();
    let key = new_key(&collector, &["--origin", "https://shop.example"]);
    let conversions = new_key(&collector, &["--scope", "conversions"]);
    let mut findings = Findings::default();
    let other = if key.ends_with('x') { 'y' } else { 'x' };
    let mistyped = format!("{}{other}", &key[..key.len() - 1]);
    let send = |headers: &[(&str, &str)], body: &[u8]| {
        gist(&collector.client().send("POST", PATH, headers, body).unwrap())
    };
    let body = object(&[ONE]);
    for value in
        ["", "x", "weir_sk_", "pk_live_demo", &mistyped, &format!("Bearer {key}"), &key.to_lowercase()]
    {
        findings.check(value, send(&[("X-API-Key", value)], body.as_bytes()), UNAUTHORIZED);
    }
    findings.check("no key", send(&[], body.as_bytes()), UNAUTHORIZED);
    findings.check("no key, no body", send(&[], b""), UNAUTHORIZED);
    let bearer = format!("Bearer {key}");
    findings.check("as a bearer", send(&[("Authorization", &bearer)], body.as_bytes()), UNAUTHORIZED);
    findings.check(
        "two keys",
        send(&[("X-API-Key", &key), ("X-API-Key", &key)], body.as_bytes()),
        UNAUTHORIZED,
    );
    let scope = "403 the API key may not be used for this; expected a key of another scope";
    findings.check("scope", send(&[("X-API-Key", &conversions)], body.as_bytes()), scope);
    let origin = "403 the request's Origin is not among those that the API key allows";
    for page in ["https://other.example", "null"] {
        findings.check(page, send(&[("X-API-Key", &key), ("Origin", page)], body.as_bytes()), origin);
    }
    // Neither a body that cannot be read nor one that must not is a reason to say anything else.
    findings.check("an unknown encoding", send(&[("Content-Encoding", "compress")], b"x"), UNAUTHORIZED);
    let large = vec![b' '; 3 * 1024 * 1024];
    findings.check("a large body", send(&[], &large), UNAUTHORIZED);
    let waiting =
        format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
    let answer = collector.client().send_raw(waiting.as_bytes()).unwrap();
    findings.check("a body that waits for leave", gist(&answer), UNAUTHORIZED);
    findings.report();
    assert_nothing_stored(&collector);

    let (_, log, _) = collector.stop_with("TERM");
    assert!(log.contains("Invalid or missing API key"), "refusals are in the log at this level");
    for secret in [&key, &conversions, &mistyped] {
        assert!(!log.contains(secret.as_str()) && !log.contains(&secret[8..51]), "the log has a key:\n{log}");
    }
}

#[test]
fn transport_is_held_to_the_public_apis_rules_and_answers_with_a_detail() {
    let collector = Setup::new().with(&["--body-timeout", "300ms"]).start();
    let key = new_key(&collector, &[]);
    let mut findings = Findings::default();
    let body = object(&[ONE]);
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = collector.client().send(method, PATH, &[("X-API-Key", &key)], b"").unwrap();
        findings.check(method, gist(&answer), "405 this path does not answer that method, only POST");
        findings.check(method, answer.header("allow"), Some("POST"));
    }
    // A mistake for it is answered as it is.
    let answer = collector.client().send("POST", "/api/v1/events/", &[("X-API-Key", &key)], body.as_bytes());
    let found = gist(&answer.unwrap());
    findings.holds(found.clone(), found.starts_with("404 no such path; known here: "));
    let say = |more: &[(&str, &str)], body: &[u8]| gist(&post(&collector, &key, more, body));
    let starts = |findings: &mut Findings, case: &str, found: String, expected: &str| {
        findings.holds(format!("{case}: {found}"), found.starts_with(expected));
    };
    starts(&mut findings, "compress", say(&[("Content-Encoding", "compress")], b"x"), "415 ");
    starts(&mut findings, "no gzip", say(&[("Content-Encoding", "gzip")], b"x"), "400 ");
    let over = vec![b' '; 1024 * 1024 + 1];
    findings.check("over", say(&[], &over), "413 the body is larger than the limit of 1048576 bytes");
    let bomb = gzip(&vec![b' '; 6 * 1024 * 1024]);
    starts(&mut findings, "a bomb", say(&[("Content-Encoding", "gzip")], &bomb), "413 ");
    for bad in ["", &"x".repeat(256), "a\tb", "ä"] {
        let found = say(&[("Idempotency-Key", bad)], body.as_bytes());
        starts(
            &mut findings,
            bad,
            found,
            "400 the Idempotency-Key header is empty, too long or not printable; expected 1 to 255",
        );
    }
    let slow = format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Length: 10\r\n\r\n{{");
    let answer = collector.client().send_raw(slow.as_bytes()).unwrap();
    findings.check("slow", gist(&answer), "408 the body did not arrive within 0.3 s");
    findings.report();
    assert_nothing_stored(&collector);

    let mut findings = Findings::default();
    let taken = r#"201 {"ingested":1}"#;
    let array = r#"[{"source":"s","event_type":"t","data":{}}]"#;
    findings.check("gzip", say(&[("Content-Encoding", "gzip")], &gzip(array.as_bytes())), taken);
    for content_type in ["text/plain", "application/json; charset=utf-8", "nonsense"] {
        findings.check(content_type, say(&[("Content-Type", content_type)], array.as_bytes()), taken);
    }
    let without = collector.client().send("POST", PATH, &[("X-API-Key", &key)], array.as_bytes()).unwrap();
    findings.check("no Content-Type", gist(&without), taken);
    findings.report();
    collector.await_events(5);
}

#[test]
fn a_key_over_its_limit_is_told_when_to_come_again_and_no_other_is() {
    let collector = Collector::start();
    let (key, other) = (new_key(&collector, &["--requests-per-minute", "3"]), new_key(&collector, &[]));
    let mut findings = Findings::default();
    let array = r#"[{"source":"s","event_type":"t","data":{}}]"#;
    let taken = r#"201 {"ingested":1}"#;
    for left in (0..3).rev() {
        let answer = post(&collector, &key, &[], array);
        findings.check(left, gist(&answer), taken);
        findings.check(left, answer.header("ratelimit-policy"), Some("\"api-key\";q=3;w=60"));
        let standing = answer.header("ratelimit").unwrap_or_default();
        findings.holds(standing, standing.starts_with(&format!("\"api-key\";r={left};t=")));
    }
    // Whatever is sent, and whatever else is wrong with it.
    let page = ("Origin", "https://shop.example");
    for (body, more) in
        [(array, vec![]), ("{", vec![]), (array, vec![("Idempotency-Key", "")]), (array, vec![page])]
    {
        let answer = post(&collector, &key, &more, body);
        let wait = answer.header("retry-after").unwrap_or_default();
        findings.holds(
            format!("Retry-After: {wait}"),
            wait.parse().is_ok_and(|wait: u64| (1..=20).contains(&wait)),
        );
        let expected =
            format!("429 over the limit of 3 requests a minute for one API key; come again in {wait} s");
        findings.check(body, gist(&answer), expected);
        findings.check(body, answer.header("ratelimit"), Some(&*format!("\"api-key\";r=0;t={wait}")));
    }
    findings.check("another key of the project", gist(&post(&collector, &other, &[], array)), taken);
    let refused = post(&collector, &other, &[], "{");
    let standing = refused.header("ratelimit").unwrap_or_default();
    findings.holds(standing, refused.status == 400 && standing.starts_with("\"api-key\";r=998;t="));
    findings.report();
    collector.await_events(4);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
