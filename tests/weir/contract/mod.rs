//! `POST /api/events` held to its contract: what is said to a client, and what is in the tables afterwards.

mod data;
mod examples;
mod fields;
mod ids;
mod limits;
mod rejected;
mod statuses;
mod times;
mod visitor;

/// A snippet's event of this type, with more members; these begin with a comma.
fn snippet(kind: &str, more: &str) -> String {
    format!(
        r#"{{"projectKey":"pk_live_demo","type":"{kind}","visitorId":"v","url":"https://a.example/"{more}}}"#
    )
}

/// A batch of these events, with more members; these begin with a comma.
fn batch(events: &[String], more: &str) -> String {
    format!(r#"{{"projectKey":"pk_live_demo","events":[{}]{more}}}"#, events.join(","))
}

/// An event of a batch with this type, and more members; these begin with a comma.
fn event(kind: &str, more: &str) -> String {
    format!(r#"{{"type":"{kind}","url":"/p"{more}}}"#)
}

/// A string's bytes as hexadecimal digits, as ClickHouse's `hex` gives them.
pub fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |digits, byte| digits + &format!("{byte:02X}"))
}
