//! What all lookups have in common, whatever a key stands for.

use std::borrow::Borrow;
use std::error::Error;
use std::future::Future;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::AllowedOrigins;
use super::cache::Cache;
use super::gather::{Gatherer, Miss};
use super::snapshot;
use crate::clock::Clock;
use crate::event::Timestamp;
use crate::metrics::LookupFigures;
use crate::retry::Retry;

/// What a key stands for.
pub trait Keyed: PartialEq + Send + Sync + Sized + 'static {
    /// What it is found by.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    /// How the snapshot on disk has it.
    type Stored: Serialize + DeserializeOwned;
    /// Its keys, as logs name them.
    const KEYS: &'static str;

    /// What its lookups are counted by.
    fn figures() -> &'static LookupFigures;
    /// What an operator knows it by; no secret.
    fn label(&self) -> String;
    /// The pages that may use its key.
    fn origins(&self) -> &AllowedOrigins;
    /// A key as the snapshot has it.
    fn key_text(key: &Self::Key) -> String;
    /// Reads what [`key_text`](Self::key_text) writes; `None` for what is no key.
    fn read_key(text: String) -> Option<Self::Key>;
    /// What the snapshot has of it besides its key.
    fn stored(&self) -> Self::Stored;
    /// Reads what [`stored`](Self::stored) gives; `None` for what makes no sense to this version.
    fn restored(stored: Self::Stored) -> Option<Self>;
}

/// Where keys are stored.
pub trait KeySource<T: Keyed>: Send + Sync + 'static {
    /// What those of `keys` stand for that stand for something, each with its key. The keys are distinct, at most
    /// [`LookupSettings::keys_per_query`].
    fn lookup(&self, keys: Vec<T::Key>)
    -> impl Future<Output = Result<Vec<(T::Key, T)>, SourceError>> + Send;

    /// A number that changes whenever any key or what it stands for does.
    fn fingerprint(&self) -> impl Future<Output = Result<u64, SourceError>> + Send;
}

/// Why a source gave no answer.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It could not be asked, or answered with an error.
    #[error("the query for keys failed: {0}")]
    Failed(Box<dyn Error + Send + Sync>),
    /// It stayed silent for this long.
    #[error("the query for keys gave no answer within {0:?}")]
    TimedOut(Duration),
    /// A defect of ours.
    #[error("the query for keys panicked")]
    Panicked,
}

impl SourceError {
    /// A query that failed for this reason.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(cause.into())
    }

    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Failed(_) => "key_source_failed",
            Self::TimedOut(_) => "key_source_timed_out",
            Self::Panicked => "key_source_panicked",
        }
    }

    /// Always later: whatever ails the source, it is asked again.
    pub const fn retry(&self) -> Retry {
        Retry::After(Duration::from_secs(1))
    }
}

/// How keys are cached and looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupSettings {
    /// How often the source is asked whether anything has changed.
    pub refresh: Duration,
    /// How often known keys are read again although nothing seems to have changed: a replica that lags behind
    /// the one that told of a change cannot leave an old answer here for longer.
    pub reread: Duration,
    /// Keys kept with what they stand for.
    pub known_capacity: u64,
    /// Keys remembered as unknown.
    pub unknown_capacity: u64,
    /// How long a key is remembered as unknown, if nothing changes before.
    pub unknown_expiry: Duration,
    /// Lookups waiting to be gathered; one more is refused as unavailable.
    pub waiting: usize,
    /// Keys in one query.
    pub keys_per_query: usize,
    /// How long one query may take, and how long a caller waits for a lookup.
    pub lookup_timeout: Duration,
    /// How long after a failed lookup the next ones are refused without a query.
    pub failure_pause: Duration,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5),
            reread: Duration::from_mins(1),
            known_capacity: 10_000,
            unknown_capacity: 100_000,
            unknown_expiry: Duration::from_secs(5),
            waiting: 10_000,
            keys_per_query: 1_000,
            lookup_timeout: Duration::from_secs(3),
            failure_pause: Duration::from_secs(1),
        }
    }
}

/// How long known keys may do without the source's word, and by which clock.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// `None`: for ever.
    pub(super) limit: Option<Duration>,
    pub(super) clock: Clock,
}

impl Trust {
    /// Whether keys may still be trusted that the source stood behind at this moment.
    pub(super) fn holds(&self, confirmed: Timestamp) -> bool {
        self.limit.is_none_or(|limit| self.clock.now() <= confirmed.shifted(millis(limit)))
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Why a key stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// The source has denied it.
    Unknown,
    /// It is not known here, and the source cannot be asked.
    Unavailable,
}

/// Finds what keys stand for. Clones share everything; when the last one goes, so does the task behind them.
pub(super) struct Lookup<T: Keyed> {
    pub(super) cache: Arc<Cache<T>>,
    misses: mpsc::Sender<Miss<T>>,
    patience: Duration,
}

impl<T: Keyed> Clone for Lookup<T> {
    fn clone(&self) -> Self {
        Self { cache: Arc::clone(&self.cache), misses: self.misses.clone(), patience: self.patience }
    }
}

impl<T: Keyed> Lookup<T> {
    pub(super) fn start(
        source: impl KeySource<T>,
        settings: LookupSettings,
        snapshot: PathBuf,
        trust: Trust,
        runtime: &Handle,
    ) -> (Self, JoinHandle<()>) {
        let (known, confirmed) = snapshot::load(&snapshot, &trust);
        let cache = Arc::new(Cache::new(&settings, confirmed));
        for (key, value) in known {
            cache.learn(&key, value);
        }
        let (misses, receiver) = mpsc::channel(settings.waiting.max(1));
        let patience = settings.lookup_timeout;
        let gatherer = Gatherer::new(source, settings, snapshot, trust, Arc::clone(&cache));
        let task = runtime.spawn(gatherer.run(receiver));
        (Self { cache, misses, patience }, task)
    }

    /// The answer for `key` if it is in memory.
    pub(super) fn cached<Q>(&self, key: &Q) -> Option<Result<Arc<T>, NotFound>>
    where
        T::Key: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let answer = self.cache.get(key);
        if answer.is_some() {
            T::figures().hits.increment(1);
        }
        answer
    }

    /// The answer of the source, for a key that memory has none for. Waits no longer than
    /// [`LookupSettings::lookup_timeout`], on a runtime with its timer enabled.
    pub(super) async fn ask(&self, key: T::Key) -> Result<Arc<T>, NotFound> {
        T::figures().misses.increment(1);
        let (answer, answered) = oneshot::channel();
        if self.misses.try_send(Miss { key, answer }).is_err() {
            T::figures().failed.increment(1);
            return Err(NotFound::Unavailable);
        }
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            // Too late, or the gathering task is gone and has dropped its end.
            Ok(Err(_)) | Err(_) => Err(NotFound::Unavailable),
        }
    }
}
