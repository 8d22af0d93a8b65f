//! The two payload formats as they travel, told apart by shape, and the strict pass over the JSON text that nearly
//! every body survives.
//!
//! The strict pass gives up on the first thing that is not plain, without saying why: [`careful`](super::careful)
//! then reads the body again and finds out. Both must agree on every body that the strict pass reads.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_with::BorrowCow;
use serde_with::de::DeserializeAsWrap;

/// A body in one of its formats: with `events` it is a batch, whatever else it holds.
///
/// Untagged, but not by serde's own means: those buffer the whole body and try one variant after the other, which
/// for 387 bytes took 3.0 µs and 48 allocations where one struct of all fields, [`Wire`], took 0.46 µs and one. A
/// purely derived twin is what the tests compare this one with.
#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(untagged, try_from = "Wire<'a>", bound(deserialize = "'de: 'a"))]
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

impl Batch<'_> {
    /// Whether no event's JSON text can be over `limit` bytes of `body`, which this batch was read from; false is
    /// no certain no.
    ///
    /// Keeping each event's text besides its fields would cost a second look at every byte. But an event lies
    /// between the types of its neighbours, and those borrow from the body.
    pub(super) fn events_are_within(&self, limit: usize, body: &str) -> bool {
        let start = body.as_ptr().addr();
        if body.len() <= limit {
            return true;
        }
        let (mut before_last, mut last) = (start, start);
        for event in &self.events {
            let Some(Cow::Borrowed(kind)) = event.kind else { return false };
            let next = kind.as_ptr().addr();
            if next.saturating_sub(before_last) > limit {
                return false;
            }
            (before_last, last) = (last, next);
        }
        (start + body.len()).saturating_sub(before_last) <= limit
    }
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

/// Every field that either format knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
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
    #[serde(other)]
    Unknown,
}

impl Field {
    pub(super) const KNOWN: usize = Self::Unknown as usize;

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
            Self::Unknown => "",
        }
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldSet(u16);

impl FieldSet {
    /// Adds a field; false if it was there. Unknown ones are never there.
    pub(super) fn insert(&mut self, field: Field) -> bool {
        let bit = 1 << field as u16;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new || field == Field::Unknown
    }

    pub(super) const fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u16) != 0
    }
}

/// The fields of both formats together, as the strict pass finds them.
#[derive(Default)]
struct Wire<'a> {
    project_key: Option<Cow<'a, str>>,
    sent_at: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    events: Option<WireEvents<'a>>,
    event: WireEvent<'a>,
}

impl<'a> TryFrom<Wire<'a>> for Payload<'a> {
    type Error = &'static str;

    fn try_from(wire: Wire<'a>) -> Result<Self, Self::Error> {
        let Wire { project_key, sent_at, source, events, event } = wire;
        let project_key = project_key.filter(|key| !key.is_empty()).ok_or("projectKey is missing")?;
        let Some(WireEvents(events)) = events else {
            return Ok(Self::Snippet(Snippet { project_key, sent_at, event }));
        };
        let WireEvent { visitor_id, user_id, referrer, .. } = event;
        let shared = WireShared { sent_at, source, visitor_id, user_id, referrer };
        Ok(Self::Batch(Batch { project_key, shared, events }))
    }
}

/// A string, borrowed unless it holds escapes. (`Option<Cow<str>>` by itself always allocates.)
fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<DeserializeAsWrap<_, Option<BorrowCow>>>()?.into_inner())
}

impl<'de> WireEvent<'de> {
    fn take<A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        match field {
            Field::Type => self.kind = text(map)?,
            Field::Url => self.url = text(map)?,
            Field::VisitorId => self.visitor_id = text(map)?,
            Field::UserId => self.user_id = text(map)?,
            Field::Referrer => self.referrer = text(map)?,
            Field::Timestamp => self.timestamp = text(map)?,
            Field::EventId => self.event_id = text(map)?,
            Field::Data => self.data = map.next_value::<Option<&RawValue>>()?.map(RawValue::get),
            // Neither this nor `RawValue` recurses, however deep the value is.
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Takes each field once. (Derived, these structs would also be read from arrays.)
fn fields<'de, A: MapAccess<'de>>(
    mut map: A,
    mut take: impl FnMut(Field, &mut A) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    let mut seen = FieldSet::default();
    while let Some(field) = map.next_key()? {
        if !seen.insert(field) {
            return Err(A::Error::duplicate_field(field.name()));
        }
        take(field, &mut map)?;
    }
    Ok(())
}

struct WireVisitor;

impl<'de> Visitor<'de> for WireVisitor {
    type Value = Wire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wire<'de>, A::Error> {
        let mut wire = Wire::default();
        fields(map, |field, map| {
            match field {
                Field::ProjectKey => wire.project_key = text(map)?,
                Field::SentAt => wire.sent_at = text(map)?,
                Field::Source => wire.source = text(map)?,
                Field::Events => wire.events = map.next_value()?,
                _ => wire.event.take(field, map)?,
            }
            Ok(())
        })?;
        Ok(wire)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Wire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WireVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = WireEvent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireEvent<'de>, A::Error> {
        let mut event = WireEvent::default();
        fields(map, |field, map| event.take(field, map))?;
        Ok(event)
    }
}

impl<'de> Deserialize<'de> for WireEvent<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct WireEvents<'a>(Vec<WireEvent<'a>>);

impl WireEvents<'_> {
    /// Room made at once: growing from nothing to 100 events would allocate six times, from here four.
    const FIRST: usize = 16;
    /// The strict pass goes no further, since its list takes 184 bytes for an event that may be two bytes of
    /// JSON. Where more are allowed, the careful one reads them.
    const MOST: usize = 1_000;
}

struct EventsVisitor;

impl<'de> Visitor<'de> for EventsVisitor {
    type Value = WireEvents<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<WireEvents<'de>, A::Error> {
        let mut events = Vec::with_capacity(WireEvents::FIRST);
        while let Some(event) = seq.next_element()? {
            if events.len() == WireEvents::MOST {
                return Err(A::Error::custom("too many events"));
            }
            events.push(event);
        }
        Ok(WireEvents(events))
    }
}

impl<'de> Deserialize<'de> for WireEvents<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EventsVisitor)
    }
}
