//! What backends send: `{"events": [...]}`, at most 100 of them.
//!
//! ```text
//! {"platform": "meta", "eventType": "purchase", "eventId": "…", "timestamp": "…", "sourceUrl": "https://…",
//!  "userData": {"email", "phone", "firstName", "lastName", "externalId", "clientId", "ipAddress", "userAgent"},
//!  "customData": {"value", "currency", "orderId", "contentIds", "contentName", "contentType", …},
//!  "consent": {"granted": ["marketing"], "raw": "marketing", "gpc": false, "google": {"ad_user_data": true}}}
//! ```
//!
//! `platform` and `eventType` are required. `null`, and a text of nothing but white space, is the same as absent; texts
//! are trimmed, unknown fields ignored. A known field that is of another type, over its limit or given twice refuses its
//! event alone, with a [`Fault`] that names the field and never a value. What the contract leaves open:
//!
//! - `phone`, `externalId`, `orderId` and `contentIds` may be whole numbers, as databases have them; `value` is a number
//!   and never a text, which may have been written with a comma.
//! - Ids and names of types hold no control characters; a user agent over its limit is cut, all else is refused.
//! - `gpc` may be the header's `1`; Google's signals may be `GRANTED` or `DENIED`, and named in camel case.
//! - `customData` may hold anything else, but neither it nor what lies within it may be called like an identifier.
//!
//! The plain text of e-mail address, phone number and names is in a [`SentEvent`] and nowhere behind it, and no `Debug`
//! shows it. Of `sourceUrl` credentials go, and the parameters that are called like an identifier or hold an address;
//! an external id that is an address is kept as its digest only.

pub(super) mod currency;
mod custom;
mod event;
mod members;
mod plain;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use serde_json::value::RawValue;
use thiserror::Error;
use uuid::Uuid;

use self::members::Members;
use super::consent::SentConsent;
use super::identity::{self, IdentityRules};
use super::{CustomData, Fault, Identity};
use crate::event::Timestamp;
use crate::payload::array;
use crate::retry::Retry;

/// Events in one request.
pub const MOST_EVENTS: usize = 100;

/// Our event types. Others are passed on as they are given.
pub const EVENT_TYPES: [&str; 11] = [
    "purchase",
    "lead",
    "add_to_cart",
    "page_view",
    "complete_registration",
    "initiate_checkout",
    "add_payment_info",
    "view_content",
    "search",
    "subscribe",
    "contact",
];

/// Why nothing of a body can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// It is no JSON text.
    #[error("the body is not JSON: {0}; expected an object with events")]
    NotJson(String),
    /// It is another JSON value.
    #[error("the body is not an object; expected one with events")]
    NotAnObject,
    /// It holds no events.
    #[error("events is missing, empty or not an array; expected an array of 1 to {MOST_EVENTS} events")]
    NoEvents,
    /// It holds them twice.
    #[error("events is given twice; expected it once")]
    RepeatedEvents,
    /// It holds more than [`MOST_EVENTS`]; the contract has these words.
    #[error("Too many events. Maximum {MOST_EVENTS} per request.")]
    TooManyEvents,
}

impl WireError {
    /// The stable word for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "invalid_json",
            Self::NotAnObject => "wrong_type",
            Self::NoEvents => "no_events",
            Self::RepeatedEvents => "duplicate_field",
            Self::TooManyEvents => "too_many_events",
        }
    }

    /// A body that was refused once is refused again.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// An event that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What it names as its platform, which need not be one; `None` where that could not be read.
    pub platform: Option<String>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// A valid event.
#[derive(Clone, Debug)]
pub struct SentEvent {
    /// What it names as its platform, which need not be one.
    pub platform: String,
    /// One of [`EVENT_TYPES`], or any other as it was given.
    pub event_type: String,
    /// The backend's own id, the same each time it sends this event again.
    pub event_id: Option<String>,
    /// When it happened.
    pub timestamp: Option<Timestamp>,
    /// The page on which it happened: absolute, http or https.
    pub source_url: Option<String>,
    user: UserData,
    /// What it is worth, and for what.
    pub custom: CustomData,
    /// What it says of consent.
    pub consent: SentConsent,
}

/// Who did it, in plain text.
#[derive(Clone, Default)]
struct UserData {
    email: Option<String>,
    phone: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    external_id: Option<String>,
    client_id: Option<String>,
    ip_address: Option<IpAddr>,
    user_agent: Option<String>,
}

impl fmt::Debug for UserData {
    /// Tells what is there, and nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = [
            ("email", self.email.is_some()),
            ("phone", self.phone.is_some()),
            ("first_name", self.first_name.is_some()),
            ("last_name", self.last_name.is_some()),
            ("external_id", self.external_id.is_some()),
            ("client_id", self.client_id.is_some()),
            ("ip_address", self.ip_address.is_some()),
            ("user_agent", self.user_agent.is_some()),
        ];
        f.debug_set().entries(there.iter().filter(|(_, there)| *there).map(|(name, _)| name)).finish()
    }
}

/// Reads a body: its events in the order they were sent, each valid or rejected alone.
pub fn read(body: &[u8]) -> Result<Vec<Result<SentEvent, Rejected>>, WireError> {
    let text = str::from_utf8(body).map_err(|_| WireError::NotJson("it is not UTF-8".to_owned()))?;
    let json: &RawValue =
        serde_json::from_str(text).map_err(|error| WireError::NotJson(error.to_string()))?;
    let members = Members::of("", json, Some(&["events"])).map_err(|_| WireError::NotAnObject)?;
    let events = members.value("events").map_err(|_| WireError::RepeatedEvents)?;
    let events = events.filter(|json| json.get().starts_with('[')).ok_or(WireError::NoEvents)?;
    let events = array(events, MOST_EVENTS).ok_or(WireError::TooManyEvents)?;
    if events.is_empty() {
        return Err(WireError::NoEvents);
    }
    Ok(events.into_iter().map(event::read).collect())
}

impl SentEvent {
    /// Who did it, normalised and hashed by a platform's rules; nothing of it can be turned back.
    pub fn identity(&self, rules: &IdentityRules, default_country_code: Option<&str>) -> Identity {
        let UserData { email, phone, first_name, last_name, external_id, client_id, ip_address, user_agent } =
            &self.user;
        let name = |name: &Option<String>| rules.name(name.as_deref()?);
        let external_digest = external_id.as_deref().and_then(identity::external_id);
        let tells_who = plain::external_id_tells(&self.user);
        Identity {
            email: email.as_deref().and_then(|email| rules.email(email)),
            phone: phone.as_deref().and_then(|phone| rules.phone(phone, default_country_code)),
            first_name: name(first_name),
            last_name: name(last_name),
            external_id: if tells_who { external_digest.clone() } else { external_id.clone() },
            external_digest,
            client_id: client_id.clone(),
            ip_address: ip_address.map(|address| address.to_string()),
            user_agent: user_agent.clone(),
        }
    }
}

/// What an event type is called here: one of ours in lower case, its aliases resolved, or any other as it is.
pub fn event_type(text: &str) -> String {
    event::ours(text.to_owned())
}

/// By what a platform knows a copy of the event: its own id; else one that follows from the API key's id, the
/// platform's name, the type and the order's id, so that an order that is sent again is told once; else a new one.
pub fn conversion_id(sent: &SentEvent, api_key: Uuid, platform: &str) -> String {
    if let Some(id) = &sent.event_id {
        return id.clone();
    }
    let id = match &sent.custom.order_id {
        // None of them holds a line feed.
        Some(order) => Uuid::new_v5(&api_key, format!("{platform}\n{}\n{order}", sent.event_type).as_bytes()),
        None => Uuid::new_v4(),
    };
    id.to_string()
}
