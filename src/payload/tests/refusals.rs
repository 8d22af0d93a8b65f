//! Everything that is refused, with its code and place.

use super::*;

/// Body, and what becomes of it.
const BODIES: &[(&str, &str)] = &[
    // No body that could be read.
    ("", r#"refused "" invalid_json -"#),
    (" \r\n\t", r#"refused "" invalid_json -"#),
    ("hello", r#"refused "" invalid_json -"#),
    ("{", r#"refused "" invalid_json -"#),
    (r#"{"projectKey":"pk","events":[{"type":"t","url":"/"}]"#, r#"refused "" invalid_json -"#),
    (r#"{"projectKey":"pk","events":[{"type":"t","url":"/"}]}x"#, r#"refused "" invalid_json -"#),
    (r#"{"projectKey":"pk",}"#, r#"refused "" invalid_json -"#),
    (r#"{"projectKey":"pk","x":01}"#, r#"refused "" invalid_json -"#),
    (r#"{"projectKey":"pk","x":"\x"}"#, r#"refused "" invalid_json -"#),
    ("{\"projectKey\":\"p\nk\"}", r#"refused "" invalid_json -"#),
    ("[]", r#"refused "" wrong_type -"#),
    (r#"["pageview","https://x.example","v",null,null,null,null,null,"pk"]"#, r#"refused "" wrong_type -"#),
    (" null", r#"refused "" wrong_type -"#),
    ("5", r#"refused "" wrong_type -"#),
    (r#""projectKey""#, r#"refused "" wrong_type -"#),
    // The project key.
    ("{}", r#"refused "projectKey" missing_field -"#),
    (r#"{"projectKey":null,"events":5}"#, r#"refused "projectKey" missing_field -"#),
    (r#"{"projectKey":"","events":[]}"#, r#"refused "projectKey" empty_field -"#),
    (r#"{"projectKey":5}"#, r#"refused "projectKey" wrong_type -"#),
    (r#"{"projectKey":{"projectKey":"pk"}}"#, r#"refused "projectKey" wrong_type -"#),
    (r#"{"projectKey":"pk","projectKey":"pk"}"#, r#"refused "projectKey" duplicate_field -"#),
    (r#"{"projectKey":null,"projectKey":null}"#, r#"refused "projectKey" duplicate_field -"#),
    (r#"{"projectKey":"pk","project\u004bey":"pk"}"#, r#"refused "projectKey" duplicate_field -"#),
    (r#"{"projectKey":"\udc00"}"#, r#"refused "projectKey" invalid_text -"#),
    // The list of events.
    (r#"{"projectKey":"pk","events":[]}"#, r#"refused "events" no_events pk"#),
    (r#"{"projectKey":"pk","events":{}}"#, r#"refused "events" wrong_type pk"#),
    (r#"{"projectKey":"pk","events":"[]"}"#, r#"refused "events" wrong_type pk"#),
    (r#"{"projectKey":"pk","events":false}"#, r#"refused "events" wrong_type pk"#),
    (r#"{"projectKey":"pk","events":[],"events":[]}"#, r#"refused "events" duplicate_field pk"#),
    (r#"{"events":null,"projectKey":"pk","events":null}"#, r#"refused "events" duplicate_field pk"#),
];

/// A field of a batch, and the code it is refused with.
const SHARED: &[(&str, &str, &str)] = &[
    (r#""userId":5"#, "userId", "wrong_type"),
    (r#""userId":"u","userId":"u""#, "userId", "duplicate_field"),
    (r#""userId":"\ud800""#, "userId", "invalid_text"),
    (r#""visitorId":[]"#, "visitorId", "wrong_type"),
    (r#""visitorId":null,"visitorId":"v""#, "visitorId", "duplicate_field"),
    (r#""visitorId":"a\ud800b""#, "visitorId", "invalid_text"),
    (r#""referrer":{}"#, "referrer", "wrong_type"),
    (r#""referrer":null,"referrer":null"#, "referrer", "duplicate_field"),
    (r#""sentAt":1736937000"#, "sentAt", "wrong_type"),
    (r#""sentAt":"yesterday""#, "sentAt", "invalid_timestamp"),
    (r#""sentAt":"""#, "sentAt", "invalid_timestamp"),
    (r#""sentAt":null,"sentAt":null"#, "sentAt", "duplicate_field"),
    (r#""source":true"#, "source", "wrong_type"),
    (r#""source":"api""#, "source", "invalid_source"),
    (r#""source":"""#, "source", "invalid_source"),
    (r#""source":"sdk","source":"sdk""#, "source", "duplicate_field"),
];

/// An event's fields, instead of or besides `BASE`; the field that is wrong; and its code.
const EVENTS: &[(&str, &str, &str)] = &[
    (r#""url":"https://x.example","visitorId":"v""#, "type", "missing_field"),
    (r#""type":null,"url":"https://x.example","visitorId":"v""#, "type", "missing_field"),
    (r#""type":"","url":"https://x.example","visitorId":"v""#, "type", "empty_field"),
    (r#""type":5,"url":"https://x.example","visitorId":"v""#, "type", "wrong_type"),
    (r#""type":1e400,"url":"https://x.example","visitorId":"v""#, "type", "wrong_type"),
    (r#""type":"a","type":"a","url":"https://x.example","visitorId":"v""#, "type", "duplicate_field"),
    (r#""type":"\ud800","url":"https://x.example","visitorId":"v""#, "type", "invalid_text"),
    (r#""type":"t","visitorId":"v""#, "url", "missing_field"),
    (r#""type":"t","visitorId":"v","url":"""#, "url", "empty_field"),
    (r#""type":"t","visitorId":"v","url":["/"]"#, "url", "wrong_type"),
    (r#""type":"t","visitorId":"v","url":"/","url":null"#, "url", "duplicate_field"),
    (r#""type":"t","visitorId":"v","url":"\udfff""#, "url", "invalid_text"),
    (r#"BASE,"visitorId":true"#, "visitorId", "wrong_type"),
    (r#"BASE,"visitorId":"v","visitorId":"v""#, "visitorId", "duplicate_field"),
    (r#"BASE,"visitorId":"\ud800\ud800""#, "visitorId", "invalid_text"),
    (r#"BASE,"visitorId":"v","userId":-1"#, "userId", "wrong_type"),
    (r#"BASE,"visitorId":"v","userId":null,"userId":null"#, "userId", "duplicate_field"),
    (r#"BASE,"visitorId":"v","userId":"\ud800""#, "userId", "invalid_text"),
    (r#"BASE,"visitorId":"v","referrer":[]"#, "referrer", "wrong_type"),
    (r#"BASE,"visitorId":"v","referrer":"r","referrer":"r""#, "referrer", "duplicate_field"),
    (r#"BASE,"visitorId":"v","referrer":"\ud800""#, "referrer", "invalid_text"),
    (r#"BASE,"visitorId":"v","timestamp":1736937000"#, "timestamp", "wrong_type"),
    (r#"BASE,"visitorId":"v","timestamp":"2025-01-15""#, "timestamp", "invalid_timestamp"),
    (r#"BASE,"visitorId":"v","timestamp":"""#, "timestamp", "invalid_timestamp"),
    (r#"BASE,"visitorId":"v","timestamp":"1899-12-31T23:59:59Z""#, "timestamp", "invalid_timestamp"),
    (r#"BASE,"visitorId":"v","timestamp":"2300-01-01T00:00:00Z""#, "timestamp", "invalid_timestamp"),
    (r#"BASE,"visitorId":"v","timestamp":null,"timestamp":null"#, "timestamp", "duplicate_field"),
    (r#"BASE,"visitorId":"v","eventId":7"#, "eventId", "wrong_type"),
    (r#"BASE,"visitorId":"v","eventId":"""#, "eventId", "invalid_event_id"),
    (r#"BASE,"visitorId":"v","eventId":"67e55044-10b1-426f-9247""#, "eventId", "invalid_event_id"),
    (
        r#"BASE,"visitorId":"v","eventId":"00000000-0000-0000-0000-000000000000""#,
        "eventId",
        "invalid_event_id",
    ),
    (r#"BASE,"visitorId":"v","eventId":null,"eventId":null"#, "eventId", "duplicate_field"),
    (r#"BASE,"visitorId":"v","data":"{}""#, "data", "wrong_type"),
    (r#"BASE,"visitorId":"v","data":[]"#, "data", "wrong_type"),
    (r#"BASE,"visitorId":"v","data":1e400"#, "data", "wrong_type"),
    (r#"BASE,"visitorId":"v","data":{},"data":{}"#, "data", "duplicate_field"),
    (r#"BASE,"visitorId":"v","data":null,"data":null"#, "data", "duplicate_field"),
];

/// What only a snippet is refused for.
const SNIPPETS: &[(&str, &str, &str)] = &[
    ("BASE", "visitorId", "missing_field"),
    (r#"BASE,"visitorId":"""#, "visitorId", "empty_field"),
    (r#""type":"t","visitorId":"v","url":"/pricing""#, "url", "invalid_url"),
    (r#""type":"t","visitorId":"v","url":"example.com""#, "url", "invalid_url"),
    (r#"BASE,"visitorId":"v","sentAt":"soon""#, "sentAt", "invalid_timestamp"),
    (r#"BASE,"visitorId":"v","sentAt":5"#, "sentAt", "wrong_type"),
    (r#"BASE,"visitorId":"v","sentAt":null,"sentAt":null"#, "sentAt", "duplicate_field"),
];

const BASE: &str = r#""type":"t","url":"https://x.example""#;
const GOOD: &str = r#"{"type":"t","url":"/"}"#;

fn default_outcome(body: &str) -> String {
    outcome(body.as_bytes(), &PayloadLimits::default())
}

#[test]
fn a_body_that_cannot_be_used_is_refused_whole() {
    for (body, expected) in BODIES {
        assert_eq!(default_outcome(body), *expected, "{body}");
    }
}

#[test]
fn a_body_that_is_not_utf_8_is_refused_whole() {
    let body =
        b"{\"projectKey\":\"pk\",\"events\":[{\"type\":\"t\",\"url\":\"/\",\"data\":{\"a\":\"\xff\"}}]}";
    assert_eq!(outcome(body, &PayloadLimits::default()), r#"refused "" invalid_json -"#);
    let error = decode(body, &PayloadLimits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the body is not JSON: it is not UTF-8 at byte 64; expected one JSON object"
    );
}

#[test]
fn what_a_batch_shares_is_refused_for_the_whole_batch() {
    for (fields, field, code) in SHARED {
        let body = format!(r#"{{"projectKey":"pk","events":[{GOOD}],{fields}}}"#);
        assert_eq!(default_outcome(&body), format!("refused {field:?} {code} pk"), "{body}");
    }
}

#[test]
fn a_wrong_event_of_a_batch_is_rejected_alone() {
    for (fields, field, code) in EVENTS {
        let event = format!("{{{}}}", fields.replace("BASE", BASE));
        let body = format!(r#"{{"projectKey":"pk","events":[{GOOD}, {event} ,{GOOD}]}}"#);
        let expected = format!("event t / {{}}\nevent t / {{}}\nrejected 1 \"events[1].{field}\" {code}");
        assert_eq!(default_outcome(&body), expected, "{body}");
        let rejected = &decoded(&body).rejected[0];
        assert_eq!((rejected.field, rejected.event), (*field, event.as_bytes()));
    }
}

#[test]
fn a_value_that_is_no_object_is_rejected_as_an_event() {
    for (event, found) in [
        ("null", "null"),
        ("5", "a number"),
        ("-1", "a number"),
        (r#""t""#, "a string"),
        ("true", "a boolean"),
        (r#"["t","/",null,null,null,null,null,null]"#, "an array"),
    ] {
        let body = format!(r#"{{"projectKey":"pk","events":[{GOOD},{event}]}}"#);
        assert_eq!(default_outcome(&body), "event t / {}\nrejected 1 \"events[1]\" wrong_type", "{body}");
        let message = format!("events[1] is {found}; expected an object");
        assert_eq!(decoded(&body).rejected[0].message, message);
    }
}

#[test]
fn a_wrong_snippet_is_rejected_as_the_only_event_of_its_project() {
    for (fields, field, code) in EVENTS.iter().chain(SNIPPETS) {
        let body = format!(r#"{{"projectKey":"pk",{}}}"#, fields.replace("BASE", BASE));
        assert_eq!(default_outcome(&body), format!("rejected 0 {field:?} {code}"), "{body}");
        let decoded = decoded(&body);
        assert_eq!((decoded.batch, decoded.source), (false, Source::Snippet));
        assert_eq!((&*decoded.project_key, decoded.rejected[0].event), ("pk", body.as_bytes()));
    }
}

#[test]
fn messages_say_what_where_and_what_was_expected() {
    for (body, message) in [
        ("", "the body is not JSON: it is empty; expected one JSON object"),
        (
            "{\"projectKey\":\n\"pk",
            "the body is not JSON: EOF while parsing a string at line 2 column 3; expected one JSON object",
        ),
        ("[]", "the body is an array; expected an object"),
        ("{}", "projectKey is missing; expected a string that is not empty"),
        (r#"{"projectKey":"pk","events":5}"#, "events is a number; expected an array"),
        (r#"{"projectKey":"pk","events":[]}"#, "events holds no event; expected at least one"),
        (r#"{"projectKey":"pk","events":[{}],"sentAt":5}"#, "sentAt is a number; expected a string"),
        (
            r#"{"projectKey":"pk","events":[{}],"source":"x"}"#,
            r#"source is no known source; expected "snippet" or "sdk""#,
        ),
    ] {
        let error = decode(body.as_bytes(), &PayloadLimits::default()).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.retry()), (message, crate::retry::Retry::Never));
    }
    for (event, message) in [
        ("", "events[1].type is missing; expected a string that is not empty"),
        (r#""type":"""#, "events[1].type is empty; expected a string that is not empty"),
        (r#""type":"t","url":"/","url":"/""#, "events[1].url is given twice; expected it once"),
        (
            r#""type":"t","url":"/","eventId":"7""#,
            "events[1].eventId is not a UUID; expected one such as 67e55044-10b1-426f-9247-bb680e5fe0c8, not all zeros",
        ),
        (
            r#""type":"t","url":"/","timestamp":"7""#,
            "events[1].timestamp is not a moment between 1900 and 2299; expected RFC 3339 such as 2025-01-15T10:30:00Z",
        ),
        (r#""type":"\ud800""#, "events[1].type escapes half of a surrogate pair; expected Unicode text"),
    ] {
        let body = format!(r#"{{"projectKey":"pk","events":[{GOOD},{{{event}}}]}}"#);
        assert_eq!(decoded(&body).rejected[0].message, message);
    }
    let snippet = r#"{"projectKey":"pk","type":"t","visitorId":"v","url":"/"}"#;
    assert_eq!(
        decoded(snippet).rejected[0].message,
        "url is not absolute; expected a full URL such as https://example.com/pricing"
    );
}

#[test]
fn no_message_repeats_what_was_sent() {
    let secret = "s3cr3t";
    let strings =
        ["projectKey", "type", "url", "visitorId", "userId", "referrer", "timestamp", "eventId", "sentAt"];
    for name in strings.iter().chain(&["source", "data", "events", "s3cr3t"]) {
        for value in
            [r#""s3cr3t""#, r#"{"s3cr3t":1}"#, r#"["s3cr3t"]"#, r#""s3cr3t\ud800""#, "s3cr3t", "\"s3cr3t"]
        {
            let batch = format!(r#"{{"projectKey":"pk","{name}":{value},"events":[{{"{name}":{value}}}]}}"#);
            let snippet = format!(r#"{{"projectKey":"pk","type":"t","visitorId":"v","{name}":{value}}}"#);
            for body in [batch, snippet, value.to_owned()] {
                let message = match decode(body.as_bytes(), &PayloadLimits::default()) {
                    Err(error) => error.to_string(),
                    Ok(decoded) => {
                        decoded.rejected.iter().map(|rejected| rejected.message.as_str()).collect()
                    }
                };
                assert!(!message.is_empty() && !message.contains(secret), "{body}: {message}");
            }
        }
    }
}
