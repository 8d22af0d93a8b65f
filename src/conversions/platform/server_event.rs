//! An event in the shape that Meta gave it and Snapchat and Pinterest took over: who in `user_data`, what for in
//! `custom_data`, the rest beside them.

use serde_json::{Map, Value};

use super::{Platform, event_name};
use crate::conversions::{Conversion, CustomData, Identity, Integration};
use crate::event::Timestamp;

/// Writes members, those that are there.
pub(super) trait Put {
    /// Sets a member, unless there is nothing to set it to.
    fn put(&mut self, key: &str, value: Option<impl Into<Value>>);
}

impl Put for Map<String, Value> {
    fn put(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.insert(key.to_owned(), value.into());
        }
    }
}

/// The event under the platform's own name for it.
pub(super) fn server_event(
    platform: &dyn Platform,
    integration: &Integration,
    conversion: &Conversion,
    action_source: &str,
) -> Map<String, Value> {
    let mut event = Map::new();
    event.put("event_name", Some(event_name(platform, integration, conversion).as_ref()));
    event.put("event_time", Some(in_seconds(conversion.occurred_at)));
    event.put("event_id", Some(conversion.id.as_str()));
    event.put("action_source", Some(action_source));
    event.put("event_source_url", conversion.source_url.as_deref());
    event.put("user_data", Some(user_data(&conversion.identity)));
    event.put("custom_data", filled(custom_data(&conversion.custom)));
    event
}

/// The object, unless it is empty.
pub(super) fn filled(object: Map<String, Value>) -> Option<Map<String, Value>> {
    (!object.is_empty()).then_some(object)
}

/// Seconds since 1970, cut.
pub(super) fn in_seconds(moment: Timestamp) -> i64 {
    moment.as_millis().div_euclid(1_000)
}

/// A digest as a list of one, as platforms take them that know people with two addresses.
pub(super) fn one(digest: Option<&String>) -> Option<Vec<&str>> {
    digest.map(|digest| vec![digest.as_str()])
}

fn user_data(identity: &Identity) -> Map<String, Value> {
    let mut user = Map::new();
    user.put("em", one(identity.email.as_ref()));
    user.put("ph", one(identity.phone.as_ref()));
    user.put("fn", one(identity.first_name.as_ref()));
    user.put("ln", one(identity.last_name.as_ref()));
    user.put("external_id", one(identity.external_digest.as_ref()));
    user.put("client_ip_address", identity.ip_address.as_deref());
    user.put("client_user_agent", identity.user_agent.as_deref());
    user
}

/// The members that came with the event, under the platform's names, over those that nobody here knows.
fn custom_data(custom: &CustomData) -> Map<String, Value> {
    let mut data = custom.more.clone();
    data.put("value", custom.value.clone());
    data.put("currency", custom.currency.as_deref());
    data.put("order_id", custom.order_id.as_deref());
    data.put("content_ids", (!custom.content_ids.is_empty()).then(|| custom.content_ids.clone()));
    data.put("content_name", custom.content_name.as_deref());
    data.put("content_type", custom.content_type.as_deref());
    data
}
