//! Settings: every one is a flag and has a `WEIR_…` twin in the environment; defaults and units stand in `flags.rs` and
//! nowhere else. `weir serve --help` is made of it.
//!
//! A setting that cannot be ends the process with exit code 64 and a sentence that names it.

mod block;
mod flags;
mod integrations;
mod keys;
mod log;
mod paths;
mod rates;
mod values;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use self::flags::{DataArgs, OperationsArgs, ServeArgs, StoreArgs};
use self::flags::{JournalArgs, LimitArgs};
pub use self::integrations::{ConversionArgs, ConversionSettings};
pub use self::log::{LogArgs, LogFormat};
pub use self::paths::PathArgs;
pub(crate) use self::values::parse_duration;
use crate::clickhouse::{ClickHouseSettings, EngineSettings, Timeouts};
use crate::enrich::{AddressMode, TrustedProxies};
use crate::event::PayloadLimits;
use crate::http::{ListenerSettings, RateLimitSettings};
use crate::journal::JournalSettings;
use crate::loader::LoaderSettings;
use crate::project::{ApiKeySettings, LookupSettings};

/// A setting, or two that do not go together, cannot be.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    setting: Cow<'static, str>,
    problem: String,
}

impl ConfigError {
    /// A setting, by its flag and its variable or as the file that holds it, and what is wrong with it.
    pub fn new(setting: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }
}

/// Where a data folder has its journal.
pub fn journal_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

/// Where a data folder has the queue of its conversions.
pub fn conversions_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("conversions")
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
    /// When the URL is none, or the engine's library is not there.
    pub fn store(&self) -> Result<StoreSettings, ConfigError> {
        let Some(url) = &self.clickhouse_url else {
            if let Some(library) = self.engine_lib.as_ref().filter(|library| !library.is_file()) {
                let problem =
                    format!("there is no file {}; `make engine` fetches the library", library.display());
                return Err(ConfigError::new("--engine-lib (WEIR_ENGINE_LIB)", problem));
            }
            return Ok(StoreSettings::Embedded(EngineSettings {
                data_dir: self.data.data_dir.join("engine"),
                port: self.engine_port,
                library: self.engine_lib.clone(),
                database: self.clickhouse_database.clone(),
                executable: None,
            }));
        };
        let setting = "--clickhouse-url (WEIR_CLICKHOUSE_URL)";
        let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        if host.is_none_or(str::is_empty) {
            let problem = "expected a URL like http://127.0.0.1:8123 or https://host:8443";
            return Err(ConfigError::new(setting, problem));
        }
        // A URL is shown in logs and errors.
        if url.contains('@') {
            let problem = "user and password do not go into the URL but into --clickhouse-user and \
                           WEIR_CLICKHOUSE_PASSWORD";
            return Err(ConfigError::new(setting, problem));
        }
        Ok(StoreSettings::Server(ClickHouseSettings {
            url: url.clone(),
            user: self.clickhouse_user.clone(),
            password: self.clickhouse_password.clone(),
            database: self.clickhouse_database.clone(),
            timeouts: Timeouts::default(),
        }))
    }
}

/// The settings of a collector, each in the words of the module it is for.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field's type describes it")]
pub struct CollectorSettings {
    pub data_dir: PathBuf,
    pub store: StoreSettings,
    pub migrate: bool,
    /// Whether there is a demo project, and a page that shows it.
    pub demo: bool,
    pub listener: ListenerSettings,
    pub operations: SocketAddr,
    pub payload: PayloadLimits,
    pub trusted_proxies: TrustedProxies,
    pub address: AddressMode,
    pub projects: LookupSettings,
    pub api_keys: ApiKeySettings,
    pub journal: JournalSettings,
    pub loader: LoaderSettings,
    pub rate_limits: RateLimitSettings,
    pub conversions: ConversionSettings,
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
        let trusted_proxies = TrustedProxies::parse(&network.trusted_proxies).map_err(|error| {
            ConfigError::new("--trusted-proxies (WEIR_TRUSTED_PROXIES)", error.to_string())
        })?;
        if limits.max_event > limits.max_inflated {
            let problem = "one event may not be larger than a body may be inflated";
            return Err(ConfigError::new("--max-event (WEIR_MAX_EVENT)", problem));
        }
        let largest = largest_entry(&limits.payload());
        if journal.journal_waiting < largest {
            let problem =
                format!("expected at least {largest} bytes: the rows of the largest batch that may come");
            return Err(ConfigError::new("--journal-waiting (WEIR_JOURNAL_WAITING)", problem));
        }
        if journal.journal_max < journal.segment_size {
            let problem = "the journal may not be smaller than one segment";
            return Err(ConfigError::new("--journal-max (WEIR_JOURNAL_MAX)", problem));
        }
        let lookup = projects.settings();
        let api_keys = self.api_keys.settings(lookup.clone());
        // What ClickHouse says of a key is that old at most while it is there.
        let age = lookup.refresh + lookup.lookup_timeout;
        if api_keys.grace < age {
            let problem = format!("expected at least {age:?}: --project-refresh and the time of a query");
            return Err(ConfigError::new("--api-key-grace (WEIR_API_KEY_GRACE)", problem));
        }
        Ok(CollectorSettings {
            data_dir: self.store.data.data_dir.clone(),
            store: self.store.store()?,
            migrate: !self.no_migrate,
            demo: self.demo,
            listener: self.listener()?,
            operations: network.operations.ops_listen,
            payload: limits.payload(),
            trusted_proxies,
            address: network.client_address,
            projects: lookup,
            api_keys,
            journal: journal.settings(),
            loader: LoaderSettings {
                concurrency: usize::from(journal.load_concurrency),
                parked_pause: journal.parked_pause,
                ..LoaderSettings::default()
            },
            rate_limits: self.rates.settings(),
            conversions: self.conversions.settings()?,
            rejected_per_minute: limits.max_rejected,
            recent_events: limits.recent_events as usize,
            degraded_after: journal.degraded_after,
            shutdown_timeout: network.shutdown_timeout,
        })
    }

    fn listener(&self) -> Result<ListenerSettings, ConfigError> {
        let network = &self.network;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ListenerSettings {
            address: network.listen,
            paths: network.paths.paths()?,
            threads: network.threads.map_or_else(cores, usize::from),
            max_connections: network.max_connections as usize,
            header_timeout: network.header_timeout,
            body_timeout: network.body_timeout,
            idle_timeout: network.idle_timeout,
            drain_timeout: network.shutdown_timeout / 2,
            ..ListenerSettings::default()
        })
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

impl JournalArgs {
    fn settings(&self) -> JournalSettings {
        JournalSettings {
            segment_bytes: self.segment_size as u64,
            segment_rows: u64::from(self.segment_rows),
            segment_age: self.segment_age,
            max_bytes: self.journal_max as u64,
            max_waiting_bytes: self.journal_waiting,
            ..JournalSettings::default()
        }
    }
}

/// How many bytes the rows of one batch may have: everything that is sent, as much again that the batch says once for
/// all events, and what each event takes from the connection.
fn largest_entry(limits: &PayloadLimits) -> usize {
    let of_connection = limits.events.saturating_mul(2 * 1024);
    limits.inflated.saturating_mul(2).saturating_add(of_connection)
}
