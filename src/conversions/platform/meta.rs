//! Meta's Conversions API: Facebook and Instagram.
//!
//! One bad event fails its whole request, an event over seven days old does so too, and what went wrong is in a code of
//! the body; the status says little.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{counted, is_html, saying, told, unreadable};
use super::body::json as to_json;
use super::credential::escaped;
use super::server_event::{Put, server_event};
use super::{Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict, by_status};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Fault, Integration};
use crate::event::Timestamp;

pub(super) struct Meta;

impl Platform for Meta {
    fn name(&self) -> &'static str {
        "meta"
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        "https://graph.facebook.com"
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::required("pixel_id"),
                Setting::required("access_token").secret(),
                Setting::optional("test_event_code"),
            ]
        }
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::META
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 1_000, batch: 1_000 }
    }

    fn longest_age(&self) -> Option<Duration> {
        Some(Duration::from_hours(7 * 24))
    }

    fn event_name(&self, event_type: &str) -> Option<&'static str> {
        Some(match event_type {
            "purchase" => "Purchase",
            "lead" => "Lead",
            "add_to_cart" => "AddToCart",
            "page_view" => "PageView",
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

    fn check(&self, conversion: &Conversion) -> Result<(), Fault> {
        let who = &conversion.identity;
        let named = who.first_name.is_some() && who.last_name.is_some();
        let known = [&who.email, &who.phone, &who.external_digest, &who.ip_address];
        // It refuses a user agent or a first name alone, which fit too many.
        if named || known.iter().any(|identifier| identifier.is_some()) {
            return Ok(());
        }
        let expected =
            "expected for meta, or userData.phone, userData.externalId, userData.ipAddress or both names";
        Err(Fault::at("userData.email", expected))
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        let events: Vec<_> = batch.iter().map(|conversion| event(integration, conversion)).collect();
        let mut body = Map::new();
        body.put("data", Some(events));
        let test_event_code = integration.setting("test_event_code");
        body.put("test_event_code", (!test_event_code.is_empty()).then_some(test_event_code));
        let pixel = escaped(integration.setting("pixel_id"));
        let token = escaped(integration.setting("access_token"));
        Outgoing {
            path: format!("{}/{pixel}/events?access_token={token}", version(&integration.base_url)),
            headers: Vec::new(),
            body: to_json(&body),
        }
    }

    fn read(&self, answer: &Reply<'_>, events: usize) -> Verdict {
        match serde_json::from_slice(answer.body) {
            Ok(Said { error: Some(error), .. }) => error.verdict(answer.status),
            Ok(Said { events_received: Some(received), .. }) if answer.status.is_success() => {
                counted(received, events)
            }
            Err(_) if is_html(answer.body) && answer.status != StatusCode::TOO_MANY_REQUESTS => {
                Verdict::Retry(format!("answered {} with a page", answer.status.as_u16()))
            }
            _ => unreadable(answer),
        }
    }
}

/// The version of the Graph API as a path, unless the base URL ends in one.
fn version(base_url: &str) -> &'static str {
    let last = base_url.rsplit('/').next().and_then(|segment| segment.strip_prefix('v'));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_one = last.is_some_and(|number| !number.is_empty() && is_number(number));
    if is_one { "" } else { "/v25.0" }
}

fn event(integration: &Integration, conversion: &Conversion) -> Value {
    let is_website = conversion.source_url.is_some() && conversion.identity.user_agent.is_some();
    let action_source = if is_website { "website" } else { "system_generated" };
    let mut event = server_event(&Meta, integration, conversion, action_source);
    if conversion.consent.limited_use {
        event.put("data_processing_options", Some(json!(["LDU"])));
        // Zero: Meta finds out by itself where somebody is.
        event.put("data_processing_options_country", Some(0));
        event.put("data_processing_options_state", Some(0));
    }
    Value::Object(event)
}

#[derive(Deserialize)]
struct Said {
    events_received: Option<usize>,
    error: Option<GraphError>,
}

#[derive(Deserialize)]
struct GraphError {
    code: i64,
    error_subcode: Option<i64>,
    is_transient: Option<bool>,
    message: Option<String>,
    error_user_msg: Option<String>,
}

impl GraphError {
    fn verdict(self, status: StatusCode) -> Verdict {
        let code = match self.error_subcode {
            Some(subcode) => format!("code {}, subcode {subcode}", self.code),
            None => format!("code {}", self.code),
        };
        let said = told(&code, &self.error_user_msg.or(self.message).unwrap_or_default());
        match self.code {
            1 | 2 | 341 | 368 | 5_000 | 21_009 => Verdict::Retry(said),
            4 | 17 | 32 | 613 | 80_000..=80_014 => Verdict::Throttled(said),
            // Its message may hold the token.
            102 | 190 => Verdict::Unauthorized(code),
            3 | 100 | 105 | 200 => Verdict::Refused(said),
            _ if self.is_transient == Some(true) || status.is_success() => Verdict::Retry(said),
            _ => saying(by_status(status), said),
        }
    }
}
