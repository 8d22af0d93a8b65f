//! Wire in, row out.

use super::{new_key, object, post};
use crate::contract::hex;
use crate::harness::{Collector, Findings};

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
const GOOGLE: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// What follows an event's type, and its columns in brackets: user, url, host, path, referrer, data, metadata.
fn texts() -> Vec<(&'static str, String, String)> {
    let long = "x".repeat(9_000);
    let data = |data: &str, columns: [&str; 5]| {
        (format!(r#","data":{data}"#), format!("[{}][{data}][]", columns.join("][")))
    };
    let cases = [
        ("none", data("{}", [""; 5])),
        (
            "all",
            data(
                r#"{"user_id":"u","url":"https://a.example/p?utm_source=x","referrer":"https://r.example/","x":[1]}"#,
                ["u", "https://a.example/p?utm_source=x", "a.example", "/p", "https://r.example/"],
            ),
        ),
        ("page_url", data(r#"{"page_url":"/q"}"#, ["", "/q", "", "/q", ""])),
        ("both urls", data(r#"{"page_url":"/q","url":"/p"}"#, ["", "/p", "", "/p", ""])),
        ("no texts", data(r#"{"user_id":1,"url":null,"referrer":[],"user_agent":{}}"#, [""; 5])),
        ("nested", data(r#"{"a":{"user_id":"u","url":"/p"}}"#, [""; 5])),
        (
            "too long",
            data(
                &format!(r#"{{"user_id":"{long}","url":"/{long}","page_url":"/p"}}"#),
                ["", "/p", "", "/p", ""],
            ),
        ),
        ("odd", data(r#"{ "a":1e400,"b":"\ud800","c":123456789012345678901234567890 }"#, [""; 5])),
    ];
    let mut all: Vec<_> = cases.into_iter().map(|(name, (more, columns))| (name, more, columns)).collect();
    for (name, metadata) in [("metadata", r#"{ "a" : [1] }"#), ("empty metadata", "{}")] {
        let more = format!(r#","data":{{}},"metadata":{metadata}"#);
        all.push((name, more, format!("[][][][][][{{}}][{metadata}]")));
    }
    all.push(("null metadata", r#","data":{},"metadata":null"#.into(), "[][][][][][{}][]".into()));
    all
}

#[test]
fn what_data_says_stands_in_the_columns_as_well() {
    let collector = Collector::start();
    let key = new_key(&collector, &[]);
    let mut findings = Findings::default();
    let cases = texts();
    for (name, more, _) in &cases {
        let answer = post(&collector, &key, &[], object(&[&format!(r#"{{"type":"{name}"{more}}}"#)]));
        findings.check(name, answer.status, 201);
    }
    collector.await_events(cases.len());
    for (name, _, expected) in &cases {
        let columns = "'[', user_id, '][', url, '][', host, '][', path, '][', referrer, '][', data, '][', metadata, ']'";
        let sql = format!("SELECT hex(concat({columns})) FROM weir.events WHERE type = '{name}'");
        findings.check(name, collector.sql(&sql), hex(expected));
    }
    let same = "SELECT DISTINCT source, api_source, visitor_id, address FROM weir.events";
    findings.check("all", collector.sql(same), "api\tbackend\t\t");
    findings.check("utm_source", collector.sql("SELECT utm_source FROM weir.events WHERE type = 'all'"), "x");
    findings.report();
}

#[test]
fn a_user_agent_is_that_of_the_data_and_never_of_the_connection() {
    let collector = Collector::start();
    let key = new_key(&collector, &[]);
    let mut findings = Findings::default();
    let long = format!("{CHROME} {}", "x".repeat(2_000));
    let cases = [
        ("chrome", CHROME, format!("{CHROME}\tChrome\t120\tWindows\tdesktop\tfalse")),
        ("bot", GOOGLE, format!("{GOOGLE}\tGooglebot\t2.1\t\t\ttrue")),
        ("empty", "", "\t\t\t\t\tfalse".to_owned()),
        ("long", &long, format!("{}\tChrome\t120\tWindows\tdesktop\tfalse", &long[..1024])),
    ];
    let headers = [("User-Agent", "curl/8.5.0"), ("X-Forwarded-For", "203.0.113.7")];
    for (kind, agent, _) in &cases {
        let event = format!(r#"{{"type":"{kind}","data":{{"user_agent":"{agent}"}}}}"#);
        findings.check(kind, post(&collector, &key, &headers, object(&[&event])).status, 201);
    }
    findings.check(
        "none",
        post(&collector, &key, &headers, object(&[r#"{"type":"none","data":{}}"#])).status,
        201,
    );
    collector.await_events(cases.len() + 1);
    let columns = "user_agent, browser, browser_version, os, device, bot";
    for (kind, _, expected) in &cases {
        let found = collector.sql(&format!("SELECT {columns} FROM weir.events WHERE type = '{kind}'"));
        findings.check(kind, found, expected.clone());
    }
    let none =
        "SELECT concat(user_agent, browser, os, device, address), bot FROM weir.events WHERE type = 'none'";
    findings.check("none", collector.sql(none), "\tfalse");
    findings.report();
}

#[test]
fn timestamps_of_long_ago_are_kept_and_those_ahead_become_the_receipt() {
    let collector = Collector::start();
    let key = new_key(&collector, &[]);
    let mut findings = Findings::default();
    let cases = [
        ("1900-01-01T00:00:00Z", "1900-01-01 00:00:00.000"),
        ("1987-06-05 04:03:02.123456+0530", "1987-06-04 22:33:02.123"),
        ("2024-02-29T12:00", "2024-02-29 12:00:00.000"),
        ("2299-12-31T23:59:59.999Z", "receipt"),
    ];
    for (timestamp, _) in cases {
        let event = format!(r#"{{"type":"{timestamp}","data":{{}},"timestamp":"{timestamp}"}}"#);
        findings.check(timestamp, post(&collector, &key, &[], object(&[&event])).status, 201);
        let array =
            format!(r#"[{{"source":"s","event_type":"{timestamp}","data":{{}},"timestamp":"{timestamp}"}}]"#);
        findings.check(timestamp, post(&collector, &key, &[], array).status, 201);
    }
    collector.await_events(2 * cases.len());
    for (timestamp, expected) in cases {
        let when = "if(timestamp = received_at, 'receipt', toString(timestamp))";
        let sql = format!("SELECT count(), any({when}) FROM weir.events WHERE type = '{timestamp}'");
        findings.check(timestamp, collector.sql(&sql), format!("2\t{expected}"));
    }
    let claimed = "SELECT DISTINCT claimed_timestamp FROM weir.events WHERE timestamp = received_at";
    findings.check("ahead", collector.sql(claimed), "2299-12-31 23:59:59.999");
    findings.report();
}
