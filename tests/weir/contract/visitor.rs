//! What is taken from the connection, for pages and for nobody else.

use super::{batch, event, snippet};
use crate::harness::{Collector, Findings, Setup};

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/120.0.0.0 Safari/537.36";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                      Gecko) Version/17.4 Mobile/15E148 Safari/604.1";
const GOOGLE: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

const AGENT: &str = "address, user_agent, browser, browser_version, os, device, bot";

fn stored(collector: &Collector, kind: &str, columns: &str) -> String {
    collector.sql(&format!("SELECT {columns} FROM weir.events WHERE type = '{kind}'"))
}

#[test]
fn address_and_user_agent_are_taken_from_pages_only() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let page = |kind: &str| batch(&[event(kind, "")], r#","source":"snippet""#);
    let server = |kind: &str| batch(&[event(kind, "")], "");
    let sdk = |kind: &str| batch(&[event(kind, "")], r#","source":"sdk""#);
    let long = format!("{CHROME} {}", "x".repeat(2_000));
    let cases = [
        (
            "chrome",
            snippet("chrome", ""),
            Some(CHROME),
            format!("127.0.0.0\t{CHROME}\tChrome\t120\tWindows\tdesktop\tfalse"),
        ),
        (
            "iphone",
            snippet("iphone", ""),
            Some(IPHONE),
            format!("127.0.0.0\t{IPHONE}\tMobile Safari\t17.4\tiOS\tmobile\tfalse"),
        ),
        ("bot", snippet("bot", ""), Some(GOOGLE), format!("127.0.0.0\t{GOOGLE}\tGooglebot\t2.1\t\t\ttrue")),
        (
            "queue",
            page("queue"),
            Some(CHROME),
            format!("127.0.0.0\t{CHROME}\tChrome\t120\tWindows\tdesktop\tfalse"),
        ),
        ("none", snippet("none", ""), None, "127.0.0.0\t\t\t\t\t\tfalse".into()),
        (
            "long",
            snippet("long", ""),
            Some(&long),
            format!("127.0.0.0\t{}\tChrome\t120\tWindows\tdesktop\tfalse", &long[..1_024]),
        ),
        ("server", server("server"), Some(CHROME), "\t\t\t\t\t\tfalse".into()),
        ("sdk", sdk("sdk"), Some(GOOGLE), "\t\t\t\t\t\tfalse".into()),
    ];
    for (kind, body, agent, _) in &cases {
        let headers: Vec<_> = agent.iter().map(|agent| ("User-Agent", *agent)).collect();
        findings.check(kind, collector.post_with(&headers, body).gist(), r#"200 {"received":1}"#);
    }
    let answer = collector.post_with(&[("User-Agent", "Mozilla/5.0 é")], snippet("odd", ""));
    findings.check("a user agent that is no ASCII", answer.gist(), r#"200 {"received":1}"#);
    collector.await_events(cases.len() + 1);
    for (kind, _, _, expected) in &cases {
        findings.check(kind, stored(&collector, kind, AGENT), expected.as_str());
    }
    let sources = "SELECT arraySort(groupArray(type)) FROM weir.events WHERE source = 'sdk'";
    findings.check("servers", collector.sql(sources), "['sdk','server']");
    findings.report();
}

/// The values of `X-Forwarded-For`, and the address stored: without trusted proxies, and with those of 127.0.0.0/8
/// and 10.0.0.0/8.
const FORWARDED: &[(&[&str], &str)] = &[
    (&[], "127.0.0.0"),
    (&["203.0.113.77"], "203.0.113.0"),
    (&["198.51.100.1, 203.0.113.77"], "203.0.113.0"),
    (&["203.0.113.77, 10.1.2.3"], "203.0.113.0"),
    (&["198.51.100.1,203.0.113.77,10.1.2.3 , 127.0.0.9"], "203.0.113.0"),
    (&["198.51.100.1", "203.0.113.77"], "203.0.113.0"),
    (&["203.0.113.77", "10.1.2.3"], "203.0.113.0"),
    (&["203.0.113.77:4711"], "203.0.113.0"),
    (&["2001:db8:1:2:3:4:5:6"], "2001:db8:1::"),
    (&["[2001:db8:1:2::1]:443"], "2001:db8:1::"),
    (&["::ffff:203.0.113.77"], "203.0.113.0"),
    (&["10.1.2.3"], "10.1.2.0"),
    (&["unknown"], "127.0.0.0"),
    (&["203.0.113.77, unknown"], "127.0.0.0"),
    (&["'; DROP TABLE events; --"], "127.0.0.0"),
    (&[""], "127.0.0.0"),
];

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let networks = ["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"];
    for trusting in [false, true] {
        let setup = Setup::new();
        let collector = if trusting { setup.with(&networks).start() } else { setup.start() };
        let mut findings = Findings::default();
        for (number, (values, _)) in FORWARDED.iter().enumerate() {
            let headers: Vec<_> = values.iter().map(|value| ("X-Forwarded-For", *value)).collect();
            let answer = collector.post_with(&headers, snippet(&format!("page{number}"), ""));
            findings.check(number, answer.gist(), r#"200 {"received":1}"#);
            let server = batch(&[event(&format!("server{number}"), "")], "");
            findings.check(number, collector.post_with(&headers, server).gist(), r#"200 {"received":1}"#);
        }
        collector.await_events(2 * FORWARDED.len());
        for (number, (values, address)) in FORWARDED.iter().enumerate() {
            let expected = if trusting { address } else { "127.0.0.0" };
            let case = format!("{values:?}, trusting: {trusting}");
            findings.check(&case, stored(&collector, &format!("page{number}"), "address"), expected);
            findings.check(&case, stored(&collector, &format!("server{number}"), "address"), "");
        }
        findings.report();
    }
}

#[test]
fn addresses_can_be_kept_whole_or_not_at_all() {
    for (mode, expected) in [("full", "127.0.0.1"), ("none", "")] {
        let collector = Setup::new().with(&["--client-address", mode]).start();
        assert_eq!(collector.post(snippet("x", "")).status, 200);
        collector.await_events(1);
        assert_eq!(stored(&collector, "x", "address"), expected, "{mode}");
    }
}
