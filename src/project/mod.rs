//! From a public project key to its project, and from a backend's secret key to what it may do ([`ApiKeys`]).
//!
//! What is promised of both, whatever is thrown at it:
//!
//! - A known key is answered from memory, also while the source (ClickHouse) is away and, by a snapshot on disk,
//!   right after a start without it. Only then can an answer be stale; otherwise a change is seen within one
//!   refresh interval and one query. Secret keys, which somebody may have had to revoke, are trusted for so long
//!   without the source's word and no longer, however often the collector is started.
//! - *Unknown* is said only of a key that the source has denied. Where it cannot be asked, the answer is
//!   *unavailable*: the caller may come again.
//! - A flood of random keys costs one query at a time, each for many keys, and a bounded amount of memory; it
//!   pushes out no known key.
//!
//! One task asks the source. It gathers the keys that the caches cannot answer (`gather.rs`) and, in turn with
//! that, looks for changes. So no lookup is ever under way while a change is taken in, and none can put back what
//! the change has replaced.

mod api_keys;
mod cache;
mod gather;
mod lookup;
mod origins;
mod snapshot;
#[cfg(test)]
mod tests;

pub use api_keys::{ApiAccess, ApiKeyError, ApiKeySettings, ApiKeys};
pub use lookup::{KeySource, Keyed, LookupSettings, SourceError};
pub use origins::{AllowedOrigins, OriginError};

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::clock::Clock;
use crate::metrics::{LookupFigures, figures};
use crate::near::Near;
use crate::retry::Retry;
use lookup::{Lookup, NotFound, Trust};

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
    /// Whether the project takes a request with this `Origin` header, which is looked at where the project has a list.
    ///
    /// # Errors
    /// [`ProjectError::Disabled`] and [`ProjectError::OriginNotAllowed`].
    pub fn admit<'a>(&self, origin: impl FnOnce() -> Option<&'a str>) -> Result<(), ProjectError> {
        if !self.enabled {
            return Err(ProjectError::Disabled);
        }
        if !self.origins.allow_any() && !self.origins.allow(origin()) {
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

impl From<NotFound> for ProjectError {
    fn from(reason: NotFound) -> Self {
        match reason {
            NotFound::Unknown => Self::Unknown,
            NotFound::Unavailable => Self::Unavailable,
        }
    }
}

/// What the snapshot has of a project.
#[derive(Serialize, Deserialize)]
#[doc(hidden)]
pub struct StoredProject {
    id: Uuid,
    name: String,
    enabled: bool,
    origins: Vec<String>,
}

impl Keyed for Project {
    type Key = String;
    type Stored = StoredProject;
    const KEYS: &'static str = "project keys";

    fn figures() -> &'static LookupFigures {
        &figures().project_keys
    }

    fn label(&self) -> String {
        format!("project {}", self.name)
    }

    fn origins(&self) -> &AllowedOrigins {
        &self.origins
    }

    fn key_text(key: &String) -> String {
        key.clone()
    }

    fn read_key(text: String) -> Option<String> {
        Some(text).filter(|text| text.len() <= Projects::KEY_BYTES)
    }

    fn stored(&self) -> StoredProject {
        let origins = self.origins.entries().map(str::to_owned).collect();
        StoredProject { id: self.id, name: self.name.clone(), enabled: self.enabled, origins }
    }

    fn restored(stored: StoredProject) -> Option<Self> {
        let StoredProject { id, name, enabled, origins } = stored;
        Some(Self { id, name, enabled, origins: AllowedOrigins::stored(origins) })
    }
}

thread_local! {
    static NEAR: RefCell<Near<Arc<Project>>> = RefCell::default();
}

/// The projects of a collector. Clones share everything; when the last one goes, so does the task behind them.
#[derive(Clone)]
pub struct Projects {
    lookup: Lookup<Project>,
}

impl Projects {
    /// Bytes in the longest key that is looked up; longer ones are unknown.
    pub const KEY_BYTES: usize = 200;

    /// Takes up the snapshot at this path, if there is one, and starts to answer. `source` is only ever called
    /// on `runtime`; whoever calls [`find`](Self::find) may run on another. The task behind them ends when the last
    /// clone is gone and the snapshot is written, which takes as long as the disk.
    pub fn start(
        source: impl KeySource<Project>,
        settings: LookupSettings,
        snapshot: PathBuf,
        runtime: &Handle,
    ) -> (Self, JoinHandle<()>) {
        // What is public is trusted for ever, and no clock is looked at.
        let trust = Trust { limit: None, clock: Clock::system() };
        let (lookup, task) = Lookup::start(source, settings, snapshot, trust, runtime);
        (Self { lookup }, task)
    }

    /// The answer for `key` if it is in memory.
    pub fn cached(&self, key: &str) -> Option<Result<Arc<Project>, ProjectError>> {
        if key.is_empty() || key.len() > Self::KEY_BYTES {
            return Some(Err(ProjectError::Unknown));
        }
        let edition = self.lookup.cache.edition();
        if let Some(project) = NEAR.with_borrow(|near| near.get(key, edition)) {
            figures().project_keys.hits.increment(1);
            return Some(Ok(project));
        }
        let answer = self.lookup.cached(key)?.map_err(ProjectError::from);
        if let Ok(project) = &answer {
            NEAR.with_borrow_mut(|near| near.put(key, edition, Arc::clone(project)));
        }
        Some(answer)
    }

    /// The project with this key; from the source where memory has no answer. Waits no longer than
    /// [`LookupSettings::lookup_timeout`], on a runtime with its timer enabled.
    ///
    /// # Errors
    /// [`ProjectError::Unknown`] and [`ProjectError::Unavailable`].
    pub async fn find(&self, key: &str) -> Result<Arc<Project>, ProjectError> {
        if let Some(answer) = self.cached(key) {
            return answer;
        }
        Ok(self.lookup.ask(key.to_owned()).await?)
    }
}
