//! Conversions that this version cannot read: written by another one, or damaged.

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use uuid::Uuid;

use super::Key;
use crate::conversions::Conversion;
use crate::event::Timestamp;

/// What an id begins with that is made up.
pub(super) const MADE_UP: &str = "unreadable-";

/// What tells a conversion from others, and can be told of one that does not read as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Label {
    pub(super) id: String,
    pub(super) project_id: Uuid,
    pub(super) event_type: String,
    pub(super) occurred_at: Option<Timestamp>,
}

impl Label {
    /// As much as can be read; the id is made of the key where there is none.
    pub(super) fn of(json: &[u8], key: Key) -> Self {
        serde_json::from_slice(json).unwrap_or_else(|_| {
            let value: Value = serde_json::from_slice(json).unwrap_or_default();
            let text = |member| value.get(member).and_then(Value::as_str);
            Self {
                id: text("id").map_or_else(|| format!("{MADE_UP}{key}"), str::to_owned),
                project_id: text("project_id").and_then(|id| id.parse().ok()).unwrap_or_default(),
                event_type: text("event_type").unwrap_or_default().to_owned(),
                occurred_at: value.get("occurred_at").and_then(|moment| Timestamp::deserialize(moment).ok()),
            }
        })
    }
}

/// A conversion, or why it is none: a sentence that repeats nothing of it.
pub(super) fn read(json: &[u8]) -> Result<Conversion, String> {
    serde_json::from_slice(json).map_err(|error| {
        let place = error.column();
        match (error.classify(), error.to_string()) {
            (Category::Data, said) if said.starts_with("missing field") => format!("does not read: {said}"),
            (Category::Data, _) => format!("does not read: of another kind than expected at byte {place}"),
            _ => format!("does not read: no JSON at byte {place}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_conversion_that_does_not_read_it_is_told_what_can_be() {
        let project = "00000000-0000-0000-0000-000000000007";
        let whole =
            r#"{"id":"a","project_id":"P","event_type":"lead","occurred_at":5}"#.replace('P', project);
        let label = |id: &str, project: u128, event_type: &str, occurred_at: Option<i64>| Label {
            id: id.to_owned(),
            project_id: Uuid::from_u128(project),
            event_type: event_type.to_owned(),
            occurred_at: occurred_at.map(Timestamp::from_millis),
        };
        let cases = [
            (whole.as_str(), label("a", 7, "lead", Some(5))),
            (r#"{"id":"a"}"#, label("a", 0, "", None)),
            (
                r#"{"project_id":7,"occurred_at":"today","event_type":"lead"}"#,
                label("unreadable-9", 0, "lead", None),
            ),
            (&whole[..20], label("unreadable-9", 0, "", None)),
            ("[]", label("unreadable-9", 0, "", None)),
            ("", label("unreadable-9", 0, "", None)),
        ];
        for (json, expected) in cases {
            assert_eq!(Label::of(json.as_bytes(), 9), expected, "{json}");
        }
    }

    #[test]
    fn why_a_conversion_does_not_read_repeats_nothing_of_it() {
        let cases = [
            (r#"{"id":"a"}"#, "does not read: missing field `project_id` at line 1 column 10"),
            (r#"{"id":{"jane@example.com":1}}"#, "does not read: of another kind than expected at byte 6"),
            (r#"{"id":"jane@example.com"#, "does not read: no JSON at byte 23"),
            ("\u{0}jane@example.com", "does not read: no JSON at byte 1"),
        ];
        for (json, expected) in cases {
            assert_eq!(read(json.as_bytes()).unwrap_err(), expected, "{json}");
        }
    }
}
