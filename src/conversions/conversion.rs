//! A conversion as it is kept: its identifiers are normalised and hashed as its platform wants them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::event::Timestamp;

/// A conversion on its way to one integration. E-mail address, phone number and names are digests from here on: their
/// plain text is in no file, table, log or error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// By what the platform knows a copy: the same on every attempt.
    pub id: String,
    /// Whose it is.
    pub project_id: Uuid,
    /// Name of the integration that forwards it, such as `shop/meta`.
    pub integration: String,
    /// One of ours in lower case, its aliases resolved; any other as it was given.
    pub event_type: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// The page on which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// Who did it.
    pub identity: Identity,
    /// What it is worth, and for what.
    pub custom: CustomData,
    /// What was agreed to.
    pub consent: ConsentSignals,
}

/// Who did it, as the platform wants it told. A digest is 64 lower-case hexadecimal digits of SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// As it was given, trimmed; [`Identity::external_digest`] is what most platforms take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Digest of the external id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_digest: Option<String>,
    /// The id that a platform's own script gave the browser, as ga4's `client_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// An IPv4 or IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// As the browser sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// What a conversion is worth, and for what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomData {
    /// As it was given, in units of the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Number>,
    /// ISO 4217, in capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The shop's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// What it was for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub content_ids: Vec<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_name: Option<String>,
    /// Its kind, such as `product`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Every other member, passed through.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}

/// What platforms are told of the consent; whether there is one was decided before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsentSignals {
    /// Google's `ad_user_data`, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_user_data: Option<bool>,
    /// Google's `ad_personalization`, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_personalization: Option<bool>,
    /// The platform is to use the data in a limited way: the integration says so, or the event's `consent.gpc`.
    pub limited_use: bool,
}
