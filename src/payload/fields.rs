//! JSON text taken apart with care: an object into its known fields, an array into its values, both as they stand
//! there. What reads them decides what a fault means.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::check;
use super::error::{Fault, Problem};
use super::wire::{Field, FieldSet};
use crate::event::PayloadLimits;

/// Which field a name stands for in an object of one kind.
pub(super) type Naming = fn(&[u8]) -> Field;

/// The JSON value that a text is, whatever it is.
pub(super) fn value<'a>(text: &'a str, expected: &'static str) -> Result<&'a RawValue, Fault> {
    if text.trim().is_empty() {
        return Err(not_json("it is empty".to_owned(), expected));
    }
    serde_json::from_str(text).map_err(|error| not_json(error.to_string(), expected))
}

/// The fault of a body that is no JSON text. Errors of syntax tell a position and repeat no value.
pub(super) fn not_json(detail: String, expected: &'static str) -> Fault {
    Field::Unknown.fault(Problem::InvalidJson { detail, expected })
}

/// Holds an event's JSON text to its limit.
pub(super) fn fits(event: &str, limits: &PayloadLimits) -> Result<(), Fault> {
    if event.len() > limits.event {
        return Err(Field::Unknown.fault(Problem::EventTooLarge { limit: limits.event }));
    }
    Ok(())
}

/// The events' texts, if there are some and no more than `limit`; `field` is where they stand.
pub(super) fn listed(field: Field, events: &RawValue, limit: usize) -> Result<Vec<&RawValue>, Fault> {
    let json = events.get();
    if !json.starts_with('[') {
        let found = check::type_of(json);
        return Err(field.fault(Problem::WrongType { found, expected: "an array" }));
    }
    let listed = array(events, limit).ok_or_else(|| field.fault(Problem::TooManyEvents { limit }))?;
    if listed.is_empty() {
        return Err(field.fault(Problem::NoEvents));
    }
    Ok(listed)
}

/// The values of an array, known to be one; `None` where there are more than `limit`.
pub(crate) fn array(json: &RawValue, limit: usize) -> Option<Vec<&RawValue>> {
    // The text is known to be valid, so only the limit can end this.
    AtMost(limit).deserialize(&mut serde_json::Deserializer::from_str(json.get())).ok()
}

/// An object's known fields: each one's first value, and which came again.
#[derive(Default)]
pub(super) struct Fields<'a> {
    values: [Option<&'a RawValue>; Field::KNOWN],
    repeated: FieldSet,
}

impl<'a> Fields<'a> {
    pub(super) fn of(json: &'a RawValue, naming: Naming) -> Result<Self, Fault> {
        let json = json.get();
        if !json.starts_with('{') {
            let problem = Problem::WrongType { found: check::type_of(json), expected: "an object" };
            return Err(Field::Unknown.fault(problem));
        }
        let fields = Named(naming).deserialize(&mut serde_json::Deserializer::from_str(json));
        fields.map_err(|error| not_json(error.to_string(), "an object"))
    }

    /// A field's value; `null` is the same as absent.
    pub(super) fn value(&self, field: Field) -> Result<Option<&'a RawValue>, Fault> {
        if self.repeated.contains(field) {
            return Err(field.fault(Problem::DuplicateField));
        }
        Ok(self.first(field))
    }

    /// A field's text.
    pub(super) fn text(&self, field: Field) -> Result<Option<Cow<'a, str>>, Fault> {
        let Some(json) = self.value(field)? else { return Ok(None) };
        text(json).map(Some).map_err(|problem| field.fault(problem))
    }

    /// A field's text where its first value is one.
    pub(super) fn first_text(&self, field: Field) -> Option<Cow<'a, str>> {
        text(self.first(field)?).ok()
    }

    fn first(&self, field: Field) -> Option<&'a RawValue> {
        self.values.get(field as usize).copied().flatten().filter(|value| value.get() != "null")
    }
}

fn text(json: &RawValue) -> Result<Cow<'_, str>, Problem> {
    let json = json.get();
    let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err(Problem::WrongType { found: check::type_of(json), expected: "a string" });
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(json).map(Cow::Owned).map_err(|_| Problem::InvalidText)
}

/// Reads an object's fields by their names.
struct Named(Naming);

impl<'de> DeserializeSeed<'de> for Named {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        let mut seen = FieldSet::default();
        while let Some(field) = map.next_key_seed(Name(self.0))? {
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

/// Reads a field's name as bytes, for an unknown one may escape half of a surrogate pair.
struct Name(Naming);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Field, E> {
        Ok(self.0(name))
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
