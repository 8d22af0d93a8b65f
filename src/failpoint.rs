//! Fail points: the places at which a test has the process killed, as by a power cut of its own.
//!
//! They exist only with the feature `failpoints`, which the tests switch on; otherwise every call here is empty.
//! `WEIR_FAILPOINT=name` has the process send itself SIGKILL when it reaches the point `name`, `name:3` the third
//! time.

/// Dies here, if this is the point and the time to.
#[inline]
pub(crate) fn reach(point: &str) {
    reach_after(point, || ());
}

/// Like [`reach`], and does `last` before it dies.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn reach_after<T>(_point: &str, _last: impl FnOnce() -> T) {}

/// Like [`reach`], and does `last` before it dies.
#[cfg(feature = "failpoints")]
pub(crate) fn reach_after<T>(point: &str, last: impl FnOnce() -> T) {
    if armed::is_due(point) {
        drop(last());
        armed::die();
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    struct Point {
        name: String,
        /// How often it is reached before it is the time to die, that time included.
        times: AtomicU64,
    }

    static ARMED: LazyLock<Option<Point>> = LazyLock::new(|| {
        let point = std::env::var("WEIR_FAILPOINT").ok()?;
        let (name, times) = point.split_once(':').unwrap_or((&point, "1"));
        let times = AtomicU64::new(times.parse().ok()?);
        Some(Point { name: name.to_owned(), times })
    });

    pub(super) fn is_due(point: &str) -> bool {
        let armed = ARMED.as_ref().filter(|armed| armed.name == point);
        armed.is_some_and(|armed| armed.times.fetch_sub(1, Ordering::Relaxed) == 1)
    }

    pub(super) fn die() {
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
