//! The flags for keys: how those of projects and of backends are looked up.

#![allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]

use std::time::Duration;

use clap::Args;

use super::values::parse_duration;
use crate::project::{ApiKeySettings, LookupSettings};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Projects")]
pub(super) struct ProjectArgs {
    /// How often changes of projects and API keys are looked for
    #[arg(
        long,
        env = "WEIR_PROJECT_REFRESH",
        default_value = "5s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    project_refresh: Duration,

    /// How long an unknown key is remembered as unknown
    #[arg(
        long,
        env = "WEIR_UNKNOWN_KEY_EXPIRY",
        default_value = "5s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    unknown_key_expiry: Duration,

    /// Known keys kept in memory: of projects, and as many API keys
    #[arg(
        long,
        env = "WEIR_KNOWN_KEYS",
        default_value_t = 10_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    known_keys: u32,

    /// Unknown keys kept in memory, likewise
    #[arg(
        long,
        env = "WEIR_UNKNOWN_KEYS",
        default_value_t = 100_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    unknown_keys: u32,
}

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

impl ProjectArgs {
    pub(super) fn settings(&self) -> LookupSettings {
        LookupSettings {
            refresh: self.project_refresh,
            unknown_expiry: self.unknown_key_expiry,
            known_capacity: u64::from(self.known_keys),
            unknown_capacity: u64::from(self.unknown_keys),
            ..LookupSettings::default()
        }
    }
}

impl ApiKeyArgs {
    /// With everything else as it is for project keys.
    pub(super) fn settings(&self, lookup: LookupSettings) -> ApiKeySettings {
        ApiKeySettings { lookup, grace: self.api_key_grace }
    }
}
