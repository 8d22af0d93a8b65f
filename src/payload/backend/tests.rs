use proptest::prelude::*;

use super::*;
use crate::event::Timestamp;

fn limits() -> PayloadLimits {
    PayloadLimits {
        event: 300,
        events: 30,
        type_chars: 8,
        url: 40,
        id: 10,
        depth: 4,
        ..PayloadLimits::default()
    }
}

fn read(body: &str) -> Result<Decoded<'_>, String> {
    decode(body.as_bytes(), &limits()).map_err(|error| error.to_string())
}

#[track_caller]
fn refusal(body: &str) -> String {
    read(body).expect_err(body)
}

/// The only event of an object, with these members.
#[track_caller]
fn only(members: &str) -> BackendEvent<'static> {
    let body: &'static str = format!(r#"{{"source":"backend","events":[{{"type":"t",{members}}}]}}"#).leak();
    read(body).unwrap().events.remove(0)
}

#[test]
fn both_shapes_are_read_into_the_same_events() {
    let object = r#" {"source":"backend","source_id":"7","unknown":1e999,"events":[
        {"type":"purchase","data":{ "a" : 1 },"timestamp":"2025-01-15T10:30:00Z","metadata":{"b":[]},
         "id":"67E55044-10b1-426f-9247-bb680e5fe0c8"},
        {"data":{},"type":"\u0074","metadata":null,"timestamp":null,"id":null,"x":{},"x":{}}]}"#;
    let array = r#"[{"source":"backend","source_id":"7","event_type":"purchase","data":{ "a" : 1 },
        "timestamp":"2025-01-15T10:30:00Z","metadata":{"b":[]},"id":"67E55044-10b1-426f-9247-bb680e5fe0c8"},
        {"source":"backend","source_id":"7","event_type":"t","type":5,"data":{}}]"#;
    let (object, array) = (read(object).unwrap(), read(array).unwrap());
    assert_eq!((object.shape, array.shape), (Shape::Object, Shape::Array));
    assert_eq!(object.events, array.events);
    let event = Event {
        kind: "purchase".into(),
        event_id: Some(uuid::uuid!("67e55044-10b1-426f-9247-bb680e5fe0c8")),
        visitor_id: "".into(),
        user_id: "".into(),
        url: "".into(),
        referrer: "".into(),
        data: r#"{ "a" : 1 }"#,
        timestamp: Some(Timestamp::from_millis(1_736_937_000_000)),
    };
    let first = BackendEvent {
        event,
        source: "backend".into(),
        source_id: "7".into(),
        metadata: r#"{"b":[]}"#,
        user_agent: "".into(),
    };
    assert_eq!(object.events[0], first);
    let second = &object.events[1];
    assert_eq!((&*second.event.kind, second.event.data, second.metadata), ("t", "{}", ""));
    assert_eq!((second.event.event_id, second.event.timestamp), (None, None));
}

#[test]
fn texts_within_data_fill_the_columns_of_their_names() {
    // data, and then user_id, url, referrer and user_agent.
    let cases = [
        (r#"{"user_id":"u","url":"/p","referrer":"/r","user_agent":"a"}"#, "u /p /r a"),
        (r#"{"user\u005fid":"\u0075","page_url":"/p"}"#, "u /p  "),
        (r#"{"url":"/p","page_url":"/q"}"#, " /p  "),
        (r#"{"page_url":"/q","url":"/p"}"#, " /p  "),
        (r#"{"url":"","page_url":"/q"}"#, " /q  "),
        (r#"{"url":5,"page_url":"/q"}"#, " /q  "),
        (r#"{"url":null,"page_url":"/q"}"#, " /q  "),
        (r#"{"user_id":7,"url":{},"referrer":[],"user_agent":true}"#, "   "),
        (r#"{"user_id":null,"url":null,"referrer":null,"user_agent":null}"#, "   "),
        (r#"{"user_id":"\ud800","url":"\ud800","page_url":"\udc00"}"#, "   "),
        (r#"{"user_id":"1234567890"}"#, "1234567890   "),
        (r#"{"user_id":"12345678901"}"#, "   "),
        (r#"{"url":"/23456789012345678901234567890123456789012","page_url":"/q"}"#, " /q  "),
        (r#"{"user_id":"first","user_id":"second"}"#, "first   "),
        (r#"{"user_id":7,"user_id":"second"}"#, "   "),
        (r#"{"userId":"u","a":{"user_id":"u"},"USER_ID":"u"}"#, "   "),
    ];
    for (data, expected) in cases {
        let BackendEvent { event, user_agent, .. } = only(&format!(r#""data":{data}"#));
        assert_eq!(event.data, data);
        let columns = format!("{} {} {} {user_agent}", event.user_id, event.url, event.referrer);
        assert_eq!(columns, expected, "{data}");
    }
}

const NEITHER: &str = "expected an object with source and events, or an array of events";
const TEXT: &str = "expected a string that is not empty";

/// A body, in which `ONE` stands for an event and `MANY` for too many of them, and what is said of it, in which
/// `NEITHER` and `TEXT` stand for what was expected.
const BODIES: &[(&str, &str)] = &[
    ("", "the body is not JSON: it is empty; NEITHER"),
    (" \n", "the body is not JSON: it is empty; NEITHER"),
    ("5", "the body is a number; NEITHER"),
    ("null", "the body is null; NEITHER"),
    (r#""x""#, "the body is a string; NEITHER"),
    ("{}", "source is missing; TEXT"),
    (r#"{"events":[ONE]}"#, "source is missing; TEXT"),
    (r#"{"source":null,"events":[ONE]}"#, "source is missing; TEXT"),
    (r#"{"source":"","events":[ONE]}"#, "source is empty; TEXT"),
    (r#"{"source":7,"events":[ONE]}"#, "source is a number; expected a string"),
    (r#"{"source":"123456789","events":[ONE]}"#, "source has over 8 characters; expected no more"),
    (
        r#"{"source":"\ud800","events":[ONE]}"#,
        "source escapes half of a surrogate pair; expected Unicode text",
    ),
    (r#"{"source":"s","source":"s","events":[ONE]}"#, "source is given twice; expected it once"),
    (r#"{"source":"s","source_id":7,"events":[ONE]}"#, "source_id is a number; expected a string"),
    (
        r#"{"source":"s","source_id":"12345678901","events":[ONE]}"#,
        "source_id has over 10 bytes; expected no more",
    ),
    (r#"{"source":"s"}"#, "events is missing; expected an array of events"),
    (r#"{"source":"s","events":null}"#, "events is missing; expected an array of events"),
    (r#"{"source":"s","events":{}}"#, "events is an object; expected an array"),
    (r#"{"source":"s","events":[]}"#, "events holds no event; expected at least one"),
    (r#"{"source":"s","events":[ONE],"events":[ONE]}"#, "events is given twice; expected it once"),
    (r#"{"source":"s","events":[MANY]}"#, "events holds over 30 events; expected no more"),
    ("[]", "the body holds no event; expected at least one"),
    ("[MANY]", "the body holds over 30 events; expected no more"),
];

#[test]
fn a_body_that_is_of_neither_shape_is_refused_with_what_was_expected() {
    let one = r#"{"type":"t","data":{}}"#;
    for (body, said) in BODIES {
        let body = body.replace("MANY", &[one; 31].join(",")).replace("ONE", one);
        let expected = said.replace("NEITHER", NEITHER).replace("TEXT", TEXT);
        assert_eq!(refusal(&body), expected, "{body}");
    }
    for body in ["{", "[{]", "{'source':1}", "[1] x", "{\"source\":\"\u{0}\"}", "source=backend&events="] {
        let refusal = refusal(body);
        assert!(refusal.starts_with("the body is not JSON: "), "{body}: {refusal}");
        assert!(refusal.ends_with(NEITHER), "{body}");
    }
    let not_text = decode(b"[{\"source\":\"\xff\"}]", &limits()).unwrap_err().to_string();
    assert!(not_text.starts_with("the body is not JSON: it is not UTF-8 at byte 12;"), "{not_text}");
}

/// An event with a fault, as an object's and as an array's, and what is said of it after its place.
const FAULTS: &[(&str, &str)] = &[
    (r#""data":{}"#, ".TYPE is missing; expected a string that is not empty"),
    (r#""TYPE":null,"data":{}"#, ".TYPE is missing; expected a string that is not empty"),
    (r#""TYPE":"","data":{}"#, ".TYPE is empty; expected a string that is not empty"),
    (r#""TYPE":1,"data":{}"#, ".TYPE is a number; expected a string"),
    (r#""TYPE":"123456789","data":{}"#, ".TYPE has over 8 characters; expected no more"),
    (r#""TYPE":"\udc00","data":{}"#, ".TYPE escapes half of a surrogate pair; expected Unicode text"),
    (r#""TYPE":"t","TYPE":"t","data":{}"#, ".TYPE is given twice; expected it once"),
    (r#""TYPE":"t""#, ".data is missing; expected an object"),
    (r#""TYPE":"t","data":null"#, ".data is missing; expected an object"),
    (r#""TYPE":"t","data":"{}""#, ".data is a string; expected an object"),
    (r#""TYPE":"t","data":[]"#, ".data is an array; expected an object"),
    (r#""TYPE":"t","data":{},"data":{}"#, ".data is given twice; expected it once"),
    (r#""TYPE":"t","data":{"a":[{"b":[[]]}]}"#, ".data is nested deeper than 4 levels; expected no more"),
    (
        r#""TYPE":"t","data":{},"timestamp":"yesterday""#,
        ".timestamp is not a moment between 1900 and 2299; expected RFC 3339 such as 2025-01-15T10:30:00Z",
    ),
    (r#""TYPE":"t","data":{},"timestamp":1736937000"#, ".timestamp is a number; expected a string"),
    (
        r#""TYPE":"t","data":{},"timestamp":null,"timestamp":null"#,
        ".timestamp is given twice; expected it once",
    ),
    (r#""TYPE":"t","data":{},"metadata":"m""#, ".metadata is a string; expected an object"),
    (r#""TYPE":"t","data":{},"metadata":[{}]"#, ".metadata is an array; expected an object"),
    (
        r#""TYPE":"t","data":{},"metadata":{"a":[{"b":[[]]}]}"#,
        ".metadata is nested deeper than 4 levels; expected no more",
    ),
    (r#""TYPE":"t","data":{},"metadata":{},"metadata":{}"#, ".metadata is given twice; expected it once"),
    (
        r#""TYPE":"t","data":{},"id":"7""#,
        ".id is not a UUID; expected one such as 67e55044-10b1-426f-9247-bb680e5fe0c8, not all zeros",
    ),
    (
        r#""TYPE":"t","data":{},"id":"00000000-0000-0000-0000-000000000000""#,
        ".id is not a UUID; expected one such as 67e55044-10b1-426f-9247-bb680e5fe0c8, not all zeros",
    ),
    (r#""TYPE":"t","data":{},"id":7"#, ".id is a number; expected a string"),
];

#[test]
fn every_fault_of_an_event_is_named_with_its_place_and_what_was_expected() {
    for (members, said) in FAULTS {
        let event = format!("{{{}}}", members.replace("TYPE", "type"));
        let said_of_object = said.replace("TYPE", "type");
        let alone = format!(r#"{{"source":"s","events":[{event}]}}"#);
        assert_eq!(refusal(&alone), format!("events[0]{said_of_object}"), "{alone}");
        let good = r#"{"type":"t","data":{}}"#;
        let among = format!(r#"{{"source":"s","events":[{good},{event},{good}]}}"#);
        let expected =
            format!("nothing is stored, since 1 of 3 events is not valid: events[1]{said_of_object}");
        assert_eq!(refusal(&among), expected, "{among}");

        let in_array = format!(r#"[{{"source":"s",{}}}]"#, members.replace("TYPE", "event_type"));
        assert_eq!(refusal(&in_array), format!("[0]{}", said.replace("TYPE", "event_type")), "{in_array}");
    }
    let sources = [
        (r#"[{"event_type":"t","data":{}}]"#, "[0].source is missing; expected a string that is not empty"),
        (
            r#"[{"source":"","event_type":"t","data":{}}]"#,
            "[0].source is empty; expected a string that is not empty",
        ),
        (
            r#"[{"source":"s","type":"t","data":{}}]"#,
            "[0].event_type is missing; expected a string that is not empty",
        ),
        ("[null]", "[0] is null; expected an object"),
        (r#"[[{"source":"s","event_type":"t","data":{}}]]"#, "[0] is an array; expected an object"),
        (r#"{"source":"s","events":[5]}"#, "events[0] is a number; expected an object"),
        (
            r#"{"source":"s","events":[{"event_type":"t","data":{}}]}"#,
            "events[0].type is missing; expected a string that is not empty",
        ),
    ];
    for (body, expected) in sources {
        assert_eq!(refusal(body), expected, "{body}");
    }
}

#[test]
fn every_bad_event_is_named_up_to_20() {
    let body = r#"[{"source":"s","event_type":"t"},{"source":"s","event_type":"t","data":{}},7]"#;
    let error = decode(body.as_bytes(), &limits()).unwrap_err();
    let expected = "nothing is stored, since 2 of 3 events are not valid: [0].data is missing; expected an object \
                    | [2] is a number; expected an object";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.codes().collect::<Vec<_>>(), ["missing_field", "wrong_type"]);

    for (bad, named, more) in
        [(20, 20, None), (21, 20, Some(" | and 1 more")), (30, 20, Some(" | and 10 more"))]
    {
        let refusal = refusal(&format!("[{}]", vec!["7"; bad].join(",")));
        assert_eq!(refusal.matches("is a number").count(), named, "{refusal}");
        assert_eq!(refusal.ends_with(" more"), more.is_some(), "{refusal}");
        assert!(refusal.ends_with(more.unwrap_or_default()), "{refusal}");
    }
}

#[test]
fn an_event_is_held_to_its_size_alone_and_among_others() {
    let filler = |size: usize| format!(r#"{{"type":"t","data":{{"a":"{}"}}}}"#, "x".repeat(size - 28));
    let (fits, over) = (filler(300), filler(301));
    assert_eq!((fits.len(), over.len()), (300, 301));
    let body = |events: &[&str]| format!(r#"{{"source":"s","events":[{}]}}"#, events.join(","));
    assert!(read(&body(&[&fits, &fits])).is_ok());
    let alone = body(&[&over]);
    let error = decode(alone.as_bytes(), &limits()).unwrap_err();
    assert!(matches!(error, BackendError::EventTooLarge(_)), "{error:?}");
    assert_eq!(error.to_string(), "events[0] has over 300 bytes of JSON; expected no more");
    let among = body(&[&fits, &over]);
    let error = decode(among.as_bytes(), &limits()).unwrap_err();
    assert!(matches!(error, BackendError::Events(_)), "{error:?}");
    assert!(error.to_string().ends_with("events[1] has over 300 bytes of JSON; expected no more"), "{error}");
}

#[test]
fn what_is_said_once_for_all_events_is_not_multiplied_without_bounds() {
    let limits = PayloadLimits { inflated: 100, ..limits() };
    let body = |events: usize| {
        let events = vec![r#"{"type":"t","data":{}}"#; events].join(",");
        format!(r#"{{"source":"12345","source_id":"67890","events":[{events}]}}"#)
    };
    assert!(decode(body(10).as_bytes(), &limits).is_ok());
    let error = decode(body(11).as_bytes(), &limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "events has over 100 bytes with source and source_id in each; expected no more"
    );
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in r#"[\[{]("(source|events|type|event_type|data|id)":|[\[\]{},"0-9ns\\]){0,30}"#) {
        if let Ok(decoded) = decode(body.as_bytes(), &limits()) {
            prop_assert!(!decoded.events.is_empty());
        }
    }

    #[test]
    fn data_and_metadata_are_kept_byte_for_byte(
        data in r#"\{("[a-z_]{1,4}" ?: ?(1|null|"[a-zé ]{0,5}")){0,1}[ \n]?\}"#,
    ) {
        let body = format!(r#"[{{"source":"s","event_type":"t","data":{data},"metadata":{data}}}]"#);
        let decoded = decode(body.as_bytes(), &limits()).unwrap();
        prop_assert_eq!(decoded.events[0].event.data, &data);
        prop_assert_eq!(decoded.events[0].metadata, &data);
    }
}
