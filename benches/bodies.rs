//! The bodies that everything is measured with.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The key of the one project there is.
pub const PROJECT_KEY: &str = "pk_live_xyz";

/// The browser that sends the snippet's events.
pub const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";

/// A page view of 350 bytes as the contract's snippet sends it: each of its fields, but none of our additions, so
/// it may be sent again and again. `data` has six members; the URL and the referrer are of a campaign.
pub const PAGE: &str = r#"{"type":"pageview","visitorId":"v_8f3kq20x7","projectKey":"pk_live_xyz","url":"https://www.example.com/pricing?utm_source=newsletter&utm_medium=email","referrer":"https://www.google.com/","data":{"title":"Plans and pricing","language":"en-GB","screen":"1920x1080","viewport":"1517x730","plan":"pro","seats":12},"timestamp":"2026-11-22T13:00:00.123Z"}"#;

/// When the events came: soon after they happened, by their own clocks.
pub const RECEIVED_AT_MS: i64 = 1_795_352_401_000;

/// The same page view with all that our own additions allow, the event's id and the user's: 455 bytes. The id is that
/// of this number.
pub fn full_page(id: u64) -> String {
    let additions =
        format!(r#","userId":"lead_456","eventId":"{}","sentAt":"2026-11-22T13:00:00.456Z"}}"#, event_id(id));
    format!("{}{additions}", PAGE.trim_end_matches('}'))
}

/// A server's batch of this many events; 100 are 17 KB. No event has an id.
pub fn batch(events: usize) -> String {
    batch_of((0..events).map(|_| format!("{{{EVENT}}}")))
}

/// The same batch with ids, from this number on.
pub fn batch_with_ids(events: usize, first: u64) -> String {
    batch_of((first..).take(events).map(|id| format!(r#"{{{EVENT},"eventId":"{}"}}"#, event_id(id))))
}

/// One event of a batch: 168 bytes with its braces and the comma behind it.
const EVENT: &str = r#""type":"click","url":"/pricing?plan=pro","data":{"elementId":"plan-pro","position":3,"label":"Start"},"timestamp":"2026-11-22T13:00:00Z","visitorId":"v_8f3kq20x7m1b""#;

fn batch_of(events: impl Iterator<Item = String>) -> String {
    let events = events.collect::<Vec<_>>().join(",");
    format!(r#"{{"projectKey":"{PROJECT_KEY}","userId":"lead_456","events":[{events}]}}"#)
}

/// A UUID v7 of the moment the events are from.
fn event_id(number: u64) -> String {
    format!("01a20357-9080-7000-8000-{number:012x}")
}

/// A body as browsers compress it.
pub fn gzip(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body.as_bytes()).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}
