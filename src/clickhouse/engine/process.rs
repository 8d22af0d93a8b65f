//! One run of the engine: starting the child, telling when it answers, ending it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::super::{ClickHouseSettings, Store, Timeouts};
use super::access::Access;
use super::child::CHILD_COMMAND;
use super::log::{LastError, relay};
use super::{EngineError, EngineSettings, config, library};
use crate::metrics::figures;

/// How long an earlier engine on the directory is waited for.
const HANDOVER: Duration = Duration::from_secs(30);
/// How long a child may take until it answers. It is 0.4 s usually; with 566 MB of library to be read from a slow and
/// busy disk it was 18 s.
pub(super) const START: Duration = Duration::from_mins(2);
/// How long a port that is not known to be ours is waited for.
const PORT_GRACE: Duration = Duration::from_secs(3);
/// How long the engine is given to end by itself.
const END: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `CANNOT_OPEN_FILE`: another engine holds the directory's lock.
const DIRECTORY_LOCKED: u32 = 76;
/// `NETWORK_ERROR`: the port is in use.
const PORT_IN_USE: u32 = 210;

/// The part of the engine's directory that is the engine's own.
pub(super) const STORE: &str = "store";

/// Everything needed to start the child, again and again.
#[derive(Debug)]
pub(super) struct Launch {
    executable: PathBuf,
    arguments: Vec<OsString>,
    data_dir: PathBuf,
    access: ClickHouseSettings,
    pub(super) port: u16,
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Held: the child ends when it closes.
    stdin: Option<ChildStdin>,
    pid: u32,
    last_error: LastError,
    relay: JoinHandle<()>,
}

impl Launch {
    /// Finds the library and writes the engine's files.
    pub(super) fn prepare(settings: &EngineSettings) -> Result<Self, EngineError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if settings.database.is_empty() || !settings.database.bytes().all(is_word) {
            return Err(EngineError::DatabaseName(settings.database.clone()));
        }
        let library = library::find(settings.library.as_deref())?;
        let executable = match &settings.executable {
            Some(executable) => executable.clone(),
            None => std::env::current_exe().map_err(EngineError::Spawn)?,
        };
        let file = |source| EngineError::File { path: settings.data_dir.clone(), source };
        let data_dir = std::path::absolute(&settings.data_dir).map_err(file)?;
        let access = Access::establish(&data_dir, settings.port)?;
        config::write(&data_dir, &access, &settings.database)?;
        let arguments = vec![
            CHILD_COMMAND.into(),
            library.into(),
            data_dir.clone().into(),
            settings.port.to_string().into(),
        ];
        let access = access.client(&settings.database);
        Ok(Self { executable, arguments, data_dir, access, port: settings.port })
    }

    /// How to reach the engine.
    pub(super) fn access(&self) -> &ClickHouseSettings {
        &self.access
    }

    /// The first start: waits for an earlier engine of ours to go.
    pub(super) async fn first(&self) -> Result<Running, EngineError> {
        let began = Instant::now();
        let mut earlier_seen = false;
        loop {
            let mut running = self.spawn()?;
            let Some(status) = running.answers(self, START).await else {
                return Ok(running);
            };
            let Some(status) = status else { return Err(EngineError::Slow(START)) };
            let waited = began.elapsed();
            match running.reason().await {
                Some(DIRECTORY_LOCKED) if waited < HANDOVER => earlier_seen = true,
                Some(DIRECTORY_LOCKED) => {
                    return Err(EngineError::DirectoryTaken { dir: self.data_dir.clone(), waited: HANDOVER });
                }
                Some(PORT_IN_USE) if waited < PORT_GRACE || (earlier_seen && waited < HANDOVER) => {}
                Some(PORT_IN_USE) => return Err(EngineError::PortTaken(self.port)),
                _ => return Err(EngineError::Ended(running.last_words(status))),
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Starts a child; it does not answer yet.
    pub(super) fn spawn(&self) -> Result<Running, EngineError> {
        let mut child = Command::new(&self.executable)
            .args(&self.arguments)
            .current_dir(&self.data_dir)
            // The collector's secrets may stand in its environment, and SQL could read them there.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for the collector, which drains first and then ends its engine.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(EngineError::Spawn)?;
        figures().engine_starts.increment(1);
        let pid = child.id().unwrap_or_default();
        let stdin = child.stdin.take();
        let last_error = LastError::default();
        let stderr = child.stderr.take();
        let last = last_error.clone();
        let relay = tokio::spawn(async move {
            if let Some(stderr) = stderr {
                relay(stderr, last).await;
            }
        });
        Ok(Running { child, stdin, pid, last_error, relay })
    }

    fn owner(&self) -> Option<u32> {
        parse_status(&fs::read_to_string(self.data_dir.join(STORE).join("status")).ok()?)
    }
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until this very child answers: then `None`. Otherwise what it ended with, or `Some(None)` if it did
    /// neither within `limit`.
    pub(super) async fn answers(&mut self, launch: &Launch, limit: Duration) -> Option<Option<ExitStatus>> {
        let impatient = Timeouts { query: Duration::from_secs(2), ..launch.access.timeouts };
        let probe = Store::new(&ClickHouseSettings { timeouts: impatient, ..launch.access.clone() });
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Some(status));
            }
            if launch.owner() == Some(self.pid)
                && let Ok(version) = probe.version().await
            {
                info!(pid = self.pid, port = launch.port, version, "the engine answers");
                return None;
            }
            if began.elapsed() >= limit {
                return Some(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for the child's end.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        // `wait` would close the pipe, had it not been taken.
        self.child.wait().await
    }

    /// The code that a child which has ended named last.
    async fn reason(&mut self) -> Option<u32> {
        // What it said last may still be on its way.
        let _ = timeout(Duration::from_secs(1), &mut self.relay).await;
        self.last_error.code()
    }

    /// Why a child has ended, as well as it can be told.
    pub(super) fn last_words(&self, status: ExitStatus) -> String {
        self.last_error.text().unwrap_or_else(|| status.to_string())
    }

    /// Ends the child, in order if it will, and waits until it is gone.
    pub(super) async fn end(mut self) {
        drop(self.stdin.take());
        if timeout(END, self.child.wait()).await.is_err() {
            tracing::warn!(pid = self.pid, "the engine does not end by itself and is killed");
            let _ = self.child.kill().await;
        }
    }
}

/// The PID in a status file: `PID: 9956`, then lines on when and which.
fn parse_status(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("PID: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_from_the_status_file() {
        let text = "PID: 9956\nStarted at: 2026-11-22 12:25:35\nRevision: 54513\n";
        assert_eq!(parse_status(text), Some(9956));
        for damaged in ["", "PID: \n", "PID: x\n", "Started at: 2026\n"] {
            assert_eq!(parse_status(damaged), None, "{damaged:?}");
        }
    }
}
