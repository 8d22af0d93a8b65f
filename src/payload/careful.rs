//! The careful pass: reads a body that the strict one gave up on, field by field, and says what is wrong where.
//! An event that is wrong is rejected alone.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::error::{Fault, PayloadError, Problem};
use super::wire::{Field, FieldSet, Snippet, WireEvent, WireShared};
use super::{Decoded, Rejected, check};
use crate::event::{Event, PayloadLimits, Source};

/// Decodes a body of either format.
pub(super) fn decode<'a>(body: &'a str, limits: &PayloadLimits) -> Result<Decoded<'a>, PayloadError> {
    let (fields, project_key) = open(body).map_err(|fault| PayloadError::new(fault, None))?;
    let known = project_key.clone();
    let decoded = match fields.value(Field::Events) {
        Ok(None) => Ok(snippet(body, &fields, project_key, limits)),
        Ok(Some(events)) => batch(&fields, events, project_key, limits),
        Err(fault) => Err(fault),
    };
    decoded.map_err(|fault| PayloadError::new(fault, Some(&known)))
}

/// The body's fields, and the one without which nobody can be told about the others.
fn open(body: &str) -> Result<(Fields<'_>, Cow<'_, str>), Fault> {
    if body.trim().is_empty() {
        return Err(not_json("it is empty".to_owned()));
    }
    let json = serde_json::from_str::<&RawValue>(body).map_err(|error| not_json(error.to_string()))?;
    let fields = Fields::of(json)?;
    let project_key = check::required(Field::ProjectKey, fields.text(Field::ProjectKey)?)?;
    Ok((fields, project_key))
}

/// The fault of a body that is no JSON text. Errors of syntax tell a position and repeat no value.
pub(super) fn not_json(detail: String) -> Fault {
    Field::Unknown.fault(Problem::InvalidJson { detail })
}

fn snippet<'a>(
    body: &'a str,
    fields: &Fields<'a>,
    project_key: Cow<'a, str>,
    limits: &PayloadLimits,
) -> Decoded<'a> {
    let mut decoded = Decoded {
        project_key: project_key.clone(),
        batch: false,
        source: Source::Snippet,
        sent_at: None,
        events: Vec::new(),
        rejected: Vec::new(),
    };
    let event = fits(body, limits).and_then(|()| {
        let wire = Snippet { project_key, sent_at: fields.text(Field::SentAt)?, event: fields.event()? };
        check::snippet(wire, limits)
    });
    match event {
        Ok((event, sent_at)) => {
            decoded.sent_at = sent_at;
            decoded.events.push(event);
        }
        Err(fault) => decoded.rejected.push(Rejected::new(false, 0, &fault, body)),
    }
    decoded
}

fn batch<'a>(
    fields: &Fields<'a>,
    events: &'a RawValue,
    project_key: Cow<'a, str>,
    limits: &PayloadLimits,
) -> Result<Decoded<'a>, Fault> {
    let listed = listed(events, limits.events)?;
    let shared = check::shared(fields.shared()?, limits)?;
    shared.check_repeated(listed.len(), limits)?;
    let (mut events, mut rejected) = (Vec::with_capacity(listed.len()), Vec::new());
    for (index, json) in listed.into_iter().enumerate() {
        let event: Result<Event<'_>, Fault> = fits(json.get(), limits)
            .and_then(|()| check::batched(&mut Fields::of(json)?.event()?, &shared, limits));
        match event {
            Ok(event) => events.push(event),
            Err(fault) => rejected.push(Rejected::new(true, index, &fault, json.get())),
        }
    }
    Ok(Decoded { project_key, batch: true, source: shared.source, sent_at: shared.sent_at, events, rejected })
}

fn fits(event: &str, limits: &PayloadLimits) -> Result<(), Fault> {
    if event.len() > limits.event {
        return Err(Field::Unknown.fault(Problem::EventTooLarge { limit: limits.event }));
    }
    Ok(())
}

/// The events' texts, if there are some and no more than `limit`.
fn listed(events: &RawValue, limit: usize) -> Result<Vec<&RawValue>, Fault> {
    let json = events.get();
    if !json.starts_with('[') {
        let found = check::type_of(json);
        return Err(Field::Events.fault(Problem::WrongType { found, expected: "an array" }));
    }
    // The text is known to be valid, so only the limit can end this.
    let listed = AtMost(limit)
        .deserialize(&mut serde_json::Deserializer::from_str(json))
        .map_err(|_| Field::Events.fault(Problem::TooManyEvents { limit }))?;
    if listed.is_empty() {
        return Err(Field::Events.fault(Problem::NoEvents));
    }
    Ok(listed)
}

/// An object's known fields: each one's first value, and which came again.
#[derive(Default)]
struct Fields<'a> {
    values: [Option<&'a RawValue>; Field::KNOWN],
    repeated: FieldSet,
}

impl<'a> Fields<'a> {
    fn of(json: &'a RawValue) -> Result<Self, Fault> {
        let json = json.get();
        if !json.starts_with('{') {
            let problem = Problem::WrongType { found: check::type_of(json), expected: "an object" };
            return Err(Field::Unknown.fault(problem));
        }
        serde_json::from_str(json).map_err(|error| not_json(error.to_string()))
    }

    fn value(&self, field: Field) -> Result<Option<&'a RawValue>, Fault> {
        if self.repeated.contains(field) {
            return Err(field.fault(Problem::DuplicateField));
        }
        let value = self.values.get(field as usize).copied().flatten();
        Ok(value.filter(|value| value.get() != "null"))
    }

    fn text(&self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(json) = self.value(field)?.map(RawValue::get) else { return Ok(None) };
        let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            let problem = Problem::WrongType { found: check::type_of(json), expected: "a string" };
            return Err(field.fault(problem));
        };
        if !inner.contains('\\') {
            return Ok(Some(Cow::Borrowed(inner)));
        }
        match serde_json::from_str(json) {
            Ok(text) => Ok(Some(Cow::Owned(text))),
            Err(_) => Err(field.fault(Problem::InvalidText)),
        }
    }

    fn event(&self) -> Result<WireEvent<'a>, Fault> {
        Ok(WireEvent {
            kind: self.text(Field::Type)?,
            url: self.text(Field::Url)?,
            visitor_id: self.text(Field::VisitorId)?,
            user_id: self.text(Field::UserId)?,
            referrer: self.text(Field::Referrer)?,
            timestamp: self.text(Field::Timestamp)?,
            event_id: self.text(Field::EventId)?,
            data: self.value(Field::Data)?.map(RawValue::get),
        })
    }

    fn shared(&self) -> Result<WireShared<'a>, Fault> {
        Ok(WireShared {
            sent_at: self.text(Field::SentAt)?,
            source: self.text(Field::Source)?,
            visitor_id: self.text(Field::VisitorId)?,
            user_id: self.text(Field::UserId)?,
            referrer: self.text(Field::Referrer)?,
        })
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                let mut seen = FieldSet::default();
                while let Some(Name(field)) = map.next_key()? {
                    if field == Field::Unknown {
                        map.next_value::<IgnoredAny>()?;
                    } else if seen.insert(field) {
                        fields.values[field as usize] = Some(map.next_value()?);
                    } else {
                        fields.repeated.insert(field);
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A field's name read as bytes, for an unknown one may escape half of a surrogate pair.
struct Name(Field);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Name, E> {
                Ok(Name(Field::named(name)))
            }
        }

        deserializer.deserialize_bytes(NameVisitor)
    }
}

/// Reads an array of no more than so many values: a list of millions of tiny ones would take more memory than the
/// body.
struct AtMost(usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            if values.len() == self.0 {
                return Err(A::Error::custom("too many"));
            }
            values.push(value);
        }
        Ok(values)
    }
}
