//! The strict pass against the careful one, and both against a purely derived untagged enum.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;

/// What serde derives for the two formats; it buffers, so `data` is compared by value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Twin {
    Batch(TwinBatch),
    Snippet(TwinSnippet),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TwinBatch {
    project_key: String,
    visitor_id: Option<String>,
    user_id: Option<String>,
    referrer: Option<String>,
    source: Option<String>,
    sent_at: Option<String>,
    events: Vec<TwinEvent>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TwinEvent {
    r#type: String,
    url: String,
    visitor_id: Option<String>,
    user_id: Option<String>,
    referrer: Option<String>,
    timestamp: Option<String>,
    event_id: Option<String>,
    data: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TwinSnippet {
    project_key: String,
    visitor_id: String,
    sent_at: Option<String>,
    #[serde(flatten)]
    event: TwinSnippetEvent,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TwinSnippetEvent {
    r#type: String,
    url: String,
    user_id: Option<String>,
    referrer: Option<String>,
    timestamp: Option<String>,
    event_id: Option<String>,
    data: Option<serde_json::Map<String, serde_json::Value>>,
}

impl TwinSnippet {
    fn into_batch(self) -> TwinBatch {
        let TwinSnippetEvent { r#type, url, user_id, referrer, timestamp, event_id, data } = self.event;
        let visitor_id = Some(self.visitor_id);
        TwinBatch {
            project_key: self.project_key,
            visitor_id: None,
            user_id: None,
            referrer: None,
            source: Some("snippet".to_owned()),
            sent_at: self.sent_at,
            events: vec![TwinEvent { r#type, url, visitor_id, user_id, referrer, timestamp, event_id, data }],
        }
    }
}

/// Whether a twin says the same as what we decoded without a rejection.
fn agrees(twin: Twin, decoded: &Decoded<'_>) -> Result<(), TestCaseError> {
    let (batch, twin) = match twin {
        Twin::Batch(batch) => (true, batch),
        Twin::Snippet(snippet) => (false, snippet.into_batch()),
    };
    let moment = |text: &Option<String>| text.as_deref().and_then(timestamp::parse);
    prop_assert_eq!(decoded.batch, batch);
    prop_assert_eq!(&*decoded.project_key, &twin.project_key);
    prop_assert_eq!(decoded.source.as_str(), twin.source.as_deref().unwrap_or("sdk"));
    prop_assert_eq!(decoded.sent_at, moment(&twin.sent_at));
    prop_assert_eq!(decoded.events.len(), twin.events.len());
    for (event, twin_event) in decoded.events.iter().zip(twin.events) {
        let or_shared =
            |own: Option<String>, shared: &Option<String>| own.or(shared.clone()).unwrap_or_default();
        prop_assert_eq!(&*event.kind, twin_event.r#type);
        prop_assert_eq!(&*event.url, twin_event.url);
        prop_assert_eq!(&*event.visitor_id, or_shared(twin_event.visitor_id, &twin.visitor_id));
        prop_assert_eq!(&*event.user_id, or_shared(twin_event.user_id, &twin.user_id));
        prop_assert_eq!(&*event.referrer, or_shared(twin_event.referrer, &twin.referrer));
        prop_assert_eq!(event.timestamp, moment(&twin_event.timestamp));
        prop_assert_eq!(event.event_id, twin_event.event_id.and_then(|id| id.parse().ok()));
        let data: serde_json::Map<_, _> = serde_json::from_str(event.data).unwrap();
        prop_assert_eq!(data, twin_event.data.unwrap_or_default());
    }
    Ok(())
}

/// A JSON string of this text, with some characters escaped that need not be.
fn quoted(text: &str, escaped: bool) -> String {
    let json = serde_json::to_string(text).unwrap();
    if escaped { json.replace('/', "\\/").replace('e', "\\u0065") } else { json }
}

fn string(pattern: &'static str) -> impl Strategy<Value = String> {
    (pattern, any::<bool>()).prop_map(|(text, escaped)| quoted(&text, escaped))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|number| number.to_string()),
        Just("-1.5e3".to_owned()),
        string(".{0,8}"),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[ {}]", values.join(" ,"))),
            object(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop::collection::vec(inner, 0..4).prop_map(|values| {
        let members = values.iter().enumerate().map(|(at, value)| format!("\"k{at}\" :{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
    })
}

type Members = Vec<(&'static str, String)>;

/// A field that may be there, be `null`, or be missing.
fn maybe(name: &'static str, value: impl Strategy<Value = String> + 'static) -> BoxedStrategy<Members> {
    prop_oneof![
        3 => value.prop_map(move |value| vec![(name, value)]),
        1 => Just(vec![(name, "null".to_owned())]),
        3 => Just(vec![]),
    ]
    .boxed()
}

fn must(name: &'static str, value: impl Strategy<Value = String> + 'static) -> BoxedStrategy<Members> {
    value.prop_map(move |value| vec![(name, value)]).boxed()
}

fn moment() -> impl Strategy<Value = String> {
    (Timestamp::MIN.as_millis()..Timestamp::MAX.as_millis(), any::<bool>()).prop_map(|(millis, bare)| {
        let text = Timestamp::from_millis(millis).to_string();
        quoted(if bare { text.trim_end_matches('Z') } else { &text }, false)
    })
}

fn written(fields: Vec<BoxedStrategy<Members>>) -> BoxedStrategy<String> {
    let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")];
    (fields, space, any::<prop::sample::Index>())
        .prop_map(|(fields, space, start)| {
            let mut members: Vec<_> = fields.into_iter().flatten().collect();
            let middle = start.index(members.len().max(1));
            members.rotate_left(middle);
            let members =
                members.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        })
        .boxed()
}

fn event_fields() -> Vec<BoxedStrategy<Members>> {
    vec![
        must("type", string("[a-z_\u{e9}\u{1f600}\"\\\\]{1,9}")),
        maybe("userId", string(".{0,9}")),
        maybe("referrer", string("https://[a-z]{0,9}|")),
        maybe("timestamp", moment()),
        maybe(
            "eventId",
            any::<u128>().prop_map(|id| quoted(&uuid::Uuid::from_u128(id | 1).to_string(), false)),
        ),
        maybe("data", object(value())),
        maybe("unknown", value()),
    ]
}

fn snippet() -> BoxedStrategy<String> {
    let mut fields = event_fields();
    fields.push(must("url", string("(https|app)://[a-z\u{e9}]{1,9}(/.{0,9})?")));
    fields.push(must("visitorId", string(".{1,9}")));
    fields.push(must("projectKey", string("pk_[a-z]{1,9}")));
    fields.push(maybe("sentAt", moment()));
    fields.push(maybe("source", string(".{0,9}")));
    fields.push(Just(vec![]).prop_union(Just(vec![("events", "null".to_owned())])).boxed());
    written(fields)
}

fn batch() -> BoxedStrategy<String> {
    let mut fields = event_fields();
    fields.push(must("url", string("/.{0,9}")));
    fields.push(maybe("visitorId", string(".{0,9}")));
    fields.push(maybe("sentAt", value()));
    let events = prop::collection::vec(written(fields), 1..5);
    written(vec![
        must("projectKey", string("pk_[a-z]{1,9}")),
        must("events", events.prop_map(|events| format!("[{}]", events.join(" ,\n")))),
        maybe("visitorId", string(".{0,9}")),
        maybe("userId", string(".{0,9}")),
        maybe("referrer", string(".{0,9}")),
        maybe("sentAt", moment()),
        maybe("source", Just("\"snippet\"".to_owned()).prop_union(Just("\"sdk\"".to_owned()))),
        maybe("unknown", value()),
    ])
}

/// Damage as it happens: a piece taken out, doubled, or put where it does not belong.
fn mutated() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "5",
        "1e400",
        "true",
        "\"\"",
        "{}",
        "\"\\ud800\"",
        "\u{7}",
        "\"url\":null,",
        "\"type\":\"t\",",
        "\"events\":[],",
        "\"events\":5,",
        "\"data\":{},",
        "\"projectKey\":\"pk\",",
    ];
    let place = || any::<prop::sample::Index>();
    (
        snippet().prop_union(batch()),
        prop::collection::vec((place(), 0..6_usize, prop::sample::select(PIECES)), 1..4),
    )
        .prop_map(|(body, changes)| {
            let mut body: Vec<char> = body.chars().collect();
            for (place, length, piece) in changes {
                let start = place.index(body.len() + 1);
                let end = (start + length).min(body.len());
                body.splice(start..end, piece.chars());
            }
            body.into_iter().collect()
        })
}

/// Limits that generated documents now keep and now break.
fn tight() -> PayloadLimits {
    PayloadLimits { event: 120, events: 3, type_chars: 6, url: 14, depth: 2, ..PayloadLimits::default() }
}

proptest! {
    #[test]
    fn a_valid_document_is_read_strictly_and_as_its_derived_twin_is(body in snippet().prop_union(batch())) {
        let limits = PayloadLimits::default();
        let strictly = strict(&body, &limits);
        prop_assert!(strictly.is_some(), "the strict pass gave up: {:?}", careful::decode(&body, &limits));
        let decoded = strictly.unwrap();
        prop_assert_eq!(&careful::decode(&body, &limits), &Ok(decoded.clone()));
        agrees(serde_json::from_str(&body).unwrap(), &decoded)?;
    }

    #[test]
    fn what_the_strict_pass_reads_the_careful_one_reads_alike(
        body in prop_oneof![mutated(), snippet(), batch()],
        limits in Just(tight()).prop_union(Just(PayloadLimits::default())),
    ) {
        if let Some(decoded) = strict(&body, &limits) {
            prop_assert_eq!(careful::decode(&body, &limits), Ok(decoded));
        }
    }

    #[test]
    fn whatever_passes_whole_passes_for_the_derived_twin(body in mutated()) {
        // The twin cannot hold numbers and surrogates that `data` may.
        if body.contains("1e400") || body.contains("\\ud") {
            return Ok(());
        }
        match decode(body.as_bytes(), &PayloadLimits::default()) {
            Ok(decoded) if decoded.rejected.is_empty() => {
                let twin = serde_json::from_str(&body);
                // A batch may carry what would be wrong in a snippet and the other way round.
                prop_assert!(twin.is_ok(), "{:?}", twin);
                agrees(twin.unwrap(), &decoded)?;
            }
            Ok(decoded) => {
                prop_assert_eq!(decoded.rejected.iter().all(|rejected| !rejected.message.is_empty()), true);
                prop_assert!(decoded.batch || decoded.events.is_empty());
            }
            Err(error) if error.code() == "invalid_json" => {
                prop_assert!(serde_json::from_str::<&RawValue>(&body).is_err());
            }
            Err(error) => prop_assert!(serde_json::from_str::<&RawValue>(&body).is_ok(), "{}", error),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let decoded = decode(&body, &PayloadLimits::default());
        prop_assert!(decoded.is_err(), "random bytes are no payload");
    }

    #[test]
    fn no_damage_to_bytes_makes_it_panic(
        body in batch(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut body = body.into_bytes();
        let place = place.index(body.len());
        body[place] = byte;
        if let Ok(text) = str::from_utf8(&body) {
            let decoded = decode(&body, &tight());
            let text = text.trim_matches([' ', '\t', '\r', '\n']);
            prop_assert_eq!(&decoded, &careful::decode(text, &tight()));
        } else {
            prop_assert_eq!(decode(&body, &tight()).unwrap_err().code(), "invalid_json");
        }
    }
}
