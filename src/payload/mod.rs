//! From the bytes of a body to its events. [`backend`] is what backends send; the rest of this is about the public API.
//!
//! Two formats, told apart by shape: with `events` (anything but `null`) a body is a batch, otherwise it is a
//! snippet's single event. Strings are borrowed from the body unless they hold escapes, `data` always is.
//!
//! ```text
//! body ─► strict pass ─► checks ─► Decoded                    nearly always, in one look at the text
//!             └────────────┴─────► careful pass ─► Decoded    with the events rejected one by one
//!                                       └────────► PayloadError
//! ```
//!
//! What is read, where the contract leaves it open:
//!
//! - `null` is the same as absent; an unknown field may hold anything, however deep: nothing here recurses.
//! - In a batch the fields that only a single event has (`type`, `url`, `data`, …) are unknown at the top level, as
//!   `source` is in a snippet, and what only a body has (`projectKey`, `sentAt`, …) is in an event.
//! - An event's own `visitorId`, `userId` or `referrer` wins over the batch's even if it is empty.
//! - A snippet's `url` has any scheme, `://` and something behind it; for http and https that is a host.
//! - `eventId` is a UUID in any case, hyphenated or not, in braces or as a URN; all zeros are refused.
//! - A snippet's JSON text is the whole body but for white space around it: the limit for one event applies to that.
//! - A body is refused whole if it is not UTF-8, for `data` is kept as text.
//!
//! What is refused, and the code that says so, for a whole body (B) or for one event (E):
//!
//! | code | | said of |
//! | --- | --- | --- |
//! | `invalid_json` | B | a body that is empty, not UTF-8 or not JSON |
//! | `wrong_type` | B E | a body or an event that is no object, `events` that is no array, `data` that is no object, any other field that is no string |
//! | `missing_field` | B E | `projectKey`, `type`, `url`, a snippet's `visitorId` |
//! | `empty_field` | B E | the same |
//! | `duplicate_field` | B E | a known field given twice, whatever its values |
//! | `invalid_text` | B E | a string that escapes half of a surrogate pair |
//! | `too_long` | B E | `type` in characters; `url`, `referrer`, `visitorId` and `userId` in bytes; `events` with what the batch says for each |
//! | `invalid_url` | E | a snippet's `url` that is not absolute |
//! | `invalid_timestamp` | B E | `timestamp`, `sentAt` |
//! | `invalid_event_id` | E | `eventId` |
//! | `invalid_source` | B | a batch's `source` that is neither `snippet` nor `sdk` |
//! | `too_deep` | E | `data` nested too deep |
//! | `event_too_large` | E | an event's JSON text |
//! | `no_events` | B | `events` without one |
//! | `too_many_events` | B | `events` |
//!
//! A snippet whose `projectKey` can be read is an event: what is wrong with any other field rejects the event, so
//! that the refusal can be kept for its project.

pub mod backend;
mod careful;
mod check;
mod error;
mod fields;
pub mod inflate;
mod scan;
#[cfg(test)]
mod tests;
pub mod timestamp;
mod wire;

use std::borrow::Cow;

pub use error::{EVENT_TOO_LARGE, PayloadError};
pub(crate) use fields::array;

use crate::event::{Event, PayloadLimits, Source, Timestamp};
use error::Fault;
use wire::Payload;

/// A body's events: those that are valid, and those that are not.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// Whose events these are; never empty.
    pub project_key: Cow<'a, str>,
    /// Whether they came as a batch.
    pub batch: bool,
    /// Who sent them.
    pub source: Source,
    /// When the client's clock says it sent them.
    pub sent_at: Option<Timestamp>,
    /// The valid ones, in the order they were sent.
    pub events: Vec<Event<'a>>,
    /// The invalid ones, in the order they were sent.
    pub rejected: Vec<Rejected<'a>>,
}

/// One event that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// Its place among the events sent, from 0.
    pub index: usize,
    /// The field that is wrong; empty if the event as a whole is.
    pub field: &'static str,
    /// The stable word for what is wrong.
    pub code: &'static str,
    /// What is wrong, where, and what was expected; never a value of the event.
    pub message: String,
    /// The event's JSON text, as sent.
    pub event: &'a [u8],
}

impl<'a> Rejected<'a> {
    fn new(batch: bool, index: usize, fault: &Fault, json: &'a str) -> Self {
        let Fault { field, problem } = fault;
        let path = path(batch, index, field);
        let place = if path.is_empty() { "the event" } else { &path };
        let message = format!("{place} {problem}");
        Self { index, field, code: problem.code(), message, event: json.as_bytes() }
    }

    /// Where in the body the fault lies: `events[2].url` or `events[2]` in a batch, `url` or nothing in a snippet.
    pub fn path(&self, batch: bool) -> String {
        path(batch, self.index, self.field)
    }
}

fn path(batch: bool, index: usize, field: &str) -> String {
    match (batch, field) {
        (false, field) => field.to_owned(),
        (true, "") => format!("events[{index}]"),
        (true, field) => format!("events[{index}].{field}"),
    }
}

/// Decodes a body whose content encodings are [undone](inflate).
///
/// Invalid events do not fail the others: they are listed as rejected, also the only one of a snippet. An error
/// means that nothing of the body can be used.
pub fn decode<'a>(body: &'a [u8], limits: &PayloadLimits) -> Result<Decoded<'a>, PayloadError> {
    let text = text(body, careful::EXPECTED).map_err(|fault| PayloadError::new(fault, None))?;
    match strict(text, limits) {
        Some(decoded) => Ok(decoded),
        None => careful::decode(text, limits),
    }
}

/// A body as text. It is checked once here, which is cheaper than string by string.
fn text<'a>(body: &'a [u8], expected: &'static str) -> Result<&'a str, Fault> {
    // The standard library takes 5,000 instructions more for the 17 KB of a batch of 100 events.
    let text = simdutf8::compat::from_utf8(body).map_err(|error| {
        let position = error.valid_up_to();
        fields::not_json(format!("it is not UTF-8 at byte {position}"), expected)
    })?;
    // White space around it is no part of an event.
    Ok(text.trim_matches([' ', '\t', '\r', '\n']))
}

/// Decodes a body in which everything is as it should be.
fn strict<'a>(body: &'a str, limits: &PayloadLimits) -> Option<Decoded<'a>> {
    match Payload::read(body, limits)? {
        Payload::Snippet(mut snippet) => {
            let project_key = std::mem::take(&mut snippet.project_key);
            let (event, sent_at) = check::snippet(snippet, limits).ok()?;
            Some(Decoded {
                project_key,
                batch: false,
                source: Source::Snippet,
                sent_at,
                events: vec![event],
                rejected: Vec::new(),
            })
        }
        Payload::Batch(mut batch) => {
            let shared = check::shared(batch.shared, limits).ok()?;
            shared.check_repeated(batch.events.len(), limits).ok()?;
            let mut events = Vec::with_capacity(batch.events.len());
            for event in &mut batch.events {
                events.push(check::batched(event, &shared, limits).ok()?);
            }
            Some(Decoded {
                project_key: batch.project_key,
                batch: true,
                source: shared.source,
                sent_at: shared.sent_at,
                events,
                rejected: Vec::new(),
            })
        }
    }
}
