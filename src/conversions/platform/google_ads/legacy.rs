//! `uploadClickConversions` of the Google Ads API, for accounts that have used it before June 2026.

use http::header::HeaderName;
use serde::Serialize;
use serde_json::Number;

use super::super::Outgoing;
use super::super::body::json as to_json;
use super::super::credential::secret_header;
use super::super::google_consent::{Consent, Spelling};
use crate::conversions::{Conversion, Identity, Integration};

const DEVELOPER_TOKEN: HeaderName = HeaderName::from_static("developer-token");
const LOGIN_CUSTOMER_ID: HeaderName = HeaderName::from_static("login-customer-id");

const CONSENT: Spelling = Spelling {
    ad_user_data: "adUserData",
    ad_personalization: "adPersonalization",
    granted: "GRANTED",
    denied: "DENIED",
};

pub(super) fn request(integration: &Integration, batch: &[&Conversion]) -> Outgoing {
    let customer = super::account(integration.setting("customer_id"));
    let action = super::action_id(integration.setting("conversion_action"));
    let conversion_action = format!("customers/{customer}/conversionActions/{action}");
    let body = Request {
        conversions: batch
            .iter()
            .map(|conversion| ClickConversion::of(conversion, &conversion_action))
            .collect(),
        partial_failure: true,
    };
    let mut headers = vec![
        super::authorization(integration),
        (DEVELOPER_TOKEN, secret_header(integration.setting("developer_token"))),
    ];
    let login = super::account(integration.setting("login_customer_id"));
    if !login.is_empty() {
        headers.push((LOGIN_CUSTOMER_ID, secret_header(&login)));
    }
    Outgoing {
        path: format!("/v23/customers/{customer}:uploadClickConversions"),
        headers,
        body: to_json(&body),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    conversions: Vec<ClickConversion<'a>>,
    partial_failure: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClickConversion<'a> {
    conversion_action: &'a str,
    conversion_date_time: String,
    order_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_value: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency_code: Option<&'a str>,
    user_identifiers: Vec<UserIdentifier<'a>>,
    #[serde(skip_serializing_if = "Consent::is_empty")]
    consent: Consent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum UserIdentifier<'a> {
    HashedEmail(&'a str),
    HashedPhoneNumber(&'a str),
}

impl<'a> ClickConversion<'a> {
    fn of(conversion: &'a Conversion, conversion_action: &'a str) -> Self {
        Self {
            conversion_action,
            conversion_date_time: date_time(conversion),
            order_id: super::transaction(conversion),
            conversion_value: conversion.custom.value.as_ref(),
            currency_code: conversion.custom.currency.as_deref(),
            user_identifiers: identifiers(&conversion.identity),
            consent: CONSENT.spell(conversion.consent),
        }
    }
}

/// `2026-11-20 10:15:30+00:00`, the only form it reads.
fn date_time(conversion: &Conversion) -> String {
    let rfc3339 = conversion.occurred_at.to_string().replace('T', " ");
    let (seconds, _) = rfc3339.split_once('.').unwrap_or((&rfc3339, ""));
    format!("{seconds}+00:00")
}

fn identifiers(identity: &Identity) -> Vec<UserIdentifier<'_>> {
    let email = identity.email.as_deref().map(UserIdentifier::HashedEmail);
    let phone = identity.phone.as_deref().map(UserIdentifier::HashedPhoneNumber);
    email.into_iter().chain(phone).collect()
}
