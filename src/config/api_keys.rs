//! The flags for API keys.

use std::time::Duration;

use clap::Args;

use super::values::parse_duration;
use crate::project::{ApiKeySettings, LookupSettings};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API keys")]
pub(super) struct ApiKeyArgs {
    /// How long known API keys work while ClickHouse is away and cannot say whether they are revoked
    #[arg(
        long,
        env = "WEIR_API_KEY_GRACE",
        default_value = "24h",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    api_key_grace: Duration,
}

impl ApiKeyArgs {
    /// With everything else as it is for project keys.
    pub(super) fn settings(&self, lookup: LookupSettings) -> ApiKeySettings {
        ApiKeySettings { lookup, grace: self.api_key_grace }
    }
}
