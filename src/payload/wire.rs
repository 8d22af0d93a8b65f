//! The two payload formats as they travel, told apart by shape, and the strict pass over the JSON text that nearly
//! every body survives.
//!
//! The strict pass gives up on the first thing that is not plain, without saying why: [`careful`](super::careful)
//! then reads the body again and finds out. Both must agree on every body that the strict pass reads.

use std::borrow::Cow;

use super::scan::Cursor;
use crate::event::PayloadLimits;

/// A body in one of its formats: with `events` it is a batch, whatever else it holds.
///
/// Untagged, but not by serde's means: those buffer the whole body and try one variant after the other, which for 387
/// bytes took 3.0 µs and 48 allocations where one struct of all fields took 0.46 µs and one. That struct is filled by a
/// [`Cursor`] of our own: with it, decoding takes 4,400 instructions for a page's event and 2,600 for each of a batch,
/// where it took 7,560 and 4,530 with `serde_json`, which prepares every string's search anew, looks at raw values
/// twice, and hands each value through generic wrappers. What serde derives is what the tests compare this with.
#[derive(Debug, PartialEq)]
pub(super) enum Payload<'a> {
    Snippet(Snippet<'a>),
    Batch(Batch<'a>),
}

/// One event from a page.
#[derive(Debug, PartialEq)]
pub(super) struct Snippet<'a> {
    pub(super) project_key: Cow<'a, str>,
    pub(super) sent_at: Option<Cow<'a, str>>,
    pub(super) event: WireEvent<'a>,
}

/// Many events, and what they share.
#[derive(Debug, PartialEq)]
pub(super) struct Batch<'a> {
    pub(super) project_key: Cow<'a, str>,
    pub(super) shared: WireShared<'a>,
    pub(super) events: Vec<WireEvent<'a>>,
}

/// What a batch says once for all of its events.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WireShared<'a> {
    pub(super) sent_at: Option<Cow<'a, str>>,
    pub(super) source: Option<Cow<'a, str>>,
    pub(super) visitor_id: Option<Cow<'a, str>>,
    pub(super) user_id: Option<Cow<'a, str>>,
    pub(super) referrer: Option<Cow<'a, str>>,
}

/// An event's fields in either format, none of them checked yet. `None` is both absent and `null`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WireEvent<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) url: Option<Cow<'a, str>>,
    pub(super) visitor_id: Option<Cow<'a, str>>,
    pub(super) user_id: Option<Cow<'a, str>>,
    pub(super) referrer: Option<Cow<'a, str>>,
    pub(super) timestamp: Option<Cow<'a, str>>,
    pub(super) event_id: Option<Cow<'a, str>>,
    /// Any JSON value, as sent.
    pub(super) data: Option<&'a str>,
}

/// Every field that one of the formats knows; [`named`](Field::named) knows those of the public ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Type,
    Url,
    VisitorId,
    UserId,
    Referrer,
    Timestamp,
    EventId,
    Data,
    ProjectKey,
    SentAt,
    Source,
    Events,
    EventType,
    Id,
    Metadata,
    PageUrl,
    SourceId,
    UserAgent,
    Unknown,
}

impl Field {
    pub(super) const KNOWN: usize = Self::Unknown as usize;

    /// The field of this name in a public body.
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"type" => Self::Type,
            b"url" => Self::Url,
            b"visitorId" => Self::VisitorId,
            b"userId" => Self::UserId,
            b"referrer" => Self::Referrer,
            b"timestamp" => Self::Timestamp,
            b"eventId" => Self::EventId,
            b"data" => Self::Data,
            b"projectKey" => Self::ProjectKey,
            b"sentAt" => Self::SentAt,
            b"source" => Self::Source,
            b"events" => Self::Events,
            _ => Self::Unknown,
        }
    }

    /// The known field whose name comes next, written without escapes, and what is behind its closing quote.
    ///
    /// Looking for the quote first and comparing then took 110 instructions for a name, this takes 58 with
    /// its colon.
    #[inline]
    pub(super) fn known(text: &[u8]) -> Option<(Self, &[u8])> {
        let is = |field, name| text.strip_prefix(name).map(|behind| (field, behind));
        match text.first()? {
            b't' => is(Self::Type, b"type\"".as_slice()).or_else(|| is(Self::Timestamp, b"timestamp\"")),
            b'u' => is(Self::Url, b"url\"".as_slice()).or_else(|| is(Self::UserId, b"userId\"")),
            b'd' => is(Self::Data, b"data\""),
            b'v' => is(Self::VisitorId, b"visitorId\""),
            b'e' => is(Self::EventId, b"eventId\"".as_slice()).or_else(|| is(Self::Events, b"events\"")),
            b'r' => is(Self::Referrer, b"referrer\""),
            b'p' => is(Self::ProjectKey, b"projectKey\""),
            b's' => is(Self::SentAt, b"sentAt\"".as_slice()).or_else(|| is(Self::Source, b"source\"")),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Url => "url",
            Self::VisitorId => "visitorId",
            Self::UserId => "userId",
            Self::Referrer => "referrer",
            Self::Timestamp => "timestamp",
            Self::EventId => "eventId",
            Self::Data => "data",
            Self::ProjectKey => "projectKey",
            Self::SentAt => "sentAt",
            Self::Source => "source",
            Self::Events => "events",
            Self::EventType => "event_type",
            Self::Id => "id",
            Self::Metadata => "metadata",
            Self::PageUrl => "page_url",
            Self::SourceId => "source_id",
            Self::UserAgent => "user_agent",
            Self::Unknown => "",
        }
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSet(u32);

impl FieldSet {
    /// Adds a field; false if it was there. Unknown ones are never there.
    pub(super) fn insert(&mut self, field: Field) -> bool {
        let bit = 1 << field as u32;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new || field == Field::Unknown
    }

    pub(super) const fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }
}

/// The fields of both formats together, as the strict pass finds them.
#[derive(Default)]
struct Wire<'a> {
    project_key: Option<Cow<'a, str>>,
    sent_at: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    events: Option<Vec<WireEvent<'a>>>,
    event: WireEvent<'a>,
}

impl<'a> Payload<'a> {
    /// Room made at once: growing from nothing to 100 events would allocate six times, from here four.
    const FIRST: usize = 16;
    /// The strict pass goes no further, since its list takes 184 bytes for an event that may be two bytes of
    /// JSON. Where more are allowed, the careful one reads them.
    pub(super) const MOST: usize = 1_000;

    /// Reads a body, and no events that break the limits of their size and number.
    pub(super) fn read(body: &'a str, limits: &PayloadLimits) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let mut wire = Wire::default();
        fields(&mut cursor, |cursor, field| wire.take(field, cursor, limits))?;
        if !cursor.is_at_end() {
            return None;
        }
        let Wire { project_key, sent_at, source, events, event } = wire;
        let project_key = project_key.filter(|key| !key.is_empty())?;
        let Some(events) = events else {
            return (body.len() <= limits.event).then_some(Self::Snippet(Snippet {
                project_key,
                sent_at,
                event,
            }));
        };
        let WireEvent { visitor_id, user_id, referrer, .. } = event;
        let shared = WireShared { sent_at, source, visitor_id, user_id, referrer };
        Some(Self::Batch(Batch { project_key, shared, events }))
    }
}

impl<'a> Wire<'a> {
    fn take(&mut self, field: Field, cursor: &mut Cursor<'a>, limits: &PayloadLimits) -> Option<()> {
        let text = match field {
            Field::ProjectKey => &mut self.project_key,
            Field::SentAt => &mut self.sent_at,
            Field::Source => &mut self.source,
            Field::Events if cursor.null()? => return Some(()),
            Field::Events => {
                self.events = Some(events(cursor, limits)?);
                return Some(());
            }
            _ => return self.event.take(field, cursor),
        };
        cursor.text(text)
    }
}

impl<'a> WireEvent<'a> {
    fn take(&mut self, field: Field, cursor: &mut Cursor<'a>) -> Option<()> {
        let text = match field {
            Field::Type => &mut self.kind,
            Field::Url => &mut self.url,
            Field::VisitorId => &mut self.visitor_id,
            Field::UserId => &mut self.user_id,
            Field::Referrer => &mut self.referrer,
            Field::Timestamp => &mut self.timestamp,
            Field::EventId => &mut self.event_id,
            Field::Data => return cursor.value(&mut self.data),
            _ => return cursor.skip(),
        };
        cursor.text(text)
    }
}

/// A batch's events: an array without one is nothing plain.
fn events<'a>(cursor: &mut Cursor<'a>, limits: &PayloadLimits) -> Option<Vec<WireEvent<'a>>> {
    cursor.expect(b'[')?;
    let mut events = Vec::with_capacity(Payload::FIRST);
    let most = limits.events.min(Payload::MOST);
    loop {
        if events.len() == most || cursor.token()? != b'{' {
            return None;
        }
        let start = cursor.position();
        events.push(WireEvent::default());
        let event = events.last_mut()?;
        fields(cursor, |cursor, field| event.take(field, cursor))?;
        if cursor.position() - start > limits.event {
            return None;
        }
        if !cursor.another(b']')? {
            return Some(events);
        }
    }
}

/// Reads an object and takes each of its fields, none of them twice.
fn fields<'a>(
    cursor: &mut Cursor<'a>,
    mut take: impl FnMut(&mut Cursor<'a>, Field) -> Option<()>,
) -> Option<()> {
    cursor.expect(b'{')?;
    if cursor.take(b'}')? {
        return Some(());
    }
    let mut seen = FieldSet::default();
    loop {
        let field = cursor.field()?;
        if !seen.insert(field) {
            return None;
        }
        take(cursor, field)?;
        if !cursor.another(b'}')? {
            return Some(());
        }
    }
}
