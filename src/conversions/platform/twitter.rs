//! X, by its Conversion API.
//!
//! Each of its events is set up in its Events Manager and has an id there: `event_tag_id`, or for one of our event types
//! what `event_names` gives. It takes all conversions of a request or none, and knows a copy by `conversion_id`.
//! Authorised by a pixel's token; OAuth 1.0a, which it takes as well, is not spoken here.

#[cfg(test)]
mod tests;

use http::header::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::answer::{counted, saying, told, unreadable};
use super::body::json as to_json;
use super::credential::{escaped, secret_header};
use super::{LimitedUse, Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict, given_name};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Fault, Identity, Integration};
use crate::event::Timestamp;

pub(super) struct Twitter;

const PIXEL_TOKEN: HeaderName = HeaderName::from_static("x-pixel-token");

impl Platform for Twitter {
    fn name(&self) -> &'static str {
        "twitter"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        "https://ads-api.x.com"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required("pixel_id"),
                Setting::required("event_tag_id"),
                Setting::required("pixel_token").secret(),
            ]
        }
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::TIKTOK
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 100, batch: 500 }
    }

    fn limited_use(&self) -> LimitedUse {
        LimitedUse::Unknown
    }

    fn check(&self, conversion: &Conversion) -> Result<(), Fault> {
        let identity = &conversion.identity;
        let is_matched = identity.email.is_some() || identity.phone.is_some();
        // Address and user agent match nobody alone, but each serves as the other's second identifier.
        if !is_matched && (identity.ip_address.is_none() || identity.user_agent.is_none()) {
            let expected =
                "expected for twitter, or userData.phone, or userData.ipAddress with userData.userAgent";
            return Err(Fault::at("userData.email", expected));
        }
        Ok(())
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        let tag = |conversion: &Conversion| {
            given_name(integration, conversion).unwrap_or_else(|| integration.setting("event_tag_id"))
        };
        let conversions =
            batch.iter().map(|conversion| WebConversion::of(conversion, tag(conversion))).collect();
        Outgoing {
            path: format!("/12/measurement/conversions/{}", escaped(integration.setting("pixel_id"))),
            headers: vec![(PIXEL_TOKEN, secret_header(integration.setting("pixel_token")))],
            body: to_json(&Request { conversions }),
        }
    }

    fn read(&self, answer: &Reply<'_>, events: usize) -> Verdict {
        let Ok(Answer { data, errors }) = serde_json::from_slice(answer.body) else {
            return unreadable(answer);
        };
        let processed = data.and_then(|data| data.conversions_processed);
        match (processed, errors.unwrap_or_default().first()) {
            (Some(processed), _) if answer.status.is_success() => counted(processed, events),
            (_, Some(error)) => saying(unreadable(answer), told(&error.code, &error.message)),
            (_, None) => unreadable(answer),
        }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    conversions: Vec<WebConversion<'a>>,
}

#[derive(Serialize)]
struct WebConversion<'a> {
    conversion_time: String,
    event_id: &'a str,
    conversion_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_currency: Option<&'a str>,
    identifiers: Vec<Identifier<'a>>,
}

/// Address and user agent go as one.
#[derive(Default, Serialize)]
struct Identifier<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hashed_email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashed_phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

impl<'a> WebConversion<'a> {
    fn of(conversion: &'a Conversion, event_id: &'a str) -> Self {
        Self {
            conversion_time: conversion.occurred_at.to_string(),
            event_id,
            conversion_id: &conversion.id,
            value: conversion.custom.value.as_ref(),
            price_currency: conversion.custom.currency.as_deref(),
            identifiers: identifiers(&conversion.identity),
        }
    }
}

fn identifiers(identity: &Identity) -> Vec<Identifier<'_>> {
    let (ip_address, user_agent) = (identity.ip_address.as_deref(), identity.user_agent.as_deref());
    let email = identity.email.as_deref();
    let phone = identity.phone.as_deref();
    let each = [
        email.map(|_| Identifier { hashed_email: email, ..Identifier::default() }),
        phone.map(|_| Identifier { hashed_phone_number: phone, ..Identifier::default() }),
        ip_address.or(user_agent).map(|_| Identifier { ip_address, user_agent, ..Identifier::default() }),
    ];
    each.into_iter().flatten().collect()
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Processed>,
    errors: Option<Vec<ApiError>>,
}

#[derive(Deserialize)]
struct Processed {
    conversions_processed: Option<usize>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}
