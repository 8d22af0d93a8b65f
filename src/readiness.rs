//! How well the collector stands: what `/readyz` and `/journal` say, and the gauges of the backlog.
//!
//! Unavailable means that events sent here could not be made durable. ClickHouse away is only degraded: taking every
//! collector out of rotation then would lose what the journal is there to keep.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::conversions::Forwarder;
use crate::http::{JournalReport, Operated, Readiness, RetryReport, SegmentReport, Standing};
use crate::journal::{Journal, Place, Segment};
use crate::loader::LoaderStatus;
use crate::metrics::figures;

/// Where the collector is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Starting,
    Serving,
    Draining,
}

pub(crate) struct Health {
    pub(crate) clock: Clock,
    pub(crate) journal: Journal,
    /// Where the journal is.
    pub(crate) folder: PathBuf,
    /// Age of the backlog from which on readiness is degraded.
    pub(crate) degraded_after: Duration,
    phase: AtomicU8,
    loader: OnceLock<LoaderStatus>,
    forwarder: OnceLock<Forwarder>,
    /// What is wrong with the tables, a sentence each.
    tables: Mutex<Vec<String>>,
}

impl Health {
    pub(crate) fn new(clock: Clock, journal: Journal, folder: PathBuf, degraded_after: Duration) -> Self {
        Self {
            clock,
            journal,
            folder,
            degraded_after,
            phase: AtomicU8::new(Phase::Starting as u8),
            loader: OnceLock::new(),
            forwarder: OnceLock::new(),
            tables: Mutex::default(),
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn watch(&self, loader: LoaderStatus) {
        // There is one loader in a collector's life.
        let _ = self.loader.set(loader);
    }

    pub(crate) fn watch_conversions(&self, forwarder: Forwarder) {
        // Nor is there another one of these.
        let _ = self.forwarder.set(forwarder);
    }

    /// Says what is wrong with the tables; gives whether that is news.
    pub(crate) fn set_tables(&self, reasons: Vec<String>) -> bool {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *tables != reasons;
        *tables = reasons;
        news
    }

    fn unavailable(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Starting as u8 {
            reasons.push("the collector is starting".to_owned());
        }
        if phase == Phase::Draining as u8 {
            reasons.push("the collector is draining".to_owned());
        }
        if let Err(error) = self.journal.check() {
            reasons.push(error.to_string());
        }
        reasons
    }

    fn degraded(&self) -> Vec<String> {
        let mut reasons = self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reasons.extend(self.loader.get().map(LoaderStatus::reasons).unwrap_or_default());
        reasons.extend(self.forwarder.get().map(Forwarder::reasons).unwrap_or_default());
        let age = self.backlog_age();
        if age > self.degraded_after {
            let (age, segments) = (age.as_secs(), self.journal.backlog().len());
            reasons.push(format!("{segments} segments wait for clickhouse, the oldest for {age} s"));
        }
        reasons
    }

    fn backlog_age(&self) -> Duration {
        let oldest = self.journal.backlog().oldest();
        let age = oldest.map_or(0, |oldest| self.clock.now().as_millis() - oldest.as_millis());
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// Sets the gauges of the backlog, once a second, for ever.
    pub(crate) async fn show_backlog(&self) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            figures().journal_oldest_seconds.set(self.backlog_age().as_secs_f64());
            #[allow(clippy::cast_precision_loss, reason = "a gauge of segments")]
            figures().journal_segments.set(self.journal.backlog().len() as f64);
        }
    }
}

impl Operated for Health {
    fn readiness(&self) -> Readiness {
        let unavailable = self.unavailable();
        if !unavailable.is_empty() {
            return Readiness { status: Standing::Unavailable, reasons: unavailable };
        }
        let reasons = self.degraded();
        let status = if reasons.is_empty() { Standing::Ready } else { Standing::Degraded };
        Readiness { status, reasons }
    }

    fn journal(&self) -> JournalReport {
        let report = |(segment, place): (Segment, Place)| SegmentReport {
            file: segment.file_name(),
            state: word(place).to_owned(),
            oldest: segment.oldest.to_string(),
            reason: self.loader.get().and_then(|loader| loader.parked_for(segment.number)),
        };
        let segments = self.journal.backlog().all().into_iter().map(report).collect();
        JournalReport { folder: self.folder.clone(), readiness: self.readiness(), segments }
    }

    fn retry_parked(&self) -> RetryReport {
        // Without a loader, nothing can be parked yet.
        RetryReport { parked: self.loader.get().map_or(0, LoaderStatus::retry_parked) }
    }
}

const fn word(place: Place) -> &'static str {
    match place {
        Place::Waiting => "waiting",
        Place::Loading => "loading",
        Place::Parked => "parked",
    }
}
