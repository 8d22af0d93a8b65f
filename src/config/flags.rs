//! The flags, with their twins in the environment, their defaults and their units.

#![allow(clippy::doc_markdown, reason = "the comments are the text of --help, where backticks are noise")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::integrations::ConversionArgs;
use super::keys::{ApiKeyArgs, ProjectArgs};
use super::paths::PathArgs;
use super::rates::RateArgs;
use super::values::{parse_database, parse_duration, parse_size};
use crate::clickhouse::Password;
use crate::enrich::AddressMode;

/// Where a collector keeps what it has.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Folder of the journal, the projects' snapshot and the embedded engine's files
    #[arg(
        long,
        env = "WEIR_DATA_DIR",
        default_value = "./data",
        value_name = "FOLDER",
        help_heading = "Storage"
    )]
    pub data_dir: PathBuf,
}

/// Where a collector answers its operators.
#[derive(Args, Clone, Debug)]
pub struct OperationsArgs {
    /// Address of the operations listener: /healthz, /readyz, /metrics, /journal
    #[arg(
        long,
        env = "WEIR_OPS_LISTEN",
        default_value = "127.0.0.1:8081",
        value_name = "ADDRESS:PORT",
        help_heading = "Network"
    )]
    pub ops_listen: SocketAddr,
}

/// Where events are kept and where they go: what every command needs to know.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "ClickHouse")]
pub struct StoreArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the group describes itself")]
    pub data: DataArgs,

    /// ClickHouse's HTTP interface; without it the collector runs the embedded engine
    #[arg(long, env = "WEIR_CLICKHOUSE_URL", value_name = "URL")]
    pub(super) clickhouse_url: Option<String>,

    /// User of ClickHouse
    #[arg(long, env = "WEIR_CLICKHOUSE_USER", default_value = "default", value_name = "NAME")]
    pub(super) clickhouse_user: String,

    /// Password of ClickHouse's user; better given in the environment, where other users cannot read it
    #[arg(
        long,
        env = "WEIR_CLICKHOUSE_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "PASSWORD"
    )]
    pub(super) clickhouse_password: Password,

    /// Database of the tables; created if there is none
    #[arg(
        long,
        env = "WEIR_CLICKHOUSE_DATABASE",
        default_value = "weir",
        value_name = "NAME",
        value_parser = parse_database
    )]
    pub(super) clickhouse_database: String,

    /// Port of the embedded engine on 127.0.0.1
    #[arg(long, env = "WEIR_ENGINE_PORT", default_value_t = 8123, value_name = "PORT")]
    pub(super) engine_port: u16,

    /// The embedded engine's library; found by itself where `make run` put it
    #[arg(long, env = "WEIR_ENGINE_LIB", value_name = "FILE")]
    pub(super) engine_lib: Option<PathBuf>,
}

/// Everything `weir serve` can be told.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the group describes itself")]
    pub store: StoreArgs,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) rates: RateArgs,
    #[command(flatten)]
    pub(super) projects: ProjectArgs,
    #[command(flatten)]
    pub(super) api_keys: ApiKeyArgs,
    #[command(flatten)]
    pub(super) journal: JournalArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the group describes itself")]
    pub conversions: ConversionArgs,

    /// Leave the tables alone instead of bringing them up to date first
    #[arg(long, env = "WEIR_NO_MIGRATE", value_parser = BoolishValueParser::new())]
    pub no_migrate: bool,

    /// Create the project `demo` with the key `pk_live_demo` if there is none, show on the operations
    /// listener's /demo what becomes of its events, and say what to do next
    #[arg(long, env = "WEIR_DEMO", value_parser = BoolishValueParser::new())]
    pub demo: bool,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// Address of the public listener
    #[arg(long, env = "WEIR_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(super) listen: SocketAddr,

    #[command(flatten)]
    pub(super) operations: OperationsArgs,
    #[command(flatten)]
    pub(super) paths: PathArgs,

    /// Threads that serve the public listener [default: one for each core]
    #[arg(
        long,
        env = "WEIR_THREADS",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(super) threads: Option<u16>,

    /// Connections open at once on the public listener
    #[arg(
        long,
        env = "WEIR_MAX_CONNECTIONS",
        default_value_t = 10_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(super) max_connections: u32,

    /// Time for a request's head to come
    #[arg(
        long,
        env = "WEIR_HEADER_TIMEOUT",
        default_value = "10s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) header_timeout: Duration,

    /// Time for a request's body to come
    #[arg(
        long,
        env = "WEIR_BODY_TIMEOUT",
        default_value = "30s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) body_timeout: Duration,

    /// How long a connection is kept open for its next request
    #[arg(
        long,
        env = "WEIR_IDLE_TIMEOUT",
        default_value = "75s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) idle_timeout: Duration,

    /// Time to finish what is in flight and to load what can be loaded after SIGTERM
    #[arg(
        long,
        env = "WEIR_SHUTDOWN_TIMEOUT",
        default_value = "20s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) shutdown_timeout: Duration,

    /// Networks whose X-Forwarded-For is believed, as a list like 10.0.0.0/8,::1/128 [default: none]
    #[arg(long, env = "WEIR_TRUSTED_PROXIES", value_delimiter = ',', value_name = "NETWORKS")]
    pub(super) trusted_proxies: Vec<String>,

    /// How much of a visitor's address is stored
    #[arg(
        long,
        env = "WEIR_CLIENT_ADDRESS",
        value_enum,
        default_value_t = AddressMode::Truncated,
        value_name = "MODE"
    )]
    pub(super) client_address: AddressMode,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Size of a body as it travels
    #[arg(
        long,
        env = "WEIR_MAX_BODY",
        default_value = "1MiB",
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(super) max_body: usize,

    /// Size of a body once its content encoding is undone
    #[arg(
        long,
        env = "WEIR_MAX_INFLATED",
        default_value = "5MiB",
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(super) max_inflated: usize,

    /// Size of one event's JSON
    #[arg(
        long,
        env = "WEIR_MAX_EVENT",
        default_value = "64KiB",
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(super) max_event: usize,

    /// Events in a batch
    #[arg(
        long,
        env = "WEIR_MAX_EVENTS",
        default_value_t = 1_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub(super) max_events: u32,

    /// Characters in an event's type
    #[arg(
        long,
        env = "WEIR_MAX_TYPE",
        default_value_t = 200,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(super) max_type: u32,

    /// Size of an event's url and of its referrer
    #[arg(long, env = "WEIR_MAX_URL", default_value = "8KiB", value_name = "SIZE", value_parser = parse_size)]
    pub(super) max_url: usize,

    /// Ids of recent events remembered, so that one sent again is dropped at once; 20 to 40 bytes each
    #[arg(long, env = "WEIR_RECENT_EVENTS", default_value_t = 450_000, value_name = "COUNT")]
    pub(super) recent_events: u32,

    /// Rejected events kept in rejected_events for one project in a minute
    #[arg(long, env = "WEIR_MAX_REJECTED", default_value = "1000", value_name = "COUNT")]
    pub(super) max_rejected: NonZeroU32,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub(super) struct JournalArgs {
    /// Size of the journal at which requests are answered 503
    #[arg(
        long,
        env = "WEIR_JOURNAL_MAX",
        default_value = "10GiB",
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(super) journal_max: usize,

    /// Size at which a segment is sealed
    #[arg(
        long,
        env = "WEIR_SEGMENT_SIZE",
        default_value = "64MiB",
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(super) segment_size: usize,

    /// Rows at which a segment is sealed
    #[arg(
        long,
        env = "WEIR_SEGMENT_ROWS",
        default_value_t = 500_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=500_000)
    )]
    pub(super) segment_rows: u32,

    /// Age at which a segment is sealed, unless another one is waiting for ClickHouse
    #[arg(
        long,
        env = "WEIR_SEGMENT_AGE",
        default_value = "1s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) segment_age: Duration,

    /// Memory for events that wait for the disk
    #[arg(
        long,
        env = "WEIR_JOURNAL_WAITING",
        default_value = "32MiB",
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(super) journal_waiting: usize,

    /// Segments that are loaded into ClickHouse at once
    #[arg(
        long,
        env = "WEIR_LOAD_CONCURRENCY",
        default_value_t = 2,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    pub(super) load_concurrency: u16,

    /// How long a segment that ClickHouse refuses as a whole steps aside before it is tried again
    #[arg(
        long,
        env = "WEIR_PARKED_PAUSE",
        default_value = "30s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) parked_pause: Duration,

    /// Age of the oldest event not yet in ClickHouse at which /readyz says `degraded`
    #[arg(
        long,
        env = "WEIR_DEGRADED_AFTER",
        default_value = "60s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(super) degraded_after: Duration,
}
