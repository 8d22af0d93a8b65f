//! `events:ingest` of the Data Manager API.

use serde::Serialize;
use serde_json::{Number, Value, json};

use super::super::Outgoing;
use super::super::body::json as to_json;
use super::super::google_consent::{Consent, Spelling};
use crate::conversions::{Conversion, Identity, Integration};

const CONSENT: Spelling = Spelling {
    ad_user_data: "adUserData",
    ad_personalization: "adPersonalization",
    granted: "CONSENT_GRANTED",
    denied: "CONSENT_DENIED",
};

pub(super) fn request(integration: &Integration, batch: &[&Conversion]) -> Outgoing {
    let account = |id: &str| json!({ "accountType": "GOOGLE_ADS", "accountId": super::account(id) });
    let login = Some(integration.setting("login_customer_id")).filter(|id| !id.is_empty());
    let body = Request {
        destinations: [Destination {
            operating_account: account(integration.setting("customer_id")),
            login_account: login.map(account),
            product_destination_id: super::action_id(integration.setting("conversion_action")),
        }],
        encoding: "HEX",
        events: batch.iter().map(|conversion| Ingested::of(conversion)).collect(),
    };
    Outgoing {
        path: "/v1/events:ingest".to_owned(),
        headers: vec![super::authorization(integration)],
        body: to_json(&body),
    }
}

#[derive(Serialize)]
struct Request<'a> {
    destinations: [Destination<'a>; 1],
    encoding: &'static str,
    events: Vec<Ingested<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination<'a> {
    operating_account: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_account: Option<Value>,
    product_destination_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ingested<'a> {
    transaction_id: &'a str,
    event_timestamp: String,
    event_source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_value: Option<&'a Number>,
    user_data: UserData<'a>,
    #[serde(skip_serializing_if = "Consent::is_empty")]
    consent: Consent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserData<'a> {
    user_identifiers: Vec<UserIdentifier<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum UserIdentifier<'a> {
    EmailAddress(&'a str),
    PhoneNumber(&'a str),
}

impl<'a> Ingested<'a> {
    fn of(conversion: &'a Conversion) -> Self {
        Self {
            transaction_id: super::transaction(conversion),
            event_timestamp: conversion.occurred_at.to_string(),
            event_source: "WEB",
            currency: conversion.custom.currency.as_deref(),
            conversion_value: conversion.custom.value.as_ref(),
            user_data: UserData { user_identifiers: identifiers(&conversion.identity) },
            consent: CONSENT.spell(conversion.consent),
        }
    }
}

fn identifiers(identity: &Identity) -> Vec<UserIdentifier<'_>> {
    let email = identity.email.as_deref().map(UserIdentifier::EmailAddress);
    let phone = identity.phone.as_deref().map(UserIdentifier::PhoneNumber);
    email.into_iter().chain(phone).collect()
}
