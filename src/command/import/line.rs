//! A line's event: read as far as it must be to send it, and written as the collector takes it.
//!
//! A line is an object with `type` (or `event_type`), `data`, and maybe `timestamp`, `metadata`, `id`, `source` and
//! `source_id`; other fields are left out. Their values go on as they stand there, byte for byte. What the collector
//! would refuse for sure is found here, without a request; all else is left to it.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// What a request says once for all of its events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) source: String,
    pub(super) source_id: Option<String>,
}

/// An event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) origin: Origin,
    /// Its JSON, with an id.
    pub(super) event: String,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type", alias = "event_type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// Reads a line; `source` is for one that names none, and `make_id` for one without an id. An error is the reason why
/// the line is rejected, as a sentence.
pub(super) fn read(
    text: &[u8],
    source: Option<&str>,
    make_id: impl FnOnce() -> Uuid,
) -> Result<Entry, String> {
    let text = std::str::from_utf8(text).map_err(|error| format!("the line is not UTF-8: {error}"))?;
    // An array would be read as an object's values.
    if !text.trim_start().starts_with('{') {
        return Err("the line is not a JSON object; expected one event a line".to_owned());
    }
    let wire: Wire = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => shorten(&error),
        _ => format!("the line is not JSON: {}", shorten(&error)),
    })?;
    let source = match wire.source.as_deref().or(source) {
        Some("") => return Err("source is empty; expected a word".to_owned()),
        Some(source) => source.to_owned(),
        None => return Err("source is missing; --source WORD is for lines without one".to_owned()),
    };
    let kind = wire.kind.ok_or("type is missing; expected a string that is not empty")?;
    let data = wire.data.ok_or("data is missing; expected an object")?;
    if !data.get().starts_with('{') {
        return Err("data is not an object".to_owned());
    }
    let id = match wire.id.as_deref().map(Uuid::try_parse) {
        None => make_id(),
        Some(Ok(id)) if !id.is_nil() => id,
        Some(_) => {
            return Err("id is not a UUID; leave it out, and one is made of file and line".to_owned());
        }
    };
    let mut event = format!(r#"{{"id":"{id}","type":{kind},"data":{data}"#);
    for (name, value) in [("timestamp", wire.timestamp), ("metadata", wire.metadata)] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(event, r#","{name}":{value}"#);
        }
    }
    event.push('}');
    let source_id = wire.source_id.map(Cow::into_owned);
    Ok(Entry { origin: Origin { source, source_id }, event })
}

/// An error of `serde_json` without the number of the line, which is always 1.
fn shorten(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at character ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    fn read(text: &str) -> Result<Entry, String> {
        super::read(text.as_bytes(), Some("default"), || Uuid::from_u128(7))
    }

    #[test]
    fn values_go_on_as_they_stand() {
        let made = Uuid::from_u128(7);
        for (line, event) in [
            (
                r#"{"type":"a","data":{"x": 1e999, "y":"\ud800" }}"#.to_owned(),
                format!(r#"{{"id":"{made}","type":"a","data":{{"x": 1e999, "y":"\ud800" }}}}"#),
            ),
            (
                format!(
                    r#" {{"metadata":{{}},"id":"{ID}","timestamp":"2020-01-01","data":{{}},"event_type":"b","more":[1]}}"#
                ),
                format!(r#"{{"id":"{ID}","type":"b","data":{{}},"timestamp":"2020-01-01","metadata":{{}}}}"#),
            ),
            (
                r#"{"type":"a","data":{},"timestamp":null,"metadata":null,"id":null,"source":null}"#
                    .to_owned(),
                format!(r#"{{"id":"{made}","type":"a","data":{{}}}}"#),
            ),
        ] {
            let entry = read(&line).unwrap();
            assert_eq!(entry.event, event, "{line}");
            assert_eq!(entry.origin, Origin { source: "default".to_owned(), source_id: None }, "{line}");
        }
    }

    #[test]
    fn a_line_may_say_where_it_is_from() {
        let entry = read(r#"{"type":"a","data":{},"source":"cr\u006d","source_id":"7"}"#).unwrap();
        assert_eq!(entry.origin, Origin { source: "crm".to_owned(), source_id: Some("7".to_owned()) });
    }

    #[test]
    fn what_is_rejected_is_told_with_the_reason() {
        for (line, reason) in [
            ("nonsense", "the line is not a JSON object"),
            (r#"["a",{}]"#, "the line is not a JSON object"),
            (r#"{"type":"a","data":{}"#, "the line is not JSON: EOF while parsing an object at character 21"),
            (r#"{"type":"a","data":{}} {}"#, "the line is not JSON: trailing characters at character 24"),
            (r#"{"type":"a","data":{},"type":"b"}"#, "duplicate field `type`"),
            (r#"{"type":"a","data":{},"event_type":"b"}"#, "duplicate field `type`"),
            (r#"{"data":{}}"#, "type is missing"),
            (r#"{"type":"a"}"#, "data is missing"),
            (r#"{"type":"a","data":null}"#, "data is missing"),
            (r#"{"type":"a","data":"{}"}"#, "data is not an object"),
            (r#"{"type":"a","data":{},"source":""}"#, "source is empty"),
            (r#"{"type":"a","data":{},"source":5}"#, "expected a string"),
            (r#"{"type":"a","data":{},"id":"17"}"#, "id is not a UUID; leave it out"),
            (r#"{"type":"a","data":{},"id":"00000000-0000-0000-0000-000000000000"}"#, "id is not a UUID"),
        ] {
            let found = read(line).unwrap_err();
            assert!(found.contains(reason), "{line}: {found}");
        }
        let found = super::read(b"{\"type\":\"\xff\"}", None, Uuid::nil).unwrap_err();
        assert!(found.contains("not UTF-8"), "{found}");
        let found = super::read(br#"{"type":"a","data":{}}"#, None, Uuid::nil).unwrap_err();
        assert!(found.contains("--source WORD"), "{found}");
    }
}
