//! What is refused of a known project is kept with its reason, where an operator can query it; and says nothing of
//! what it held to anybody else.

use super::{batch, event, snippet};
use crate::harness::{Collector, Findings, Setup};

/// Stands in values, and must not stand in any message.
const SECRET: &str = "S3CR3T";

fn await_rejected(collector: &Collector, count: usize) {
    collector.await_loaded();
    assert_eq!(collector.sql("SELECT count() FROM weir.rejected_events"), count.to_string());
}

#[test]
fn a_batch_is_accepted_in_part() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let no_url = r#"{"type":"no url","data":{"a":1}}"#.to_owned();
    let events = [event("first", ""), no_url.clone(), event("third", ""), "7".into()];
    let answer = collector.post(batch(&events, ""));
    findings.check("status", answer.status, 200);
    let json = answer.json();
    findings.check("members", json.as_object().unwrap().keys().collect::<Vec<_>>(), ["received", "rejected"]);
    findings.check("received", json["received"].as_u64(), Some(2));
    let rejected = json["rejected"].as_array().unwrap();
    let places: Vec<_> = rejected.iter().map(|one| (one["index"].as_u64(), one["field"].as_str())).collect();
    findings.check("places", places, [(Some(1), Some("url")), (Some(3), Some(""))]);
    for (one, place) in rejected.iter().zip(["events[1].url", "events[3]"]) {
        let message = one["message"].as_str().unwrap_or_default();
        findings.check(
            "members",
            one.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["field", "index", "message"],
        );
        findings.holds(
            format!("{message:?} does not say where and what"),
            message.contains(place) && message.contains("expected"),
        );
    }
    collector.await_events(2);
    await_rejected(&collector, 2);
    let rows = collector.sql(
        "SELECT reason, source, event, message, name, abs(dateDiff('second', received_at, now())) < 60 \
         FROM weir.rejected_events JOIN weir.project_keys USING (project_id) ORDER BY reason",
    );
    let message = |index: usize| rejected[index]["message"].as_str().unwrap();
    let expected = [
        format!("missing_field\tsdk\t{no_url}\t{}\tdemo\t1", message(0)),
        format!("wrong_type\tsdk\t7\t{}\tdemo\t1", message(1)),
    ];
    findings.check("rows", rows.lines().collect::<Vec<_>>(), expected);
    findings.report();
}

/// Bodies of a known project that are refused, the source, the reason, and the event that is kept.
fn refused() -> Vec<(String, &'static str, &'static str, Option<String>)> {
    let text = |name: &str| format!(r#","{name}":"{SECRET}""#);
    let endless = format!(r#"{{"type":"{}"}}"#, SECRET.repeat(2_000));
    let number = format!(r#"{{"{SECRET}":["{SECRET}"]}}"#);
    let large = format!(r#","data":{{"a":"{}"}}"#, SECRET.repeat(11_000));
    let deep = format!(r#","data":{{"{SECRET}":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    let half = format!(r#","userId":"{SECRET}\ud83d{SECRET}""#);
    let lone = |event: &str| batch(&[event.to_owned()], "");
    vec![
        (snippet("x", &text("eventId")), "snippet", "invalid_event_id", None),
        (snippet("x", &text("timestamp")), "snippet", "invalid_timestamp", None),
        (snippet("x", &text("sentAt")), "snippet", "invalid_timestamp", None),
        (snippet("x", &text("data")), "snippet", "wrong_type", None),
        (snippet("x", &format!(r#","userId":{number}"#)), "snippet", "wrong_type", None),
        (snippet("x", "").replace("https://a.example/", SECRET), "snippet", "invalid_url", None),
        (snippet(&SECRET.repeat(40), ""), "snippet", "too_long", None),
        (snippet("", &format!(r#","data":{number}"#)), "snippet", "empty_field", None),
        (lone(&number), "sdk", "missing_field", Some(number.clone())),
        (lone(&format!(r#""{SECRET}""#)), "sdk", "wrong_type", Some(format!(r#""{SECRET}""#))),
        (lone(&endless), "sdk", "too_long", Some(endless[..4096].to_owned())),
        (
            batch(&[event("x", &text("eventId"))], r#","source":"snippet""#),
            "snippet",
            "invalid_event_id",
            Some(event("x", &text("eventId"))),
        ),
        (snippet("x", &text("url")), "snippet", "duplicate_field", None),
        (snippet("x", &large), "snippet", "event_too_large", None),
        (snippet("x", &deep), "snippet", "too_deep", None),
        (snippet("x", &half), "snippet", "invalid_text", None),
        (lone(&event("x", &text("url"))), "sdk", "duplicate_field", Some(event("x", &text("url")))),
        (lone(&event("x", &large)), "sdk", "event_too_large", Some(event("x", &large)[..4096].to_owned())),
        (lone(&event("x", &deep)), "sdk", "too_deep", Some(event("x", &deep))),
        (lone(&event("x", &half)), "sdk", "invalid_text", Some(event("x", &half))),
        // Refused as a whole.
        (batch(&[event("x", "")], &text("userId").repeat(2)), "", "duplicate_field", None),
        (batch(&[event("x", "")], &half), "", "invalid_text", None),
        (
            batch(&[event("x", "")], &text("userId").replace(SECRET, &SECRET.repeat(200))),
            "",
            "too_long",
            None,
        ),
        (batch(&[event("x", "")], &text("source")), "", "invalid_source", None),
        (batch(&[event("x", "")], &text("sentAt")), "", "invalid_timestamp", None),
        (batch(&[event("x", "")], &format!(r#","userId":{number}"#)), "", "wrong_type", None),
        (batch(&[], &text("unknown")), "", "no_events", None),
        (format!(r#"{{"projectKey":"pk_live_demo","events":"{SECRET}"}}"#), "", "wrong_type", None),
        (batch(&vec![event(SECRET, ""); 1_001], ""), "", "too_many_events", None),
    ]
}

#[test]
fn every_refusal_of_a_known_project_is_kept_and_repeats_no_value() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let refused = refused();
    for (body, source, reason, _) in &refused {
        let answer = collector.post(body);
        let case = &body[..body.len().min(150)];
        // A body that is one event is a body that is too large.
        let status = if (*source, *reason) == ("snippet", "event_too_large") { 413 } else { 400 };
        findings.check(case, (answer.status, answer.code()), (status, (*reason).to_owned()));
        findings.holds(format!("{case} is repeated in {}", answer.body), !answer.body.contains(SECRET));
    }
    // A known key in a body that cannot be read, two keys, and unknown ones, leave nothing.
    let unread: [&[u8]; 6] = [
        b"{\"projectKey\":\"pk_live_demo\"",
        b"{\"projectKey\":\"pk_live_demo\",\"type\":\"\xff\"}",
        b"{\"projectKey\":\"pk_live_demo\",\"type\":\"\0\"}",
        b"{\"projectKey\":\"pk_live_demo\",\"projectKey\":\"pk_live_demo\"}",
        b"[]",
        b"{}",
    ];
    for body in unread {
        findings.check(String::from_utf8_lossy(body), collector.post(body).status, 400);
    }
    let unknown = snippet("", "").replace("pk_live_demo", SECRET);
    let answer = collector.post(unknown);
    findings.check("unknown", answer.gist(), "401 unknown_project_key");
    findings.holds("the key is repeated", !answer.body.contains(SECRET));

    await_rejected(&collector, refused.len());
    let rows = collector.sql("SELECT hex(event), source, reason, message FROM weir.rejected_events");
    for (body, source, reason, event) in &refused {
        let kept = event.as_deref().unwrap_or(&body[..body.len().min(4096)]);
        let expected = format!("{}\t{source}\t{reason}\t", super::hex(kept));
        let found = rows.lines().any(|row| row.starts_with(&expected));
        findings.holds(format!("no row with {source:?}, {reason}, {}", &kept[..kept.len().min(150)]), found);
    }
    let messages = format!(
        "SELECT countIf(message LIKE '%{SECRET}%'), countIf(message NOT LIKE '%expected%') FROM weir.rejected_events"
    );
    findings.check("messages", collector.sql(&messages), "0\t0");
    findings.check("events", collector.sql("SELECT count() FROM weir.events"), "0");
    findings.report();
}

#[test]
fn what_a_project_does_not_admit_is_not_kept_for_it() {
    let collector = Setup::new().with(&["--project-refresh", "100ms"]).start();
    collector.create_project("closed", "pk_live_closed", &["https://shop.example"]);
    collector.create_project("gone", "pk_live_gone", &[]);
    collector.weir(&["project", "disable", "pk_live_gone"]);
    let mut findings = Findings::default();
    let bodies =
        [snippet("", ""), batch(&[], ""), batch(&["1".into(), event("x", "")], ""), snippet("x", "")];
    for body in bodies {
        let closed = body.replace("pk_live_demo", "pk_live_closed");
        let answer = collector.post_with(&[("Origin", "https://evil.example")], &closed);
        findings.holds(format!("{body}: {answer:?}"), answer.status == 403 || answer.status == 400);
        let gone = collector.post(body.replace("pk_live_demo", "pk_live_gone"));
        findings.holds(format!("{body}: {gone:?}"), gone.status == 403 || gone.status == 400);
    }
    let own =
        collector.post_with(&[("Origin", "https://shop.example")], snippet("", "").replace("demo", "closed"));
    findings.check("its own page", own.gist(), "400 empty_field type");
    await_rejected(&collector, 1);
    findings.check("events", collector.sql("SELECT count() FROM weir.events"), "0");
    findings.report();
}

#[test]
fn a_flood_of_refusals_is_kept_in_part_only() {
    let collector = Setup::new().with(&["--max-rejected", "10"]).start();
    let mut findings = Findings::default();
    for _ in 0..5 {
        let answer = collector.post(batch(&["1".into(), "2".into(), event("good", ""), "3".into()], ""));
        findings.check("rejected", answer.json()["rejected"].as_array().map(Vec::len), Some(3));
    }
    for _ in 0..5 {
        findings.check("refused", collector.post(snippet("", "")).status, 400);
    }
    collector.await_events(5);
    collector.await_loaded();
    let kept: usize = collector.sql("SELECT count() FROM weir.rejected_events").parse().unwrap();
    findings.holds(format!("{kept} rows"), (10..=15).contains(&kept));
    findings.report();
}
