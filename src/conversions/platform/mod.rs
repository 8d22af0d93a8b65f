//! The platforms: each is one file that says what the platform wants to be told, and how its answers read. A new one is
//! such a file, its `mod` here and its line in [`ALL`]; `README.md` says what its tests ask for.
//!
//! What a platform takes, at which rate, and what it wants hashed how is described in `README.md` for those who set it
//! up; the facts were gathered from the platforms' documentation in November 2026.

mod answer;
mod body;
mod credential;
mod ga4;
mod google_ads;
mod google_consent;
mod meta;
mod pinterest;
#[cfg(test)]
mod samples;
mod server_event;
mod snapchat;
mod tiktok;
mod twitter;
mod webhook;

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::consent::LimitedUse;
use super::identity::IdentityRules;
use super::{Conversion, Fault, Integration};
use crate::event::Timestamp;

/// What has to be known of a platform.
pub trait Platform: Sync {
    /// As requests and `weir.toml` call it.
    fn name(&self) -> &'static str;

    /// What requests may call it besides.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// The base URL of an integration that sets none, which [`Outgoing::path`] follows.
    fn base_url(&self, _settings: Settings<'_>) -> &'static str;

    /// The setting that has the whole URL instead, for a platform that has no address of its own.
    fn url_setting(&self) -> Option<&'static str> {
        None
    }

    /// The settings in its block of `weir.toml` that are its own. Where `name` is one of them, a project may have
    /// several blocks that differ by it.
    fn settings(&self) -> &'static [Setting];

    /// Whether the settings go together; a sentence that says what is missing.
    fn check_settings(&self, _settings: Settings<'_>) -> Result<(), String> {
        Ok(())
    }

    /// How identifiers are normalised before they are hashed.
    fn identity(&self) -> IdentityRules;

    /// How much it takes.
    fn rate(&self, integration: &Integration) -> Rate;

    /// The least time between the beginnings of two requests, for one that counts requests and not events.
    fn spacing(&self, _integration: &Integration) -> Duration {
        Duration::ZERO
    }

    /// Whether it can be asked to use what it is told in a limited way.
    fn limited_use(&self) -> LimitedUse {
        LimitedUse::Possible
    }

    /// It refuses older events.
    fn longest_age(&self) -> Option<Duration> {
        None
    }

    /// Its own name for one of our event types; `None` where it has none and is told as given.
    fn event_name(&self, _event_type: &str) -> Option<&'static str> {
        None
    }

    /// Whether it takes events of this name: its own or given by [`event_name`], or one that the integration's
    /// `event_names` gives; what it expects of one.
    fn check_name(&self, _name: &str) -> Result<(), &'static str> {
        Ok(())
    }

    /// Whether it can take the event at all: what it requires is there, whatever the event's name. See [`check`].
    fn check(&self, _conversion: &Conversion) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether two events may go in one request.
    fn share_a_request(&self, _one: &Conversion, _other: &Conversion) -> bool {
        true
    }

    /// The request that tells it of these events: one at least, and no more than [`Rate::batch`].
    fn request(&self, integration: &Integration, batch: &[&Conversion], now: Timestamp) -> Outgoing;

    /// What its answer to a request of so many events means.
    fn read(&self, answer: &Reply<'_>, events: usize) -> Verdict {
        let _ = events;
        by_status(answer.status)
    }
}

/// The settings of a block in `weir.toml` by their keys, secrets resolved; `None` for one that it does not have.
pub type Settings<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A setting of a platform's block in `weir.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// Whether a block without it is refused.
    pub required: bool,
    /// Whether it is never to be shown.
    pub secret: bool,
}

impl Setting {
    /// One that every block has.
    pub const fn required(key: &'static str) -> Self {
        Self { key, required: true, secret: false }
    }

    /// One that a block may leave out.
    pub const fn optional(key: &'static str) -> Self {
        Self { key, required: false, secret: false }
    }

    /// The same, never shown.
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// How much a platform takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events a second.
    pub per_second: u32,
    /// Events in one request.
    pub batch: u32,
}

/// A request to a platform: always a POST of JSON.
#[derive(Clone)]
pub struct Outgoing {
    /// Behind the integration's base URL, with a slash at its beginning; may hold a secret in its query.
    pub path: String,
    /// Besides `Content-Type`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// A platform's answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its status.
    pub status: StatusCode,
    /// As much of its body as is read.
    pub body: &'a [u8],
}

/// What a platform's answer means. Texts are for operators and hold nothing of an event's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has all of them.
    Taken,
    /// One verdict for each event, in order: `Err` says why it will never take that one.
    Each(Vec<Result<(), String>>),
    /// It may take the same request later.
    Retry(String),
    /// It was too much; the same request, later.
    Throttled(String),
    /// The credentials are not good: nothing is sent until somebody has seen to it.
    Unauthorized(String),
    /// It will never take this request; of several events, perhaps for the sake of one.
    Refused(String),
    /// It wants no more requests at all.
    Gone(String),
}

/// What HTTP's own words say where the platform has none of its own.
pub fn by_status(status: StatusCode) -> Verdict {
    let said = format!("answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Verdict::Taken,
        401 | 403 => Verdict::Unauthorized(said),
        429 => Verdict::Throttled(said),
        // What answers with a redirect, none of which is followed, is not the platform but something before it.
        300..=399 | 408 | 425 | 500..=599 => Verdict::Retry(said),
        _ => Verdict::Refused(said),
    }
}

/// The platform of this name or alias.
pub fn find(name: &str) -> Option<&'static dyn Platform> {
    ALL.iter().copied().find(|platform| platform.name() == name || platform.aliases().contains(&name))
}

/// Every platform's name and aliases, for people.
pub fn names() -> String {
    let name = |platform: &&dyn Platform| match platform.aliases() {
        [] => platform.name().to_owned(),
        aliases => format!("{} (or {})", platform.name(), aliases.join(", ")),
    };
    ALL.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The platform's own name for the conversion's event: the integration's, else the platform's, else as given.
pub fn event_name<'a>(
    platform: &dyn Platform,
    integration: &'a Integration,
    conversion: &'a Conversion,
) -> Cow<'a, str> {
    let ours = conversion.event_type.as_str();
    let name = given_name(integration, conversion).or_else(|| platform.event_name(ours));
    Cow::Borrowed(name.unwrap_or(ours))
}

/// The name that the integration gives the conversion's event.
fn given_name<'a>(integration: &'a Integration, conversion: &Conversion) -> Option<&'a str> {
    integration.event_names.get(&conversion.event_type.to_lowercase()).map(String::as_str)
}

/// Whether the platform takes the event, under the name that the integration gives it.
pub fn check(integration: &Integration, conversion: &Conversion) -> Result<(), Fault> {
    let platform = integration.platform;
    let name = event_name(platform, integration, conversion);
    platform.check_name(&name).map_err(|expected| Fault::at("eventType", expected))?;
    platform.check(conversion)
}

/// Every platform there is.
pub static ALL: &[&dyn Platform] = &[
    &meta::Meta,
    &tiktok::TikTok,
    &google_ads::GoogleAds,
    &ga4::Ga4,
    &snapchat::Snapchat,
    &pinterest::Pinterest,
    &twitter::Twitter,
    &webhook::Webhook,
];
