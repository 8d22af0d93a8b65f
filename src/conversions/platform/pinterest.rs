//! Pinterest's API for conversions: Meta's body with a few words of its own, and an answer that says of each event
//! whether it was taken.

#[cfg(test)]
mod tests;

use http::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{counted, saying, told, unreadable};
use super::body::json as to_json;
use super::credential::{bearer, escaped};
use super::server_event::{Put, server_event};
use super::{Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict, by_status};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Fault, Integration};
use crate::event::Timestamp;

pub(super) struct Pinterest;

impl Platform for Pinterest {
    fn name(&self) -> &'static str {
        "pinterest"
    }

    fn base_url(&self, _settings: Settings<'_>) -> &'static str {
        "https://api.pinterest.com"
    }

    fn settings(&self) -> &'static [Setting] {
        const { &[Setting::required("ad_account_id"), Setting::required("access_token").secret()] }
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::META
    }

    fn rate(&self, _integration: &Integration) -> Rate {
        Rate { per_second: 100, batch: 1_000 }
    }

    fn event_name(&self, event_type: &str) -> Option<&'static str> {
        Some(match event_type {
            "purchase" => "checkout",
            "lead" => "lead",
            "add_to_cart" => "add_to_cart",
            "page_view" => "page_visit",
            "complete_registration" => "signup",
            "initiate_checkout" => "initiate_checkout",
            "add_payment_info" => "add_payment_info",
            "view_content" => "view_content",
            "search" => "search",
            "subscribe" => "subscribe",
            "contact" => "contact",
            _ => "custom",
        })
    }

    fn check(&self, conversion: &Conversion) -> Result<(), Fault> {
        let who = &conversion.identity;
        if who.email.is_some() || (who.ip_address.is_some() && who.user_agent.is_some()) {
            return Ok(());
        }
        let expected = "expected for pinterest, or userData.ipAddress with userData.userAgent";
        Err(Fault::at("userData.email", expected))
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        let events: Vec<_> = batch.iter().map(|conversion| event(integration, conversion)).collect();
        let account = escaped(integration.setting("ad_account_id"));
        Outgoing {
            path: format!("/v5/ad_accounts/{account}/events"),
            headers: vec![(AUTHORIZATION, bearer(integration.setting("access_token")))],
            body: to_json(&json!({ "data": events })),
        }
    }

    fn read(&self, answer: &Reply<'_>, events: usize) -> Verdict {
        let Ok(said) = serde_json::from_slice::<Said>(answer.body) else { return unreadable(answer) };
        let is_of_events = answer.status.is_success() || matches!(answer.status.as_u16(), 400 | 422);
        let of_each = said.events.unwrap_or_default();
        if is_of_events && of_each.len() == events {
            let each: Option<Vec<_>> = of_each.iter().map(SaidOfOne::verdict).collect();
            return match each {
                Some(each) if each.iter().all(Result::is_ok) => Verdict::Taken,
                Some(each) => Verdict::Each(each),
                None => unreadable(answer),
            };
        }
        if !answer.status.is_success() {
            let code = said.code.map_or(String::new(), |code| format!(", code {code}"));
            let code = format!("answered {}{code}", answer.status.as_u16());
            return saying(by_status(answer.status), told(&code, &said.message.unwrap_or_default()));
        }
        match said.num_events_processed {
            Some(processed) => counted(processed, events),
            None => unreadable(answer),
        }
    }
}

fn event(integration: &Integration, conversion: &Conversion) -> Value {
    let mut event = server_event(&Pinterest, integration, conversion, "web");
    if let Some(value) = &conversion.custom.value
        && let Some(custom) = event.get_mut("custom_data").and_then(Value::as_object_mut)
    {
        custom.put("value", Some(value.to_string()));
    }
    event.put("opt_out", conversion.consent.limited_use.then_some(true));
    Value::Object(event)
}

#[derive(Deserialize)]
struct Said {
    num_events_processed: Option<usize>,
    events: Option<Vec<SaidOfOne>>,
    code: Option<i64>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct SaidOfOne {
    status: Option<String>,
    error_message: Option<String>,
}

impl SaidOfOne {
    /// `None`: in a word that nobody here knows.
    fn verdict(&self) -> Option<Result<(), String>> {
        match self.status.as_deref() {
            Some("processed") => Some(Ok(())),
            Some("failed") => Some(Err(told("failed", self.error_message.as_deref().unwrap_or_default()))),
            _ => None,
        }
    }
}
