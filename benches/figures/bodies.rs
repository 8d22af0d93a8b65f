//! What is sent, to Weir and to the limits alike.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The project key of every body.
pub(crate) const KEY: &str = "pk_live_figures";

/// Events in a batch.
pub(crate) const BATCH: u32 = 100;

/// One event as the snippet sends it. wrk puts an id of its own into each; `load.lua` says how.
const EVENT: &str = concat!(
    r#"{"type":"pageview","visitorId":"0199d3a4-1111-4222-8333-444455556666","projectKey":"pk_live_figures","#,
    r#""url":"https://shop.example.com/pricing?utm_source=news&utm_medium=mail","referrer":"https://example.org/","#,
    r#""eventId":"00000000-0000-4000-8000-000000000000","data":{"title":"Pricing","plan":"pro","seats":12},"#,
    r#""timestamp":"2026-11-22T13:00:00.123Z"}"#
);

/// What a browser sends along.
const OF_BROWSER: [&str; 3] = [
    "Content-Type: application/json",
    "Origin: https://shop.example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
];

/// What a server sends along.
const OF_SERVER: [&str; 1] = ["Content-Type: application/json"];

/// A body in a file, with its headers.
pub(crate) struct Body {
    pub(crate) file: PathBuf,
    pub(crate) headers: &'static [&'static str],
    pub(crate) events: u32,
}

impl Body {
    /// One event of a page.
    pub(crate) fn single(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("single.json");
        fs::write(&file, EVENT)?;
        Ok(Self { file, headers: &OF_BROWSER, events: 1 })
    }

    /// A batch of a server.
    pub(crate) fn batch(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("batch.json");
        fs::write(&file, batch())?;
        Ok(Self { file, headers: &OF_SERVER, events: BATCH })
    }
}

/// A server's batch. Its events bear no ids: the collector makes them, so that the same bytes are new events each time.
pub(crate) fn batch() -> String {
    const TYPES: [&str; 4] = ["pageview", "click", "form_submit", "purchase"];
    let mut body = format!(r#"{{"projectKey":"{KEY}","userId":"lead_456","events":["#);
    for event in 0..BATCH {
        let comma = if event == 0 { "" } else { "," };
        let kind = TYPES[event as usize % TYPES.len()];
        // Writing to a string does not fail.
        let _ = write!(
            body,
            r#"{comma}{{"type":"{kind}","url":"/shop/products/{event}","visitorId":"v_{event:06}","data":{{"elementId":"plan-pro","position":{event},"price":19.5}},"timestamp":"2026-11-22T13:00:{:02}Z"}}"#,
            event % 60
        );
    }
    body.push_str("]}");
    body
}

#[cfg(test)]
mod tests {
    use weir::event::PayloadLimits;
    use weir::payload;

    use super::*;

    #[test]
    fn the_bodies_have_the_sizes_that_the_readme_says() {
        let batch = batch();
        for (body, events, bytes) in [(EVENT, 1, 330..400), (&batch, 100, 16_000..18_500)] {
            assert!(bytes.contains(&body.len()), "{} bytes", body.len());
            let decoded = payload::decode(body.as_bytes(), &PayloadLimits::default()).expect("a sound body");
            assert_eq!(decoded.events.len(), events);
        }
    }
}
