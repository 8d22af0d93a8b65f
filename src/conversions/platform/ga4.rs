//! Google Analytics 4 by its Measurement Protocol.
//!
//! It answers 2xx whatever it is sent and drops what it cannot read, so that everything is checked here. One request
//! tells of one user with one consent.

mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::body::json as to_json;
use super::credential::escaped;
use super::google_consent::{Consent, Spelling};
use super::{Outgoing, Platform, Rate, Setting, Settings, event_name};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Fault, Identity, Integration};
use crate::event::Timestamp;

pub(super) struct Ga4;

const CONSENT: Spelling = Spelling {
    ad_user_data: "ad_user_data",
    ad_personalization: "ad_personalization",
    granted: "GRANTED",
    denied: "DENIED",
};

const MOST_PARAMS: usize = 25;
/// The longest request, in bytes.
const LONGEST_BODY: usize = 130_000;
/// An event's share of it: so many of this length fit, whoever it is that they tell of.
const EVENT_SHARE: usize = LONGEST_BODY / 26;

impl Platform for Ga4 {
    fn name(&self) -> &'static str {
        "ga4"
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        "https://www.google-analytics.com"
    }

    fn settings(&self) -> &'static [Setting] {
        const { &[Setting::required("measurement_id"), Setting::required("api_secret").secret()] }
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::GA4
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 25, batch: 25 }
    }

    fn longest_age(&self) -> Option<Duration> {
        Some(Duration::from_hours(72))
    }

    fn event_name(&self, event_type: &str) -> Option<&'static str> {
        Some(match event_type {
            "purchase" => "purchase",
            "lead" => "generate_lead",
            "add_to_cart" => "add_to_cart",
            "page_view" => "page_view",
            "complete_registration" => "sign_up",
            "initiate_checkout" => "begin_checkout",
            "add_payment_info" => "add_payment_info",
            "view_content" => "view_item",
            "search" => "search",
            "subscribe" => "subscribe",
            "contact" => "contact",
            _ => return None,
        })
    }

    fn check_name(&self, name: &str) -> Result<(), &'static str> {
        if names::is_event(name) { Ok(()) } else { Err(names::EXPECTED) }
    }

    fn check(&self, conversion: &Conversion) -> Result<(), Fault> {
        if conversion.identity.client_id.is_none() && conversion.identity.external_id.is_none() {
            return Err(Fault::at("userData.clientId", "expected for ga4, or userData.externalId"));
        }
        let more = &conversion.custom.more;
        if !more.keys().all(|name| names::is_param(name)) {
            return Err(Fault::at(
                "customData",
                format!("a name in it is none of ga4's: {}", names::EXPECTED),
            ));
        }
        let is_nested = |value: &Value| value.is_object() || value.is_array();
        if let Some((name, _)) = more.iter().find(|(name, value)| *name != "items" && is_nested(value)) {
            return Err(Fault::at(
                format!("customData.{name}"),
                "expected a text, a number or a boolean for ga4, which takes an array only as items",
            ));
        }
        let params = params(conversion);
        if params.len() > MOST_PARAMS {
            return Err(Fault::at(
                "customData",
                "expected no more than 25 members for ga4, its own included",
            ));
        }
        if Value::Object(params).to_string().len() > LONGEST_BODY - EVENT_SHARE {
            return Err(Fault::at("customData", "expected less than 125 kB for ga4"));
        }
        Ok(())
    }

    fn share_a_request(&self, one: &Conversion, other: &Conversion) -> bool {
        let is_small =
            |event| Value::Object(params(event)).to_string().len() + 3 * names::LONGEST <= EVENT_SHARE;
        Sender::of(one) == Sender::of(other) && is_small(one) && is_small(other)
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        let setting = |key| escaped(integration.setting(key));
        let query =
            format!("measurement_id={}&api_secret={}", setting("measurement_id"), setting("api_secret"));
        let first = batch.first();
        let timestamp_micros = first.map(|conversion| micros(conversion));
        let event = |conversion: &&'_ _| Event {
            name: event_name(self, integration, conversion).into_owned(),
            timestamp_micros: Some(micros(conversion)).filter(|&own| Some(own) != timestamp_micros),
            params: params(conversion),
        };
        let body = Request {
            sender: first.map(|conversion| Sender::of(conversion)),
            timestamp_micros,
            events: batch.iter().map(event).collect(),
        };
        Outgoing { path: format!("/mp/collect?{query}"), headers: Vec::new(), body: to_json(&body) }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    sender: Option<Sender<'a>>,
    /// Of every event that has none of its own.
    timestamp_micros: Option<i64>,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_micros: Option<i64>,
    params: Map<String, Value>,
}

/// What all events of a request have in common.
#[derive(PartialEq, Serialize)]
struct Sender<'a> {
    client_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Consent::is_empty")]
    consent: Consent,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<UserData<'a>>,
}

#[derive(PartialEq, Serialize)]
struct UserData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_email_address: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_phone_number: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<[Address<'a>; 1]>,
}

#[derive(PartialEq, Serialize)]
struct Address<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_first_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_last_name: Option<&'a str>,
}

impl<'a> Sender<'a> {
    fn of(conversion: &'a Conversion) -> Self {
        let identity = &conversion.identity;
        let client_id = identity.client_id.as_deref().map_or_else(
            || Cow::Owned(pseudo_client(identity.external_id.as_deref().unwrap_or_default())),
            Cow::Borrowed,
        );
        Self {
            client_id,
            user_id: identity.external_id.as_deref(),
            consent: CONSENT.spell(conversion.consent),
            user_data: UserData::of(identity),
        }
    }
}

impl<'a> UserData<'a> {
    /// Only for a known user: without a `user_id` it is worth nothing.
    fn of(identity: &'a Identity) -> Option<Self> {
        identity.external_id.as_ref()?;
        let (first, last) = (identity.first_name.as_deref(), identity.last_name.as_deref());
        let address = Address { sha256_first_name: first, sha256_last_name: last };
        let user = Self {
            sha256_email_address: identity.email.as_deref().map(|email| [email]),
            sha256_phone_number: identity.phone.as_deref().map(|phone| [phone]),
            address: (first.is_some() || last.is_some()).then_some([address]),
        };
        let is_known = user.sha256_email_address.is_some()
            || user.sha256_phone_number.is_some()
            || user.address.is_some();
        is_known.then_some(user)
    }
}

/// A client id in the form of its own, two numbers and a dot, the same for an external id every time.
fn pseudo_client(external_id: &str) -> String {
    let digest = Sha256::digest(external_id);
    let number =
        |at: usize| digest[at..at + 4].iter().fold(0_u32, |number, &byte| number << 8 | u32::from(byte));
    format!("{}.{}", number(0), number(4))
}

fn micros(conversion: &Conversion) -> i64 {
    conversion.occurred_at.as_millis() * 1_000
}

/// What is passed through, and over it what is ours. The transaction's id is by what it knows a purchase's copy.
fn params(conversion: &Conversion) -> Map<String, Value> {
    let custom = &conversion.custom;
    let mut params = custom.more.clone();
    params.insert("engagement_time_msec".to_owned(), json!(1));
    params.insert("transaction_id".to_owned(), json!(custom.order_id.as_ref().unwrap_or(&conversion.id)));
    if let Some(value) = &custom.value {
        params.insert("value".to_owned(), json!(value));
    }
    if let Some(currency) = &custom.currency {
        params.insert("currency".to_owned(), json!(currency));
    }
    if !custom.content_ids.is_empty() {
        let items: Vec<Value> = custom.content_ids.iter().map(|id| json!({ "item_id": id })).collect();
        params.insert("items".to_owned(), Value::Array(items));
    }
    params
}
