//! What the queue promises, against a real file and against a storage that fails.

mod clock;
mod discard;
mod disk;
mod keep;
mod model;
mod outbox;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::by_hand::CHANGED_AT_ONCE;
use super::*;
use crate::conversions::{ConsentSignals, Conversion, CustomData, Identity};

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const META: &str = "shop/meta";
const GA4: &str = "shop/ga4";
/// No bounds worth mentioning.
const ALL: (usize, usize) = (10_000, usize::MAX);

fn settings() -> QueueSettings {
    QueueSettings::default()
}

fn conversion(integration: &str, id: &str) -> Conversion {
    let custom = serde_json::json!({"coupon": "SPRING"});
    Conversion {
        id: id.to_owned(),
        project_id: Uuid::from_u128(7),
        integration: integration.to_owned(),
        event_type: "purchase".to_owned(),
        occurred_at: NOW.shifted(-5_000),
        received_at: NOW,
        source_url: Some("https://shop.example/thanks?mail=jane".to_owned()),
        identity: Identity {
            email: Some("e".repeat(64)),
            external_id: Some("customer-1".to_owned()),
            client_id: Some("client-1".to_owned()),
            ip_address: Some("203.0.113.9".to_owned()),
            user_agent: Some("Browser/1".to_owned()),
            ..Identity::default()
        },
        custom: CustomData {
            value: serde_json::Number::from_f64(12.5),
            currency: Some("EUR".to_owned()),
            order_id: Some("order-1".to_owned()),
            content_ids: vec!["sku-1".to_owned(), "sku-2".to_owned()],
            more: custom.as_object().cloned().unwrap_or_default(),
            ..CustomData::default()
        },
        consent: ConsentSignals::default(),
    }
}

fn incoming(integration: &str, id: &str) -> Incoming {
    Incoming::Queue { platform: "meta", conversion: conversion(integration, id) }
}

fn denied(integration: &str, id: &str) -> Incoming {
    Incoming::Denied { platform: "meta", conversion: conversion(integration, id), why: "no consent" }
}

fn many(integration: &str, ids: impl IntoIterator<Item = usize>) -> Vec<Incoming> {
    ids.into_iter().map(|id| incoming(integration, &id.to_string())).collect()
}

fn settled(outcome: Outcome, attempt: u32) -> Settled {
    let latency = Duration::from_millis(40);
    Settled { outcome, attempt, answer: format!("{outcome:?}"), latency }
}

fn open(folder: &Path, clock: &Clock) -> Queue {
    Queue::open(folder, &settings(), clock).unwrap()
}

/// The ids of what is due.
async fn due(queue: &Queue, integration: &str, now: Timestamp) -> Vec<String> {
    let due = queue.due(integration, now, ALL, &BTreeSet::new()).await.unwrap();
    due.into_iter().map(|waiting| waiting.conversion.id).collect()
}

async fn key(queue: &Queue, integration: &str, id: &str) -> Key {
    let due = queue.due(integration, Timestamp::MAX, ALL, &BTreeSet::new()).await.unwrap();
    due.into_iter().find(|waiting| waiting.conversion.id == id).expect("it waits").key
}

fn count(integration: &str, waiting: u64, dead: u64, oldest: Option<Timestamp>) -> Count {
    Count { integration: integration.to_owned(), waiting, dead, oldest }
}
