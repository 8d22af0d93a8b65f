//! Every field of both formats, given in every way but the right one.

use crate::harness::{Collector, Findings};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A string that must be there.
    Required,
    Optional,
    Moment,
    Id,
    Source,
    Object,
}

type Field = (&'static str, Kind, &'static str);

const MOMENT: &str = r#""2025-01-15T10:30:00Z""#;
const ID: &str = r#""0192aa00-0000-7000-8000-000000000001""#;

const SNIPPET: &[Field] = &[
    ("projectKey", Kind::Required, r#""pk_live_demo""#),
    ("type", Kind::Required, r#""t""#),
    ("visitorId", Kind::Required, r#""v""#),
    ("url", Kind::Required, r#""https://a.example/""#),
    ("data", Kind::Object, r#"{"a":1}"#),
    ("referrer", Kind::Optional, r#""r""#),
    ("timestamp", Kind::Moment, MOMENT),
    ("eventId", Kind::Id, ID),
    ("userId", Kind::Optional, r#""u""#),
    ("sentAt", Kind::Moment, MOMENT),
];

const BATCH: &[Field] = &[
    ("projectKey", Kind::Required, r#""pk_live_demo""#),
    ("userId", Kind::Optional, r#""u""#),
    ("visitorId", Kind::Optional, r#""v""#),
    ("referrer", Kind::Optional, r#""r""#),
    ("sentAt", Kind::Moment, MOMENT),
    ("source", Kind::Source, r#""sdk""#),
];

const EVENT: &[Field] = &[
    ("type", Kind::Required, r#""t""#),
    ("url", Kind::Required, r#""/p""#),
    ("data", Kind::Object, r#"{"a":1}"#),
    ("timestamp", Kind::Moment, MOMENT),
    ("eventId", Kind::Id, ID),
    ("visitorId", Kind::Optional, r#""v""#),
    ("userId", Kind::Optional, r#""u""#),
    ("referrer", Kind::Optional, r#""r""#),
];

/// What stands in the place of a right value; `""` stands for nothing at all, `twice` for the right one twice.
const INSTEAD: &[&str] = &["", "null", r#""""#, "1", "true", "[]", "{}", r#"["x"]"#, r#""\ud800""#, "twice"];

/// What is wrong with it, if anything is.
fn fault(kind: Kind, instead: &str) -> Option<&'static str> {
    match (kind, instead) {
        (_, "twice") => Some("duplicate_field"),
        (Kind::Required, "" | "null") => Some("missing_field"),
        (Kind::Object, "{}") | (Kind::Optional, r#""""#) | (_, "" | "null") => None,
        (Kind::Object, _) => Some("wrong_type"),
        (_, r#""\ud800""#) => Some("invalid_text"),
        (Kind::Required, r#""""#) => Some("empty_field"),
        (Kind::Moment, r#""""#) => Some("invalid_timestamp"),
        (Kind::Id, r#""""#) => Some("invalid_event_id"),
        (Kind::Source, r#""""#) => Some("invalid_source"),
        _ => Some("wrong_type"),
    }
}

/// The members of an object with all of these fields, one of them given otherwise.
fn members(fields: &[Field], name: &str, instead: &str) -> String {
    let mut members = Vec::new();
    for (field, _, right) in fields {
        match instead {
            _ if *field != name => members.push(format!(r#""{field}":{right}"#)),
            "" => {}
            "twice" => members.extend([format!(r#""{field}":{right}"#), format!(r#""{field}":{right}"#)]),
            other => members.push(format!(r#""{field}":{other}"#)),
        }
    }
    members.join(",")
}

fn refusal_or(fault: Option<&str>, field: &str, good: &str) -> String {
    fault.map_or_else(|| good.to_owned(), |code| format!("400 {code} {field}"))
}

#[test]
fn a_field_given_in_a_wrong_way_is_refused_by_its_name() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut post = |body: &str| client.send("POST", "/api/events", &[], body.as_bytes()).unwrap();
    let mut findings = Findings::default();
    let every =
        |fields: &'static [Field]| fields.iter().flat_map(|field| INSTEAD.iter().map(move |i| (field, i)));

    for ((name, kind, _), instead) in every(SNIPPET) {
        let body = format!("{{{}}}", members(SNIPPET, name, instead));
        let expected = refusal_or(fault(*kind, instead), name, r#"200 {"received":1}"#);
        findings.check(format!("a snippet's {name}: {instead}"), post(&body).gist(), expected);
    }
    for ((name, kind, _), instead) in every(BATCH) {
        let body = format!(r#"{{{},"events":[{{"type":"t","url":"/p"}}]}}"#, members(BATCH, name, instead));
        let expected = refusal_or(fault(*kind, instead), name, r#"200 {"received":1}"#);
        findings.check(format!("a batch's {name}: {instead}"), post(&body).gist(), expected);
    }
    for ((name, kind, _), instead) in every(EVENT) {
        let event = members(EVENT, name, instead);
        let fault = fault(*kind, instead);
        let alone = format!(r#"{{"projectKey":"pk_live_demo","events":[{{{event}}}]}}"#);
        let expected = refusal_or(fault, &format!("events[0].{name}"), r#"200 {"received":1}"#);
        findings.check(format!("an only event's {name}: {instead}"), post(&alone).gist(), expected);

        let good = r#"{"type":"t","url":"/p"}"#;
        let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{good},{{{event}}},{good}]}}"#);
        let case = format!("an event's {name}: {instead}");
        let answer = post(&body);
        findings.check(&case, answer.status, 200);
        let json = answer.json();
        findings.check(&case, json["received"].as_u64(), Some(if fault.is_some() { 2 } else { 3 }));
        let rejected = &json["rejected"][0];
        findings.check(&case, rejected["index"].as_u64(), fault.map(|_| 1));
        findings.check(&case, rejected["field"].as_str(), fault.map(|_| *name));
        let message = rejected["message"].as_str().unwrap_or(name);
        findings.holds(format!("{case}: {message:?} names no field"), message.contains(name));
    }
    findings.report();
}

const WIDE: &str = r#""visitorId":"V","userId":"U","referrer":"R","#;

/// Texts of a batch and of its event, and what the columns are then: visitor, user, referrer, data. The type is the
/// name of the case.
const SHARED: &[(&str, &str, &str, &str)] = &[
    ("own", WIDE, r#","visitorId":"v","userId":"u","referrer":"r","data":{"a":1}"#, r#"v u r {"a":1}"#),
    ("shared", WIDE, "", "V U R {}"),
    ("null", WIDE, r#","visitorId":null,"userId":null,"referrer":null,"data":null"#, "V U R {}"),
    ("empty", WIDE, r#","visitorId":"","userId":"","referrer":"","data":{}"#, "   {}"),
    ("some", r#""userId":"U","#, r#","referrer":"r""#, " U r {}"),
    ("none", "", "", "   {}"),
    ("nulls", r#""visitorId":null,"userId":null,"referrer":null,"sentAt":null,"source":null,"#, "", "   {}"),
    (
        "unknown",
        r#""foo":{"bar":[1e999]},"Type":1,"#,
        r#","foo":1,"foo":2,"projectKey":5,"sentAt":5"#,
        "   {}",
    ),
    (
        "escaped",
        "",
        r#","user\u0049d":"\u0075\n\u0000\ud83d\ude00","referrer":"\"\\\/""#,
        " u\\n\\0😀 \"\\\\/ {}",
    ),
];

/// The same of snippets.
const OWN: &[(&str, &str, &str)] = &[
    ("s-all", r#","userId":"u","referrer":"r","data":{ "a" : 1 }"#, r#"v u r { "a" : 1 }"#),
    ("s-null", r#","userId":null,"referrer":null,"data":null,"timestamp":null,"eventId":null"#, "v   {}"),
    ("s-empty", r#","userId":"","referrer":"""#, "v   {}"),
    ("s-source", r#","source":"sdk""#, "v   {}"),
    ("s-odd", r#","source":[1],"events":null"#, "v   {}"),
];

#[test]
fn what_is_absent_null_or_empty_is_stored_empty_and_what_is_nearest_to_an_event_wins() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    for (kind, shared, own, _) in SHARED {
        let body = format!(
            r#"{{"projectKey":"pk_live_demo",{shared}"events":[{{"type":"{kind}","url":"/"{own}}}]}}"#
        );
        findings.check(kind, collector.post(body).gist(), r#"200 {"received":1}"#);
    }
    for (kind, more, _) in OWN {
        let answer = collector.post(super::snippet(kind, more));
        findings.check(kind, answer.gist(), r#"200 {"received":1}"#);
    }
    collector.await_events(SHARED.len() + OWN.len());
    let stored = |kind: &str| {
        let columns = "concat(visitor_id, ' ', user_id, ' ', referrer, ' ', data)";
        collector.sql(&format!("SELECT {columns} FROM weir.events WHERE type = '{kind}'"))
    };
    for (kind, .., expected) in SHARED {
        findings.check(kind, stored(kind), *expected);
    }
    for (kind, _, expected) in OWN {
        findings.check(kind, stored(kind), *expected);
    }
    findings.check(
        "snippets",
        collector.sql("SELECT count() FROM weir.events WHERE source = 'snippet'"),
        "5",
    );
    findings.report();
}

/// Bodies, and what is said to them.
fn shapes() -> Vec<(String, &'static str)> {
    let key = r#""projectKey":"pk_live_demo""#;
    let page = r#""type":"page","visitorId":"v","url":"https://a.example/""#;
    let one = r#"{"type":"one","url":"/"}"#;
    vec![
        (String::new(), "400 invalid_json"),
        (" \r\n".into(), "400 invalid_json"),
        ("null".into(), "400 wrong_type"),
        ("[]".into(), "400 wrong_type"),
        (format!("[{{{key},{page}}}]"), "400 wrong_type"),
        ("\"text\"".into(), "400 wrong_type"),
        ("5".into(), "400 wrong_type"),
        ("{}".into(), "400 missing_field projectKey"),
        ("{".into(), "400 invalid_json"),
        (format!("{{{key},{page},}}"), "400 invalid_json"),
        (format!("{{{key},{page}}} x"), "400 invalid_json"),
        (format!("{{{key},{page}}}{{}}"), "400 invalid_json"),
        (format!("{{{key},{page},\"a\":\"\u{0}\"}}"), "400 invalid_json"),
        (format!("{{{key},{page},\"a\":NaN}}"), "400 invalid_json"),
        ("type=pageview&projectKey=pk_live_demo".into(), "400 invalid_json"),
        (format!("{{{key},{page}}}"), r#"200 {"received":1}"#),
        (format!(" \t\r\n{{{key},{page}}}\n"), r#"200 {"received":1}"#),
        (format!("{{{key},{page},\"events\":null}}"), r#"200 {"received":1}"#),
        (format!("{{{key},\"events\":[{one}]}}"), r#"200 {"received":1}"#),
        // Both at once is a batch, whatever else is there.
        (format!("{{{key},{page},\"events\":[{one},{one}]}}"), r#"200 {"received":2}"#),
        (
            format!("{{\"type\":5,\"url\":7,{key},\"data\":\"x\",\"events\":[{one}]}}"),
            r#"200 {"received":1}"#,
        ),
        (format!("{{{key},{page},\"events\":[]}}"), "400 no_events events"),
        (format!("{{{key},\"events\":[]}}"), "400 no_events events"),
        (format!("{{{key},\"events\":{{}}}}"), "400 wrong_type events"),
        (format!("{{{key},{page},\"events\":false}}"), "400 wrong_type events"),
        (format!("{{{key},{page},\"events\":\"\"}}"), "400 wrong_type events"),
        (format!("{{{key},\"events\":0}}"), "400 wrong_type events"),
        (format!("{{{key},\"events\":[{one}],\"events\":[{one}]}}"), "400 duplicate_field events"),
        (format!("{{{key},{page},\"events\":null,\"events\":null}}"), "400 duplicate_field events"),
        (format!("{{{key},{page},\"ur\\u006c\":\"https://a.example\"}}"), "400 duplicate_field url"),
        (format!("{{{key},\"events\":[null]}}"), "400 wrong_type events[0]"),
        (format!("{{{key},\"events\":[[],{{}}]}}"), "400 wrong_type events[0]"),
        (format!("{{{key},\"events\":[1,\"x\"]}}"), "400 wrong_type events[0]"),
        (format!("{{{key},\"source\":\"snippet\",\"events\":[{one}]}}"), r#"200 {"received":1}"#),
        (format!("{{{key},\"source\":\"Snippet\",\"events\":[{one}]}}"), "400 invalid_source source"),
        (format!("{{{key},\"source\":\"api\",\"events\":[{one}]}}"), "400 invalid_source source"),
        (format!("{{{key},\"type\":\"x\",\"visitorId\":\"v\",\"url\":\"/path\"}}"), "400 invalid_url url"),
        (
            format!("{{{key},\"type\":\"x\",\"visitorId\":\"v\",\"url\":\"example.com\"}}"),
            "400 invalid_url url",
        ),
    ]
}

#[test]
fn the_shape_of_a_body_says_what_it_is() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    for (body, expected) in shapes() {
        findings.check(&body, collector.post(&body).gist(), expected);
    }
    let mut not_text = super::snippet("x", r#","data":{"a":"?"}"#).into_bytes();
    let odd = not_text.iter().position(|byte| *byte == b'?').unwrap();
    not_text[odd] = 0xff;
    findings.check("not UTF-8", collector.post(not_text).gist(), "400 invalid_json");
    let one = super::event("x", "");
    let mixed = collector.post(super::batch(&[one.clone(), "null".into(), one], ""));
    findings.check("an event that is none", mixed.status, 200);
    findings.check("an event that is none", mixed.json()["rejected"][0]["index"].as_u64(), Some(1));
    findings.report();
}
