//! The flags of every command that logs.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise
    Auto,
    /// A line of text
    Text,
    /// A JSON object a line
    Json,
}

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Shape of the log lines on standard error
    #[arg(
        long,
        env = "WEIR_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Auto,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives like `weir::loader=debug`
    #[arg(
        long,
        env = "WEIR_LOG",
        default_value = "info",
        value_name = "FILTER",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub log: String,
}
