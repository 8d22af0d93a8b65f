//! What pages said lately, and which hosts say nothing. A page is fetched once, however many ask for it meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::Mutex;

use super::fetch::FetchError;
use super::offer::Page;
use crate::clock::Clock;

/// How long what a page said is believed.
pub(super) const FRESH: Duration = Duration::from_hours(24);
/// How long a page that could not be fetched is left alone.
pub(super) const FAILED: Duration = Duration::from_mins(5);
/// Pages that are remembered, if each says little: one counts as several by every so many bytes.
const CAPACITY: u64 = 10_000;
const BYTES: usize = 4 * 1024;

/// The pages, by their URLs.
pub(super) struct Pages {
    slots: Cache<String, Arc<Slot>>,
    clock: Clock,
}

/// A page's place. Who fetches it holds the lock; whoever waits for that finds the page.
#[derive(Default)]
struct Slot {
    found: Mutex<Option<Found>>,
    weight: AtomicU32,
}

struct Found {
    page: Result<Arc<Page>, FetchError>,
    until: Duration,
}

impl Pages {
    pub(super) fn new(clock: Clock) -> Self {
        let slots = Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(|_, slot: &Arc<Slot>| slot.weight.load(Ordering::Relaxed).max(1))
            // Otherwise a new page could find no place, and be fetched once for everybody who asks.
            .eviction_policy(EvictionPolicy::lru())
            // Frees the memory. Whether a page still counts is decided by our own clock.
            .time_to_live(FRESH)
            .build();
        Self { slots, clock }
    }

    /// The page of this key: as it is known, else as it is fetched.
    pub(super) async fn get<F>(&self, key: String, fetch: impl FnOnce() -> F) -> Result<Arc<Page>, FetchError>
    where
        F: Future<Output = Result<Page, FetchError>>,
    {
        let slot = self.slots.get_with_by_ref(&key, Arc::default);
        let mut found = slot.found.lock().await;
        if let Some(known) = found.as_ref().filter(|known| self.clock.elapsed() < known.until) {
            return known.page.clone();
        }
        let page = fetch().await.map(Arc::new);
        // Neither says anything of the page.
        if page.as_ref().is_err_and(|error| matches!(error, FetchError::Busy | FetchError::Silent)) {
            return page;
        }
        let lasts = if page.is_ok() { FRESH } else { FAILED };
        *found = Some(Found { page: page.clone(), until: self.clock.elapsed() + lasts });
        drop(found);
        let bytes = page.as_ref().map_or(0, |page| page.bytes());
        slot.weight.store(u32::try_from(1 + bytes / BYTES).unwrap_or(u32::MAX), Ordering::Relaxed);
        // Put there once more, it is weighed.
        self.slots.insert(key, slot);
        page
    }
}

/// How often in a row a host may not answer in time before all of its pages are left alone.
const PATIENCE: u32 = 3;
/// For how long they are.
const SILENT: Duration = Duration::from_mins(1);
/// Hosts of which that is remembered.
const MOST_HOSTS: u64 = 1_000;

/// Hosts that have not answered in time: each page of theirs would hold up what waits for it, and take the place of others.
pub(super) struct SilentHosts {
    silences: Cache<String, Silence>,
    clock: Clock,
}

#[derive(Clone, Copy)]
struct Silence {
    in_a_row: u32,
    since: Duration,
}

impl SilentHosts {
    pub(super) fn new(clock: Clock) -> Self {
        Self { silences: Cache::new(MOST_HOSTS), clock }
    }

    /// Whether a host's pages are to be left alone.
    pub(super) fn has(&self, host: &str) -> bool {
        let silence = self.silences.get(host);
        silence.is_some_and(|it| it.in_a_row >= PATIENCE && self.clock.elapsed() < it.since + SILENT)
    }

    /// Notes what came of a page.
    pub(super) fn note(&self, host: &str, page: &Result<Page, FetchError>) {
        let before = self.silences.get(host).map_or(0, |silence| silence.in_a_row);
        if page.as_ref().is_err_and(|error| *error == FetchError::TimedOut) {
            let silence = Silence { in_a_row: before.saturating_add(1), since: self.clock.elapsed() };
            self.silences.insert(host.to_owned(), silence);
        } else if before > 0 {
            self.silences.invalidate(host);
        }
    }
}

#[cfg(test)]
mod tests;
