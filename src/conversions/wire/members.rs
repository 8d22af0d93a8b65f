//! An object's members, read one by one by their paths, so that a fault can name where it lies.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::conversions::Fault;
use crate::conversions::identity::trimmed;
use crate::payload::array;

/// Members of one object that are read; the names of all others are passed over.
const MOST: usize = 1_000;

/// What is wrong with a member whatever was expected.
const GIVEN_TWICE: &str = "expected once";

/// An object's members, in the order they were sent.
pub(super) struct Members<'a> {
    list: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// Those of the object at `path`, of the body's text; of all members, or of those that are named.
    pub(super) fn of(
        path: &'static str,
        json: &'a RawValue,
        named: Option<&'static [&'static str]>,
    ) -> Result<Self, Fault> {
        if !json.get().starts_with('{') {
            return Err(Fault::at(path, "expected an object"));
        }
        // The text is known to be valid, so only a name that is half of a surrogate pair or the limit can end this.
        Named(named).deserialize(&mut serde_json::Deserializer::from_str(json.get())).map_err(|_| {
            Fault::at(path, format!("expected no more than {MOST} members with names of Unicode text"))
        })
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.list.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The value of the member that `path` ends with. `null` is the same as absent.
    pub(super) fn value(&self, path: &'static str) -> Result<Option<&'a RawValue>, Fault> {
        let name = path.rsplit('.').next().unwrap_or(path);
        let mut values = self.iter().filter(|(found, _)| *found == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() {
            return Err(Fault::at(path, GIVEN_TWICE));
        }
        Ok(first.filter(|value| value.get() != "null"))
    }

    /// The object that is the member's value, with those of its members that are named.
    pub(super) fn object(
        &self,
        path: &'static str,
        named: Option<&'static [&'static str]>,
    ) -> Result<Option<Self>, Fault> {
        self.value(path)?.map(|json| Self::of(path, json, named)).transpose()
    }

    /// A text, trimmed; a blank one is the same as absent.
    pub(super) fn text(&self, path: &'static str, longest: usize) -> Result<Option<String>, Fault> {
        let Some(json) = self.value(path)? else { return Ok(None) };
        let text = string(json).ok_or_else(|| Fault::at(path, "expected a string"))?;
        bounded(path, &text, longest)
    }

    /// The same of a text, or of a whole number as it is written.
    pub(super) fn text_or_number(&self, path: &'static str, longest: usize) -> Result<Option<String>, Fault> {
        let Some(json) = self.value(path)? else { return Ok(None) };
        let text =
            string_or_number(json).ok_or_else(|| Fault::at(path, "expected a string or a whole number"))?;
        bounded(path, &text, longest)
    }

    /// A text without control characters.
    pub(super) fn word(&self, path: &'static str, longest: usize) -> Result<Option<String>, Fault> {
        printable(path, self.text(path, longest)?)
    }

    /// The same, or a whole number as it is written.
    pub(super) fn word_or_number(&self, path: &'static str, longest: usize) -> Result<Option<String>, Fault> {
        printable(path, self.text_or_number(path, longest)?)
    }

    /// The values of an array, no more than so many.
    pub(super) fn list(
        &self,
        path: &'static str,
        most: usize,
        expected: &'static str,
    ) -> Result<Option<Vec<&'a RawValue>>, Fault> {
        let Some(json) = self.value(path)? else { return Ok(None) };
        if !json.get().starts_with('[') {
            return Err(Fault::at(path, expected));
        }
        let too_many = || Fault::at(path, format!("expected no more than {most} values"));
        array(json, most).map(Some).ok_or_else(too_many)
    }
}

/// A string's text; `None` for any other value, and for one that escapes half of a surrogate pair.
pub(super) fn string(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

/// A string's text, or that of a whole number; `None` for any other value.
pub(super) fn string_or_number(json: &RawValue) -> Option<String> {
    let text = json.get();
    let is_whole = || text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
    string(json).or_else(|| is_whole().then(|| text.to_owned()))
}

/// A text that is held to its limit in characters.
fn bounded(path: &'static str, text: &str, longest: usize) -> Result<Option<String>, Fault> {
    let text = trimmed(text);
    if text.chars().nth(longest).is_some() {
        return Err(Fault::at(path, format!("expected no more than {longest} characters")));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn printable(path: &'static str, text: Option<String>) -> Result<Option<String>, Fault> {
    if text.as_ref().is_some_and(|text| text.contains(char::is_control)) {
        return Err(Fault::at(path, "expected no control characters"));
    }
    Ok(text)
}

/// Reads an object's members.
struct Named(Option<&'static [&'static str]>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Named {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if self.0.is_some_and(|named| !named.contains(&name.as_ref())) {
                map.next_value::<IgnoredAny>()?;
            } else if list.len() < MOST {
                list.push((name, map.next_value()?));
            } else {
                return Err(A::Error::custom("too many"));
            }
        }
        Ok(Members { list })
    }
}
