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
mod held;
mod part;
mod rows;
mod send;
mod status;
mod taken;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub(crate) use self::backoff::Backoff;
pub use self::status::LoaderStatus;
use self::taken::Taken;
use crate::clickhouse::{ClickHouseError, ServerTime, Store};
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

/// Between two rounds of trying parked segments, at least.
const LEAST_PARKED_PAUSE: Duration = Duration::from_millis(500);

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
    #[error("clickhouse refuses every row of it, the last one with code {code}")]
    AllRefused { code: u32, refused: Refused },
    #[error("its tables were altered while clickhouse refused rows of it")]
    Altered,
}

/// A search for guilty rows that found no other: its table refused all that it tried.
#[derive(Clone, Debug)]
struct Refused {
    table: String,
    /// When the search ended.
    at: Instant,
    /// When it began; all it says is void if the tables were altered since.
    begun: ServerTime,
}

impl LoadError {
    /// Whether somebody has to put something right before the segment can be loaded.
    fn parks(&self) -> bool {
        match self {
            Self::Drift(_) | Self::AllRefused { .. } | Self::Layout(_) | Self::Read(_) => true,
            Self::Altered => false,
            // A file that reads otherwise than a moment ago has to be surveyed anew.
            Self::ClickHouse(error) => matches!(error, ClickHouseError::Source(_)),
        }
    }

    /// Whether ClickHouse answered, and said no.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::ClickHouse(error) if error.server_code().is_some())
    }
}

/// Whose turn a segment is loaded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Those that wait, oldest first; each is tried until it is loaded or has to be parked.
    Waiting,
    /// Those that are parked; each is tried once in a round.
    Parked,
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
        let work = async { tokio::join!(self.load_waiting(), self.retry_parked()) };
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            self.status
                .failed("a defect has ended the loader, see its log; start the collector anew".to_owned());
        }
    }

    async fn load_waiting(&self) {
        let places = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut under_way = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let segment = self.backlog.take().await;
            let loader = self.clone();
            under_way.spawn(async move {
                loader.load(segment, Lane::Waiting).await;
                drop(place);
            });
            while under_way.try_join_next().is_some() {}
        }
    }

    /// Tries the parked segments again from time to time, one after the other, beside those that wait: however many
    /// they are, they hold up nobody.
    async fn retry_parked(&self) {
        loop {
            // Either the pause is over, or somebody does not want to wait for it; but every INSERT may be somebody.
            sleep(LEAST_PARKED_PAUSE.min(self.settings.parked_pause)).await;
            let _ = timeout(self.settings.parked_pause, self.status.retry_wanted()).await;
            for segment in self.backlog.parked() {
                self.load(segment, Lane::Parked).await;
            }
        }
    }

    /// Loads one segment, or parks it, whatever happens: also when a defect of ours ends the attempt, which the log
    /// tells of.
    async fn load(&self, mut segment: Segment, lane: Lane) {
        if AssertUnwindSafe(self.attempt(&mut segment, lane)).catch_unwind().await.is_err() {
            self.status.parked(segment.number, None, "a defect of the loader, see its log".to_owned());
            self.backlog.park(segment);
        }
    }

    async fn attempt(&self, segment: &mut Segment, lane: Lane) {
        let result = match lane {
            Lane::Waiting => self.load_patiently(segment).await,
            Lane::Parked => self.load_parked(segment).await,
        };
        let Err(error) = result else {
            return self.status.loaded(segment.number);
        };
        let refused = match error {
            LoadError::AllRefused { ref refused, .. } => Some(refused.clone()),
            // Nothing new is known of its rows.
            LoadError::ClickHouse(_) => self.status.refused(segment.number),
            LoadError::Drift(_) | LoadError::Layout(_) | LoadError::Read(_) | LoadError::Altered => None,
        };
        self.status.parked(segment.number, refused, error.to_string());
        let number = segment.number;
        self.backlog.park(segment.clone());
        match lane {
            Lane::Waiting => tracing::error!(segment = number, %error, "parked a segment"),
            Lane::Parked => {
                tracing::warn!(segment = number, %error, "a segment stays parked");
                figures().inserts_retried.increment(1);
            }
        }
    }

    /// Loads one segment, however long ClickHouse does not answer; fails with what it has to be parked for.
    async fn load_patiently(&self, segment: &mut Segment) -> Result<(), LoadError> {
        let mut backoff = Backoff::new(self.settings.first_pause, self.settings.longest_pause);
        let mut refusals = 0;
        let Some(tables) = self.survey(segment).await? else { return Ok(()) };
        loop {
            let Err(error) = self.send(segment, &tables, None).await else { return Ok(()) };
            figures().inserts_retried.increment(1);
            // What fails while ClickHouse answers other questions is this segment's own trouble.
            refusals += u32::from(error.is_refusal() || self.store.version().await.is_ok());
            if error.parks() || refusals >= REFUSALS_BEFORE_PARKING {
                return Err(error);
            }
            let pause = backoff.pause();
            tracing::warn!(segment = segment.number, %error, ?pause, "a segment has to wait");
            self.status.failed(error.to_string());
            sleep(pause).await;
        }
    }

    async fn load_parked(&self, segment: &mut Segment) -> Result<(), LoadError> {
        let refused = self.status.refused(segment.number);
        let Some(tables) = self.survey(segment).await? else { return Ok(()) };
        self.send(segment, &tables, refused).await?;
        tracing::info!(segment = segment.number, "loaded a parked segment");
        Ok(())
    }
}
