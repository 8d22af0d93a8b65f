//! Wire in, events or refusals out.

mod agreement;
mod limits;
mod refusals;
mod scan;

use std::fmt::Write as _;

use super::*;

const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// What becomes of a body, a line for each event, rejection or error.
fn outcome(body: &[u8], limits: &PayloadLimits) -> String {
    let mut lines = String::new();
    match decode(body, limits) {
        Ok(decoded) => {
            for event in &decoded.events {
                writeln!(lines, "event {} {} {}", event.kind, event.url, event.data).unwrap();
            }
            for rejected in &decoded.rejected {
                let path = rejected.path(decoded.batch);
                writeln!(lines, "rejected {} {path:?} {}", rejected.index, rejected.code).unwrap();
            }
        }
        Err(error) => {
            let (field, key) = (error.field().unwrap_or(""), error.project_key().unwrap_or("-"));
            writeln!(lines, "refused {field:?} {} {key}", error.code()).unwrap();
        }
    }
    lines.trim_end().to_owned()
}

fn decoded(body: &str) -> Decoded<'_> {
    decode(body.as_bytes(), &PayloadLimits::default()).unwrap()
}

fn text(body: &str) -> Cow<'_, str> {
    Cow::Borrowed(body)
}

#[test]
fn every_field_of_a_snippet_arrives() {
    let body = format!(
        r#"{{"type":"pageview","visitorId":"v_abc123","projectKey":"pk_live_xyz",
            "url":"https://example.com/pricing","referrer":"https://google.com","userId":"lead_456",
            "timestamp":"2025-01-15T10:30:00.5Z","sentAt":"2025-01-15 10:30:01","eventId":"{ID}",
            "data":{{ "b" : [1, 2.50] }},"unknown":[{{}}],"source":"sdk"}}"#
    );
    let expected = Decoded {
        project_key: text("pk_live_xyz"),
        batch: false,
        source: Source::Snippet,
        sent_at: Some(Timestamp::from_millis(1_736_937_001_000)),
        events: vec![Event {
            kind: text("pageview"),
            event_id: Some(ID.parse().unwrap()),
            visitor_id: text("v_abc123"),
            user_id: text("lead_456"),
            url: text("https://example.com/pricing"),
            referrer: text("https://google.com"),
            data: r#"{ "b" : [1, 2.50] }"#,
            timestamp: Some(Timestamp::from_millis(1_736_937_000_500)),
        }],
        rejected: vec![],
    };
    assert_eq!(decoded(&body), expected);
    assert_eq!(strict(&body, &PayloadLimits::default()), Some(expected));
}

#[test]
fn every_field_of_a_batch_arrives() {
    let body = format!(
        r#"{{"events":[{{"type":"click","url":"/a","eventId":"{ID}","visitorId":"v2","userId":"u2",
            "referrer":"r2","data":{{"x":1}},"timestamp":"2025-01-15T10:30:00Z"}},{{"type":"t","url":"/b"}}],
            "projectKey":"pk","userId":"u1","visitorId":"v1","referrer":"r1","source":"snippet",
            "sentAt":"2025-01-15T10:30:01Z"}}"#
    );
    let plain = Event {
        kind: text("t"),
        event_id: None,
        visitor_id: text("v1"),
        user_id: text("u1"),
        url: text("/b"),
        referrer: text("r1"),
        data: "{}",
        timestamp: None,
    };
    let own = Event {
        kind: text("click"),
        event_id: Some(ID.parse().unwrap()),
        visitor_id: text("v2"),
        user_id: text("u2"),
        url: text("/a"),
        referrer: text("r2"),
        data: r#"{"x":1}"#,
        timestamp: Some(Timestamp::from_millis(1_736_937_000_000)),
    };
    let expected = Decoded {
        project_key: text("pk"),
        batch: true,
        source: Source::Snippet,
        sent_at: Some(Timestamp::from_millis(1_736_937_001_000)),
        events: vec![own, plain],
        rejected: vec![],
    };
    assert_eq!(decoded(&body), expected);
    assert_eq!(strict(&body, &PayloadLimits::default()), Some(expected));
}

#[test]
fn the_contracts_own_documents_are_read_by_the_strict_pass() {
    let snippet = r#"{"type":"pageview",
        "visitorId":"v_abc123","projectKey":"pk_live_xyz","url":"https://example.com/pricing","referrer":"https://google.com"}"#;
    let batch = r#"{"projectKey":"pk_live_xyz",
        "userId":"lead_456","events":[{"type":"pageview","url":"/pricing","timestamp":"2025-01-15T10:30:00Z"},
        {"type":"click","url":"/pricing","data":{"elementId":"plan-pro"}},
        {"type":"form_submit","url":"/signup","data":{"plan":"pro"}}]}"#;
    for (body, received, source) in [(snippet, 1, Source::Snippet), (batch, 3, Source::Sdk)] {
        let decoded = strict(body, &PayloadLimits::default()).unwrap();
        assert_eq!((decoded.events.len(), decoded.source), (received, source));
        let borrowed =
            |event: &Event<'_>| matches!((&event.kind, &event.url), (Cow::Borrowed(_), Cow::Borrowed(_)));
        assert!(decoded.events.iter().all(borrowed), "a string without escapes is not copied");
    }
}

#[test]
fn null_is_the_same_as_absent() {
    let snippet = r#"{"type":"t","visitorId":"v","projectKey":"pk","url":"https://x.example","events":null,
        "referrer":null,"userId":null,"timestamp":null,"sentAt":null,"eventId":null,"data":null,"source":null}"#;
    let bare = r#"{"type":"t","visitorId":"v","projectKey":"pk","url":"https://x.example"}"#;
    assert_eq!(decoded(snippet), decoded(bare));

    let batch = r#"{"projectKey":"pk","userId":"u","visitorId":null,"referrer":null,"sentAt":null,"source":null,
        "events":[{"type":"t","url":"/","userId":null,"visitorId":null,"referrer":null,"data":null,"eventId":null,
        "timestamp":null}]}"#;
    let bare = r#"{"projectKey":"pk","userId":"u","events":[{"type":"t","url":"/"}]}"#;
    assert_eq!(decoded(batch), decoded(bare));
    assert_eq!(decoded(batch).events[0].user_id, "u");
}

#[test]
fn with_events_a_body_is_a_batch_whatever_else_it_holds() {
    let body = r#"{"type":5,"url":[],"url":"x","data":1,"data":2,"timestamp":false,"eventId":"no","projectKey":"pk",
        "events":[{"type":"t","url":"/","projectKey":1,"projectKey":2,"sentAt":3,"source":4,"events":5}]}"#;
    assert_eq!(outcome(body.as_bytes(), &PayloadLimits::default()), "event t / {}");
}

#[test]
fn an_events_own_empty_text_wins_over_the_batchs() {
    let body = r#"{"projectKey":"pk","userId":"u","events":[{"type":"t","url":"/","userId":""}]}"#;
    assert_eq!(decoded(body).events[0].user_id, "");
}

#[test]
fn escapes_are_undone_in_names_and_strings_but_not_in_data() {
    let body = r#"{"\u0074ype":"a\u0000\ud83d\ude00\n","visitorId":"v","projectKey":"p\u006b",
        "url":"https:\/\/x.example","d\u0061ta":{"\u0061":"\u0062"}}"#;
    let decoded = decoded(body);
    assert_eq!(decoded.project_key, "pk");
    assert_eq!(decoded.events[0].kind, "a\0😀\n");
    assert_eq!(decoded.events[0].url, "https://x.example");
    assert_eq!(decoded.events[0].data, r#"{"\u0061":"\u0062"}"#);
    assert_eq!(strict(body, &PayloadLimits::default()), Some(decoded));
}

#[test]
fn odd_data_is_kept_as_sent() {
    for data in [
        "{}",
        "{ }",
        r#"{"a":1e400,"b":-0,"c":123456789012345678901234567890,"d":0.10000000000000000000001}"#,
        r#"{"a":"\ud800","\udfff":1}"#,
        r#"{"a":1,"a":2,"a":null}"#,
        "{\t\"a\" :\r\n[ ] }",
        r#"{"a":"\u0000","é":"日本"}"#,
    ] {
        let body = format!(r#"{{"projectKey":"pk","events":[{{"type":"t","url":"/","data": {data} }}]}}"#);
        assert_eq!(decoded(&body).events[0].data, data);
        assert!(strict(&body, &PayloadLimits::default()).is_some(), "{data}");
    }
}

#[test]
fn an_unknown_field_may_hold_anything() {
    for unknown in [
        r#""x":1e400"#,
        r#""x":"\ud800""#,
        r#""\ud800":1,"\ud800":2"#,
        r#""x":1,"x":2"#,
        r#""":null"#,
        r#""Type":5,"visitor_id":6"#,
    ] {
        let event = r#""type":"t","url":"https://x.example","visitorId":"v""#;
        let batch = format!(r#"{{{unknown},"projectKey":"pk","events":[{{{event},{unknown}}}]}}"#);
        let snippet = format!(r#"{{"projectKey":"pk",{unknown},{event}}}"#);
        for body in [batch, snippet] {
            assert_eq!(
                outcome(body.as_bytes(), &PayloadLimits::default()),
                "event t https://x.example {}",
                "{unknown}"
            );
        }
    }
}

#[test]
fn an_event_id_is_a_uuid_in_any_spelling() {
    for id in
        [ID.to_owned(), ID.to_uppercase(), ID.replace('-', ""), format!("{{{ID}}}"), format!("urn:uuid:{ID}")]
    {
        let body = format!(r#"{{"projectKey":"pk","events":[{{"type":"t","url":"/","eventId":"{id}"}}]}}"#);
        assert_eq!(decoded(&body).events[0].event_id, Some(ID.parse().unwrap()), "{id}");
    }
}
