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
//! answer at all, a segment keeps its place. One that ClickHouse goes on refusing as a whole is parked: it steps
//! aside for a while, is shown as such, and comes back.

mod backoff;
mod part;
mod rows;
mod status;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::backoff::Backoff;
use self::rows::{InsertBody, TableRows};
pub use self::status::LoaderStatus;
use crate::clickhouse::{Class, ClickHouseError, Insert, RowSource, Store};
use crate::journal::{Backlog, Segment, SegmentReader, SegmentState};
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
    #[error("cannot read the segment: {0}")]
    Read(#[from] io::Error),
    #[error("cannot tell its rows apart: {0}")]
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
            Self::Drift(_) | Self::AllRefused(_) | Self::Layout(_) => true,
            Self::ClickHouse(_) | Self::Read(_) => false,
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
}

impl Loader {
    /// A loader between a journal's backlog and a store whose tables are there.
    pub fn new(store: Store, backlog: Backlog, settings: LoaderSettings) -> Self {
        Self { store, backlog, settings, status: LoaderStatus::default() }
    }

    /// What it has to say to operators.
    pub fn status(&self) -> LoaderStatus {
        self.status.clone()
    }

    /// Loads segments until it is dropped. An INSERT cut off by that is sent again under its token by whoever opens
    /// the journal next.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let segment = self.backlog.take().await;
            let loader = self.clone();
            under_way.spawn(async move {
                let parked = loader.load(segment).await;
                drop(place);
                if let Some(segment) = parked {
                    loader.backlog.park(segment.clone());
                    tokio::time::sleep(loader.settings.parked_pause).await;
                    loader.backlog.give_back(segment);
                }
            });
            while under_way.try_join_next().is_some() {}
        }
    }

    /// Loads one segment; gives it back when it has to be parked.
    async fn load(&self, mut segment: Segment) -> Option<Segment> {
        let mut backoff = Backoff::new(self.settings.first_pause, self.settings.longest_pause);
        let mut refusals = 0;
        loop {
            let Err(error) = self.attempt(&mut segment).await else {
                self.status.loaded(segment.number);
                return None;
            };
            figures().inserts_retried.increment(1);
            refusals += u32::from(error.is_refusal());
            if error.parks() || refusals >= REFUSALS_BEFORE_PARKING {
                tracing::error!(segment = segment.number, %error, "parked a segment");
                self.status.parked(segment.number, error.to_string());
                return Some(segment);
            }
            let pause = backoff.pause();
            tracing::warn!(segment = segment.number, %error, ?pause, "a segment has to wait");
            self.status.failed(error.to_string());
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, segment: &mut Segment) -> Result<(), LoadError> {
        let (tables, settled) = self.survey(segment.clone()).await?;
        *segment = settled;
        for rows in &tables {
            if segment.state == SegmentState::Whole {
                match self.send_whole(segment, rows).await {
                    Ok(()) => continue,
                    Err(LoadError::ClickHouse(error)) if error.server_code().is_some() => {
                        self.check_drift().await?;
                        if error.class() == Class::Retry {
                            return Err(error.into());
                        }
                        tracing::warn!(segment = segment.number, %error, "parting a segment that is refused");
                        figures().inserts_bisected.increment(1);
                        self.backlog.part(segment)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.send_parted(segment, rows).await?;
        }
        self.backlog.delete(segment)?;
        Ok(())
    }

    /// Reads the segment through, after settling it where that has to be done first.
    async fn survey(&self, mut segment: Segment) -> Result<(Vec<TableRows>, Segment), LoadError> {
        let backlog = self.backlog.clone();
        let read = tokio::task::spawn_blocking(move || {
            if segment.unsettled {
                let mut reader = open(&backlog, &segment)?;
                backlog.settle(&mut segment, &mut reader)?;
            }
            let tables = TableRows::survey(&mut open(&backlog, &segment)?)?;
            Ok::<_, io::Error>((tables, segment))
        });
        read.await.map_err(io::Error::other)?.map_err(LoadError::Read)
    }

    async fn send_whole(&self, segment: &Segment, rows: &TableRows) -> Result<(), LoadError> {
        let body = InsertBody::new(open(&self.backlog, segment)?, rows);
        self.insert(&rows.table.name, &rows.token(), body).await?;
        figures().rows_loaded.increment(rows.rows);
        tracing::debug!(segment = segment.number, table = rows.table.name, rows = rows.rows, "loaded");
        Ok(())
    }

    async fn insert(&self, table: &str, token: &str, body: impl RowSource) -> Result<(), ClickHouseError> {
        let begun = Instant::now();
        // The attempts of one token have ids of their own: a query that is still running keeps its id.
        let query_id = format!("{token}-{:08x}", Uuid::new_v4().as_fields().0);
        let result = self.store.insert(&Insert { table, token, query_id: &query_id }, body).await;
        figures().insert_seconds.record(begun.elapsed());
        if result.is_ok() {
            figures().inserts_done.increment(1);
        }
        result
    }

    /// A refusal may be the table's fault: then no row is to blame.
    async fn check_drift(&self) -> Result<(), LoadError> {
        match self.store.check_tables().await?.first() {
            None => Ok(()),
            Some(drift) => Err(LoadError::Drift(drift.to_string())),
        }
    }
}

fn open(backlog: &Backlog, segment: &Segment) -> io::Result<SegmentReader> {
    backlog.read(segment)?.ok_or_else(|| io::Error::other("the head of the segment is damaged"))
}
