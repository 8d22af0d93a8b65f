//! A collector from its start to its end: what is opened in which order, and what is waited for at the end.

mod forwarding;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::forwarding::{Forwarding, open_queue};
use crate::clickhouse::{Engine, EngineError, ProjectKeyError, Store};
use crate::clock::Clock;
use crate::config::{CollectorSettings, StoreSettings, journal_folder};
use crate::conversions::Forwarder;
use crate::conversions::queue::{Queue, QueueOpenError};
use crate::demo::{DEMO_KEY, Demo};
use crate::enrich::{UserAgentError, UserAgents};
use crate::http::{DemoPage, Intake, Listener, Operations, RateLimits, RejectedCap};
use crate::journal::{DiskDirectory, Journal};
use crate::loader::Loader;
use crate::project::{ApiKeys, Projects};
use crate::readiness::{Health, Phase};
use crate::recent::RecentEvents;

/// How long a collector that found ClickHouse away waits before it looks at the tables again.
const TABLES_PAUSE: Duration = Duration::from_secs(2);

/// How often the settings of the tables are looked at.
const SETTINGS_PAUSE: Duration = Duration::from_secs(10);

/// How long a start waits for the tables. A ClickHouse that does not answer must not keep the listener closed.
const TABLES_PATIENCE: Duration = Duration::from_secs(5);

/// Different user agents that are remembered, at about 300 bytes each: of browsers, and as many that backends tell of.
const USER_AGENTS: u64 = 10_000;

/// Why a collector cannot start or go on.
#[derive(Debug, Error)]
pub enum CollectorError {
    /// Another process holds the journal.
    #[error("{} is in use by another collector; give this one a --data-dir of its own", .0.display())]
    InUse(PathBuf),
    /// The journal cannot be opened.
    #[error("cannot open the journal in {}: {cause}", path.display())]
    Journal {
        /// Its directory.
        path: PathBuf,
        /// What the filesystem said.
        cause: io::Error,
    },
    /// The queue of conversions cannot be opened.
    #[error("cannot open the queue of conversions in {}: {cause}", path.display())]
    Queue {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        cause: QueueOpenError,
    },
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({setting}): {cause}")]
    Listen {
        /// The flag that names the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The embedded engine does not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The patterns of user agents that come with us cannot be read.
    #[error(transparent)]
    UserAgents(#[from] UserAgentError),
    /// The listener has failed.
    #[error("the listener has failed: {0}")]
    Serve(io::Error),
}

/// A collector whose journal is open and whose addresses are bound; nothing is served yet.
pub struct Collector {
    settings: CollectorSettings,
    clock: Clock,
    journal: Journal,
    queue: Queue,
    listener: Listener,
    operations: tokio::net::TcpListener,
    metrics: PrometheusHandle,
}

/// A collector that serves.
pub struct Serving {
    settings: CollectorSettings,
    address: SocketAddr,
    health: Arc<Health>,
    store: Store,
    demo: Arc<Demo>,
    engine: Option<Engine>,
    /// Loader and gauges.
    tasks: Vec<JoinHandle<()>>,
    forwarding: Forwarding,
    /// Look up keys of projects and backends, and write their snapshots when the listener has ended.
    lookups: [JoinHandle<()>; 2],
    listener: JoinHandle<io::Result<()>>,
    stop_listener: watch::Sender<bool>,
    stop_operations: watch::Sender<bool>,
}

impl Collector {
    /// Opens the journal and binds both addresses.
    pub async fn bind(
        settings: CollectorSettings,
        metrics: PrometheusHandle,
    ) -> Result<Self, CollectorError> {
        let clock = Clock::system();
        let path = journal_folder(&settings.data_dir);
        let opened = DiskDirectory::open(&path)
            .and_then(|directory| Journal::open(Arc::new(directory), &settings.journal, &clock));
        let journal = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => CollectorError::InUse(settings.data_dir.clone()),
            _ => CollectorError::Journal { path, cause },
        })?;
        let queue = open_queue(&settings, &clock)?;
        let address = settings.listener.address;
        let listener = Listener::bind(settings.listener.clone()).map_err(|cause| CollectorError::Listen {
            setting: "--listen",
            address,
            cause,
        })?;
        let address = settings.operations;
        let operations = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|cause| CollectorError::Listen { setting: "--ops-listen", address, cause })?;
        Ok(Self { settings, clock, journal, queue, listener, operations, metrics })
    }

    /// Address of the public listener, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Address of the operations listener, with its real port.
    pub fn operations_addr(&self) -> io::Result<SocketAddr> {
        self.operations.local_addr()
    }

    /// Starts everything behind the listeners, then serves. Must be called in a runtime with threads of its own:
    /// calls of ClickHouse run there, away from the listener's.
    pub async fn start(self) -> Result<Serving, CollectorError> {
        let Self { settings, clock, journal, queue, listener, operations, metrics } = self;
        let folder = journal_folder(&settings.data_dir);
        // As everybody else calls it, who may stand in another folder.
        let folder = folder.canonicalize().unwrap_or(folder);
        let health = Arc::new(Health::new(clock.clone(), journal.clone(), folder, settings.degraded_after));
        let (stop_operations, stopped) = watch::channel(false);
        let demo = Arc::new(Demo::default());
        let forwarding = Forwarding::start(&queue, &settings, &clock, &journal);
        health.watch_conversions(forwarding.forwarder.clone());
        let mut operations_service =
            Operations::new(metrics, health.clone()).with_conversions(forwarding.forwarder.clone());
        if settings.demo {
            let page = demo_page(&settings, listener.local_addr());
            operations_service = operations_service.with_demo(page, demo.clone());
        }
        tokio::spawn(operations_service.serve(operations, stopped));

        let (store, engine) = start_store(settings.store.clone()).await?;
        let load = start_loader(&store, &settings, &journal, &health).await;
        let shown = health.clone();
        let gauges = tokio::spawn(async move { shown.show_backlog().await });

        let (projects, api_keys, lookups) = start_lookups(&store, &settings, &clock);
        let agents = UserAgents::new(USER_AGENTS)?;
        let intake = Intake {
            limits: settings.payload.clone(),
            rate_limits: RateLimits::new(&settings.rate_limits, &clock),
            rejected: RejectedCap::per_minute(settings.rejected_per_minute, &clock),
            clock,
            projects,
            api_keys,
            backend_agents: agents.apart(USER_AGENTS),
            agents,
            trusted_proxies: settings.trusted_proxies.clone(),
            address: settings.address,
            recent: RecentEvents::new(settings.recent_events),
            journal,
            forwarder: forwarding.forwarder.clone(),
        };
        let address = listener.local_addr();
        let (stop_listener, stopped) = watch::channel(false);
        let listener = tokio::task::spawn_blocking(move || listener.run(intake, &stopped));
        health.enter(Phase::Serving);
        Ok(Serving {
            settings,
            address,
            health,
            store,
            demo,
            engine,
            tasks: vec![load, gauges],
            forwarding,
            lookups,
            listener,
            stop_listener,
            stop_operations,
        })
    }
}

impl Serving {
    /// Address of the public listener.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where conversions go, for who changes that.
    pub fn forwarder(&self) -> Forwarder {
        self.forwarding.forwarder.clone()
    }

    /// Makes the demo project unless it is there; its page shows rows from then on.
    pub async fn prepare_demo(&self) -> Result<(), ProjectKeyError> {
        self.demo.prepare(&self.store).await
    }

    /// Serves until `shutdown`; then answers what is in flight, seals the journal, loads what can be loaded in
    /// time, and ends the engine.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), CollectorError> {
        let joined = |ended: Result<io::Result<()>, tokio::task::JoinError>| {
            ended.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(CollectorError::Serve)
        };
        let early = tokio::select! {
            () = shutdown => None,
            ended = &mut self.listener => Some(joined(ended)),
        };
        let deadline = Instant::now() + self.settings.shutdown_timeout;
        tracing::info!("draining");
        self.health.enter(Phase::Draining);
        self.stop_listener.send_replace(true);
        let served = match early {
            Some(served) => served,
            None => joined(self.listener.await),
        };
        self.forwarding.stop(deadline).await;
        let journal = self.health.journal.clone();
        let closing = journal.clone();
        let closed = tokio::task::spawn_blocking(move || closing.close());
        if !matches!(timeout_at(deadline, closed).await, Ok(Ok(()))) {
            tracing::error!("the journal could not be closed in time");
        }
        if timeout_at(deadline, journal.backlog().drained()).await.is_err() {
            let segments = journal.backlog().len();
            tracing::warn!(segments, "left segments in the journal for the next start");
        }
        for lookup in self.lookups {
            if timeout_at(deadline, lookup).await.is_err() {
                tracing::warn!("a snapshot of keys could not be written in time");
            }
        }
        for task in &self.tasks {
            task.abort();
        }
        if let Some(engine) = self.engine {
            engine.stop().await;
        }
        self.stop_operations.send_replace(true);
        tracing::info!("stopped");
        served
    }
}

/// The store, and its engine where that is ours.
async fn start_store(settings: StoreSettings) -> Result<(Store, Option<Engine>), EngineError> {
    match settings {
        StoreSettings::Server(access) => Ok((Store::new(&access), None)),
        StoreSettings::Embedded(engine) => {
            let engine = Engine::start(engine).await?;
            Ok((Store::new(&engine.access()), Some(engine)))
        }
    }
}

/// The loader, which begins when the tables are ready; a start waits a moment for that.
async fn start_loader(
    store: &Store,
    settings: &CollectorSettings,
    journal: &Journal,
    health: &Arc<Health>,
) -> JoinHandle<()> {
    let loader = Loader::new(store.clone(), journal.backlog().clone(), settings.loader.clone());
    health.watch(loader.status());
    let tables = Tables { store: store.clone(), migrate: settings.migrate, health: health.clone() };
    let prepared = timeout(TABLES_PATIENCE, tables.prepare()).await.unwrap_or(false);
    tokio::spawn(async move {
        if !prepared {
            tables.prepare_later().await;
        }
        tokio::join!(loader.run(), tables.watch());
    })
}

/// The lookups of both kinds of keys, and the tasks behind them. They ask ClickHouse on the runtime that this runs on.
fn start_lookups(
    store: &Store,
    settings: &CollectorSettings,
    clock: &Clock,
) -> (Projects, ApiKeys, [JoinHandle<()>; 2]) {
    let runtime = Handle::current();
    let snapshot = |name| settings.data_dir.join(name);
    let (projects, of_projects) =
        Projects::start(store.clone(), settings.projects.clone(), snapshot("projects.json"), &runtime);
    let (api_keys, of_api_keys) = ApiKeys::start(
        store.clone(),
        settings.api_keys.clone(),
        snapshot("api-keys.json"),
        clock.clone(),
        &runtime,
    );
    (projects, api_keys, [of_projects, of_api_keys])
}

fn demo_page(settings: &CollectorSettings, listen: SocketAddr) -> DemoPage {
    DemoPage { project_key: DEMO_KEY, listen, paths: settings.listener.paths.clone() }
}

/// The tables, before the first segment goes there.
struct Tables {
    store: Store,
    migrate: bool,
    health: Arc<Health>,
}

impl Tables {
    /// Brings the tables up to date, and says whether they are; what keeps them from it is shown as a reason to be
    /// degraded. Either way events are taken: the journal keeps them meanwhile.
    async fn prepare(&self) -> bool {
        let migrated = if self.migrate { self.store.migrate().await } else { Ok(()) };
        if let Err(error) = migrated {
            let reason = format!("nothing is loaded until the tables are ready: {error}");
            if self.health.set_tables(vec![reason.clone()]) {
                tracing::error!("{reason}");
            }
            return false;
        }
        self.look().await;
        true
    }

    /// Sees whether the tables have the settings that our promises rest on.
    async fn look(&self) {
        match self.store.degraded_tables().await {
            Ok(degraded) => {
                let reasons: Vec<String> = degraded.iter().map(ToString::to_string).collect();
                if self.health.set_tables(reasons.clone()) {
                    for reason in &reasons {
                        tracing::warn!("{reason}");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot see whether the tables sync what they confirm"),
        }
    }

    /// Looks at the settings from time to time: somebody may change them, or put them right.
    async fn watch(&self) {
        loop {
            sleep(SETTINGS_PAUSE).await;
            self.look().await;
        }
    }

    /// Tries until the tables are up to date, which somebody may have to see to.
    async fn prepare_later(&self) {
        while !self.prepare().await {
            sleep(TABLES_PAUSE).await;
        }
        tracing::info!("the tables are ready");
    }
}
