//! A backend of the project's own, by Standard Webhooks: one event a request, signed.
//!
//! ```json
//! {"type": "purchase", "timestamp": "2026-11-20T10:15:30.250Z",
//!  "data": {"id": "…", "sourceUrl": "…", "userData": {…}, "customData": {…}, "consent": {…}}}
//! ```
//!
//! Names are those of the request that came in. `email`, `phone`, `firstName`, `lastName` and `externalId` are the
//! SHA-256 of what it gave; `customData` has every member of it.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::body::json as to_json;
use super::credential::secret_header;
use super::{Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict, by_status, event_name};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Integration};
use crate::event::Timestamp;

pub(super) struct Webhook;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Secrets are given with padding or without.
const SECRETS: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Platform for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        ""
    }

    fn url_setting(&self) -> Option<&'static str> {
        Some("url")
    }

    fn settings(&self) -> &'static [Setting] {
        const { &[Setting::optional("name"), Setting::required("url"), Setting::required("secret").secret()] }
    }

    fn check_settings(&self, settings: Settings<'_>) -> Result<(), String> {
        if settings("url").is_some_and(|url| !is_address(&url)) {
            return Err(
                "url is none; expected http or https, a host and no user, password or fragment".to_owned()
            );
        }
        if settings("secret").is_some_and(|secret| key(&secret).is_none()) {
            return Err("secret is none; expected whsec_ and base64, as Standard Webhooks has it".to_owned());
        }
        Ok(())
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::META
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 50, batch: 1 }
    }

    /// One event has the request to itself, whatever the integration's rate says: its id is the request's.
    fn share_a_request(&self, _one: &Conversion, _other: &Conversion) -> bool {
        false
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], now: Timestamp) -> Outgoing {
        let body = batch.first().map(|conversion| message(integration, conversion));
        let body = to_json(&body);
        let id = batch.first().map(|conversion| header_id(&conversion.id)).unwrap_or_default();
        let seconds = now.as_millis().div_euclid(1_000);
        let signature = key(integration.setting("secret")).and_then(|key| sign(&key, &id, seconds, &body));
        let headers = vec![
            (ID, secret_header(&id)),
            (TIMESTAMP, HeaderValue::from(seconds)),
            (SIGNATURE, secret_header(&signature.unwrap_or_default())),
        ];
        let path = path_behind(integration);
        Outgoing { path, headers, body }
    }

    fn read(&self, answer: &Reply<'_>, _events: usize) -> Verdict {
        match answer.status {
            StatusCode::GONE => Verdict::Gone("answered 410".to_owned()),
            status => by_status(status),
        }
    }
}

/// What follows the base URL: nothing where that is the URL itself; behind another one, the URL's path and query.
fn path_behind(integration: &Integration) -> String {
    let url = integration.setting("url");
    if let Some(rest) = url.strip_prefix(&integration.base_url) {
        return rest.to_owned();
    }
    Url::parse(url).map(|url| url[url::Position::BeforePath..].to_owned()).unwrap_or_default()
}

fn is_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    })
}

/// The key that a secret stands for.
fn key(secret: &str) -> Option<Vec<u8>> {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    SECRETS.decode(encoded).ok().filter(|key| !key.is_empty())
}

fn sign(key: &[u8], id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// The id as a header can carry it and a signature is read with it: of one with other characters, its digest.
fn header_id(id: &str) -> String {
    let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        return id.to_owned();
    }
    Sha256::digest(id).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn message(integration: &Integration, conversion: &Conversion) -> Value {
    let (identity, custom, consent) = (&conversion.identity, &conversion.custom, conversion.consent);
    let user = json!({
        "email": identity.email,
        "phone": identity.phone,
        "firstName": identity.first_name,
        "lastName": identity.last_name,
        "externalId": identity.external_digest,
        "clientId": identity.client_id,
        "ipAddress": identity.ip_address,
        "userAgent": identity.user_agent,
    });
    let ours = json!({
        "value": custom.value,
        "currency": custom.currency,
        "orderId": custom.order_id,
        "contentIds": Some(&custom.content_ids).filter(|ids| !ids.is_empty()),
        "contentName": custom.content_name,
        "contentType": custom.content_type,
    });
    let mut custom_data = custom.more.clone();
    custom_data.extend(present(ours));
    let signals = json!({
        "adUserData": consent.ad_user_data,
        "adPersonalization": consent.ad_personalization,
        "limitedUse": consent.limited_use,
    });
    let data = json!({
        "id": conversion.id,
        "sourceUrl": conversion.source_url,
        "userData": present(user),
        "customData": custom_data,
        "consent": present(signals),
    });
    json!({
        "type": event_name(&Webhook, integration, conversion),
        "timestamp": conversion.occurred_at.to_string(),
        "data": present(data),
    })
}

/// An object's members that are there.
fn present(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}
