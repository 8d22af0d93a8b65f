//! Snapchat's Conversions API, version 3: Meta's body, and a status that means what it says.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{is_html, saying, told, unreadable};
use super::body::json as to_json;
use super::credential::escaped;
use super::server_event::{Put, server_event};
use super::{Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict, by_status};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Fault, Integration};
use crate::event::Timestamp;

pub(super) struct Snapchat;

impl Platform for Snapchat {
    fn name(&self) -> &'static str {
        "snapchat"
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        "https://tr.snapchat.com"
    }

    fn settings(&self) -> &'static [Setting] {
        const { &[Setting::required("pixel_id"), Setting::required("access_token").secret()] }
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::META
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 100, batch: 2_000 }
    }

    fn longest_age(&self) -> Option<Duration> {
        Some(Duration::from_hours(37 * 24))
    }

    fn event_name(&self, event_type: &str) -> Option<&'static str> {
        Some(match event_type {
            "purchase" => "PURCHASE",
            "lead" | "complete_registration" => "SIGN_UP",
            "add_to_cart" => "ADD_CART",
            "page_view" => "PAGE_VIEW",
            "initiate_checkout" => "START_CHECKOUT",
            "add_payment_info" => "ADD_BILLING",
            "view_content" => "VIEW_CONTENT",
            "search" => "SEARCH",
            "subscribe" => "SUBSCRIBE",
            _ => "CUSTOM_EVENT_1",
        })
    }

    fn check(&self, conversion: &Conversion) -> Result<(), Fault> {
        let Conversion { identity: who, custom, .. } = conversion;
        let from_somewhere = who.ip_address.is_some() && who.user_agent.is_some();
        if who.email.is_none() && who.phone.is_none() && !from_somewhere {
            let expected =
                "expected for snapchat, or userData.phone, or userData.ipAddress with userData.userAgent";
            return Err(Fault::at("userData.email", expected));
        }
        let is_purchase = conversion.event_type == "purchase";
        if is_purchase && custom.value.is_none() {
            return Err(Fault::at("customData.value", "expected for snapchat of a purchase"));
        }
        if is_purchase && custom.currency.is_none() {
            return Err(Fault::at("customData.currency", "expected for snapchat of a purchase"));
        }
        Ok(())
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        let events: Vec<_> = batch.iter().map(|conversion| event(integration, conversion)).collect();
        let pixel = escaped(integration.setting("pixel_id"));
        let token = escaped(integration.setting("access_token"));
        Outgoing {
            path: format!("/v3/{pixel}/events?access_token={token}"),
            headers: Vec::new(),
            body: to_json(&json!({ "data": events })),
        }
    }

    fn read(&self, answer: &Reply<'_>, _: usize) -> Verdict {
        if is_html(answer.body) {
            return unreadable(answer);
        }
        let verdict = by_status(answer.status);
        let Ok(Said { reason, errors }) = serde_json::from_slice(answer.body) else { return verdict };
        let mut messages = errors.unwrap_or_default().error_msgs;
        messages.extend(reason);
        let status = answer.status.as_u16();
        saying(verdict, told(&format!("answered {status}"), &messages.join("; ")))
    }
}

fn event(integration: &Integration, conversion: &Conversion) -> Value {
    // Meta's `system_generated` is none of Snapchat's sources.
    let mut event = server_event(&Snapchat, integration, conversion, "website");
    event.put("data_processing_options", conversion.consent.limited_use.then(|| json!(["LDU"])));
    Value::Object(event)
}

#[derive(Deserialize)]
struct Said {
    reason: Option<String>,
    errors: Option<Errors>,
}

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    error_msgs: Vec<String>,
}
