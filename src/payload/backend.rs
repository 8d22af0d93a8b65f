//! What backends send, in one of two shapes:
//!
//! ```text
//! {"source": "backend", "source_id": "7", "events": [{"type": "…", "data": {…}, "timestamp": "…", "metadata": {…}}]}
//! [{"source": "backend", "event_type": "…", "data": {…}}]
//! ```
//!
//! An object holds `source` and `events`, each of which holds `type` and `data`; in an array each element holds
//! `source`, `event_type` and `data`. All of these are required; `source_id`, and an event's `timestamp`, `metadata`
//! and `id` (a UUID) are not, in either shape. What is read is as in the [public formats](super): `null` is the same
//! as absent, an unknown field may hold anything, a known one given twice is refused. The limit of a type's characters
//! is that of a source's, and a `source_id` is an id.
//!
//! All or nothing: one event that is not valid refuses the body, and the refusal names every one of them.
//!
//! `data` and `metadata` are kept byte for byte. Some texts within `data` are the event's own fields as well:
//! `user_id`, `url` (else `page_url`), `referrer` and `user_agent`. Nothing is refused for their sake, since `data`
//! keeps them: what is no text, or is too long for its column, leaves the column empty, because half of an id or a url
//! is another one. Of a name given twice the first counts, as in the table's `properties`.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;
use thiserror::Error;

use super::error::{Fault, PayloadError, Problem};
use super::fields::{self, Fields, fits, listed};
use super::wire::Field;
use super::{check, text};
use crate::event::{Event, PayloadLimits};
use crate::retry::Retry;

const EXPECTED: &str = "an object with source and events, or an array of events";

/// Events that are named when a body is refused for them.
const NAMED: usize = 20;

/// A body's events, every one of them valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// Which of the two shapes it has.
    pub shape: Shape,
    /// The events, in the order they were sent; at least one.
    pub events: Vec<BackendEvent<'a>>,
}

/// The shape of a body, which is that of its answer as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One source's events.
    Object,
    /// Events that each name their source.
    Array,
}

/// An event, and what only a backend says of one.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendEvent<'a> {
    /// What every API has of an event.
    pub event: Event<'a>,
    /// The backend's own word for where it comes from; never empty.
    pub source: Cow<'a, str>,
    /// Which of its kind that source is; empty if that is not said.
    pub source_id: Cow<'a, str>,
    /// A JSON object, byte for byte as it was sent; empty if there is none.
    pub metadata: &'a str,
    /// The user agent that `data` tells of, not cut yet; empty if it tells of none.
    pub user_agent: Cow<'a, str>,
}

/// Why nothing of a body can be used.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum BackendError {
    /// It cannot be read, or what all of its events share is wrong.
    #[error(transparent)]
    Body(#[from] PayloadError),
    /// The only event in it is over the limit for one.
    #[error("{0}")]
    EventTooLarge(InvalidEvents),
    /// Some of its events are not valid.
    #[error("{0}")]
    Events(InvalidEvents),
}

impl BackendError {
    /// The stable word for what is wrong with each event that is not valid, or with the body.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> {
        let (body, events) = match self {
            Self::Body(error) => (Some(error.code()), &[][..]),
            Self::EventTooLarge(events) | Self::Events(events) => (None, &events.faults[..]),
        };
        body.into_iter().chain(events.iter().map(|(_, fault)| fault.problem.code()))
    }

    /// The stable word for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Body(error) => error.code(),
            Self::EventTooLarge(_) => super::EVENT_TOO_LARGE,
            Self::Events(_) => "invalid_events",
        }
    }

    /// A body that was refused once is refused again.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Every event of a body that is not valid. As text it names the first 20 of them: which, what is wrong, and what was
/// expected.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidEvents {
    shape: Shape,
    /// How many the body holds.
    events: usize,
    /// What is wrong with each that is not valid, by its place.
    faults: Vec<(usize, Fault)>,
}

impl fmt::Display for InvalidEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wrong, all) = (self.faults.len(), self.events);
        if all > 1 {
            let are = if wrong == 1 { "is" } else { "are" };
            write!(f, "nothing is stored, since {wrong} of {all} events {are} not valid: ")?;
        }
        for (position, (index, Fault { field, problem })) in self.faults.iter().take(NAMED).enumerate() {
            if position > 0 {
                f.write_str(" | ")?;
            }
            if self.shape == Shape::Object {
                f.write_str("events")?;
            }
            let dot = if field.is_empty() { "" } else { "." };
            write!(f, "[{index}]{dot}{field} {problem}")?;
        }
        if wrong > NAMED {
            write!(f, " | and {} more", wrong - NAMED)?;
        }
        Ok(())
    }
}

/// Decodes a body whose content encodings are [undone](super::inflate).
pub fn decode<'a>(body: &'a [u8], limits: &PayloadLimits) -> Result<Decoded<'a>, BackendError> {
    let refuse = |fault| PayloadError::new(fault, None);
    let text = text(body, EXPECTED).map_err(refuse)?;
    let json = fields::value(text, EXPECTED).map_err(refuse)?;
    match text.as_bytes().first() {
        Some(b'{') => object(json, limits),
        Some(b'[') => array(json, limits),
        _ => {
            let problem = Problem::WrongType { found: check::type_of(text), expected: EXPECTED };
            Err(refuse(Field::Unknown.fault(problem)).into())
        }
    }
}

fn object<'a>(json: &'a RawValue, limits: &PayloadLimits) -> Result<Decoded<'a>, BackendError> {
    let (source, source_id, listed) = shared(json, limits).map_err(|fault| PayloadError::new(fault, None))?;
    all(Shape::Object, listed, limits, |fields| {
        let kind = check::word(Field::Type, fields.text(Field::Type)?, limits)?;
        event(kind, source.clone(), source_id.clone(), fields, limits)
    })
}

type Shared<'a> = (Cow<'a, str>, Cow<'a, str>, Vec<&'a RawValue>);

/// What an object says for all of its events, and their texts.
fn shared<'a>(json: &'a RawValue, limits: &PayloadLimits) -> Result<Shared<'a>, Fault> {
    let fields = Fields::of(json, named)?;
    let source = check::word(Field::Source, fields.text(Field::Source)?, limits)?;
    let source_id = source_id(&fields, limits)?;
    let missing = || Field::Events.fault(Problem::MissingField { expected: "an array of events" });
    let events = fields.value(Field::Events)?.ok_or_else(missing)?;
    let listed = listed(Field::Events, events, limits.events)?;
    if (source.len() + source_id.len()).saturating_mul(listed.len()) > limits.inflated {
        let unit = "bytes with source and source_id in each";
        return Err(Field::Events.fault(Problem::TooLong { limit: limits.inflated, unit }));
    }
    Ok((source, source_id, listed))
}

fn array<'a>(json: &'a RawValue, limits: &PayloadLimits) -> Result<Decoded<'a>, BackendError> {
    let listed =
        listed(Field::Unknown, json, limits.events).map_err(|fault| PayloadError::new(fault, None))?;
    all(Shape::Array, listed, limits, |fields| {
        let source = check::word(Field::Source, fields.text(Field::Source)?, limits)?;
        let kind = check::word(Field::EventType, fields.text(Field::EventType)?, limits)?;
        event(kind, source, source_id(fields, limits)?, fields, limits)
    })
}

/// Reads every event, and fails with every one that is not valid.
fn all<'a>(
    shape: Shape,
    listed: Vec<&'a RawValue>,
    limits: &PayloadLimits,
    read: impl Fn(&Fields<'a>) -> Result<BackendEvent<'a>, Fault>,
) -> Result<Decoded<'a>, BackendError> {
    let count = listed.len();
    let (mut events, mut faults) = (Vec::with_capacity(count), Vec::new());
    for (index, json) in listed.into_iter().enumerate() {
        let event = fits(json.get(), limits).and_then(|()| read(&Fields::of(json, named)?));
        match event {
            Ok(event) => events.push(event),
            Err(fault) => faults.push((index, fault)),
        }
    }
    match &faults[..] {
        [] => Ok(Decoded { shape, events }),
        [(_, Fault { problem: Problem::EventTooLarge { .. }, .. })] if count == 1 => {
            Err(BackendError::EventTooLarge(InvalidEvents { shape, events: count, faults }))
        }
        _ => Err(BackendError::Events(InvalidEvents { shape, events: count, faults })),
    }
}

fn event<'a>(
    kind: Cow<'a, str>,
    source: Cow<'a, str>,
    source_id: Cow<'a, str>,
    fields: &Fields<'a>,
    limits: &PayloadLimits,
) -> Result<BackendEvent<'a>, Fault> {
    let missing = || Field::Data.fault(Problem::MissingField { expected: "an object" });
    let json = fields.value(Field::Data)?.ok_or_else(missing)?;
    let data = check::object(Field::Data, json.get(), limits)?;
    let timestamp = check::moment(Field::Timestamp, fields.text(Field::Timestamp)?)?;
    let metadata = match fields.value(Field::Metadata)? {
        None => "",
        Some(json) => check::object(Field::Metadata, json.get(), limits)?,
    };
    let event_id = check::event_id(Field::Id, fields.text(Field::Id)?)?;
    let told = Fields::of(json, named_in_data)?;
    let column = |field: Field, limit: usize| {
        told.first_text(field).filter(|text| !text.is_empty() && text.len() <= limit)
    };
    let event = Event {
        kind,
        event_id,
        visitor_id: Cow::default(),
        user_id: column(Field::UserId, limits.id).unwrap_or_default(),
        url: column(Field::Url, limits.url)
            .or_else(|| column(Field::PageUrl, limits.url))
            .unwrap_or_default(),
        referrer: column(Field::Referrer, limits.url).unwrap_or_default(),
        data,
        timestamp,
    };
    let user_agent = told.first_text(Field::UserAgent).unwrap_or_default();
    Ok(BackendEvent { event, source, source_id, metadata, user_agent })
}

fn source_id<'a>(fields: &Fields<'a>, limits: &PayloadLimits) -> Result<Cow<'a, str>, Fault> {
    let text = check::at_most(Field::SourceId, fields.text(Field::SourceId)?, limits.id)?;
    Ok(text.unwrap_or_default())
}

/// The field of this name in a backend's body, or in one of its events.
fn named(name: &[u8]) -> Field {
    match name {
        b"source" => Field::Source,
        b"source_id" => Field::SourceId,
        b"events" => Field::Events,
        b"type" => Field::Type,
        b"event_type" => Field::EventType,
        b"data" => Field::Data,
        b"timestamp" => Field::Timestamp,
        b"metadata" => Field::Metadata,
        b"id" => Field::Id,
        _ => Field::Unknown,
    }
}

/// The field that this name within `data` fills.
fn named_in_data(name: &[u8]) -> Field {
    match name {
        b"user_id" => Field::UserId,
        b"url" => Field::Url,
        b"page_url" => Field::PageUrl,
        b"referrer" => Field::Referrer,
        b"user_agent" => Field::UserAgent,
        _ => Field::Unknown,
    }
}

#[cfg(test)]
mod tests;
