//! Every limit, at its edge and over it.

use super::*;

fn small() -> PayloadLimits {
    PayloadLimits { event: 200, events: 3, type_chars: 4, url: 30, depth: 3, ..PayloadLimits::default() }
}

/// A snippet, and a batch of that one event, without `projectKey`.
fn both(fields: &str) -> [String; 2] {
    [
        format!(r#"{{"projectKey":"pk","visitorId":"v",{fields}}}"#),
        format!(r#"{{"projectKey":"pk","events":[{{{fields}}}]}}"#),
    ]
}

fn code_of(body: &str) -> String {
    let decoded = decode(body.as_bytes(), &small()).unwrap();
    decoded.rejected.first().map_or("", |rejected| rejected.code).to_owned()
}

#[test]
fn a_types_characters_are_counted() {
    for (kind, code) in [("abcd", ""), ("日本語文", ""), ("abcde", "too_long"), ("日本語文字", "too_long")]
    {
        for body in both(&format!(r#""url":"https://x.example","type":"{kind}""#)) {
            assert_eq!(code_of(&body), code, "{body}");
        }
    }
}

#[test]
fn a_urls_and_a_referrers_bytes_are_counted() {
    let url = |bytes: usize| format!("{:x<bytes$}", "https://x.example/é");
    for (bytes, code) in [(29, ""), (30, "too_long")] {
        let url = url(bytes);
        for body in both(&format!(r#""type":"t","url":"{url}""#)) {
            assert_eq!(code_of(&body), code, "{body}");
        }
        for body in both(&format!(r#""type":"t","url":"app://x","referrer":"{url}""#)) {
            assert_eq!(code_of(&body), code, "{body}");
        }
    }
    let shared =
        format!(r#"{{"projectKey":"pk","events":[{{"type":"t","url":"/"}}],"referrer":"{}"}}"#, url(30));
    let error = decode(shared.as_bytes(), &small()).unwrap_err();
    assert_eq!((error.code(), error.field()), ("too_long", Some("referrer")));
    assert_eq!(error.to_string(), "referrer has over 30 bytes; expected no more");
}

#[test]
fn ids_of_visitors_and_users_are_bounded_wherever_they_stand() {
    let limits = PayloadLimits { id: 3, ..small() };
    for (field, id, code) in [
        ("visitorId", "abc", ""),
        ("visitorId", "abcd", "too_long"),
        ("userId", "abc", ""),
        ("userId", "日本", "too_long"),
    ] {
        let rejected = |body: &str| {
            let decoded = decode(body.as_bytes(), &limits).unwrap();
            decoded.rejected.first().map_or("", |rejected| rejected.code).to_owned()
        };
        let own = format!(r#"{{"projectKey":"pk","events":[{{"type":"t","url":"/","{field}":"{id}"}}]}}"#);
        assert_eq!(rejected(&own), code, "{own}");
        let shared = format!(r#"{{"projectKey":"pk","events":[{{"type":"t","url":"/"}}],"{field}":"{id}"}}"#);
        let shared = decode(shared.as_bytes(), &limits).map_err(|error| (error.code(), error.field()));
        assert_eq!(shared.err(), (!code.is_empty()).then_some((code, Some(field))), "{field} {id}");
        let visitor = if field == "visitorId" { String::new() } else { r#""visitorId":"v","#.to_owned() };
        let lone = format!(r#"{{"projectKey":"pk","type":"t","url":"a://b",{visitor}"{field}":"{id}"}}"#);
        assert_eq!(rejected(&lone), code, "{lone}");
    }
}

#[test]
fn what_a_batch_says_for_each_event_counts_as_often() {
    let limits = PayloadLimits { inflated: 40, ..small() };
    let batch = |referrer: &str, event: &str| {
        let events = [event, r#"{"type":"t","url":"/"}"#].join(",");
        format!(r#"{{"projectKey":"pk","events":[{events}],"userId":"u","referrer":"{referrer}"}}"#)
    };
    for event in [r#"{"type":"t","url":"/"}"#, "7"] {
        let within = batch(&"r".repeat(19), event);
        assert!(decode(within.as_bytes(), &limits).is_ok(), "{within}");
        let over = batch(&"r".repeat(20), event);
        let error = decode(over.as_bytes(), &limits).unwrap_err();
        assert_eq!((error.code(), error.field()), ("too_long", Some("events")), "{over}");
    }
}

#[test]
fn an_event_of_a_batch_may_be_no_longer_than_its_limit() {
    let event = |bytes: usize| {
        let start = r#"{"type":"t","url":"/","data":{"a":""#;
        format!(r#"{start}{}"}}}}"#, "x".repeat(bytes - start.len() - 3))
    };
    for (sizes, expected) in [
        (vec![200, 200, 200], vec![]),
        (vec![201, 200, 200], vec![0]),
        (vec![50, 201, 60], vec![1]),
        (vec![60, 200, 201], vec![2]),
        (vec![201, 201, 201], vec![0, 1, 2]),
    ] {
        let events: Vec<_> = sizes.iter().map(|bytes| event(*bytes)).collect();
        let body = format!(r#"{{"projectKey":"pk","events":[{}]}}"#, events.join(" , "));
        let decoded = decode(body.as_bytes(), &small()).unwrap();
        let rejected: Vec<_> = decoded.rejected.iter().map(|rejected| rejected.index).collect();
        assert_eq!(rejected, expected, "{sizes:?}");
        assert_eq!(decoded.events.len(), 3 - expected.len());
        for rejected in decoded.rejected {
            assert_eq!((rejected.code, rejected.field), ("event_too_large", ""));
            assert_eq!(
                rejected.message,
                format!("events[{}] has over 200 bytes of JSON; expected no more", rejected.index)
            );
        }
    }
}

#[test]
fn a_long_batch_of_short_events_stays_on_the_strict_pass() {
    let body = format!(
        r#"{{"projectKey":"pk","events":[{}]}}"#,
        vec![r#"{"type":"click","url":"/pricing","data":{"elementId":"plan-pro"}}"#; 1_000].join(",")
    );
    let limits = PayloadLimits { event: 1_000, ..PayloadLimits::default() };
    assert!(body.len() > 60 * limits.event);
    assert_eq!(strict(&body, &limits).unwrap().events.len(), 1_000);
}

#[test]
fn a_snippet_may_be_no_longer_than_an_event() {
    let body = |bytes: usize| {
        let start = r#"{"projectKey":"pk","type":"t","visitorId":"v","url":"app://x","x":""#;
        format!(r#"{start}{}"}}"#, "x".repeat(bytes - start.len() - 2))
    };
    assert_eq!(code_of(&body(200)), "");
    assert_eq!(code_of(&body(201)), "event_too_large");
    let message = "the event has over 200 bytes of JSON; expected no more";
    assert_eq!(decode(body(201).as_bytes(), &small()).unwrap().rejected[0].message, message);
}

#[test]
fn a_batch_holds_no_more_events_than_its_limit() {
    let body = |count: usize, event: &str| {
        format!(r#"{{"events":[{}],"projectKey":"pk"}}"#, vec![event; count].join(","))
    };
    let limits = PayloadLimits::default();
    for event in [r#"{"type":"t","url":"/"}"#, "0", "{}"] {
        assert!(decode(body(1_000, event).as_bytes(), &limits).is_ok());
        let error = decode(body(1_001, event).as_bytes(), &limits).unwrap_err();
        assert_eq!(
            (error.code(), error.field(), error.project_key()),
            ("too_many_events", Some("events"), Some("pk"))
        );
        assert_eq!(error.to_string(), "events holds over 1000 events; expected no more");
    }
    let more = PayloadLimits { events: 2_000, ..limits };
    let many = body(2_000, r#"{"type":"t","url":"/"}"#);
    assert_eq!(decode(many.as_bytes(), &more).unwrap().events.len(), 2_000);
}

#[test]
fn data_is_nested_no_deeper_than_its_limit() {
    for (data, code) in [
        (r#"{"a":{"b":{}}}"#, ""),
        (r#"{"a":{"b":{}},"c":[[],[],[]],"d":"[[[["}"#, ""),
        (r#"{"a":{"b":{"c":{}}}}"#, "too_deep"),
        (r#"{"a":[1,[2,[3]]]}"#, "too_deep"),
    ] {
        for body in both(&format!(r#""type":"t","url":"app://x","data":{data}"#)) {
            assert_eq!(code_of(&body), code, "{body}");
        }
    }
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    for (levels, rejected) in [(64, 0), (65, 1)] {
        let data = nested(levels);
        let body = format!(r#"{{"projectKey":"pk","events":[{{"type":"t","url":"/","data":{data}}}]}}"#);
        assert_eq!(decoded(&body).rejected.len(), rejected, "{levels}");
    }
}

/// On a thread with a stack that any recursion by level would overflow.
#[test]
fn a_hundred_thousand_levels_are_neither_recursed_into_nor_slow() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let array = deep("[", "]");
    let object = deep(r#"{"a":"#, "}");
    let check = move || {
        at_every_place(&array, r#"refused "" wrong_type -"#, r#"rejected 0 "events[0]" wrong_type"#);
        at_every_place(
            &object,
            r#"refused "projectKey" missing_field -"#,
            r#"rejected 0 "events[0].type" missing_field"#,
        );
        at_every_place(&"[".repeat(100_000), NOT_JSON, NOT_JSON);
    };
    let start = std::time::Instant::now();
    std::thread::Builder::new().stack_size(512 * 1024).spawn(check).unwrap().join().unwrap();
    assert!(start.elapsed().as_secs() < 20, "took {:?}", start.elapsed());
}

const NOT_JSON: &str = r#"refused "" invalid_json -"#;

fn at_every_place(value: &str, as_body: &str, as_event: &str) {
    let limits = PayloadLimits { event: usize::MAX, ..PayloadLimits::default() };
    let event = r#""type":"t","url":"app://x","visitorId":"v""#;
    let read = "event t app://x {}";
    for (body, expected) in [
        (value.to_owned(), as_body),
        (format!(r#"{{"projectKey":"pk","events":[{value}]}}"#), as_event),
        (format!(r#"{{"projectKey":"pk","x":{value},{event}}}"#), read),
        (format!(r#"{{"projectKey":"pk","events":[{{{event},"x":{value}}}]}}"#), read),
        (format!(r#"{{"projectKey":"pk","type":{value}}}"#), r#"rejected 0 "type" wrong_type"#),
        (format!(r#"{{"projectKey":"pk",{event},"data":{{"a":{value}}}}}"#), r#"rejected 0 "data" too_deep"#),
        (
            format!(r#"{{"projectKey":"pk","events":[{{{event},"data":{{"a":{value}}}}}]}}"#),
            r#"rejected 0 "events[0].data" too_deep"#,
        ),
    ] {
        let expected = if as_body == NOT_JSON { NOT_JSON } else { expected };
        assert_eq!(outcome(body.as_bytes(), &limits), expected, "{}", &body[..60]);
    }
}
