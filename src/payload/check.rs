//! What an event's fields must be, in every format. The strict pass and the careful one share these checks, so
//! they cannot differ in what they accept.

use std::borrow::Cow;

use uuid::Uuid;

use super::error::{Fault, Problem};
use super::timestamp;
use super::wire::{Field, Snippet, WireEvent, WireShared};
use crate::event::{Event, PayloadLimits, Source, Timestamp};

const TEXT: &str = "a string that is not empty";

/// What a batch says for all of its events.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) source: Source,
    pub(super) sent_at: Option<Timestamp>,
    visitor_id: Cow<'a, str>,
    user_id: Cow<'a, str>,
    referrer: Cow<'a, str>,
}

/// Checks what a batch's events share.
pub(super) fn shared<'a>(wire: WireShared<'a>, limits: &PayloadLimits) -> Result<Shared<'a>, Fault> {
    Ok(Shared {
        source: match wire.source.as_deref() {
            None | Some("sdk") => Source::Sdk,
            Some("snippet") => Source::Snippet,
            Some(_) => return Err(Field::Source.fault(Problem::InvalidSource)),
        },
        sent_at: moment(Field::SentAt, wire.sent_at)?,
        visitor_id: at_most(Field::VisitorId, wire.visitor_id, limits.id)?.unwrap_or_default(),
        user_id: at_most(Field::UserId, wire.user_id, limits.id)?.unwrap_or_default(),
        referrer: at_most(Field::Referrer, wire.referrer, limits.url)?.unwrap_or_default(),
    })
}

impl Shared<'_> {
    /// Checks what the batch says once for so many events: 1 KB of gzip could become 10 MB of rows otherwise.
    pub(super) fn check_repeated(&self, events: usize, limits: &PayloadLimits) -> Result<(), Fault> {
        let repeated = self.visitor_id.len() + self.user_id.len() + self.referrer.len();
        if repeated.saturating_mul(events) > limits.inflated {
            let unit = "bytes with visitorId, userId and referrer of the batch in each";
            return Err(Field::Events.fault(Problem::TooLong { limit: limits.inflated, unit }));
        }
        Ok(())
    }
}

/// Checks one event of a batch; what it does not say itself, the batch says. Its fields are taken out.
pub(super) fn batched<'a>(
    wire: &mut WireEvent<'a>,
    shared: &Shared<'a>,
    limits: &PayloadLimits,
) -> Result<Event<'a>, Fault> {
    Ok(Event {
        kind: word(Field::Type, wire.kind.take(), limits)?,
        event_id: event_id(Field::EventId, wire.event_id.take())?,
        url: url(wire.url.take(), limits)?,
        visitor_id: at_most(Field::VisitorId, wire.visitor_id.take(), limits.id)?
            .unwrap_or_else(|| shared.visitor_id.clone()),
        user_id: at_most(Field::UserId, wire.user_id.take(), limits.id)?
            .unwrap_or_else(|| shared.user_id.clone()),
        referrer: at_most(Field::Referrer, wire.referrer.take(), limits.url)?
            .unwrap_or_else(|| shared.referrer.clone()),
        data: data(wire.data, limits)?,
        timestamp: moment(Field::Timestamp, wire.timestamp.take())?,
    })
}

/// Checks a snippet's event and gives it with its `sentAt`.
pub(super) fn snippet<'a>(
    wire: Snippet<'a>,
    limits: &PayloadLimits,
) -> Result<(Event<'a>, Option<Timestamp>), Fault> {
    let Snippet { sent_at, event: wire, .. } = wire;
    let event = Event {
        kind: word(Field::Type, wire.kind, limits)?,
        event_id: event_id(Field::EventId, wire.event_id)?,
        visitor_id: required(Field::VisitorId, at_most(Field::VisitorId, wire.visitor_id, limits.id)?)?,
        url: url(wire.url, limits)?,
        user_id: at_most(Field::UserId, wire.user_id, limits.id)?.unwrap_or_default(),
        referrer: at_most(Field::Referrer, wire.referrer, limits.url)?.unwrap_or_default(),
        data: data(wire.data, limits)?,
        timestamp: moment(Field::Timestamp, wire.timestamp)?,
    };
    if !is_absolute(&event.url) {
        return Err(Field::Url.fault(Problem::InvalidUrl));
    }
    Ok((event, moment(Field::SentAt, sent_at)?))
}

/// A string that must be there and not be empty.
pub(super) fn required(field: Field, text: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, Fault> {
    match text {
        None => Err(field.fault(Problem::MissingField { expected: TEXT })),
        Some(text) if text.is_empty() => Err(field.fault(Problem::EmptyField { expected: TEXT })),
        Some(text) => Ok(text),
    }
}

/// A type, or another word that stands in for one: there are few of them, and they are short.
pub(super) fn word<'a>(
    field: Field,
    text: Option<Cow<'a, str>>,
    limits: &PayloadLimits,
) -> Result<Cow<'a, str>, Fault> {
    let word = required(field, text)?;
    let limit = limits.type_chars;
    if word.len() > limit && word.chars().count() > limit {
        return Err(field.fault(Problem::TooLong { limit, unit: "characters" }));
    }
    Ok(word)
}

fn url<'a>(text: Option<Cow<'a, str>>, limits: &PayloadLimits) -> Result<Cow<'a, str>, Fault> {
    required(Field::Url, at_most(Field::Url, text, limits.url)?)
}

/// A string of so many bytes at most, if there is one.
pub(super) fn at_most(
    field: Field,
    text: Option<Cow<'_, str>>,
    limit: usize,
) -> Result<Option<Cow<'_, str>>, Fault> {
    if text.as_deref().is_some_and(|text| text.len() > limit) {
        return Err(field.fault(Problem::TooLong { limit, unit: "bytes" }));
    }
    Ok(text)
}

pub(super) fn moment(field: Field, text: Option<Cow<'_, str>>) -> Result<Option<Timestamp>, Fault> {
    text.map(|text| timestamp::parse(&text).ok_or(field.fault(Problem::InvalidTimestamp))).transpose()
}

/// A nil id is what an SDK sends that never made one: all of its events would count as one.
pub(super) fn event_id(field: Field, text: Option<Cow<'_, str>>) -> Result<Option<Uuid>, Fault> {
    let Some(text) = text else { return Ok(None) };
    match Uuid::try_parse(&text) {
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        _ => Err(field.fault(Problem::InvalidEventId)),
    }
}

fn data<'a>(json: Option<&'a str>, limits: &PayloadLimits) -> Result<&'a str, Fault> {
    json.map_or(Ok("{}"), |json| object(Field::Data, json, limits))
}

/// An object that is stored as it was sent.
pub(super) fn object<'a>(field: Field, json: &'a str, limits: &PayloadLimits) -> Result<&'a str, Fault> {
    if !json.starts_with('{') {
        let problem = Problem::WrongType { found: type_of(json), expected: "an object" };
        return Err(field.fault(problem));
    }
    if deeper_than(limits.depth, json) {
        return Err(field.fault(Problem::TooDeep { limit: limits.depth }));
    }
    Ok(json)
}

/// Whether arrays and objects of valid JSON text lie over `limit` levels deep.
fn deeper_than(limit: usize, json: &str) -> bool {
    // Nearly all `data` is settled by its length, since a level takes two bytes, or by counting, which the
    // compiler turns into wide instructions.
    let opens = |byte: &u8| matches!(byte, b'{' | b'[');
    if json.len() / 2 <= limit || json.bytes().filter(opens).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string) = (0_usize, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

/// Whether a URL has a scheme, `://`, and something behind it; for the web's schemes that is a host. Apps and
/// extensions have schemes of their own, so any will do.
fn is_absolute(url: &str) -> bool {
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let bytes = url.as_bytes();
    let no_host = |first: &u8| matches!(first, b'/' | b'?' | b'#' | b':' | b' ');
    // Nearly every URL: looking at its scheme byte by byte took 155 of a snippet's 4,560 instructions.
    if let Some([first, ..]) = bytes.strip_prefix(b"https://") {
        return !no_host(first);
    }
    // Not `split_once("://")`: preparing its search cost 270 of a snippet's 9,100 instructions.
    let length = bytes.iter().take_while(|byte| in_scheme(byte)).count();
    let (scheme, rest) = bytes.split_at(length);
    let Some([first, ..]) = rest.strip_prefix(b"://") else { return false };
    let web = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && !(web && no_host(first))
}

/// What a piece of valid JSON text is.
pub(super) fn type_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

impl Field {
    pub(super) const fn fault(self, problem: Problem) -> Fault {
        Fault { field: self.name(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippets_url_has_a_scheme_and_something_behind_it() {
        for url in [
            "https://example.com/pricing?a=b#c",
            "HTTP://EXAMPLE.COM",
            "http://localhost:3000",
            "http://[::1]/",
            "https://münchen.example/ä",
            "file:///C:/index.html",
            "app://home",
            "chrome-extension://abc/popup.html",
        ] {
            assert!(is_absolute(url), "{url}");
        }
        for url in [
            "",
            "/pricing",
            "pricing",
            "//example.com/x",
            "example.com",
            "http:",
            "http:/x",
            "http://",
            "https:///x",
            "https://?q",
            "https://#",
            "://x",
            "1http://x",
            "ht tp://x",
            " https://x",
            "javascript:alert(1)",
            "about:blank",
            "/go?to=https://example.com",
        ] {
            assert!(!is_absolute(url), "{url}");
        }
    }

    #[test]
    fn depth_counts_levels_and_not_brackets() {
        for (json, depth) in [
            ("{}".to_owned(), 1),
            (r#"{"a":[{"b":[]}],"c":{}}"#.to_owned(), 4),
            (r#"{"a":"[[[[{{{{\"[[[[\\"}"#.to_owned(), 1),
            (format!(r#"{{"a":[{}1]}}"#, "[],".repeat(500)), 3),
            (format!("{}{}", "[".repeat(300), "]".repeat(300)), 300),
        ] {
            assert!(!deeper_than(depth, &json), "{json}");
            assert!(deeper_than(depth - 1, &json), "{json}");
        }
    }
}
