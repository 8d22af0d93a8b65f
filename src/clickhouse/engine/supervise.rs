//! Keeping the engine running.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

use super::process::{Launch, Running};

/// Pauses before another start: doubled at each failure, back to the first after a minute of health.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How long a start may take here.
const START: Duration = Duration::from_secs(30);
/// How often it is checked that the port is open, and how often in a row it may be closed. A busy engine accepts
/// connections; one whose listener was closed by a statement does not, and never will again.
const KNOCK_EVERY: Duration = Duration::from_secs(2);
const KNOCKS: u32 = 3;

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
                () = port_closed(launch.port) => "its port is closed".to_owned(),
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

async fn port_closed(port: u16) {
    let mut closed = 0;
    while closed < KNOCKS {
        sleep(KNOCK_EVERY).await;
        let knock = timeout(KNOCK_EVERY, TcpStream::connect(("127.0.0.1", port))).await;
        closed = if matches!(knock, Ok(Err(_))) { closed + 1 } else { 0 };
    }
}
