//! The flags of what is limited by requests a minute.

#![allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]

use std::num::NonZeroU32;

use clap::Args;

use crate::http::{MAX_PER_MINUTE, RateLimitSettings};

/// What is limited by requests a minute; a batch is one request.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rate limits")]
pub(super) struct RateArgs {
    /// Requests a minute for an API key that has no limit of its own
    #[arg(
        long = "rate-limit-api-key",
        env = "WEIR_RATE_LIMIT_API_KEY",
        default_value = "1000",
        value_name = "COUNT",
        value_parser = parse_per_minute
    )]
    api_key: NonZeroU32,

    /// Requests a minute for a project at the public API [default: no limit]
    #[arg(
        long = "rate-limit-project",
        env = "WEIR_RATE_LIMIT_PROJECT",
        value_name = "COUNT",
        value_parser = parse_per_minute
    )]
    project: Option<NonZeroU32>,

    /// Requests a minute for a client's address at the public API, IPv6 by /64 [default: no limit]
    #[arg(
        long = "rate-limit-address",
        env = "WEIR_RATE_LIMIT_ADDRESS",
        value_name = "COUNT",
        value_parser = parse_per_minute
    )]
    address: Option<NonZeroU32>,
}

impl RateArgs {
    pub(super) fn settings(&self) -> RateLimitSettings {
        RateLimitSettings { api_key: self.api_key, project: self.project, address: self.address }
    }
}

fn parse_per_minute(text: &str) -> Result<NonZeroU32, String> {
    let count: Option<NonZeroU32> = text.parse().ok();
    count
        .filter(|count| count.get() <= MAX_PER_MINUTE)
        .ok_or_else(|| format!("expected requests a minute, a whole number from 1 to {MAX_PER_MINUTE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_whole_number_above_zero() {
        assert_eq!(parse_per_minute("1").map(NonZeroU32::get), Ok(1));
        assert_eq!(parse_per_minute("100000000").map(NonZeroU32::get), Ok(MAX_PER_MINUTE));
        for text in ["", "0", "-1", "1.5", "10/s", "100000001"] {
            let error = parse_per_minute(text).unwrap_err();
            assert!(error.contains("from 1 to 100000000"), "{text}: {error}");
        }
    }
}
