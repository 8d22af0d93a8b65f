//! The embedded engine: a real ClickHouse, loaded as a library into a child process of this same binary and kept
//! running.
//!
//! ```text
//! Engine::start ── pipe ──► child process (own process group): engine-child
//!    │ watches it,            │ loads libchdb, serves HTTP on 127.0.0.1:PORT,
//!    │ starts it again        │ ends when the pipe closes: whatever kills the parent, the child goes too
//!    ▼                        ▼
//! DIR/access (0600)        DIR/store: tables, the lock, and `status` with the PID of the lock's owner
//! DIR/*.xml (0600)         configuration, written anew at each start
//! ```
//!
//! Two ways in, from this machine only: `weir`, with a random password and all rights; and without credentials, for
//! `curl` and `/play`, reading our tables and nothing else (`config.rs` says how, and what that takes).
//!
//! That we talk to our own child is made sure twice: the password is known to this directory's owner alone, and the
//! PID in `DIR/store/status` has to be the child's.

mod access;
mod child;
mod config;
mod confine;
mod library;
mod log;
mod process;
mod supervise;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use child::{CHILD_COMMAND, run_child};

use super::{ClickHouseSettings, Store, Timeouts};
use crate::retry::Retry;
use access::Access;
use process::Launch;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Its own directory: `<data>/engine`.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The database that may be read without a password: ASCII letters, digits and `_`.
    pub database: String,
    /// `libchdb.so`; looked for when unset.
    pub library: Option<PathBuf>,
    /// The binary that has the `engine-child` command; this process's own when unset.
    pub executable: Option<PathBuf>,
}

/// The engine does not run.
#[derive(Debug, Error)]
pub enum EngineError {
    /// There is no library.
    #[error(
        "no ClickHouse engine found: run `make engine`, or set WEIR_CLICKHOUSE_URL to a ClickHouse server"
    )]
    LibraryMissing,
    /// The library that was named is not there.
    #[error("there is no ClickHouse engine at {}: correct WEIR_ENGINE_LIB", .0.display())]
    LibraryNotThere(PathBuf),
    /// A database name that cannot be used.
    #[error("the embedded engine's database is named by ASCII letters, digits and _, not {0:?}")]
    DatabaseName(String),
    /// Its directory cannot be prepared.
    #[error("the engine's file {} cannot be written or read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The child process could not be started.
    #[error("the engine's process cannot be started: {0}")]
    Spawn(#[source] std::io::Error),
    /// Another program has the port.
    #[error("port {0} on 127.0.0.1 is taken by another program: choose a free one with --engine-port")]
    PortTaken(u16),
    /// Another engine has the directory.
    #[error("another engine has been using {} for {waited:?}: stop it, or choose another --data-dir", dir.display())]
    DirectoryTaken {
        /// The directory.
        dir: PathBuf,
        /// How long we waited for it to go.
        waited: Duration,
    },
    /// It ended while starting.
    #[error("the engine ended while starting: {0}")]
    Ended(String),
    /// It neither answered nor ended.
    #[error("the engine did not answer within {0:?}")]
    Slow(Duration),
}

impl EngineError {
    /// The error's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LibraryMissing | Self::LibraryNotThere(_) => "engine_missing",
            Self::DatabaseName(_) => "engine_database_name",
            Self::File { .. } => "engine_files",
            Self::Spawn(_) => "engine_spawn",
            Self::PortTaken(_) => "engine_port_taken",
            Self::DirectoryTaken { .. } => "engine_directory_taken",
            Self::Ended(_) => "engine_ended",
            Self::Slow(_) => "engine_slow",
        }
    }

    /// Whether the same call can succeed later.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::LibraryMissing | Self::LibraryNotThere(_) | Self::DatabaseName(_) => Retry::Never,
            _ => Retry::After(Duration::from_secs(5)),
        }
    }
}

/// A running engine. Dropping it ends it as well, without waiting.
#[derive(Debug)]
pub struct Engine {
    access: ClickHouseSettings,
    pid: watch::Receiver<Option<u32>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts the engine and waits until it answers. An earlier engine on the same directory, whose parent has just
    /// died, is waited for, 30 seconds at most. From then on it is started again whenever it ends.
    pub async fn start(settings: EngineSettings) -> Result<Self, EngineError> {
        let launch = Launch::prepare(&settings)?;
        let child = launch.first().await?;
        let (stop, stopped) = oneshot::channel();
        let (pid_sender, pid) = watch::channel(Some(child.pid()));
        let access = launch.access().clone();
        let task = tokio::spawn(supervise::keep_running(launch, child, pid_sender, stopped));
        Ok(Self { access, pid, stop, task })
    }

    /// How to reach it, with all rights.
    pub fn access(&self) -> ClickHouseSettings {
        self.access.clone()
    }

    /// The child's process id, while there is one that answers.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Ends the engine: lets it end by itself for 10 seconds, then kills it. Returns when it is gone.
    pub async fn stop(self) {
        // An error says that the task has ended already.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the engine's supervisor failed");
        }
    }

    /// How to reach the engine that another process runs on this directory; `None` when none answers.
    pub async fn running(settings: &EngineSettings) -> Option<ClickHouseSettings> {
        let access = Access::read(&settings.data_dir).ok()??;
        let settings = access.client(&settings.database);
        let impatient = Timeouts { query: Duration::from_secs(2), ..Timeouts::default() };
        let probe = Store::new(&ClickHouseSettings { timeouts: impatient, ..settings.clone() });
        probe.version().await.ok().map(|_| settings)
    }
}
