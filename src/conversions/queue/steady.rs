//! The time that the schedule goes by, also after the next start.

use std::time::Duration;

use super::tables::millis;
use crate::clock::Clock;
use crate::event::Timestamp;

/// A time that goes on evenly, whoever sets the machine's clock: neither does a clock that is set back hold up what
/// waits, nor is anything too old for one that is set forward. The moments in the schedule are of it, in milliseconds.
///
/// The file has the two times of its last transaction, so that after a start this one is as far behind the machine's as
/// before, and never earlier than it was. Only a clock that is set forward while no collector runs is believed, or
/// between the last transaction and a kill.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    clock: Clock,
    began_at: i64,
    /// When it began, by the clock's elapsed time.
    began: Duration,
}

impl Steady {
    /// Begins where the machine's time is, as far behind it as at the last transaction; or with the latest moment of the
    /// file: if that is later, the clock was set back meanwhile. It is not as far ahead as before: whoever sets right a
    /// clock that was behind would make everything too old.
    pub(super) fn new(clock: &Clock, last: Option<Times>, latest: i64) -> Self {
        let now = clock.now().as_millis();
        let (began_at, latest) = match last {
            Some(last) => (now.saturating_add(last.ahead().min(0)), latest.max(last.steady)),
            None => (now, latest),
        };
        Self { clock: clock.clone(), began_at: began_at.max(latest), began: clock.elapsed() }
    }

    /// Both times.
    pub(super) fn now(&self) -> Times {
        let passed = millis(self.clock.elapsed()).saturating_sub(millis(self.began));
        Times { steady: self.began_at.saturating_add(passed), clock: self.clock.now().as_millis() }
    }

    /// How far it is ahead of the machine's clock now; negative if it is behind that.
    pub(super) fn ahead(&self) -> i64 {
        self.now().ahead()
    }
}

/// One moment by the even time and by the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) steady: i64,
    pub(super) clock: i64,
}

impl Times {
    pub(super) fn ahead(self) -> i64 {
        self.steady.saturating_sub(self.clock)
    }
}

/// By the machine's clock, a moment of a time that is so far ahead.
pub(super) fn by_clock(moment: i64, ahead: i64) -> Timestamp {
    Timestamp::from_millis(moment.saturating_sub(ahead))
}
