//! Google Ads: by the Data Manager API, or by the upload of click conversions that it has taken the place of.
//!
//! Either matches a conversion to an ad by e-mail address or phone number, and knows a copy by its order.

mod answer;
mod data_manager;
mod legacy;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::credential::bearer;
use super::{Outgoing, Platform, Rate, Reply, Setting, Settings, Verdict};
use crate::conversions::identity::IdentityRules;
use crate::conversions::{Conversion, Fault, Integration};
use crate::event::Timestamp;

pub(super) struct GoogleAds;

const LEGACY: &str = "legacy";
const DATA_MANAGER: &str = "data_manager";

impl Platform for GoogleAds {
    fn name(&self) -> &'static str {
        "google_ads"
    }

    fn base_url(&self, settings: Settings<'_>) -> &'static str {
        match settings("mode").as_deref() {
            Some(LEGACY) => "https://googleads.googleapis.com",
            _ => "https://datamanager.googleapis.com",
        }
    }

    fn settings(&self) -> &'static [Setting] {
        const {
            &[
                Setting::optional("mode"),
                Setting::required("customer_id"),
                Setting::required("conversion_action"),
                Setting::required("access_token").secret(),
                Setting::optional("developer_token").secret(),
                Setting::optional("login_customer_id"),
            ]
        }
    }

    fn check_settings(&self, settings: Settings<'_>) -> Result<(), String> {
        let mode = settings("mode").unwrap_or_else(|| DATA_MANAGER.to_owned());
        match mode.as_str() {
            LEGACY if settings("developer_token").is_none() => {
                return Err("developer_token is missing, which mode `legacy` needs".to_owned());
            }
            DATA_MANAGER | LEGACY => {}
            _ => return Err(format!("mode is none; expected `{DATA_MANAGER}` or `{LEGACY}`")),
        }
        for key in ["customer_id", "login_customer_id"] {
            if settings(key).is_some_and(|id| !is_number(&account(&id))) {
                return Err(format!("{key} is not an account's; expected digits, such as 123-456-7890"));
            }
        }
        if settings("conversion_action").is_some_and(|action| !is_number(action_id(&action))) {
            return Err("conversion_action is none; expected the digits of its id".to_owned());
        }
        Ok(())
    }

    fn identity(&self) -> IdentityRules {
        IdentityRules::GOOGLE_ADS
    }

    fn rate(&self, integration: &Integration) -> Rate {
        if is_legacy(integration) {
            return Rate { per_second: 100, batch: 1 };
        }
        // It takes 2,000 in a request, but refuses all of them for the sake of one: fewer are sooner bisected.
        Rate { per_second: 500, batch: 100 }
    }

    fn spacing(&self, integration: &Integration) -> Duration {
        // 300 requests a minute, however many events they tell of.
        if is_legacy(integration) { Duration::ZERO } else { Duration::from_millis(200) }
    }

    fn check(&self, conversion: &Conversion) -> Result<(), Fault> {
        if conversion.identity.email.is_none() && conversion.identity.phone.is_none() {
            return Err(Fault::at("userData.email", "expected for google_ads, or userData.phone"));
        }
        Ok(())
    }

    fn request(&self, integration: &Integration, batch: &[&Conversion], _now: Timestamp) -> Outgoing {
        if is_legacy(integration) {
            legacy::request(integration, batch)
        } else {
            data_manager::request(integration, batch)
        }
    }

    fn read(&self, answer: &Reply<'_>, events: usize) -> Verdict {
        answer::read(answer, events)
    }
}

fn is_legacy(integration: &Integration) -> bool {
    integration.setting("mode") == LEGACY
}

fn authorization(integration: &Integration) -> (HeaderName, HeaderValue) {
    (AUTHORIZATION, bearer(integration.setting("access_token")))
}

/// By what the tag on the page knows the conversion as well: its order, else our own id.
fn transaction(conversion: &Conversion) -> &str {
    conversion.custom.order_id.as_deref().unwrap_or(&conversion.id)
}

/// An account's id, which people write with hyphens.
fn account(id: &str) -> String {
    id.replace('-', "")
}

/// A conversion action's id, which may be given with its path.
fn action_id(action: &str) -> &str {
    action.rsplit('/').next().unwrap_or(action)
}

fn is_number(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}
