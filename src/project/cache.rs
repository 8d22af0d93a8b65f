//! What is known in memory: keys that stand for something, and apart from them keys that do not, so that no flood of
//! the latter can push out the former.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::{Duration, Instant};

use super::lookup::NotFound;
use super::{Keyed, LookupSettings};
use crate::event::Timestamp;
use crate::near::Edition;

/// Both caches. Everybody reads them; the gathering task alone writes.
pub(super) struct Cache<T: Keyed> {
    known: moka::sync::Cache<T::Key, Arc<T>>,
    /// That of `known`: another one as soon as what a key stands for changes or goes, also when it is pushed out,
    /// since nobody would read it again from the source.
    edition: Arc<Edition>,
    /// With the moment after which the answer no longer counts. moka's own expiry frees the memory; this one
    /// decides, because it follows tokio's clock, which tests can turn.
    unknown: moka::sync::Cache<T::Key, Instant>,
    unknown_expiry: Duration,
    /// When the source last stood behind all that is known.
    confirmed: AtomicI64,
}

impl<T: Keyed> Cache<T> {
    pub(super) fn new(settings: &LookupSettings, confirmed: Timestamp) -> Self {
        let edition = Arc::new(Edition::new());
        let pushed_out = Arc::clone(&edition);
        Self {
            known: moka::sync::Cache::builder()
                .max_capacity(settings.known_capacity)
                .eviction_listener(move |_, _, _| pushed_out.change())
                .build(),
            edition,
            unknown: moka::sync::Cache::builder()
                .max_capacity(settings.unknown_capacity)
                .time_to_live(settings.unknown_expiry)
                .build(),
            unknown_expiry: settings.unknown_expiry,
            confirmed: AtomicI64::new(confirmed.as_millis()),
        }
    }

    /// The edition of what is known, for who keeps something of it nearby; to be asked before [`get`](Self::get).
    pub(super) fn edition(&self) -> u64 {
        self.edition.number()
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<Result<Arc<T>, NotFound>>
    where
        T::Key: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(value) = self.known.get(key) {
            return Some(Ok(value));
        }
        let until = self.unknown.get(key)?;
        (Instant::now() < until).then_some(Err(NotFound::Unknown))
    }

    /// Takes in what the source says of a key. Gives what to answer with, and whether it is news.
    pub(super) fn learn(&self, key: &T::Key, value: T) -> (Arc<T>, bool) {
        if let Some(held) = self.known.get(key).filter(|held| **held == value) {
            return (held, false);
        }
        for fault in value.origins().faults() {
            tracing::warn!(of = value.label(), %fault, "an allowed origin matches nothing");
        }
        let value = Arc::new(value);
        self.known.insert(key.clone(), Arc::clone(&value));
        self.edition.change();
        self.unknown.invalidate(key);
        (value, true)
    }

    /// Takes in that a key stands for nothing. Tells whether that is news.
    pub(super) fn deny(&self, key: T::Key) -> bool {
        let was_known = self.known.remove(&key).is_some();
        if was_known {
            self.edition.change();
        }
        self.unknown.insert(key, Instant::now() + self.unknown_expiry);
        was_known
    }

    /// Forgets every denial: any of those keys may stand for something by now.
    pub(super) fn forget_unknown(&self) {
        self.unknown.invalidate_all();
    }

    /// Every known key with what it stands for, in no order.
    pub(super) fn known(&self) -> Vec<(T::Key, Arc<T>)> {
        self.known.iter().map(|(key, value)| (key.as_ref().clone(), value)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.iter().next().is_none()
    }

    /// Takes in that all that is known was so at this moment.
    pub(super) fn confirm(&self, at: Timestamp) {
        self.confirmed.store(at.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn confirmed(&self) -> Timestamp {
        Timestamp::from_millis(self.confirmed.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
impl<T: Keyed> Cache<T> {
    /// Does now what moka otherwise does in passing.
    pub(super) fn prune(&self) {
        self.known.run_pending_tasks();
        self.unknown.run_pending_tasks();
    }

    pub(super) fn unknown_count(&self) -> u64 {
        self.unknown.entry_count()
    }
}
