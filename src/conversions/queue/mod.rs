//! The queue: where a conversion becomes durable, and waits until its platform has taken it.
//!
//! It promises that [`Queue::accept`] answers `Ok` only after the conversions are on disk, that each of them is then
//! waiting until it is settled as sent or dead, after any crash, and that the rows which tell operators of it are kept
//! with it: in the same transaction, until the journal has them.
//!
//! # On disk
//!
//! One redb file, `queue.redb`, readable by its owner only:
//!
//! ```text
//! waiting   integration, number ─► due, since, told, attempts, platform, conversion as JSON
//! schedule  integration, due, number ─► nothing        the same ones, in the order in which they are to be sent
//! dead      integration, number ─► at, attempts, platform, why, conversion as JSON
//! seen      fingerprint ─► until when                  of project, integration and id: copies are not queued
//! expiries  until when, fingerprint ─► nothing         the same ones, in the order in which they are forgotten
//! outbox    number ─► tag of the table, moment, row    what the journal is still to be given
//! times     nothing ─► even time, the machine's        when the last transaction was
//! ```
//!
//! Numbers rise in the order of arrival and are one count for all three tables; moments are milliseconds since 1970, and
//! those of `due`, `since` and `until when` are of a time that goes on evenly, whoever sets the machine's clock.
//!
//! # Invariants
//!
//! 1. One thread writes. All requests that have gathered are one transaction, which is synced before any is answered.
//! 2. A request is taken as a whole or not at all.
//! 3. Whatever changes the state of a conversion puts a row into the outbox in the same transaction; two rows of one
//!    conversion never have the same moment. Rows leave the outbox after the journal has made them durable, so that a
//!    crash can only repeat them, byte for byte.
//! 4. No conversion is deleted but those that were sent, and those that an operator discards. One that cannot be read,
//!    since another version wrote it or it is damaged, becomes a dead letter and holds up no other.
//! 5. After a failed write or sync the file is closed and opened anew, which undoes what was not committed. What was
//!    refused for it may be there all the same, and is sent then.

mod by_hand;
mod file;
mod follow;
mod item;
mod label;
mod look;
mod steady;
mod tables;
mod told;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::ReadTransaction;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use self::file::{Broken, QueueFile};
pub use self::file::{QueueOpenError, QueueOpener};
pub use self::follow::follow;
pub use self::item::{Accepted, Count, DeadLetter, Incoming, Key, LONGEST_DELAY, Outcome, Settled, Waiting};
use self::look::{Due, Unreadable};
use self::steady::Steady;
pub use self::tables::OutboxRow;
use self::tables::Tables;
pub use self::writer::Arrivals;
use self::writer::{Job, Signals, Work, Writer};
use crate::clock::Clock;
use crate::event::Timestamp;
use crate::metrics::count_conversions;
use crate::retry::Retry;

/// How much the queue keeps, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Waiting conversions at which requests are refused.
    pub max_events: u64,
    /// Bytes of conversions, waiting or dead, and of rows for the journal, at which requests are refused.
    pub max_bytes: u64,
    /// How long a conversion's id is remembered: a copy that comes within that time is not sent.
    pub remember: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_events: 1_000_000, max_bytes: 4 * 1024 * 1024 * 1024, remember: Duration::from_hours(72) }
    }
}

/// Why nothing was changed, or nothing could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// The queue's cap is reached.
    #[error("the queue of conversions is full because platforms have not taken them for too long")]
    Full,
    /// The disk failed, or is full.
    #[error("the disk of the queue of conversions does not take any at the moment")]
    Failed,
    /// The collector is shutting down.
    #[error("the collector is shutting down")]
    Closed,
}

impl QueueError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Failed => "queue_failed",
            Self::Closed => "shutting_down",
        }
    }

    /// All of them pass.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Full => Retry::After(Duration::from_secs(30)),
            Self::Failed => Retry::After(Duration::from_secs(5)),
            Self::Closed => Retry::After(Duration::from_secs(1)),
        }
    }
}

/// Requests that may wait for the writer at once; more wait at the door.
const DOOR: usize = 256;

/// The queue. Clones share it.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    file: Arc<QueueFile>,
    signals: Arc<Signals>,
    steady: Steady,
    settings: QueueSettings,
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Opens the queue in a folder, made if there is none, and starts its writer. Reads the whole file.
    pub fn open(folder: &Path, settings: &QueueSettings, clock: &Clock) -> Result<Self, QueueOpenError> {
        Self::open_with(file::opener(folder)?, settings, clock)
    }

    /// Opens the queue that `opener` gives, which is called again after a failure of the disk.
    pub fn open_with(
        opener: QueueOpener,
        settings: &QueueSettings,
        clock: &Clock,
    ) -> Result<Self, QueueOpenError> {
        let file = Arc::new(QueueFile::open(opener)?);
        let (last, latest) = file.account().map_or((None, 0), |account| (account.times, account.latest));
        let steady = Steady::new(clock, last, latest);
        let set_back = steady.ahead().max(0).saturating_sub(last.map_or(0, |last| last.ahead().max(0)));
        if set_back.unsigned_abs() > writer::SET {
            tracing::warn!(millis = set_back, "the clock was set back since conversions were queued");
        }
        let signals = Arc::new(Signals::default());
        let (jobs, receiver) = mpsc::channel(DOOR);
        let writer = Writer { file: file.clone(), signals: signals.clone(), steady: steady.clone() };
        let thread = std::thread::Builder::new().name("queue".to_owned());
        let writer = thread.spawn(move || writer.run(receiver)).map_err(QueueOpenError::Thread)?;
        Ok(Self(Arc::new(Shared {
            file,
            signals,
            steady,
            settings: settings.clone(),
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// Makes a request's conversions durable, all of them or none: what became of each, in order. They are written all
    /// the same when the future is dropped.
    pub async fn accept(&self, incoming: Vec<Incoming>) -> Result<Vec<Accepted>, QueueError> {
        if incoming.is_empty() {
            return Ok(Vec::new());
        }
        let settings = self.0.settings.clone();
        self.write(move |tables| tables.accept(&incoming, &settings)).await?
    }

    /// Conversions of an integration that are due, the longest due first: at most so many, and no more bytes of JSON
    /// than that but for the first. `except` are those that the caller has already. Those that cannot be read become
    /// dead letters.
    pub async fn due(
        &self,
        integration: &str,
        now: Timestamp,
        (most, bytes): (usize, usize),
        except: &BTreeSet<Key>,
    ) -> Result<Vec<Waiting>, QueueError> {
        loop {
            let (name, except) = (integration.to_owned(), except.clone());
            let now = (now, self.0.steady.ahead());
            let Due { found, unreadable } =
                self.read(move |file| look::due(file, &name, now, (most, bytes), &except)).await?;
            if unreadable.is_empty() {
                return Ok(found);
            }
            self.bury(integration, unreadable).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn bury(&self, integration: &str, unreadable: Vec<Unreadable>) -> Result<(), QueueError> {
        let name = integration.to_owned();
        let why = self
            .write(move |tables| {
                let mut why = Vec::new();
                for one in unreadable {
                    // The schedule may have named one that is not there.
                    if tables.bury(&name, &one)? {
                        why.push(one.why);
                    }
                }
                Ok(why)
            })
            .await?;
        let count = why.len();
        let Some(why) = why.into_iter().next() else {
            tracing::error!(integration, "the schedule of the queue named conversions that are not there");
            return Ok(());
        };
        tracing::error!(
            integration,
            count,
            why,
            "conversions that this version cannot read are dead letters"
        );
        count_conversions(integration, "dead", count as u64);
        Ok(())
    }

    /// Those of an integration's conversions that still wait: an operator may have discarded some that somebody holds.
    pub async fn waiting(&self, integration: &str, keys: Vec<Key>) -> Result<BTreeSet<Key>, QueueError> {
        let integration = integration.to_owned();
        self.read(move |file| look::waiting(file, &integration, keys)).await
    }

    /// When the next conversion of an integration is due that the caller does not have already.
    pub async fn next_due(
        &self,
        integration: &str,
        except: &BTreeSet<Key>,
    ) -> Result<Option<Timestamp>, QueueError> {
        let (integration, except) = (integration.to_owned(), except.clone());
        let ahead = self.0.steady.ahead();
        self.read(move |file| look::next_due(file, &integration, ahead, &except)).await
    }

    /// Tells of an integration's conversions that are queued from now on.
    pub fn arrivals(&self, integration: &str) -> Arrivals {
        self.0.signals.of(Some(integration.to_owned()))
    }

    /// Writes down how attempts ended. One that is settled already is passed over.
    pub async fn settle(&self, integration: &str, settled: Vec<(Key, Settled)>) -> Result<(), QueueError> {
        if settled.is_empty() {
            return Ok(());
        }
        let integration = integration.to_owned();
        self.write(move |tables| {
            settled.iter().try_for_each(|(key, settled)| tables.settle(&integration, *key, settled).map(drop))
        })
        .await
    }

    /// What there is of each integration that has anything.
    pub async fn counts(&self) -> Result<Vec<Count>, QueueError> {
        let account = self.0.file.account()?;
        let ahead = self.0.steady.ahead();
        self.read(move |file| look::counts(file, &account, ahead)).await
    }

    /// The first dead letters of an integration.
    pub async fn dead(&self, integration: &str, most: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let integration = integration.to_owned();
        self.read(move |file| look::dead(file, &integration, most)).await
    }

    /// The first rows that the journal is to be given: at most so many, and no more bytes than that but for the first.
    pub async fn take_outbox(&self, most: usize, bytes: usize) -> Result<Vec<OutboxRow>, QueueError> {
        self.read(move |file| look::outbox(file, most, bytes)).await
    }

    /// Forgets the rows up to this number, because the journal has them.
    pub async fn forget_outbox(&self, up_to: u64) -> Result<(), QueueError> {
        self.write(move |tables| tables.forget_outbox(up_to)).await
    }

    /// Tells of rows for the journal from now on.
    fn outbox_arrivals(&self) -> Arrivals {
        self.0.signals.of(None)
    }

    /// Whether the next request can be made durable, as far as the last one tells.
    pub fn check(&self) -> Result<(), QueueError> {
        let account = self.0.file.account()?;
        if self.jobs()?.is_closed() {
            return Err(QueueError::Failed);
        }
        if account.has_room(1, &self.0.settings) { Ok(()) } else { Err(QueueError::Full) }
    }

    /// Writes what has been taken, and takes no more. Blocks until the writer is done.
    pub fn close(&self) {
        drop(self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the queue's writer has panicked");
        }
    }

    fn jobs(&self) -> Result<mpsc::Sender<Box<dyn Job>>, QueueError> {
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.clone().ok_or(QueueError::Closed)
    }

    /// Has the writer do something in its next transaction; returns when that is durable.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Broken> + Send + 'static,
    ) -> Result<T, QueueError> {
        let (answer, heard) = oneshot::channel();
        let jobs = self.jobs()?;
        jobs.send(Box::new(Work::new(work, answer))).await.map_err(|_| QueueError::Failed)?;
        drop(jobs);
        heard.await.unwrap_or(Err(QueueError::Failed))
    }

    /// Looks into the last committed state.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Broken> + Send + 'static,
    ) -> Result<T, QueueError> {
        let file = self.0.file.clone();
        tokio::task::spawn_blocking(move || file.read(look)).await.unwrap_or(Err(QueueError::Failed))
    }
}
