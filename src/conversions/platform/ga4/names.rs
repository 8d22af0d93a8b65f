//! Names that ga4 takes, of events and of their parameters.

pub(super) const EXPECTED: &str =
    "expected at most 40 letters, digits and underscores, a letter first, and none of ga4's own names";

/// How names of its own begin.
const KEPT_PREFIXES: &[&str] = &["firebase_", "ga_", "google_"];

/// Names of events that it collects by itself and takes from nobody.
const RESERVED: &[&str] = &[
    "ad_activeview",
    "ad_click",
    "ad_exposure",
    "ad_query",
    "ad_reward",
    "adunit_exposure",
    "app_background",
    "app_clear_data",
    "app_exception",
    "app_remove",
    "app_store_refund",
    "app_store_subscription_cancel",
    "app_store_subscription_convert",
    "app_store_subscription_renew",
    "app_update",
    "app_upgrade",
    "dynamic_link_app_open",
    "dynamic_link_app_update",
    "dynamic_link_first_open",
    "error",
    "first_open",
    "first_visit",
    "in_app_purchase",
    "notification_dismiss",
    "notification_foreground",
    "notification_open",
    "notification_receive",
    "os_update",
    "session_start",
    "session_start_with_rollout",
    "user_engagement",
];

/// The longest, in bytes.
pub(super) const LONGEST: usize = 40;

/// Whether an event may be called so.
pub(super) fn is_event(name: &str) -> bool {
    is_param(name) && !RESERVED.contains(&name)
}

/// Whether a parameter may be called so.
pub(super) fn is_param(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
