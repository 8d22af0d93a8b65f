//! How the journal's disk does, as the writer sees it and everybody else asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A commit that takes longer than this is taken for one that may never end: a disk that hangs gives no error.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(10);

pub(super) struct DiskHealth {
    failed: AtomicBool,
    origin: Instant,
    /// When the commit under way began, in milliseconds since `origin` and 1 at least; 0 when there is none.
    commit_since: AtomicU64,
}

impl DiskHealth {
    pub(super) fn new() -> Self {
        Self { failed: AtomicBool::new(false), origin: Instant::now(), commit_since: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(super) fn begin_commit(&self) {
        self.commit_since.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn end_commit(&self) {
        self.commit_since.store(0, Ordering::Relaxed);
    }

    /// The disk has taken what it was given.
    pub(super) fn recovered(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }

    /// The disk has failed; says whether it was well before.
    pub(super) fn failed(&self) -> bool {
        !self.failed.swap(true, Ordering::Relaxed)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the commit under way takes too long.
    pub(super) fn is_stalled(&self) -> bool {
        let since = self.commit_since.load(Ordering::Relaxed);
        since > 0 && Duration::from_millis(self.now() - since) > STALLED_AFTER
    }
}
