//! The integrations of a collector, each with its dispatcher; what requests, operators and SIGHUP do with them.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Integration;
use super::dispatcher::Dispatcher;
use super::enrich::Enricher;
use super::queue::{Accepted, Incoming, Queue, QueueError};
use super::sender::Sender;
use super::state::{Pause, State};
use crate::clock::Clock;
use crate::metrics::show_integration;

/// What all dispatchers share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) sender: Sender,
    pub(super) enricher: Enricher,
    /// How long a conversion is tried.
    pub(super) expire_after: Duration,
}

/// The integrations at work. Clones share them.
#[derive(Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
    /// By their names; none any more once it has been stopped.
    lanes: Arc<Mutex<Option<Lanes>>>,
    /// Dispatchers live here, away from the listener.
    runtime: Handle,
}

type Lanes = BTreeMap<String, Lane>;

/// An integration and its dispatcher. It stays when its block is gone: something of it may wait.
struct Lane {
    state: Arc<State>,
    block: watch::Sender<Option<Arc<Integration>>>,
    dispatcher: JoinHandle<()>,
}

/// How an integration stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegrationReport {
    /// `project/platform`, or `project/webhook/name`.
    pub integration: String,
    /// Whether `weir.toml` has it.
    pub configured: bool,
    /// Conversions that wait to be sent.
    pub waiting: u64,
    /// Conversions that will not be sent unless they are replayed.
    pub dead: u64,
    /// When the oldest of those that wait came, in RFC 3339.
    pub oldest: Option<String>,
    /// Why nothing is sent, if that is so.
    pub paused: Option<Pause>,
    /// What the platform said when it took nothing, until it takes something.
    pub trouble: Option<String>,
}

impl Forwarder {
    /// Begins to send what waits in the queue, on the runtime that this is called on.
    pub fn start(
        queue: Queue,
        enricher: Enricher,
        clock: Clock,
        expire_after: Duration,
        integrations: Vec<Integration>,
    ) -> Self {
        Self::of(Shared { queue, clock, sender: Sender::new(), enricher, expire_after }, integrations)
    }

    /// The same, given what the dispatchers share.
    pub(super) fn of(shared: Shared, integrations: Vec<Integration>) -> Self {
        let lanes = Arc::new(Mutex::new(Some(Lanes::new())));
        let forwarder = Self { shared: Arc::new(shared), lanes, runtime: Handle::current() };
        forwarder.configure(integrations);
        tokio::spawn(forwarder.clone().begin_with_what_waits());
        forwarder
    }

    fn lanes(&self) -> MutexGuard<'_, Option<Lanes>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes these integrations for those before: what waits for one that is gone stays in the queue until it is too
    /// old, one whose block is there is resumed.
    pub fn configure(&self, integrations: Vec<Integration>) {
        let mut lanes = self.lanes();
        let Some(lanes) = &mut *lanes else { return };
        for (name, lane) in &*lanes {
            let stays = integrations.iter().any(|integration| integration.name == *name);
            if !stays && lane.block.send_replace(None).is_some() {
                tracing::info!(integration = name, "an integration is gone");
            }
        }
        for integration in integrations {
            if !integration.consent.required {
                tracing::warn!(
                    integration = integration.name,
                    "conversions without any word of consent are forwarded: its block does not require one"
                );
            }
            let name = integration.name.clone();
            let integration = Some(Arc::new(integration));
            match lanes.get(&name) {
                Some(lane) => drop(lane.block.send_replace(integration)),
                None => drop(lanes.insert(name.clone(), self.begin(&name, integration))),
            }
        }
    }

    /// What waits for integrations without a block has to be looked after as well.
    async fn begin_with_what_waits(self) {
        let Ok(counts) = self.shared.queue.counts().await else { return };
        let mut lanes = self.lanes();
        let Some(lanes) = &mut *lanes else { return };
        for count in counts {
            let name = count.integration;
            lanes.entry(name.clone()).or_insert_with(|| self.begin(&name, None));
        }
    }

    fn begin(&self, name: &str, integration: Option<Arc<Integration>>) -> Lane {
        let state = Arc::new(State::new(name));
        let (block, changes) = watch::channel(integration);
        let dispatcher = Dispatcher::new(Arc::clone(&self.shared), Arc::clone(&state), changes);
        let failed = Arc::clone(&state);
        let clock = self.shared.clock.clone();
        let dispatcher = self.runtime.spawn(async move {
            if AssertUnwindSafe(dispatcher.run()).catch_unwind().await.is_err() {
                let why = "a defect has ended its dispatcher, see the log; start the collector anew";
                failed.pause(failed.term(), why, clock.now());
            }
        });
        Lane { state, block, dispatcher }
    }

    /// Where a project's conversions of a platform go: nearly always to one integration.
    pub fn integrations(&self, project: &str, platform: &str) -> Vec<Arc<Integration>> {
        let is_meant = |block: &Option<Arc<Integration>>| {
            let integration = block.as_ref()?;
            let meant = integration.project == project && integration.platform.name() == platform;
            meant.then(|| Arc::clone(integration))
        };
        let lanes = self.lanes();
        lanes.iter().flat_map(Lanes::values).filter_map(|lane| is_meant(&lane.block.borrow())).collect()
    }

    /// Returns once all of these are durable.
    pub async fn accept(&self, incoming: Vec<Incoming>) -> Result<Vec<Accepted>, QueueError> {
        self.shared.queue.accept(incoming).await
    }

    /// How every integration stands, and every one of which the queue holds something.
    pub async fn report(&self) -> Result<Vec<IntegrationReport>, QueueError> {
        let mut reports = Vec::new();
        let counts = self.shared.queue.counts().await?;
        let lanes = self.lanes();
        for (name, lane) in lanes.iter().flatten() {
            let count = counts.iter().find(|count| count.integration == *name);
            let (paused, trouble) = lane.state.told();
            let configured = lane.block.borrow().is_some();
            if !configured && count.is_none() {
                continue;
            }
            reports.push(IntegrationReport {
                integration: name.clone(),
                configured,
                waiting: count.map_or(0, |count| count.waiting),
                dead: count.map_or(0, |count| count.dead),
                oldest: count.and_then(|count| count.oldest).map(|oldest| oldest.to_string()),
                paused,
                trouble,
            });
        }
        Ok(reports)
    }

    /// What keeps conversions from being taken or sent, a sentence each.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> =
            self.shared.queue.check().err().iter().map(ToString::to_string).collect();
        for (name, lane) in self.lanes().iter().flatten() {
            if let (Some(pause), _) = lane.state.told() {
                reasons.push(format!("the integration {name} is paused: {}", pause.why));
            }
        }
        reasons
    }

    /// Sets the gauges, for ever.
    pub async fn show(self) {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            let Ok(reports) = self.report().await else { continue };
            for report in reports {
                show_integration(&report.integration, report.waiting, report.dead, report.paused.is_some());
            }
        }
    }

    /// Sends again what waits for a paused integration, or for all of them; gives how many were paused.
    pub fn resume(&self, integration: Option<&str>) -> usize {
        let lanes = self.lanes();
        let meant = lanes.iter().flatten().filter(|(name, _)| integration.is_none_or(|meant| meant == *name));
        meant.filter(|(_, lane)| lane.state.resume()).count()
    }

    /// The queue, for what operators ask of it.
    pub fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// Sends nothing more, and waits for the requests that are under way.
    pub async fn stop(&self) {
        let lanes = self.lanes().take().unwrap_or_default();
        // Without their senders the dispatchers end, all at once.
        let dispatchers: Vec<JoinHandle<()>> = lanes.into_values().map(|lane| lane.dispatcher).collect();
        join_all(dispatchers).await;
    }
}
