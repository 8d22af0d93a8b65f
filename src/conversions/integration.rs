//! Where a project's conversions go: a block `[[integration]]` of `weir.toml`, checked.

use std::collections::BTreeMap;
use std::fmt;

use super::consent::ConsentPolicy;
use super::platform::{Platform, Rate};

/// A block of `weir.toml`.
#[derive(Clone)]
pub struct Integration {
    /// `project/platform`, and for one of several webhooks `project/webhook/name`.
    pub name: String,
    /// The project's name.
    pub project: String,
    /// Where it forwards to.
    pub platform: &'static dyn Platform,
    /// Scheme, host and port, perhaps a path; no slash at its end.
    pub base_url: String,
    /// The platform's own settings, secrets resolved.
    pub settings: BTreeMap<&'static str, Secret>,
    /// Of phone numbers that do not name their country, digits.
    pub default_country_code: Option<String>,
    /// The platform is to use the data in a limited way.
    pub limited_data_use: bool,
    /// When a conversion may be forwarded.
    pub consent: ConsentPolicy,
    /// The platform's event names where they are not the usual ones, by our event types in lower case.
    pub event_names: BTreeMap<String, String>,
    /// Less than the platform takes, or more.
    pub rate: Option<Rate>,
    /// What is looked up on the page where it happened.
    pub enrich: EnrichPolicy,
}

/// What may be looked up on the page on which a conversion happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnrichPolicy {
    /// Hosts whose pages may be fetched; none: nothing is.
    pub hosts: Vec<String>,
    /// The event types whose value is looked up.
    pub events: Vec<String>,
}

/// A setting's value, which no log or error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the request that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Integration {
    /// A setting of the platform's own; empty where the block has none.
    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).map_or("", Secret::reveal)
    }

    /// How much may be sent.
    pub fn rate(&self) -> Rate {
        self.rate.unwrap_or_else(|| self.platform.rate(self))
    }
}

impl fmt::Debug for Integration {
    /// Its name alone: a URL may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Integration").field("name", &self.name).finish_non_exhaustive()
    }
}
