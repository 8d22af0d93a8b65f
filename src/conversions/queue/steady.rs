//! The time that the schedule goes by.

use std::time::Duration;

use super::tables::millis;
use crate::clock::Clock;
use crate::event::Timestamp;

/// A time that goes on evenly, whoever sets the machine's clock: neither does a clock that is set back hold up what
/// waits, nor is anything too old for one that is set forward. The moments in the schedule are of it, in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    clock: Clock,
    began_at: i64,
    /// When it began, by the clock's elapsed time.
    began: Duration,
}

impl Steady {
    /// Begins with the machine's time, or with the latest moment of the file: if that is later, the clock was set back.
    pub(super) fn new(clock: &Clock, latest: i64) -> Self {
        let began_at = clock.now().as_millis().max(latest);
        Self { clock: clock.clone(), began_at, began: clock.elapsed() }
    }

    /// How far it is ahead of the machine's clock now; negative if it is behind that.
    pub(super) fn ahead(&self) -> i64 {
        let passed = millis(self.clock.elapsed()).saturating_sub(millis(self.began));
        self.began_at.saturating_add(passed).saturating_sub(self.clock.now().as_millis())
    }
}

/// By the machine's clock, a moment of a time that is so far ahead.
pub(super) fn by_clock(moment: i64, ahead: i64) -> Timestamp {
    Timestamp::from_millis(moment.saturating_sub(ahead))
}
