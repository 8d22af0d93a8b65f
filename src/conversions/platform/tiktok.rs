//! The Events API 2.0 of tiktok, whose errors come with status 200 and a code in the body. It documents nothing without
//! which it refuses an event, not even a word on who it was.

#[cfg(test)]
mod tests;

use http::header::HeaderName;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{refused, saying, told, unreadable};
use super::body::json as to_json;
use super::credential::secret_header;
use super::server_event::{Put, filled, in_seconds, one};
use super::{Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict, event_name};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, CustomData, Identity, Integration};
use crate::event::Timestamp;

const ACCESS_TOKEN: HeaderName = HeaderName::from_static("access-token");

pub(super) struct TikTok;

impl Platform for TikTok {
    fn name(&self) -> &'static str {
        "tiktok"
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        "https://business-api.tiktok.com"
    }

    fn settings(&self) -> &'static [Setting] {
        const { &[Setting::required("pixel_id"), Setting::required("access_token").secret()] }
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::TIKTOK
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 50, batch: 50 }
    }

    fn event_name(&self, event_type: &str) -> Option<&'static str> {
        Some(match event_type {
            "purchase" => "Purchase",
            "lead" => "Lead",
            "add_to_cart" => "AddToCart",
            "page_view" => "Pageview",
            "complete_registration" => "CompleteRegistration",
            "initiate_checkout" => "InitiateCheckout",
            "add_payment_info" => "AddPaymentInfo",
            "view_content" => "ViewContent",
            "search" => "Search",
            "subscribe" => "Subscribe",
            "contact" => "Contact",
            _ => return None,
        })
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        let events: Vec<_> = batch.iter().map(|conversion| event(integration, conversion)).collect();
        let body = json!({
            "event_source": "web",
            "event_source_id": integration.setting("pixel_id"),
            "data": events,
        });
        Outgoing {
            path: String::from("/open_api/v1.3/event/track/"),
            headers: vec![(ACCESS_TOKEN, secret_header(integration.setting("access_token")))],
            body: to_json(&body),
        }
    }

    fn read(&self, answer: &Reply<'_>, _: usize) -> Verdict {
        let Ok(Said { code, message }) = serde_json::from_slice(answer.body) else {
            return unreadable(answer);
        };
        let said = told(&format!("code {code}"), &message.unwrap_or_default());
        match code {
            0 | 20_001 if answer.status.is_success() => Verdict::Taken,
            0 | 20_001 => unreadable(answer),
            40_100 => Verdict::Throttled(said),
            // The token is missing, wrong, expired or withdrawn; the message may hold it.
            40_101..=40_199 => Verdict::Unauthorized(format!("code {code}")),
            40_000..=49_999 => refused(answer.status, said),
            50_000..=59_999 => Verdict::Retry(said),
            _ => saying(unreadable(answer), said),
        }
    }
}

fn event(integration: &Integration, conversion: &Conversion) -> Value {
    let mut event = Map::new();
    event.put("event", Some(event_name(&TikTok, integration, conversion).as_ref()));
    event.put("event_time", Some(in_seconds(conversion.occurred_at)));
    event.put("event_id", Some(conversion.id.as_str()));
    event.put("user", filled(user(&conversion.identity)));
    event.put("properties", filled(properties(&conversion.custom)));
    event.put("page", conversion.source_url.as_ref().map(|url| json!({ "url": url })));
    event.put("limited_data_use", conversion.consent.limited_use.then_some(true));
    Value::Object(event)
}

fn user(identity: &Identity) -> Map<String, Value> {
    let mut user = Map::new();
    user.put("email", one(identity.email.as_ref()));
    user.put("phone", one(identity.phone.as_ref()));
    user.put("external_id", one(identity.external_digest.as_ref()));
    user.put("first_name", identity.first_name.as_deref());
    user.put("last_name", identity.last_name.as_deref());
    user.put("ip", identity.ip_address.as_deref());
    user.put("user_agent", identity.user_agent.as_deref());
    user
}

fn properties(custom: &CustomData) -> Map<String, Value> {
    let mut properties = custom.more.clone();
    properties.put("value", custom.value.clone());
    properties.put("currency", custom.currency.as_deref());
    properties.put("order_id", custom.order_id.as_deref());
    properties.put("content_type", custom.content_type.as_deref());
    let contents = contents(custom);
    properties.put("contents", (!contents.is_empty()).then_some(contents));
    properties
}

/// What it was for, one by one. A name without ids stands alone.
fn contents(custom: &CustomData) -> Vec<Value> {
    let name = custom.content_name.as_deref();
    let content = |id: Option<&str>| {
        let mut content = Map::new();
        content.put("content_id", id);
        content.put("content_name", name);
        Value::Object(content)
    };
    match (custom.content_ids.as_slice(), name) {
        ([], None) => Vec::new(),
        ([], Some(_)) => vec![content(None)],
        (ids, _) => ids.iter().map(|id| content(Some(id))).collect(),
    }
}

#[derive(Deserialize)]
struct Said {
    code: i64,
    message: Option<String>,
}
