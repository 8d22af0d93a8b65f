//! What anybody can read of a body: nothing but whether it is JSON, whose it is, and where its events are.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A body that is a JSON object with one project key.
pub(super) struct Body<'a> {
    pub(super) project_key: String,
    pub(super) events: Events<'a>,
}

/// What a body has of events.
pub(super) enum Events<'a> {
    /// It has no list of them: it is one itself.
    Lone,
    /// `events` is no array, or is given twice.
    Unreadable,
    /// Their texts.
    Listed(Vec<&'a [u8]>),
}

/// The members of an object in their order. Names are bytes: they may escape half of a surrogate pair.
struct Members<'a>(Vec<(Vec<u8>, &'a RawValue)>);

struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Name, E> {
                Ok(Name(name.to_owned()))
            }
        }

        deserializer.deserialize_bytes(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Reads a body; `None` where nobody can tell whose it is.
pub(super) fn read(bytes: &[u8]) -> Option<Body<'_>> {
    // Reading names as bytes would let control characters pass.
    let text: &RawValue = serde_json::from_str(str::from_utf8(bytes).ok()?).ok()?;
    let Members(members) = serde_json::from_str(text.get()).ok()?;
    let named = |wanted: &str| -> Vec<&RawValue> {
        members.iter().filter(|(name, _)| name == wanted.as_bytes()).map(|(_, value)| *value).collect()
    };
    let [project_key] = named("projectKey")[..] else { return None };
    let project_key = serde_json::from_str(project_key.get()).ok()?;
    let events = match named("events")[..] {
        [] => Events::Lone,
        [events] if events.get() == "null" => Events::Lone,
        [events] => {
            let listed: Option<Vec<&RawValue>> = serde_json::from_str(events.get()).ok();
            listed.map_or(Events::Unreadable, |listed| {
                Events::Listed(listed.into_iter().map(|event| event.get().as_bytes()).collect())
            })
        }
        _ => Events::Unreadable,
    };
    Some(Body { project_key, events })
}
