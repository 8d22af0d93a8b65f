//! From a public project key to its project.
//!
//! What is promised, whatever is thrown at it:
//!
//! - A known key is answered from memory, also while the source (ClickHouse) is away and, by a snapshot on disk,
//!   right after a start without it. Only then can an answer be stale; otherwise a change is seen within one
//!   refresh interval and one query.
//! - *Unknown* is said only of a key that the source has denied. Where it cannot be asked, the answer is
//!   *unavailable*: the caller may come again.
//! - A flood of random keys costs one query at a time, each for many keys, and a bounded amount of memory; it
//!   pushes out no known key.
//!
//! One task asks the source. It gathers the keys that the caches cannot answer (`gather.rs`) and, in turn with
//! that, looks for changes. So no lookup is ever under way while a change is taken in, and none can put back what
//! the change has replaced.

mod cache;
mod gather;
mod origins;
mod snapshot;
#[cfg(test)]
mod tests;

pub use origins::{AllowedOrigins, OriginError};

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::metrics::figures;
use crate::retry::Retry;
use cache::Cache;
use gather::{Gatherer, Miss};

/// Whom events belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// What rows carry.
    pub id: Uuid,
    /// What its operators call it.
    pub name: String,
    /// Whether it takes events.
    pub enabled: bool,
    /// The pages that may send for it.
    pub origins: AllowedOrigins,
}

impl Project {
    /// Whether the project takes a request with this `Origin` header.
    ///
    /// # Errors
    /// [`ProjectError::Disabled`] and [`ProjectError::OriginNotAllowed`].
    pub fn admit(&self, origin: Option<&str>) -> Result<(), ProjectError> {
        if !self.enabled {
            return Err(ProjectError::Disabled);
        }
        if !self.origins.allow(origin) {
            return Err(ProjectError::OriginNotAllowed);
        }
        Ok(())
    }
}

/// Why a request cannot have the project it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProjectError {
    /// No project has this key.
    #[error("the project key is unknown; expected the key of a project")]
    Unknown,
    /// The key is not known here, and the source cannot be asked.
    #[error("the project key cannot be looked up at the moment; send the request again later")]
    Unavailable,
    /// The project takes no events.
    #[error("the project is disabled and takes no events")]
    Disabled,
    /// The page is not on the project's list.
    #[error("the request's Origin is not among those that the project allows")]
    OriginNotAllowed,
}

impl ProjectError {
    /// The stable name of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_project_key",
            Self::Unavailable => "project_lookup_unavailable",
            Self::Disabled => "project_disabled",
            Self::OriginNotAllowed => "origin_not_allowed",
        }
    }

    /// Whether the same request can succeed later.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::After(Duration::from_secs(2)),
            Self::Unknown | Self::Disabled | Self::OriginNotAllowed => Retry::Never,
        }
    }
}

/// Where projects are stored.
pub trait ProjectSource: Send + Sync + 'static {
    /// The projects of those `keys` that have one, each with its key. The keys are distinct, at most
    /// [`ProjectSettings::keys_per_query`].
    fn lookup(
        &self,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<(String, Project)>, SourceError>> + Send;

    /// A number that changes whenever any key or project does.
    fn fingerprint(&self) -> impl Future<Output = Result<u64, SourceError>> + Send;
}

/// Why a source gave no answer.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It could not be asked, or answered with an error.
    #[error("the query for project keys failed: {0}")]
    Failed(Box<dyn Error + Send + Sync>),
    /// It stayed silent for this long.
    #[error("the query for project keys gave no answer within {0:?}")]
    TimedOut(Duration),
    /// A defect of ours.
    #[error("the query for project keys panicked")]
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
            Self::Failed(_) => "project_source_failed",
            Self::TimedOut(_) => "project_source_timed_out",
            Self::Panicked => "project_source_panicked",
        }
    }

    /// Always later: whatever ails the source, it is asked again.
    pub const fn retry(&self) -> Retry {
        Retry::After(Duration::from_secs(1))
    }
}

/// How projects are cached and looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSettings {
    /// How often the source is asked whether anything has changed.
    pub refresh: Duration,
    /// How often known keys are read again although nothing seems to have changed: a replica that lags behind
    /// the one that told of a change cannot leave an old answer here for longer.
    pub reread: Duration,
    /// Keys kept with their projects.
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

impl Default for ProjectSettings {
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

/// The projects of a collector. Clones share everything; when the last one goes, so does the task behind them.
#[derive(Clone)]
pub struct Projects {
    cache: Arc<Cache>,
    misses: mpsc::Sender<Miss>,
    patience: Duration,
}

impl Projects {
    /// Bytes in the longest key that is looked up; longer ones are unknown.
    pub const KEY_BYTES: usize = 200;

    /// Takes up the snapshot at this path, if there is one, and starts to answer. `source` is only ever called
    /// on `runtime`; whoever calls [`find`](Self::find) may run on another. The task behind them ends when the last
    /// clone is gone and the snapshot is written, which takes as long as the disk.
    pub fn start(
        source: impl ProjectSource,
        settings: ProjectSettings,
        snapshot: PathBuf,
        runtime: &Handle,
    ) -> (Self, JoinHandle<()>) {
        let cache = Arc::new(Cache::new(&settings));
        for (key, project) in snapshot::load(&snapshot) {
            cache.learn(&key, project);
        }
        let (misses, receiver) = mpsc::channel(settings.waiting.max(1));
        let patience = settings.lookup_timeout;
        let gatherer = Gatherer::new(source, settings, snapshot, Arc::clone(&cache));
        let task = runtime.spawn(gatherer.run(receiver));
        (Self { cache, misses, patience }, task)
    }

    /// The answer for `key` if it is in memory.
    pub fn cached(&self, key: &str) -> Option<Result<Arc<Project>, ProjectError>> {
        if key.is_empty() || key.len() > Self::KEY_BYTES {
            return Some(Err(ProjectError::Unknown));
        }
        let answer = self.cache.get(key);
        if answer.is_some() {
            figures().project_hits.increment(1);
        }
        answer
    }

    /// The project with this key; from the source where memory has no answer. Waits no longer than
    /// [`ProjectSettings::lookup_timeout`], on a runtime with its timer enabled.
    ///
    /// # Errors
    /// [`ProjectError::Unknown`] and [`ProjectError::Unavailable`].
    pub async fn find(&self, key: &str) -> Result<Arc<Project>, ProjectError> {
        if let Some(answer) = self.cached(key) {
            return answer;
        }
        figures().project_misses.increment(1);
        let (answer, answered) = oneshot::channel();
        if self.misses.try_send(Miss { key: key.to_owned(), answer }).is_err() {
            figures().project_lookups_failed.increment(1);
            return Err(ProjectError::Unavailable);
        }
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            // Too late, or the gathering task is gone and has dropped its end.
            Ok(Err(_)) | Err(_) => Err(ProjectError::Unavailable),
        }
    }
}
