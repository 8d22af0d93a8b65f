//! The time as a seam: whoever needs to know what time it is holds a [`Clock`], and a test turns it by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use governor::nanos::Nanos;

use crate::event::Timestamp;

/// Tells the time: the system's, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Manual>>);

#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    /// How far the time that has passed is ahead of the time of day.
    ahead: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now` until [`set`](Self::set); its clones stand with it.
    pub fn manual(now: Timestamp) -> Self {
        let now = AtomicI64::new(now.as_millis());
        Self(Some(Arc::new(Manual { now, ahead: AtomicI64::new(0) })))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        if let Some(manual) = &self.0 {
            return Timestamp::from_millis(manual.now.load(Ordering::Relaxed));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The time since a moment that the whole process has in common. Unlike [`now`](Self::now), it is never set back; but
    /// for a manual clock, with which it is the time since 1970.
    pub fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let Some(manual) = &self.0 else { return START.elapsed() };
        let passed = manual.now.load(Ordering::Relaxed) + manual.ahead.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(passed).unwrap_or(0))
    }

    /// Turns a manual clock to `now`; the machine's clock is left alone.
    pub fn set(&self, now: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.now.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Puts a manual clock right, as somebody does to the machine's: it shows `now`, and no time passes.
    pub fn correct(&self, now: Timestamp) {
        if let Some(manual) = &self.0 {
            let before = manual.now.swap(now.as_millis(), Ordering::Relaxed);
            manual.ahead.fetch_add(before - now.as_millis(), Ordering::Relaxed);
        }
    }
}

/// For limiters of rates. Never set back: a clock that is put right by an hour would lock everybody out for as long.
impl governor::clock::Clock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_tell_the_same_time() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let clone = clock.clone();
        clock.set(Timestamp::from_millis(5));
        assert_eq!(clone.now(), Timestamp::from_millis(5));
        assert_eq!(clone.elapsed(), Duration::from_millis(5));
        clock.correct(Timestamp::from_millis(-5));
        assert_eq!((clone.now().as_millis(), clone.elapsed()), (-5, Duration::from_millis(5)));
        clock.set(Timestamp::from_millis(0));
        assert_eq!(clone.elapsed(), Duration::from_millis(10));
    }

    #[test]
    fn the_machines_clock_does_not_go_back() {
        let clock = Clock::system();
        let before = clock.elapsed();
        assert!(Clock::system().elapsed() >= before);
        assert!(before < Duration::from_hours(1), "{before:?} since the process has begun");
    }
}
