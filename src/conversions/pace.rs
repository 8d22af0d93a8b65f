//! When an integration may send: its platform's rate, what the platform has asked for, and pauses after failures.
//!
//! A bucket that holds the largest request is refilled evenly, with a little less than the platform takes. No event
//! waits for it much longer than a second unless more come than the platform takes; then no second has more of them
//! than that. After a rest, or with requests of odd sizes, one may have a request more.
//!
//! What failed waits for a pause of full jitter: a random time of up to 1 s, then of twice as much each time, up to 5
//! minutes; from the second failure on without a success between, everything else waits too. What the platform itself
//! asks for with `Retry-After` is kept to whatever it is.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use super::platform::Rate;
use crate::clock::Clock;

/// One part in so many of a second's events is what the bucket is not refilled with, and what it holds at least: so many
/// may be late, and go together then, and a second has still no more than the platform takes.
const SPARE: u32 = 20;

/// The first pause is no longer than this.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Nor is any longer than this.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Doublings after which the longest one is reached.
const MOST_DOUBLINGS: u32 = 9;

pub(super) struct Pace {
    bucket: RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Nanos>>,
    clock: Clock,
    /// Shared with its successors, for requests that are still under way when the settings change.
    hold: Arc<Mutex<Hold>>,
    /// Who waits for the right to send.
    turn: tokio::sync::Mutex<()>,
    rate: Rate,
    largest: u32,
    /// Between the starts of two requests, at least.
    spacing: Duration,
}

/// What nothing may be sent for. Moments are of the clock's elapsed time.
#[derive(Default)]
struct Hold {
    /// Until when, for earlier failures.
    until: Duration,
    /// Until when, because the platform asks for it.
    asked_until: Duration,
    /// When the next request may start, for the last one's sake.
    next: Duration,
    /// Failures since something was taken; those of requests that were under way together are one.
    failures: u32,
    /// When the last of them was counted.
    failed_at: Duration,
}

/// Why a request was not taken for now.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What the platform said.
    pub(super) why: String,
    /// How long it asks to be waited for.
    pub(super) asked: Option<Duration>,
    /// When the request began, by the clock's elapsed time.
    pub(super) begun: Duration,
}

impl Pace {
    pub(super) fn new(rate: Rate, spacing: Duration, clock: &Clock) -> Self {
        let per_second = NonZeroU32::new(rate.per_second).unwrap_or(NonZeroU32::MIN);
        let largest = rate.batch.clamp(1, per_second.get());
        let most = NonZeroU32::new(largest.max(per_second.get() / SPARE)).unwrap_or(NonZeroU32::MIN);
        let second = Duration::from_secs(1);
        let event = (second / per_second.get()).mul_f64(f64::from(SPARE) / f64::from(SPARE - 1));
        let quota = Quota::with_period(event).unwrap_or(Quota::per_second(per_second));
        Self {
            bucket: RateLimiter::direct_with_clock(quota.allow_burst(most), clock.clone()),
            clock: clock.clone(),
            hold: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            rate,
            largest,
            spacing,
        }
    }

    /// Its successor, for another rate perhaps: what the platform has asked for outlasts a change of the settings, and
    /// so does what it answers afterwards to a request that began before.
    pub(super) fn changed(&self, rate: Rate, spacing: Duration) -> Self {
        Self { hold: Arc::clone(&self.hold), ..Self::new(rate, spacing, &self.clock) }
    }

    /// Whether it is for this rate and this time between requests.
    pub(super) fn is_of(&self, rate: Rate, spacing: Duration) -> bool {
        self.rate == rate && self.spacing == spacing
    }

    /// The most events that one request may hold: a larger one would have to wait for more than a second's worth.
    pub(super) fn largest(&self) -> usize {
        self.largest as usize
    }

    /// Takes the right to send so many events now; else says how long to wait before asking again.
    pub(super) fn take(&self, events: usize) -> Result<(), Duration> {
        let mut hold = self.hold();
        let now = self.clock.elapsed();
        let wait = hold.until.max(hold.asked_until).max(hold.next).saturating_sub(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let events = u32::try_from(events).unwrap_or(self.largest).clamp(1, self.largest);
        match self.bucket.check_n(NonZeroU32::new(events).unwrap_or(NonZeroU32::MIN)) {
            // It holds as many as the largest request.
            Ok(Ok(())) | Err(_) => {
                hold.next = now + self.spacing;
                Ok(())
            }
            Ok(Err(not_until)) => Err(not_until.wait_time_from(governor::clock::Clock::now(&self.clock))),
        }
    }

    /// Waits until it is one's turn to take; it is for as long as the guard is kept.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The same, if nobody else waits for that.
    pub(super) fn turn_at_once(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much longer nothing may be sent, whatever the bucket holds.
    pub(super) fn held(&self) -> Duration {
        let hold = self.hold();
        hold.until.max(hold.asked_until).max(hold.next).saturating_sub(self.clock.elapsed())
    }

    /// Something was taken: the platform is well. What it asked for stands.
    pub(super) fn taken(&self) {
        let mut hold = self.hold();
        (hold.until, hold.failures) = (Duration::ZERO, 0);
    }

    /// Failures since something was taken.
    pub(super) fn failures(&self) -> u32 {
        self.hold().failures
    }

    /// Something was not taken for now; says whether it is the only failure since something was.
    pub(super) fn failed(&self, failure: &Failure) -> bool {
        let mut hold = self.hold();
        let now = self.clock.elapsed();
        if let Some(asked) = failure.asked {
            hold.asked_until = hold.asked_until.max(now + asked);
        }
        // What was under way together fails together.
        if hold.failures == 0 || failure.begun >= hold.failed_at {
            hold.failures = hold.failures.saturating_add(1);
            hold.failed_at = now;
            // One answer that is no good between good ones says nothing of the next request.
            if hold.failures > 1 {
                hold.until = now + jitter(longest_pause(hold.failures - 1));
            }
        }
        hold.failures == 1 && failure.asked.is_none()
    }
}

impl Failure {
    /// How long an event waits after so many failures before.
    pub(super) fn pause(&self, before: u32) -> Duration {
        jitter(longest_pause(before)).max(self.asked.unwrap_or_default())
    }
}

/// The longest pause after so many failures before.
fn longest_pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(MOST_DOUBLINGS)).min(LONGEST_PAUSE)
}

/// A random time of up to `most`.
pub(super) fn jitter(most: Duration) -> Duration {
    // The last bytes of a v4 id are random.
    let (_, random) = Uuid::new_v4().as_u64_pair();
    let share = (random & 0xffff_ffff) as u32;
    most.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    /// Sends as fast as it may on a clock of its own, and gives when how many went.
    fn sent(rate: Rate, events: usize) -> Vec<(i64, usize)> {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = Pace::new(rate, Duration::ZERO, &clock);
        let (mut left, mut now, mut sent) = (events, 0, Vec::new());
        while left > 0 {
            let batch = left.min(pace.largest());
            match pace.take(batch) {
                Ok(()) => {
                    sent.push((now, batch));
                    left -= batch;
                }
                Err(wait) => {
                    now += i64::try_from(wait.as_millis()).unwrap().max(1);
                    clock.set(Timestamp::from_millis(now));
                }
            }
        }
        sent
    }

    #[test]
    fn no_second_has_more_than_the_rate_and_the_mean_is_near_it() {
        for rate in [
            Rate { per_second: 1_000, batch: 1_000 },
            Rate { per_second: 500, batch: 100 },
            Rate { per_second: 50, batch: 50 },
            Rate { per_second: 25, batch: 25 },
            Rate { per_second: 100, batch: 1 },
            Rate { per_second: 100, batch: 2_000 },
            Rate { per_second: 50, batch: 1 },
            Rate { per_second: 1, batch: 1 },
        ] {
            let events = rate.per_second as usize * 11;
            let sent = sent(rate, events);
            let largest = sent.iter().map(|(_, batch)| *batch).max().unwrap();
            assert_eq!(largest, rate.batch.min(rate.per_second) as usize, "{rate:?}");
            let (last, _) = *sent.last().unwrap();
            assert!((9_900..=11_700).contains(&last), "{rate:?} took {last} ms");
            for (from, _) in &sent {
                let within = sent.iter().filter(|(at, _)| (*from..=from + 1_000).contains(at));
                let within: usize = within.map(|(_, batch)| batch).sum();
                assert!(within <= rate.per_second as usize, "{rate:?}: {within} from {from} ms on");
            }
        }
    }

    #[test]
    fn another_rate_keeps_what_the_platform_has_asked_for() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = pace(&clock);
        pace.failed(&failure(&clock, Some(Duration::from_hours(1))));
        let slower = pace.changed(Rate { per_second: 1, batch: 1 }, Duration::ZERO);
        assert_eq!(slower.take(1), Err(Duration::from_hours(1)));
        clock.set(Timestamp::from_millis(3_600_000));
        assert_eq!(slower.take(1), Ok(()));
        assert!(slower.take(1).is_err(), "the rate is the new one");
    }

    #[test]
    fn what_a_platform_asks_of_a_request_from_before_is_kept_to_at_another_rate() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = pace(&clock);
        let slower = pace.changed(Rate { per_second: 1, batch: 1 }, Duration::ZERO);
        pace.failed(&failure(&clock, Some(Duration::from_hours(1))));
        assert_eq!(slower.held(), Duration::from_hours(1));
        assert_eq!(slower.take(1), Err(Duration::from_hours(1)));
    }

    #[test]
    fn requests_start_apart_where_a_platform_counts_them() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = Pace::new(Rate { per_second: 500, batch: 100 }, Duration::from_millis(200), &clock);
        assert_eq!(pace.take(1), Ok(()));
        assert_eq!(pace.take(1), Err(Duration::from_millis(200)));
        pace.taken();
        clock.set(Timestamp::from_millis(150));
        assert_eq!(pace.take(1), Err(Duration::from_millis(50)));
        clock.set(Timestamp::from_millis(200));
        assert_eq!(pace.take(1), Ok(()));
    }

    /// A failure of a request that began now.
    fn failure(clock: &Clock, asked: Option<Duration>) -> Failure {
        Failure { why: String::new(), asked, begun: clock.elapsed() }
    }

    fn pace(clock: &Clock) -> Pace {
        Pace::new(Rate { per_second: 1_000, batch: 1_000 }, Duration::ZERO, clock)
    }

    #[test]
    fn one_failure_among_successes_holds_up_nobody_else() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = pace(&clock);
        for _ in 0..100 {
            assert!(pace.failed(&failure(&clock, None)));
            assert_eq!(pace.take(1), Ok(()));
            pace.taken();
        }
    }

    #[test]
    fn without_a_success_everything_waits_for_longer_and_longer() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = pace(&clock);
        assert!(pace.failed(&failure(&clock, None)));
        for round in 1..20 {
            let now = clock.now();
            let most = longest_pause(round);
            assert!(!pace.failed(&failure(&clock, None)));
            let held = pace.held();
            assert!(held <= most, "{held:?} of {most:?}");
            clock.set(now.shifted(i64::try_from(held.as_millis()).unwrap() + 1));
            assert_eq!(pace.take(1), Ok(()));
        }
        pace.failed(&failure(&clock, None));
        pace.taken();
        assert_eq!(pace.take(1), Ok(()));
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = pace(&clock);
        let together = failure(&clock, None);
        clock.set(Timestamp::from_millis(10));
        for _ in 0..1_000 {
            assert!(pace.failed(&together));
        }
        assert_eq!(pace.take(1), Ok(()));
    }

    #[test]
    fn an_event_waits_the_longer_the_more_often_it_has_failed() {
        let clock = Clock::manual(Timestamp::EPOCH);
        for (before, most) in [(0, 1), (1, 2), (5, 32), (9, 300), (1_000, 300)] {
            let pauses = (0..300).map(|_| failure(&clock, None).pause(before));
            let longest = pauses.max().unwrap();
            let most = Duration::from_secs(most);
            assert!(longest <= most && longest > most / 2, "{longest:?} of {most:?}");
        }
        // An answer that asks for no time at all does not switch that off.
        let at_once = failure(&clock, Some(Duration::ZERO));
        assert!((0..300).map(|_| at_once.pause(5)).max().unwrap() > Duration::from_secs(16));
    }

    #[test]
    fn what_a_platform_asks_for_is_kept_to_whatever_else_it_takes() {
        let clock = Clock::manual(Timestamp::EPOCH);
        let pace = pace(&clock);
        let hour = failure(&clock, Some(Duration::from_hours(1)));
        assert!(!pace.failed(&hour));
        assert!(hour.pause(0) >= Duration::from_hours(1));
        // The answer to a request that was sent before.
        pace.taken();
        clock.set(Timestamp::from_millis(3_599_000));
        assert_eq!(pace.take(1), Err(Duration::from_secs(1)));
        clock.set(Timestamp::from_millis(3_600_000));
        assert_eq!(pace.take(1), Ok(()));
    }
}
