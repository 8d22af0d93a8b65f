//! What the tests of the platforms tell them and are told.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Number, Value, json};
use uuid::Uuid;

use super::{Outgoing, Platform, Reply, Verdict};
use crate::conversions::consent::{ConsentPolicy, Matching};
use crate::conversions::integration::{EnrichPolicy, Secret};
use crate::conversions::wire::EVENT_TYPES;
use crate::conversions::{ConsentSignals, Conversion, CustomData, Identity, Integration};
use crate::event::Timestamp;

/// The moment of the samples, 1,767,225,600.789 s.
pub(super) const MOMENT: Timestamp = Timestamp::from_millis(1_767_225_600_789);

/// A purchase of which everything is known.
pub(super) fn full() -> Conversion {
    let text = |text: &str| Some(String::from(text));
    Conversion {
        source_url: text("https://shop.example/thanks?a=1&b=2"),
        identity: Identity {
            email: text("em-digest"),
            phone: text("ph-digest"),
            first_name: text("fn-digest"),
            last_name: text("ln-digest"),
            external_id: text("Customer 7"),
            external_digest: text("id-digest"),
            client_id: text("123.456"),
            ip_address: text("203.0.113.7"),
            user_agent: text("Mozilla/5.0"),
        },
        custom: CustomData {
            value: Number::from_f64(49.9),
            currency: text("EUR"),
            order_id: text("order-1"),
            content_ids: vec!["sku-1".into(), "sku-2".into()],
            content_name: text("A mug"),
            content_type: text("product"),
            more: [("num_items".into(), json!(2)), ("currency".into(), json!("XXX"))].into_iter().collect(),
        },
        consent: ConsentSignals { limited_use: true, ..ConsentSignals::default() },
        ..minimal()
    }
}

/// A purchase of which nothing is known but that it happened.
pub(super) fn minimal() -> Conversion {
    Conversion {
        id: "id-1".into(),
        project_id: Uuid::from_u128(1),
        integration: "shop/sample".into(),
        event_type: "purchase".into(),
        occurred_at: MOMENT,
        received_at: MOMENT.shifted(1_000),
        source_url: None,
        identity: Identity::default(),
        custom: CustomData::default(),
        consent: ConsentSignals::default(),
    }
}

/// [`minimal`] of another type, under another id.
pub(super) fn bare(event_type: &str) -> Conversion {
    Conversion { id: "id-2".to_owned(), event_type: event_type.to_owned(), ..minimal() }
}

/// A lead of which nothing is known but a phone number.
pub(super) fn with_phone() -> Conversion {
    let mut event = bare("lead");
    event.identity.phone = Some("ph-digest".to_owned());
    event
}

/// [`full`] in Meta's shape, under this name and of this source; what a platform changes or adds is its own test's.
pub(super) fn full_server_event(event_name: &str, action_source: &str) -> Value {
    json!({
        "event_name": event_name,
        "event_time": 1_767_225_600,
        "event_id": "id-1",
        "action_source": action_source,
        "event_source_url": "https://shop.example/thanks?a=1&b=2",
        "user_data": {
            "em": ["em-digest"],
            "ph": ["ph-digest"],
            "fn": ["fn-digest"],
            "ln": ["ln-digest"],
            "external_id": ["id-digest"],
            "client_ip_address": "203.0.113.7",
            "client_user_agent": "Mozilla/5.0",
        },
        "custom_data": {
            "value": 49.9,
            "currency": "EUR",
            "order_id": "order-1",
            "content_ids": ["sku-1", "sku-2"],
            "content_name": "A mug",
            "content_type": "product",
            "num_items": 2,
        },
    })
}

/// An integration with these settings and nothing else of its own.
pub(super) fn integration(platform: &'static dyn Platform, settings: &[(&'static str, &str)]) -> Integration {
    Integration {
        name: format!("shop/{}", platform.name()),
        project: "shop".into(),
        platform,
        base_url: match platform.url_setting() {
            Some(key) => set(settings, key).unwrap_or_default(),
            None => platform.base_url(&|key| set(settings, key)).to_owned(),
        },
        settings: settings.iter().map(|(key, value)| (*key, Secret::new(*value))).collect(),
        default_country_code: None,
        limited_data_use: false,
        consent: ConsentPolicy {
            required: true,
            categories: vec!["marketing".into()],
            matching: Matching::Any,
        },
        event_names: BTreeMap::new(),
        rate: None,
        enrich: EnrichPolicy::default(),
    }
}

/// What the platform finds wrong with these settings.
pub(super) fn check_settings(platform: &dyn Platform, settings: &[(&str, &str)]) -> Result<(), String> {
    platform.check_settings(&|key| set(settings, key))
}

fn set(settings: &[(&str, &str)], wanted: &str) -> Option<String> {
    settings.iter().find(|&&(key, _)| key == wanted).map(|&(_, value)| value.to_owned())
}

/// The request's headers as text.
pub(super) fn headers(request: &Outgoing) -> Vec<(&str, &str)> {
    request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect()
}

/// The request's body.
pub(super) fn body(request: &Outgoing) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// What the platform's answer to so many events means.
pub(super) fn read(platform: &dyn Platform, status: u16, body: &str, events: usize) -> Verdict {
    let status = StatusCode::from_u16(status).expect("a status");
    platform.read(&Reply { status, body: body.as_bytes() }, events)
}

/// The platform's names for all event types that have one somewhere, and for one that has none.
pub(super) fn event_names(platform: &dyn Platform) -> Vec<Option<&'static str>> {
    let ours = EVENT_TYPES.iter().chain(&["Quote Asked"]);
    ours.map(|event_type| platform.event_name(event_type)).collect()
}
