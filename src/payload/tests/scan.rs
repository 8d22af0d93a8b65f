//! The scanner against `serde_json`, in what it takes, what it refuses, and what it makes of it.

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::*;
use crate::payload::scan::{Cursor, DEEPEST};
use crate::payload::wire::{Batch, Snippet, WireEvent, WireShared};

/// What serde derives for a body's own fields. Events stay text at first, for they would be read from arrays, too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Superset<'a> {
    project_key: Option<String>,
    sent_at: Option<String>,
    source: Option<String>,
    #[serde(borrow)]
    events: Option<Vec<&'a RawValue>>,
}

/// And for an event's, which may be a body's as well.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SupersetEvent<'a> {
    r#type: Option<String>,
    url: Option<String>,
    visitor_id: Option<String>,
    user_id: Option<String>,
    referrer: Option<String>,
    timestamp: Option<String>,
    event_id: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// What only a body has may hold anything here, but not be repeated.
    #[serde(default, rename = "projectKey")]
    _project_key: IgnoredAny,
    #[serde(default, rename = "sentAt")]
    _sent_at: IgnoredAny,
    #[serde(default, rename = "source")]
    _source: IgnoredAny,
    #[serde(default, rename = "events")]
    _events: IgnoredAny,
}

impl<'a> SupersetEvent<'a> {
    fn into_wire(self) -> WireEvent<'a> {
        WireEvent {
            kind: self.r#type.map(Cow::Owned),
            url: self.url.map(Cow::Owned),
            visitor_id: self.visitor_id.map(Cow::Owned),
            user_id: self.user_id.map(Cow::Owned),
            referrer: self.referrer.map(Cow::Owned),
            timestamp: self.timestamp.map(Cow::Owned),
            event_id: self.event_id.map(Cow::Owned),
            data: self.data.map(RawValue::get),
        }
    }
}

/// What `serde_json` reads where it must be an object.
fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    json.trim_start_matches([' ', '\t', '\r', '\n'])
        .starts_with('{')
        .then(|| serde_json::from_str(json).ok())?
}

/// What the strict pass is to read.
fn expected(body: &str) -> Option<Payload<'_>> {
    let Superset { project_key, sent_at, source, events, .. } = object(body)?;
    let project_key = Cow::Owned(project_key.filter(|key| !key.is_empty())?);
    let (sent_at, source) = (sent_at.map(Cow::Owned), source.map(Cow::Owned));
    let event = object::<SupersetEvent<'_>>(body)?.into_wire();
    let Some(events) = events else {
        return Some(Payload::Snippet(Snippet { project_key, sent_at, event }));
    };
    let events: Option<Vec<_>> =
        events.into_iter().map(|event| Some(object::<SupersetEvent<'_>>(event.get())?.into_wire())).collect();
    let events = events.filter(|events| (1..=Payload::MOST).contains(&events.len()))?;
    let WireEvent { visitor_id, user_id, referrer, .. } = event;
    let shared = WireShared { sent_at, source, visitor_id, user_id, referrer };
    Some(Payload::Batch(Batch { project_key, shared, events }))
}

fn read(body: &str) -> Option<Payload<'_>> {
    Payload::read(body, &PayloadLimits::default())
}

/// Whether a text is one JSON value and nothing else.
fn is_value(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.skip().is_some() && cursor.is_at_end()
}

fn is_serdes_value(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

fn space() -> &'static str {
    "[ \t\r\n]{0,2}"
}

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,24})([.][0-9]{1,12})?([eE][+-]?[0-9]{1,4})?"
}

/// A string of plain text of any length up to some words, with escapes now and then, halves of surrogate pairs too.
fn string() -> impl Strategy<Value = String> {
    const ESCAPES: &str = r#"\\(["\\/bfnrt]|u[0-9a-fA-F]{4}|ud83d\\ude00)"#;
    let piece = prop_oneof![
        6 => "[ !#-\\[\\]-~]{0,20}",
        1 => "[\u{7f}\u{e9}\u{65e5}\u{1f600}]{0,3}",
        1 => ESCAPES,
    ];
    prop::collection::vec(piece, 0..3).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(&["null", "true", "false", "{}", "[]"][..]).prop_map(str::to_owned),
        number(),
        string(),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let element =
            (space(), inner.clone(), space()).prop_map(|(before, value, behind)| before + &value + &behind);
        let member = (space(), string(), space(), element.clone())
            .prop_map(|(before, name, behind, value)| format!("{before}{name}{behind}:{value}"));
        prop_oneof![
            prop::collection::vec(element, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

const NAMES: [&str; 14] = [
    "type",
    "url",
    "visitorId",
    "userId",
    "referrer",
    "timestamp",
    "eventId",
    "data",
    "projectKey",
    "sentAt",
    "source",
    "events",
    "Type",
    "user",
];

/// A name as it may be spelt: one of its letters escaped, sometimes.
fn name() -> impl Strategy<Value = String> {
    (prop::sample::select(&NAMES[..]), prop::option::weighted(0.1, any::<prop::sample::Index>())).prop_map(
        |(name, escaped)| match escaped.map(|place| place.index(name.len())) {
            Some(place) => {
                format!("\"{}\\u{:04x}{}\"", &name[..place], name.as_bytes()[place], &name[place + 1..])
            }
            None => format!("\"{name}\""),
        },
    )
}

/// An object of fields that are known and of strings, nearly always, in any order and with any white space.
fn fields(events: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    let events = events.boxed();
    let member = name().prop_flat_map(move |name| {
        let plain = match name.as_str() {
            "\"events\"" => events.clone(),
            "\"data\"" => value().boxed(),
            _ => string().boxed(),
        };
        let value = prop_oneof![30 => plain, 2 => Just("null".to_owned()), 1 => value()];
        (space(), Just(name), space(), space(), value, space())
            .prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"))
    });
    (prop::collection::vec(member, 0..6), prop::bool::weighted(0.9), space())
        .prop_map(|(mut members, keyed, space)| {
            if keyed {
                members.push(format!("{space}\"projectKey\":\"pk\""));
            }
            format!("{space}{{{}}}{space}", members.join(","))
        })
        .boxed()
}

fn body() -> impl Strategy<Value = String> {
    fields(
        (prop::collection::vec(fields(value()), 0..4), space())
            .prop_map(|(events, space)| format!("[{}{space}]", events.join(","))),
    )
}

/// A text that is damaged in one place: a character is taken out, put in, or becomes another.
fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => prop::sample::select(&b"\"\\{}[]:,0123456789-+.eEtfnu/ \t\n\r"[..]).prop_map(char::from),
        1 => prop::char::range('\0', '\u{1f}'),
        1 => any::<char>(),
    ];
    (text, any::<prop::sample::Index>(), 0..2_usize, prop::option::of(character)).prop_map(
        |(text, place, taken, put)| {
            let mut characters: Vec<char> = text.chars().collect();
            let start = place.index(characters.len() + 1);
            let end = (start + taken).min(characters.len());
            characters.splice(start..end, put);
            characters.into_iter().collect()
        },
    )
}

proptest! {
    #[test]
    fn every_value_is_stepped_over(value in value(), space in space()) {
        let text = format!("{space}{value}{space}");
        prop_assert!(is_serdes_value(&text));
        prop_assert!(is_value(&text));
    }

    #[test]
    fn what_serde_refuses_is_no_value(
        text in prop_oneof![
            damaged(value()),
            damaged(damaged(string())),
            damaged(number()),
            "[-+]?[0-9]{0,3}[.]?[0-9]{0,2}[eE]?[-+]?[0-9]{0,2}[.x ]?",
            "\"[a-z]{0,12}\\\\[a-z0-9\"\\\\/]{0,7}\"",
            "(t|tr|tru|true|f|fals|false|n|nul|null|nulL){1,2}",
        ],
    ) {
        prop_assert_eq!(is_value(&text), is_serdes_value(&text));
    }

    #[test]
    fn a_body_is_read_as_serde_reads_it(body in prop_oneof![body(), damaged(body())]) {
        prop_assert_eq!(read(&body), expected(&body));
    }

    #[test]
    fn no_beginning_of_a_body_is_read(body in body()) {
        let body = body.trim_end_matches([' ', '\t', '\r', '\n']);
        for (end, _) in body.char_indices() {
            prop_assert_eq!(read(&body[..end]), None, "{}", &body[..end]);
        }
    }
}

#[test]
fn whichever_byte_is_changed_serde_says_the_same() {
    let snippet = r#"{"type":"pageview","projectKey":"pk","data":{"a\n":[1,-2.5e3,true,null]},"x":{"y":[]}}"#;
    let batch = r#"{"projectKey":"pk","userId":"","events":[{"type":"\u00e9","url":"/","data":{}},{"eventId":null}]}"#;
    for body in [snippet, batch] {
        assert!(read(body).is_some());
        for place in 0..body.len() {
            for byte in 0..=0x7f_u8 {
                let mut body = body.to_owned().into_bytes();
                body[place] = byte;
                let body = String::from_utf8(body).unwrap();
                assert_eq!(read(&body), expected(&body), "{body:?}");
            }
        }
    }
}

#[test]
fn a_string_ends_where_it_does_however_long_it_is_and_whatever_follows() {
    for length in 0..40 {
        for behind in 0..20 {
            for end in ["\"", "\\\"\"", "\u{1f}\"", "\0\"", "\u{7f}\"", "\u{e9}\"", "!\"", "]\"", ""] {
                let text = format!("\"{}{end}{}", "#".repeat(length), " ".repeat(behind));
                let serdes = serde_json::from_str::<String>(&text).ok();
                let mut cursor = Cursor::new(&text);
                let mut ours = None;
                let read = cursor.text(&mut ours).is_some() && cursor.is_at_end();
                let ours = ours.filter(|_| read);
                assert_eq!(ours.as_deref(), serdes.as_deref(), "{text:?}");
                assert_eq!(is_value(&text), serdes.is_some(), "{text:?}");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_white_space() {
    for body in [
        "\u{feff}{\"projectKey\":\"pk\"}",
        "{\"projectKey\":\"pk\"}\u{feff}",
        "{\u{a0}\"projectKey\":\"pk\"}",
    ] {
        assert_eq!(expected(body), None);
        assert_eq!(read(body), None);
    }
}

#[test]
fn a_value_is_stepped_over_down_to_the_last_level_and_no_deeper() {
    let deepest = DEEPEST as usize;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]"), ("[[],{},", "]")] {
        let levels = open.matches(['[', '{']).count() - open.matches([']', '}']).count();
        let nested = |count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
        assert!(is_value(&nested(deepest / levels - 1)), "{open}");
        assert!(!is_value(&nested(deepest / levels + 1)), "{open}");
        assert!(!is_value(&nested(100_000)), "{open}");
        assert!(!is_value(&open.repeat(100_000)), "{open}");
    }
    let empty = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(is_value(&empty(deepest)));
    assert!(!is_value(&empty(deepest + 1)));
}
