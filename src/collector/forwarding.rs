//! The part of a collector that forwards conversions, from its start to its end.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::CollectorError;
use crate::clock::Clock;
use crate::config::{CollectorSettings, ConversionSettings, conversions_folder};
use crate::conversions::Forwarder;
use crate::conversions::enrich::{EnrichSettings, Enricher};
use crate::conversions::queue::{Queue, follow};
use crate::journal::Journal;

/// How often a shutdown looks whether the journal has been told everything.
const LOOK: Duration = Duration::from_millis(10);

/// Opens the queue of a collector's conversions.
pub(super) fn open_queue(settings: &CollectorSettings, clock: &Clock) -> Result<Queue, CollectorError> {
    let path: PathBuf = conversions_folder(&settings.data_dir);
    Queue::open(&path, &settings.conversions.queue, clock)
        .map_err(|cause| CollectorError::Queue { path, cause })
}

/// What forwards conversions, and tells the journal of them.
pub(super) struct Forwarding {
    pub(super) forwarder: Forwarder,
    /// Gives the journal the rows of conversions.
    rows: JoinHandle<()>,
    gauges: JoinHandle<()>,
}

impl Forwarding {
    /// Begins to send what waits. It speaks to platforms on the runtime that this runs on.
    pub(super) fn start(
        queue: &Queue,
        settings: &CollectorSettings,
        clock: &Clock,
        journal: &Journal,
    ) -> Self {
        let ConversionSettings { integrations, expire_after, .. } = settings.conversions.clone();
        let enricher = Enricher::new(EnrichSettings::new(clock.clone()));
        let forwarder = Forwarder::start(queue.clone(), enricher, clock.clone(), expire_after, integrations);
        let (queue, journal) = (queue.clone(), journal.clone());
        let rows = tokio::spawn(async move { follow(&queue, &journal).await });
        let gauges = tokio::spawn(forwarder.clone().show());
        Self { forwarder, rows, gauges }
    }

    /// Ends what is under way, and tells the journal of it, as far as there is time: the rest is there at the next
    /// start. Half of the time is for what comes after.
    pub(super) async fn stop(self, deadline: Instant) {
        let now = Instant::now();
        let deadline = now + deadline.saturating_duration_since(now) / 2;
        if timeout_at(deadline, self.forwarder.stop()).await.is_err() {
            tracing::warn!("left requests to platforms without their answers; they are sent again");
        }
        let queue = self.forwarder.queue().clone();
        let told = async {
            while queue.take_outbox(1, 1).await.is_ok_and(|rows| !rows.is_empty()) {
                sleep(LOOK).await;
            }
        };
        if timeout_at(deadline, told).await.is_err() {
            tracing::warn!("left rows of conversions for the next start");
        }
        self.rows.abort();
        self.gauges.abort();
        let closing = queue.clone();
        let closed = tokio::task::spawn_blocking(move || closing.close());
        if !matches!(timeout_at(deadline, closed).await, Ok(Ok(()))) {
            tracing::error!("the queue of conversions could not be closed in time");
        }
    }
}
