//! Keeping the engine running.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

use super::super::{ClickHouseError, ClickHouseSettings, Store, Timeouts};
use super::process::{Launch, Running, START};

/// Pauses before another start: doubled at each failure, back to the first after a minute of health.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// How often the engine is asked for its version, how long it may take, and how often in a row it may fail. One whose
/// listener was closed (`SYSTEM STOP LISTEN`) runs on and would never be heard of again.
const ASK_EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);
const FAILURES: u32 = 3;

/// Watches `running` and its successors until `stopped` says so, or its sender is gone.
pub(super) async fn keep_running(
    launch: Launch,
    running: Running,
    pid: watch::Sender<Option<u32>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut running = Some(running);
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(mut child) = running.take() {
            let began = Instant::now();
            pid.send_replace(Some(child.pid()));
            let reason = tokio::select! {
                _ = &mut stopped => return child.end().await,
                status = child.ended() => status.map_or_else(|error| error.to_string(), |s| child.last_words(s)),
                () = silent(&launch) => "it does not answer".to_owned(),
            };
            pid.send_replace(None);
            error!(reason, "the engine ended and is started again");
            child.end().await;
            if began.elapsed() >= HEALTHY_AFTER {
                pause = FIRST_PAUSE;
            }
        }
        tokio::select! {
            _ = &mut stopped => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        running = tokio::select! {
            _ = &mut stopped => return,
            running = restart(&launch) => running,
        };
    }
}

async fn restart(launch: &Launch) -> Option<Running> {
    let mut child = match launch.spawn() {
        Ok(child) => child,
        Err(error) => {
            warn!(%error, "the engine cannot be started");
            return None;
        }
    };
    let status = child.answers(launch, START).await;
    match status {
        None => return Some(child),
        Some(Some(status)) => warn!(reason = child.last_words(status), "the engine ended while starting"),
        Some(None) => warn!("the engine does not answer"),
    }
    child.end().await;
    None
}

/// Returns when the engine does not answer any more. An error of its own is an answer.
async fn silent(launch: &Launch) {
    let impatient = Timeouts { query: PATIENCE, ..launch.access().timeouts };
    let store = Store::new(&ClickHouseSettings { timeouts: impatient, ..launch.access().clone() });
    let mut failures = 0;
    while failures < FAILURES {
        sleep(ASK_EVERY).await;
        // A connection made before the listener was closed still works: knock with a new one.
        let door = timeout(PATIENCE, TcpStream::connect(("127.0.0.1", launch.port))).await;
        let answers = match store.version().await {
            Err(ClickHouseError::Network(_) | ClickHouseError::Timeout(_)) => false,
            Ok(_) | Err(_) => true,
        };
        failures = if answers && matches!(door, Ok(Ok(_))) { 0 } else { failures + 1 };
    }
}
