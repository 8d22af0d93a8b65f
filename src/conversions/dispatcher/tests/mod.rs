//! Dispatchers at work on a simulated clock: the real forwarder over a real queue, and a platform that answers by
//! script and notes when it was told what.

mod failures;
mod operators;
mod rates;
mod simulation;
mod storage;
mod verdicts;

use std::slice::from_ref;
use std::time::Duration;

use self::simulation::{Reply, Told, World, platform, simulate, taken};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// From one moment to a later one.
#[track_caller]
fn between(earlier: Duration, later: Duration) -> Duration {
    later.checked_sub(earlier).unwrap()
}
