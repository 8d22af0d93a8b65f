//! Settings: every one is a flag and has a `WEIR_…` twin in the environment; defaults and units stand here and
//! nowhere else. `weir serve --help` is made of this file.
//!
//! A setting that cannot be ends the process with exit code 64 and a sentence that names it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use thiserror::Error;

use crate::clickhouse::{ClickHouseSettings, EngineSettings};
use crate::enrich::{AddressMode, TrustedProxies};
use crate::event::PayloadLimits;
use crate::http::ListenerSettings;
use crate::journal::JournalSettings;
use crate::loader::LoaderSettings;
use crate::project::ProjectSettings;

/// A setting, or two that do not go together, cannot be.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    setting: &'static str,
    problem: String,
}

impl ConfigError {
    fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }
}

/// Where events are kept and where they go: what every command needs to know.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Folder of the journal, the projects' snapshot and the embedded engine's files
    #[arg(long, env = "WEIR_DATA_DIR", default_value = "./data", value_name = "FOLDER", help_heading = "Storage")]
    pub data_dir: PathBuf,

    /// ClickHouse's HTTP interface; without it the collector runs the embedded engine
    #[arg(long, env = "WEIR_CLICKHOUSE_URL", value_name = "URL", help_heading = "ClickHouse")]
    clickhouse_url: Option<String>,

    /// User of ClickHouse
    #[arg(
        long,
        env = "WEIR_CLICKHOUSE_USER",
        default_value = "default",
        value_name = "NAME",
        help_heading = "ClickHouse"
    )]
    clickhouse_user: String,

    /// Password of ClickHouse's user; better given in the environment, where other users cannot read it
    #[arg(
        long,
        env = "WEIR_CLICKHOUSE_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "PASSWORD",
        help_heading = "ClickHouse"
    )]
    clickhouse_password: String,

    /// Database of the tables; created if there is none
    #[arg(
        long,
        env = "WEIR_CLICKHOUSE_DATABASE",
        default_value = "weir",
        value_name = "NAME",
        value_parser = parse_database,
        help_heading = "ClickHouse"
    )]
    clickhouse_database: String,

    /// Port of the embedded engine on 127.0.0.1
    #[arg(
        long,
        env = "WEIR_ENGINE_PORT",
        default_value_t = 8123,
        value_name = "PORT",
        help_heading = "ClickHouse"
    )]
    engine_port: u16,

    /// The embedded engine's library; found by itself where `make run` put it
    #[arg(long, env = "WEIR_ENGINE_LIB", value_name = "FILE", help_heading = "ClickHouse")]
    engine_lib: Option<PathBuf>,
}

/// Where the tables are.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In a ClickHouse that runs by itself.
    Server(ClickHouseSettings),
    /// In the engine that the collector runs as a child process.
    Embedded(EngineSettings),
}

impl StoreArgs {
    /// The store these settings name.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn store(&self) -> Result<StoreSettings, ConfigError> {
        let Some(url) = &self.clickhouse_url else {
            return Ok(StoreSettings::Embedded(EngineSettings {
                data_dir: self.data_dir.join("engine"),
                port: self.engine_port,
                library: self.engine_lib.clone(),
                database: self.clickhouse_database.clone(),
                ..EngineSettings::default()
            }));
        };
        let is_http = ["http://", "https://"]
            .iter()
            .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !is_http {
            let problem = "expected a URL like http://127.0.0.1:8123 or https://host:8443";
            return Err(ConfigError::new("--clickhouse-url (WEIR_CLICKHOUSE_URL)", problem));
        }
        Ok(StoreSettings::Server(ClickHouseSettings {
            url: url.clone(),
            user: self.clickhouse_user.clone(),
            password: self.clickhouse_password.clone().into(),
            database: self.clickhouse_database.clone(),
            ..ClickHouseSettings::default()
        }))
    }
}

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
pub struct LogArgs {
    /// Shape of the log lines on standard error
    #[arg(
        long,
        env = "WEIR_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Auto,
        value_name = "FORMAT",
        help_heading = "Logs"
    )]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives like `weir::loader=debug`
    #[arg(
        long,
        env = "WEIR_LOG",
        default_value = "info",
        value_name = "FILTER",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Logs"
    )]
    pub log: String,
}

/// Everything `weir serve` can be told.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the group describes itself")]
    pub store: StoreArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    projects: ProjectArgs,
    #[command(flatten)]
    journal: JournalArgs,

    /// Leave the tables alone instead of bringing them up to date first
    #[arg(long, env = "WEIR_NO_MIGRATE", help_heading = "ClickHouse")]
    pub no_migrate: bool,

    /// Create the project `demo` with the key `pk_live_demo` if there is none, and say what to do next
    #[arg(long, env = "WEIR_DEMO")]
    pub demo: bool,
}

#[derive(Args, Clone, Debug)]
struct NetworkArgs {
    /// Address of the public listener
    #[arg(
        long,
        env = "WEIR_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT",
        help_heading = "Network"
    )]
    listen: SocketAddr,

    /// Address of the operations listener: /healthz, /readyz, /metrics
    #[arg(
        long,
        env = "WEIR_OPS_LISTEN",
        default_value = "127.0.0.1:8081",
        value_name = "ADDRESS:PORT",
        help_heading = "Network"
    )]
    ops_listen: SocketAddr,

    /// Threads that serve the public listener [default: one for each core]
    #[arg(long, env = "WEIR_THREADS", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Network")]
    threads: Option<u16>,

    /// Connections open at once on the public listener
    #[arg(
        long,
        env = "WEIR_MAX_CONNECTIONS",
        default_value_t = 10_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Network"
    )]
    max_connections: u32,

    /// Time for a request's head to come
    #[arg(
        long,
        env = "WEIR_HEADER_TIMEOUT",
        default_value = "10s",
        value_name = "TIME",
        value_parser = parse_duration,
        help_heading = "Network"
    )]
    header_timeout: Duration,

    /// Time for a request's body to come
    #[arg(
        long,
        env = "WEIR_BODY_TIMEOUT",
        default_value = "30s",
        value_name = "TIME",
        value_parser = parse_duration,
        help_heading = "Network"
    )]
    body_timeout: Duration,

    /// How long a connection is kept open for its next request
    #[arg(
        long,
        env = "WEIR_IDLE_TIMEOUT",
        default_value = "75s",
        value_name = "TIME",
        value_parser = parse_duration,
        help_heading = "Network"
    )]
    idle_timeout: Duration,

    /// Time to finish what is in flight and to load what can be loaded after SIGTERM
    #[arg(
        long,
        env = "WEIR_SHUTDOWN_TIMEOUT",
        default_value = "20s",
        value_name = "TIME",
        value_parser = parse_duration,
        help_heading = "Network"
    )]
    shutdown_timeout: Duration,

    /// Networks whose X-Forwarded-For is believed, as a list like 10.0.0.0/8,::1/128 [default: none]
    #[arg(
        long,
        env = "WEIR_TRUSTED_PROXIES",
        default_value = "",
        hide_default_value = true,
        value_name = "NETWORKS",
        help_heading = "Network"
    )]
    trusted_proxies: String,

    /// How much of a visitor's address is stored: truncated (to /24 and /48), full, or none
    #[arg(
        long,
        env = "WEIR_CLIENT_ADDRESS",
        default_value = "truncated",
        value_name = "MODE",
        value_parser = parse_address_mode,
        help_heading = "Network"
    )]
    client_address: AddressMode,
}

#[derive(Args, Clone, Debug)]
struct LimitArgs {
    /// Size of a body as it travels
    #[arg(long, env = "WEIR_MAX_BODY", default_value = "1MiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    max_body: usize,

    /// Size of a body once its content encoding is undone
    #[arg(long, env = "WEIR_MAX_INFLATED", default_value = "5MiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    max_inflated: usize,

    /// Size of one event's JSON
    #[arg(long, env = "WEIR_MAX_EVENT", default_value = "64KiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    max_event: usize,

    /// Events in a batch
    #[arg(long, env = "WEIR_MAX_EVENTS", default_value_t = 1_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Limits")]
    max_events: u32,

    /// Characters in an event's type
    #[arg(long, env = "WEIR_MAX_TYPE", default_value_t = 200, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    max_type: u32,

    /// Size of an event's url and of its referrer
    #[arg(long, env = "WEIR_MAX_URL", default_value = "8KiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Limits")]
    max_url: usize,

    /// Ids of recent events remembered, so that one sent again is dropped at once; about 80 bytes each
    #[arg(long, env = "WEIR_RECENT_EVENTS", default_value_t = 500_000, value_name = "COUNT", help_heading = "Limits")]
    recent_events: u32,

    /// Rejected events kept in rejected_events for one project in a minute
    #[arg(long, env = "WEIR_MAX_REJECTED", default_value = "1000", value_name = "COUNT", help_heading = "Limits")]
    max_rejected: NonZeroU32,
}

#[derive(Args, Clone, Debug)]
struct ProjectArgs {
    /// How often changes of projects are looked for
    #[arg(long, env = "WEIR_PROJECT_REFRESH", default_value = "5s", value_name = "TIME", value_parser = parse_duration, help_heading = "Projects")]
    project_refresh: Duration,

    /// How long an unknown project key is remembered as unknown
    #[arg(long, env = "WEIR_UNKNOWN_KEY_EXPIRY", default_value = "5s", value_name = "TIME", value_parser = parse_duration, help_heading = "Projects")]
    unknown_key_expiry: Duration,

    /// Known project keys kept in memory
    #[arg(long, env = "WEIR_KNOWN_KEYS", default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Projects")]
    known_keys: u32,

    /// Unknown project keys kept in memory
    #[arg(long, env = "WEIR_UNKNOWN_KEYS", default_value_t = 100_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Projects")]
    unknown_keys: u32,
}

#[derive(Args, Clone, Debug)]
struct JournalArgs {
    /// Size of the journal at which requests are answered 503
    #[arg(long, env = "WEIR_JOURNAL_MAX", default_value = "10GiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Storage")]
    journal_max: usize,

    /// Size at which a segment is sealed
    #[arg(long, env = "WEIR_SEGMENT_SIZE", default_value = "64MiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Storage")]
    segment_size: usize,

    /// Rows at which a segment is sealed
    #[arg(long, env = "WEIR_SEGMENT_ROWS", default_value_t = 500_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=500_000), help_heading = "Storage")]
    segment_rows: u32,

    /// Age at which a segment is sealed, unless another one is waiting for ClickHouse
    #[arg(long, env = "WEIR_SEGMENT_AGE", default_value = "1s", value_name = "TIME", value_parser = parse_duration, help_heading = "Storage")]
    segment_age: Duration,

    /// Memory for events that wait for the disk
    #[arg(long, env = "WEIR_JOURNAL_WAITING", default_value = "32MiB", value_name = "SIZE", value_parser = parse_size, help_heading = "Storage")]
    journal_waiting: usize,

    /// Segments that are loaded into ClickHouse at once
    #[arg(long, env = "WEIR_LOAD_CONCURRENCY", default_value_t = 2, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Storage")]
    load_concurrency: u16,

    /// Age of the oldest event not yet in ClickHouse at which /readyz says `degraded`
    #[arg(long, env = "WEIR_DEGRADED_AFTER", default_value = "60s", value_name = "TIME", value_parser = parse_duration, help_heading = "Storage")]
    degraded_after: Duration,
}

/// The settings of a collector, each in the words of the module it is for.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field's type describes it")]
pub struct CollectorSettings {
    pub data_dir: PathBuf,
    pub store: StoreSettings,
    pub migrate: bool,
    pub listener: ListenerSettings,
    pub operations: SocketAddr,
    pub payload: PayloadLimits,
    pub trusted_proxies: TrustedProxies,
    pub address: AddressMode,
    pub projects: ProjectSettings,
    pub journal: JournalSettings,
    pub loader: LoaderSettings,
    /// Rejected events kept for one project in a minute.
    pub rejected_per_minute: NonZeroU32,
    /// Event ids remembered.
    pub recent_events: usize,
    /// Age of the backlog from which on readiness is degraded.
    pub degraded_after: Duration,
    /// How long a shutdown may take.
    pub shutdown_timeout: Duration,
}

impl ServeArgs {
    /// Checks what the flags cannot check one by one.
    pub fn settings(&self) -> Result<CollectorSettings, ConfigError> {
        let Self { network, limits, projects, journal, .. } = self;
        let trusted_proxies = network.trusted_proxies.parse().map_err(|error: crate::enrich::ProxyError| {
            ConfigError::new("--trusted-proxies (WEIR_TRUSTED_PROXIES)", error.to_string())
        })?;
        if limits.max_event > limits.max_inflated {
            let problem = "one event may not be larger than a body may be inflated";
            return Err(ConfigError::new("--max-event (WEIR_MAX_EVENT)", problem));
        }
        if journal.journal_waiting < limits.max_inflated * 2 {
            let problem = "expected at least twice --max-inflated, so that the largest body has room";
            return Err(ConfigError::new("--journal-waiting (WEIR_JOURNAL_WAITING)", problem));
        }
        if journal.journal_max < journal.segment_size {
            let problem = "the journal may not be smaller than one segment";
            return Err(ConfigError::new("--journal-max (WEIR_JOURNAL_MAX)", problem));
        }
        Ok(CollectorSettings {
            data_dir: self.store.data_dir.clone(),
            store: self.store.store()?,
            migrate: !self.no_migrate,
            listener: self.listener(),
            operations: network.ops_listen,
            payload: limits.payload(),
            trusted_proxies,
            address: network.client_address,
            projects: projects.settings(),
            journal: journal.settings(),
            loader: LoaderSettings {
                concurrency: usize::from(journal.load_concurrency),
                ..LoaderSettings::default()
            },
            rejected_per_minute: limits.max_rejected,
            recent_events: limits.recent_events as usize,
            degraded_after: journal.degraded_after,
            shutdown_timeout: network.shutdown_timeout,
        })
    }

    fn listener(&self) -> ListenerSettings {
        let network = &self.network;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        ListenerSettings {
            address: network.listen,
            threads: network.threads.map_or_else(cores, usize::from),
            max_connections: network.max_connections as usize,
            header_timeout: network.header_timeout,
            body_timeout: network.body_timeout,
            idle_timeout: network.idle_timeout,
            drain_timeout: network.shutdown_timeout / 2,
            ..ListenerSettings::default()
        }
    }
}

impl LimitArgs {
    fn payload(&self) -> PayloadLimits {
        PayloadLimits {
            body: self.max_body,
            inflated: self.max_inflated,
            event: self.max_event,
            events: self.max_events as usize,
            type_chars: self.max_type as usize,
            url: self.max_url,
            ..PayloadLimits::default()
        }
    }
}

impl ProjectArgs {
    fn settings(&self) -> ProjectSettings {
        ProjectSettings {
            refresh: self.project_refresh,
            unknown_expiry: self.unknown_key_expiry,
            known_capacity: u64::from(self.known_keys),
            unknown_capacity: u64::from(self.unknown_keys),
            ..ProjectSettings::default()
        }
    }
}

impl JournalArgs {
    fn settings(&self) -> JournalSettings {
        JournalSettings {
            segment_bytes: self.segment_size as u64,
            segment_rows: u64::from(self.segment_rows),
            segment_age: self.segment_age,
            max_bytes: self.journal_max as u64,
            max_waiting_bytes: self.journal_waiting,
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a time above zero like 500ms, 10s or 2m";
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; {expected}"))?;
    if duration.is_zero() { Err(expected.to_owned()) } else { Ok(duration) }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let expected = "expected a size above zero like 64KiB, 1MiB or 10GiB";
    let size: ByteSize = text.parse().map_err(|error| format!("{error}; {expected}"))?;
    let size = usize::try_from(size.as_u64()).map_err(|_| expected.to_owned())?;
    if size == 0 { Err(expected.to_owned()) } else { Ok(size) }
}

fn parse_database(text: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_word) {
        return Err("expected 1 to 64 letters, digits and underscores".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_address_mode(text: &str) -> Result<AddressMode, String> {
    match text {
        "truncated" => Ok(AddressMode::Truncated),
        "full" => Ok(AddressMode::Full),
        "none" => Ok(AddressMode::None),
        _ => Err("expected truncated, full or none".to_owned()),
    }
}
