//! Every limit: what is exactly at it passes, one more does not.

use super::{batch, event, snippet};
use crate::harness::{Collector, Findings};

const OK: &str = r#"200 {"received":1}"#;
const BODY: usize = 1024 * 1024;
const INFLATED: usize = 5 * BODY;
const EVENT: usize = 64 * 1024;
const URL: usize = 8 * 1024;

/// JSON of exactly `length` bytes: `fill` is given the length of its padding.
fn sized(length: usize, fill: impl Fn(usize) -> String) -> String {
    let text = fill(length - fill(0).len());
    assert_eq!(text.len(), length);
    text
}

/// A body of `length` bytes that is a batch of one small event.
fn body(length: usize) -> String {
    sized(length, |pad| batch(&[event("x", "")], &format!(r#","pad":"{}""#, "x".repeat(pad))))
}

fn large_event(kind: &str, length: usize) -> String {
    sized(length, |pad| event(kind, &format!(r#","data":{{"a":"{}"}}"#, "x".repeat(pad))))
}

fn large_snippet(kind: &str, length: usize) -> String {
    sized(length, |pad| snippet(kind, &format!(r#","data":{{"a":"{}"}}"#, "x".repeat(pad))))
}

/// An event's `data` of so many levels.
fn nested(levels: usize, open: &str, close: &str) -> String {
    format!(r#","data":{{"a":{}1{}}}"#, open.repeat(levels - 1), close.repeat(levels - 1))
}

/// A name, whether the body is sent as gzip, the body, and what is said to it.
fn sizes() -> [(&'static str, bool, Vec<u8>, &'static str); 12] {
    let gzip = |text: String| crate::transport::gzip(text.as_bytes());
    let events = |count: usize| batch(&vec![event("many", ""); count], "").into_bytes();
    [
        ("a body of 1 MiB", false, body(BODY).into(), OK),
        ("a body over 1 MiB", false, body(BODY + 1).into(), "413 body_too_large"),
        ("an inflated body of 5 MiB", true, gzip(body(INFLATED)), OK),
        ("an inflated body over 5 MiB", true, gzip(body(INFLATED + 1)), "413 body_too_large"),
        ("a snippet of 64 KiB", false, large_snippet("x", EVENT).into(), OK),
        ("a snippet over 64 KiB", false, large_snippet("x", EVENT + 1).into(), "413 event_too_large"),
        ("1,000 events", false, events(1_000), r#"200 {"received":1000}"#),
        ("1,001 events", false, events(1_001), "400 too_many_events events"),
        ("an event of 64 KiB", false, batch(&[large_event("x", EVENT)], "").into(), OK),
        // A batch of one is still a batch: nothing of it is valid.
        (
            "one event over 64 KiB",
            false,
            batch(&[large_event("x", EVENT + 1)], "").into(),
            "400 event_too_large events[0]",
        ),
        // All spelled in escapes, so it is the text that counts and not what it says.
        (
            "escapes",
            false,
            sized(EVENT + 1, |pad| {
                snippet(
                    "x",
                    &format!(r#","data":{{"a":"{}","b":"{}"}}"#, r"\u0041".repeat(10_000), "x".repeat(pad)),
                )
            })
            .into(),
            "413 event_too_large",
        ),
        (
            "a list of 2 million tiny events",
            true,
            gzip(format!(r#"{{"projectKey":"pk_live_demo","events":[{}0]}}"#, "0,".repeat(2_000_000))),
            "400 too_many_events events",
        ),
    ]
}

#[test]
fn sizes_are_allowed_up_to_their_limits() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    for (case, gzipped, body, expected) in sizes() {
        let headers: &[(&str, &str)] = if gzipped { &[("Content-Encoding", "gzip")] } else { &[] };
        let answer = collector.post_with(headers, body);
        findings.check(case, answer.gist(), expected);
        let limit = if answer.body.contains("over 1000 events") { "1000" } else { "bytes" };
        findings.holds(
            format!("{case}: {} names no limit", answer.body),
            answer.status == 200 || answer.body.contains(limit),
        );
    }
    for at in 0..3 {
        let mut events = vec![event("kept", ""), event("kept", "")];
        events.insert(at, large_event("lost", EVENT + 1));
        let answer = collector.post(batch(&events, ""));
        findings.check(format!("a large event at {at}"), answer.json()["received"].as_u64(), Some(2));
        findings.check(
            format!("a large event at {at}"),
            answer.json()["rejected"][0]["index"].as_u64(),
            Some(at as u64),
        );
    }
    collector.await_events(4 + 1_000 + 6);
    findings.check("lost", collector.sql("SELECT count() FROM weir.events WHERE type = 'lost'"), "0");
    findings.report();
}

#[test]
fn texts_are_allowed_up_to_their_limits() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let kind = |text: &str, times: usize| text.repeat(times);
    let url = |head: &str, unit: &str, length: usize| {
        let rest = length - head.len();
        format!("{head}{}{}", unit.repeat(rest / unit.len()), "x".repeat(rest % unit.len()))
    };
    // Type, url and referrer; and which of them is wrong.
    let cases: Vec<(String, String, String, Option<&str>)> = vec![
        (kind("x", 200), "/".into(), String::new(), None),
        (kind("x", 201), "/".into(), String::new(), Some("type")),
        (kind("é", 200), "/".into(), String::new(), None),
        (kind("é", 201), "/".into(), String::new(), Some("type")),
        (kind("😀", 200), "/".into(), String::new(), None),
        (kind("😀", 201), "/".into(), String::new(), Some("type")),
        (kind("\\u00e9", 200), "/".into(), String::new(), None),
        (kind("\\ud83d\\ude00", 200), "/".into(), String::new(), None),
        (kind("\\ud83d\\ude00", 201), "/".into(), String::new(), Some("type")),
        ("u1".into(), url("/", "x", URL), String::new(), None),
        ("u2".into(), url("/", "x", URL + 1), String::new(), Some("url")),
        ("u3".into(), url("/", "é", URL), String::new(), None),
        ("u4".into(), url("/", "é", URL + 1), String::new(), Some("url")),
        ("r1".into(), "/".into(), url("", "x", URL), None),
        ("r2".into(), "/".into(), url("", "x", URL + 1), Some("referrer")),
    ];
    let mut stored = Vec::new();
    for (kind, url, referrer, wrong) in &cases {
        let fault =
            |prefix: &str| wrong.map_or(OK.to_owned(), |field| format!("400 too_long {prefix}{field}"));
        let case: String = format!("{kind} {} {}", url.len(), referrer.len()).chars().take(60).collect();
        let text = format!(r#"{{"type":"{kind}","url":"{url}","referrer":"{referrer}"}}"#);
        findings.check(&case, collector.post(batch(&[text], "")).gist(), fault("events[0]."));
        let page = url.replacen('/', "a:///", 1).chars().take(url.chars().count()).collect::<String>();
        if *wrong != Some("url") && url.len() == 1 {
            let body = snippet("?", &format!(r#","referrer":"{referrer}""#)).replacen('?', kind, 1);
            findings.check(format!("snippet {case} {page:.8}"), collector.post(body).gist(), fault(""));
        }
        if wrong.is_none() {
            stored.push((kind, url, referrer));
        }
    }
    let page = |length: usize| {
        snippet("p", "").replace("https://a.example/", &url("https://a.example/", "x", length))
    };
    findings.check("a page's url of 8 KiB", collector.post(page(URL)).gist(), OK);
    findings.check("a page's url over 8 KiB", collector.post(page(URL + 1)).gist(), "400 too_long url");
    collector.await_loaded();
    let lengths = "SELECT max(lengthUTF8(type)), max(length(type)), max(length(url)), max(length(referrer)) FROM weir.events";
    findings.check("lengths stored", collector.sql(lengths), "200\t800\t8192\t8192");
    findings.report();
}

#[test]
fn ids_are_allowed_up_to_1_kibibyte() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let own = |visitor: usize, user: usize| {
        format!(r#","visitorId":"{}","userId":"{}""#, "é".repeat(visitor / 2), "x".repeat(user))
    };
    for (visitor, user, wrong) in
        [(1_024, 1_024, None), (1_026, 1, Some("visitorId")), (2, 1_025, Some("userId"))]
    {
        let fault =
            |prefix: &str| wrong.map_or(OK.to_owned(), |field| format!("400 too_long {prefix}{field}"));
        let (ids, case) = (own(visitor, user), format!("ids of {visitor} and {user} bytes"));
        let page = snippet("ids", &ids).replace(r#""visitorId":"v","#, "");
        findings.check(&case, collector.post(page).gist(), fault(""));
        findings.check(&case, collector.post(batch(&[event("ids", &ids)], "")).gist(), fault("events[0]."));
        findings.check(&case, collector.post(batch(&[event("ids", "")], &ids)).gist(), fault(""));
    }
    findings.report();
}

#[test]
fn data_is_allowed_up_to_64_levels() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (" [ ", "\n]")] {
        for (levels, fault) in [(64, None), (65, Some("too_deep")), (5_000, Some("too_deep"))] {
            let data = nested(levels, open, close);
            let expected = |field: &str| fault.map_or(OK.to_owned(), |code| format!("400 {code} {field}"));
            let case = format!("{levels} levels of {open}");
            findings.check(&case, collector.post(snippet("deep", &data)).gist(), expected("data"));
            let batch = batch(&[event("deep", &data)], "");
            findings.check(&case, collector.post(batch).gist(), expected("events[0].data"));
        }
    }
    let strings = format!(r#","data":{{"a":"{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
    findings.check("brackets in a string", collector.post(snippet("flat", &strings)).gist(), OK);
    let elsewhere = format!(r#","unknown":{}{}"#, "[".repeat(20_000), "]".repeat(20_000));
    findings.check("an unknown field", collector.post(snippet("flat", &elsewhere)).gist(), OK);
    collector.await_events(8);
    let read = "SELECT countIf(properties.a IS NOT NULL OR toString(properties) != '{}') FROM weir.events WHERE type = 'deep'";
    findings.check("properties of 64 levels", collector.sql(read), "6");
    findings.report();
}
