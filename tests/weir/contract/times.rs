//! When an event happened: every accepted form of a timestamp, and what becomes of clocks that are wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{batch, event, snippet};
use crate::harness::{Collector, Findings};

const ACCEPTED: &[(&str, &str)] = &[
    ("2025-01-15T10:30:00Z", "2025-01-15 10:30:00.000"),
    ("2025-01-15t10:30:00z", "2025-01-15 10:30:00.000"),
    ("2025-01-15T10:30:00.1Z", "2025-01-15 10:30:00.100"),
    ("2025-01-15T10:30:00.123Z", "2025-01-15 10:30:00.123"),
    ("2025-01-15T10:30:00.1239Z", "2025-01-15 10:30:00.123"),
    ("2025-01-15T10:30:00.999999999999999999999999Z", "2025-01-15 10:30:00.999"),
    ("2025-01-15T10:30:00+05:30", "2025-01-15 05:00:00.000"),
    ("2025-01-15T10:30:00-08:00", "2025-01-15 18:30:00.000"),
    ("2025-01-15T10:30:00+0530", "2025-01-15 05:00:00.000"),
    ("2025-01-15T10:30:00-0000", "2025-01-15 10:30:00.000"),
    ("2025-01-15T23:30:00-0100", "2025-01-16 00:30:00.000"),
    ("2025-01-15 10:30:00Z", "2025-01-15 10:30:00.000"),
    ("2025-01-15 10:30:00", "2025-01-15 10:30:00.000"),
    ("2025-01-15T10:30:00", "2025-01-15 10:30:00.000"),
    ("2025-01-15T10:30:00.5", "2025-01-15 10:30:00.500"),
    ("2025-01-15T10:30Z", "2025-01-15 10:30:00.000"),
    ("2025-01-15T10:30", "2025-01-15 10:30:00.000"),
    ("2025-01-15 10:30+0100", "2025-01-15 09:30:00.000"),
    ("2024-02-29T00:00:00Z", "2024-02-29 00:00:00.000"),
    ("1970-01-01T00:00:00Z", "1970-01-01 00:00:00.000"),
    ("1969-12-31T23:59:59.9999Z", "1969-12-31 23:59:59.999"),
    ("1900-01-01T00:00:00Z", "1900-01-01 00:00:00.000"),
    ("1899-12-31T23:30:00-01:00", "1900-01-01 00:30:00.000"),
];

const REFUSED: &[&str] = &[
    "now",
    "2025-01-15",
    "2025-01-15T10",
    "20250115T103000Z",
    "2025-1-15T10:30:00Z",
    "2025-01-15_10:30:00Z",
    "2025-01-15T10:30:00,5Z",
    "2025-01-15T10:30:00.Z",
    "2025-01-15T10:30:00+05",
    "2025-01-15T10:30:00 +05:30",
    "2025-01-15T10:30:00 UTC",
    "2025-01-15T10:30:00[UTC]",
    " 2025-01-15T10:30:00Z",
    "2025-02-29T10:30:00Z",
    "2025-13-01T10:30:00Z",
    "2025-01-15T25:30:00Z",
    "2025-01-15T10:30:00+25:00",
    "2025-W03-3T10:30:00Z",
    "1899-12-31T23:59:59.999Z",
    "2300-01-01T00:00:00Z",
    "+12025-01-15T10:30:00Z",
    "1736937000000",
    "Wed, 15 Jan 2025 10:30:00 GMT",
];

#[test]
fn timestamps_are_read_in_every_documented_form_and_no_other() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    for (number, (sent, _)) in ACCEPTED.iter().enumerate() {
        let more = format!(r#","timestamp":"{sent}""#);
        let (page, server) = (snippet(&format!("s{number}"), &more), event(&format!("b{number}"), &more));
        findings.check(sent, collector.post(page).gist(), r#"200 {"received":1}"#);
        findings.check(sent, collector.post(batch(&[server], "")).gist(), r#"200 {"received":1}"#);
    }
    for sent in REFUSED {
        let more = format!(r#","timestamp":"{sent}""#);
        let (page, server) = (snippet("no", &more), batch(&[event("no", &more)], ""));
        findings.check(sent, collector.post(page).gist(), "400 invalid_timestamp timestamp");
        findings.check(sent, collector.post(server).gist(), "400 invalid_timestamp events[0].timestamp");
        let more = format!(r#","sentAt":"{sent}""#);
        let (page, server) = (snippet("no", &more), batch(&[event("no", "")], &more));
        findings.check(sent, collector.post(page).gist(), "400 invalid_timestamp sentAt");
        findings.check(sent, collector.post(server).gist(), "400 invalid_timestamp sentAt");
    }
    collector.await_events(2 * ACCEPTED.len());
    let rows = collector.sql("SELECT type, timestamp, claimed_timestamp FROM weir.events");
    for (number, (sent, stored)) in ACCEPTED.iter().enumerate() {
        for kind in ["s", "b"] {
            let expected = format!("{kind}{number}\t{stored}\t\\N");
            findings
                .holds(format!("{sent} is not stored as {stored}"), rows.lines().any(|row| row == expected));
        }
    }
    findings.report();
}

/// Minutes from now, as a timestamp.
fn at(minutes: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let moment = i64::try_from(now.as_secs()).unwrap() + minutes * 60;
    OffsetDateTime::from_unix_timestamp(moment).unwrap().format(&Rfc3339).unwrap()
}

/// A name; the client's timestamp and its `sentAt`, and what is stored, in minutes from the receipt; and whether the
/// client's own word is kept beside it.
type Clock = (&'static str, Option<i64>, Option<i64>, i64, bool);

const CLOCKS: &[Clock] = &[
    ("no clock", None, None, 0, false),
    ("only a wrong sentAt", None, Some(-600), 0, false),
    ("a right clock", Some(-3), Some(0), -3, false),
    ("old events", Some(-60 * 24 * 400), None, -60 * 24 * 400, false),
    ("a little in the future", Some(4), None, 4, false),
    ("in the future", Some(6), None, 0, true),
    ("a year in the future", Some(60 * 24 * 365), None, 0, true),
    ("slow by less than is corrected", Some(-60), Some(-54), -60, false),
    ("slow", Some(-62), Some(-60), -2, true),
    ("fast by less than is corrected", Some(40), Some(54), 0, true),
    ("fast", Some(58), Some(60), -2, true),
    ("fast by years", Some(1_000_000), Some(1_000_030), -30, true),
    ("fast, and claiming a future even so", Some(130), Some(60), 0, true),
    ("slow, and claiming a little future", Some(-56), Some(-60), 4, true),
];

#[test]
fn wrong_clocks_are_corrected_and_futures_cut_off() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let member = |name: &str, minutes: Option<i64>| {
        minutes.map(|minutes| format!(r#","{name}":"{}""#, at(minutes))).unwrap_or_default()
    };
    for (case, claimed, sent_at, ..) in CLOCKS {
        let (claimed, sent_at) = (member("timestamp", *claimed), member("sentAt", *sent_at));
        let page = snippet(&format!("page: {case}"), &format!("{claimed}{sent_at}"));
        findings.check(case, collector.post(page).gist(), r#"200 {"received":1}"#);
        let server = batch(&[event(&format!("server: {case}"), &claimed)], &sent_at);
        findings.check(case, collector.post(server).gist(), r#"200 {"received":1}"#);
    }
    for last in ["2299-12-31T23:59:59.999Z", "2299-12-31T23:59:59Z"] {
        let page = snippet(last, &format!(r#","timestamp":"{last}""#));
        findings.check(last, collector.post(page).gist(), r#"200 {"received":1}"#);
    }
    collector.await_events(2 * CLOCKS.len() + 2);
    let seconds = "dateDiff('second', received_at, timestamp)";
    let claimed = "dateDiff('second', received_at, claimed_timestamp)";
    let rows = collector
        .sql(&format!("SELECT type, {seconds}, {claimed}, timestamp = received_at FROM weir.events"));
    for (case, sent, _, expected, kept) in CLOCKS {
        for who in ["page", "server"] {
            let case = format!("{who}: {case}");
            let row = rows.lines().find(|row| row.split('\t').next() == Some(&case)).unwrap_or_default();
            let columns: Vec<_> = row.split('\t').skip(1).collect();
            let &[stored, claimed, receipt] = columns.as_slice() else { panic!("no row for {case}") };
            let near = |text: &str, minutes: i64| {
                text.parse::<i64>().is_ok_and(|seconds| (seconds - minutes * 60).abs() < 30)
            };
            findings.holds(format!("{case}: {stored} s is not {expected} min"), near(stored, *expected));
            findings.check(
                format!("{case}: at receipt"),
                receipt == "1",
                *expected == 0 && sent.is_none_or(|s| s != 0),
            );
            let claim = if *kept { near(claimed, sent.unwrap()) } else { claimed == "\\N" };
            findings.holds(format!("{case}: claimed {claimed} s"), claim);
        }
    }
    let last = "SELECT claimed_timestamp, timestamp = received_at FROM weir.events WHERE type LIKE '2299%' ORDER BY type";
    let expected = "2299-12-31 23:59:59.999\t1\n2299-12-31 23:59:59.000\t1";
    findings.check("the last moments", collector.sql(last), expected);
    findings.report();
}
