//! The loader: takes sealed segments from the journal's backlog, oldest first, sends each as one INSERT for each
//! table it holds, and deletes it when ClickHouse has confirmed.
//!
//! It promises that a segment is deleted only after every row of it is in its table or, where ClickHouse refuses a
//! row for its content, in `rejected_events`; that no row goes out under two tokens without looking first whether
//! it is stored already; and that what it holds in memory does not grow with the backlog.
//!
//! ```text
//!            ┌────────────── whole: one INSERT a table, token of its bytes ──────────────┐
//! backlog ───┤ refused for a row's content, and the tables are as we expect them         ├──► deleted
//!            └──► parted: note it on disk, end the old query, read back what is stored, ─┘
//!                         send the rest in halves until the guilty rows stand alone
//! ```
//!
//! Every other failure is tried again, for ever: the same bytes under the same token. While ClickHouse does not
//! answer at all, a segment keeps its place. One that ClickHouse goes on refusing as a whole, or that cannot be read,
//! is parked: it steps aside, is shown as such, and is tried again from time to time.

mod backoff;
mod part;
mod rows;
mod send;
mod status;
mod taken;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::backoff::Backoff;
pub use self::status::LoaderStatus;
use self::taken::Taken;
use crate::clickhouse::{ClickHouseError, Store};
use crate::journal::{Backlog, Segment};
use crate::metrics::figures;
use crate::row::LayoutError;

/// How the loader goes about its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderSettings {
    /// Segments under way at once.
    pub concurrency: usize,
    /// The first pause after a failure; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause between two attempts.
    pub longest_pause: Duration,
    /// How long a parked segment steps aside.
    pub parked_pause: Duration,
}

impl Default for LoaderSettings {
    fn default() -> Self {
        Self {
            concurrency: 2,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            parked_pause: Duration::from_secs(30),
        }
    }
}

/// How often ClickHouse may answer a segment with an error before it is parked.
const REFUSALS_BEFORE_PARKING: u32 = 8;

/// Why a segment could not be loaded this time.
#[derive(Debug, Error)]
enum LoadError {
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    #[error("the segment cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("its rows cannot be told apart: {0}")]
    Layout(#[from] LayoutError),
    #[error("{0}")]
    Drift(String),
    #[error("clickhouse refuses every row of it, the last one with code {0}")]
    AllRefused(u32),
}

impl LoadError {
    /// Whether somebody has to put something right before the segment can be loaded.
    fn parks(&self) -> bool {
        match self {
            Self::Drift(_) | Self::AllRefused(_) | Self::Layout(_) | Self::Read(_) => true,
            Self::ClickHouse(_) => false,
        }
    }

    /// Whether ClickHouse answered, and said no.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::ClickHouse(error) if error.server_code().is_some())
    }
}

/// Moves segments from the backlog into ClickHouse.
#[derive(Clone)]
pub struct Loader {
    store: Store,
    backlog: Backlog,
    settings: LoaderSettings,
    status: LoaderStatus,
    taken: Taken,
}

impl Loader {
    /// A loader between a journal's backlog and a store whose tables are there.
    pub fn new(store: Store, backlog: Backlog, settings: LoaderSettings) -> Self {
        Self { store, backlog, settings, status: LoaderStatus::default(), taken: Taken::default() }
    }

    /// What it has to say to operators.
    pub fn status(&self) -> LoaderStatus {
        self.status.clone()
    }

    /// Loads segments until it is dropped. An INSERT cut off by that is sent again under its token by whoever opens
    /// the journal next.
    pub async fn run(self) {
        tokio::join!(self.load_waiting(), self.retry_parked());
    }

    async fn load_waiting(&self) {
        let places = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut under_way = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let segment = self.backlog.take().await;
            let loader = self.clone();
            under_way.spawn(async move {
                let mut loading = JoinSet::new();
                loading.spawn(loader.clone().load(segment.clone()));
                if loading.join_next().await.is_some_and(|ended| ended.is_err()) {
                    // A defect of ours, which the log tells of; the segment must not be lost by it.
                    sleep(loader.settings.parked_pause).await;
                    loader.backlog.give_back(segment);
                }
                drop(place);
            });
            while under_way.try_join_next().is_some() {}
        }
    }

    /// Loads one segment, or parks it.
    async fn load(self, mut segment: Segment) {
        let begun = Instant::now();
        match self.load_patiently(&mut segment).await {
            Ok(()) => self.status.loaded(segment.number),
            Err(error) => {
                tracing::error!(segment = segment.number, %error, "parked a segment");
                self.status.parked(segment.number, begun, error.to_string());
                self.backlog.park(segment);
            }
        }
    }

    /// Loads one segment, however long ClickHouse does not answer; fails with what it has to be parked for.
    async fn load_patiently(&self, segment: &mut Segment) -> Result<(), LoadError> {
        let mut backoff = Backoff::new(self.settings.first_pause, self.settings.longest_pause);
        let mut refusals = 0;
        let Some(tables) = self.survey(segment, true).await? else { return Ok(()) };
        loop {
            let Err(error) = self.send(segment, &tables, None).await else { return Ok(()) };
            figures().inserts_retried.increment(1);
            refusals += u32::from(error.is_refusal());
            if error.parks() || refusals >= REFUSALS_BEFORE_PARKING {
                return Err(error);
            }
            let pause = backoff.pause();
            tracing::warn!(segment = segment.number, %error, ?pause, "a segment has to wait");
            self.status.failed(error.to_string());
            sleep(pause).await;
        }
    }

    /// Tries the parked segments again from time to time, one after the other, beside those that wait: however many
    /// they are, they hold up nobody.
    async fn retry_parked(&self) {
        loop {
            // Either the pause is over, or somebody does not want to wait for it.
            let _ = timeout(self.settings.parked_pause, self.status.retry_wanted()).await;
            for mut segment in self.backlog.parked() {
                match self.load_parked(&mut segment).await {
                    Ok(()) => {
                        tracing::info!(segment = segment.number, "loaded a parked segment");
                        self.status.loaded(segment.number);
                    }
                    Err(error) => {
                        tracing::warn!(segment = segment.number, %error, "a segment stays parked");
                        figures().inserts_retried.increment(1);
                        self.status.parked(segment.number, Instant::now(), error.to_string());
                        self.backlog.park(segment);
                    }
                }
            }
        }
    }

    async fn load_parked(&self, segment: &mut Segment) -> Result<(), LoadError> {
        let since = self.status.parked_since(segment.number);
        let Some(tables) = self.survey(segment, false).await? else { return Ok(()) };
        self.send(segment, &tables, since).await
    }
}
