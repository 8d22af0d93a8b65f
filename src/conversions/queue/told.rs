//! What operators are told of conversions: the rows of `conversions` and `conversion_deliveries`.

use uuid::Uuid;

use crate::conversions::{Conversion, CustomData, Identity};
use crate::event::Timestamp;
use crate::row::{ConversionRow, DeliveryRow};

/// What became of a conversion, as the `status` column says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    Sent,
    Retrying,
    Paused,
    Dead,
    ConsentDenied,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Dead => "dead",
            Self::ConsentDenied => "consent_denied",
        }
    }
}

/// A row of `conversions`. Without an agreement it has nothing in which a person can be told: no identifiers, nor the
/// page, the order and the members of one's own choice, in which there may be some.
pub(super) fn conversion_row(platform: &str, conversion: &Conversion, agreed: bool) -> Vec<u8> {
    let nobody = Identity::default();
    let who = if agreed { &conversion.identity } else { &nobody };
    let CustomData { value, currency, order_id, content_ids, content_name, content_type, more } =
        &conversion.custom;
    let nothing = serde_json::Map::new();
    let custom_data = serde_json::to_string(if agreed { more } else { &nothing }).unwrap_or_default();
    let mut row = Vec::with_capacity(512);
    ConversionRow {
        project_id: conversion.project_id,
        integration: &conversion.integration,
        platform,
        conversion_id: &conversion.id,
        event_type: &conversion.event_type,
        timestamp: conversion.occurred_at,
        received_at: conversion.received_at,
        email_sha256: text(who.email.as_ref()),
        phone_sha256: text(who.phone.as_ref()),
        first_name_sha256: text(who.first_name.as_ref()),
        last_name_sha256: text(who.last_name.as_ref()),
        external_id: text(who.external_id.as_ref()),
        client_id: text(who.client_id.as_ref()),
        address: text(who.ip_address.as_ref()),
        user_agent: text(who.user_agent.as_ref()),
        source_url: if agreed { text(conversion.source_url.as_ref()) } else { "" },
        value: value.as_ref().and_then(serde_json::Number::as_f64),
        currency: text(currency.as_ref()),
        order_id: if agreed { text(order_id.as_ref()) } else { "" },
        content_ids,
        content_name: text(content_name.as_ref()),
        content_type: text(content_type.as_ref()),
        custom_data: &custom_data,
    }
    .encode(&mut row);
    row
}

/// Of what conversion a step is told.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) platform: &'a str,
    pub(super) integration: &'a str,
    pub(super) id: &'a str,
    pub(super) project_id: Uuid,
}

impl<'a> Whose<'a> {
    pub(super) fn of(platform: &'a str, conversion: &'a Conversion) -> Self {
        let Conversion { id, integration, project_id, .. } = conversion;
        Self { platform, integration, id, project_id: *project_id }
    }
}

/// A row of `conversion_deliveries`: a step with its attempt, and what the platform said, after so many milliseconds.
pub(super) fn delivery_row(
    whose: Whose<'_>,
    at: Timestamp,
    (status, attempt): (Status, u32),
    (answer, latency_ms): (&str, u32),
) -> Vec<u8> {
    let status = status.as_str();
    let Whose { platform, integration, id, project_id } = whose;
    // A conversion that was queued again by hand has attempts of the same number: the moment tells them apart.
    let step = format!("{integration}\0{id}\0{status}\0{attempt}\0{}", at.as_millis());
    let mut row = Vec::with_capacity(256);
    DeliveryRow {
        project_id,
        integration,
        platform,
        conversion_id: id,
        delivery_id: Uuid::new_v5(&project_id, step.as_bytes()),
        status,
        attempt,
        answer,
        latency_ms,
        at,
    }
    .encode(&mut row);
    row
}

fn text(given: Option<&String>) -> &str {
    given.map_or("", String::as_str)
}
