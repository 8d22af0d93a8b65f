//! The ids of the events that came lately: a client that sends an event again, because it saw no answer, sends the
//! same id, and the copy is dropped here.
//!
//! An id is reserved when its first copy arrives. A second copy that comes while the first is still being synced
//! waits for that: if it succeeds, both are answered as received; if it fails, the id is free again and the second
//! copy is written instead. The window is bounded and forgets the oldest ids; across restarts and collectors
//! `ReplacingMergeTree` drops what it has forgotten.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::SmallVec;
use tokio::sync::Notify;
use uuid::Uuid;

/// The window is split by id, so that the threads of the listener rarely meet at one lock.
const SHARDS: usize = 16;

/// A bounded window of event ids. Clones share it.
#[derive(Clone)]
pub struct RecentEvents(Arc<Shared>);

struct Shared {
    shards: [Mutex<Shard>; SHARDS],
    /// `SipHash` under a key of our own, since strangers choose the ids.
    hasher: RandomState,
    /// Ids of one generation of a shard.
    generation: usize,
}

/// An event's id, which is unique within its project only, in 16 bytes: that two ids among a million others have the
/// same has a chance below 2^-80. Each look into a large table is a cache miss or two: with both ids and a state in every
/// entry, 48 bytes, a request took 0.06 more of the CPU of a server that stores nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    /// Of both ids. Made once, for the shard and the tables.
    hash: u64,
    /// The event's id, folded.
    event: u64,
}

/// What has arrived stands in two generations: when the young one is full it becomes the old one, and the old one is
/// forgotten. A window so remembers between half and all of its capacity of what has arrived last, those that failed
/// among them, without an order to keep.
#[derive(Default)]
struct Shard {
    /// Those of them that are on their way to the disk, a few only, and how they fare, if a second copy waits for it.
    pending: HashTable<(Fingerprint, Option<Arc<Outcome>>)>,
    /// Each is put here when it arrives, where the look for it has just been, and taken out if it fails: to put it here
    /// when it is stored was another miss of the cache, and with what else there was to do 640 instructions a request.
    young: HashTable<Fingerprint>,
    old: HashTable<Fingerprint>,
}

/// How the first copy of an event fares.
#[derive(Default)]
pub struct Outcome {
    decided: AtomicU8,
    notify: Notify,
}

const PENDING: u8 = 0;
const STORED: u8 = 1;
const FAILED: u8 = 2;

impl Outcome {
    /// Waits until the first copy is durable, or has failed to be: then this says `false`.
    pub async fn is_stored(&self) -> bool {
        loop {
            let notified = self.notify.notified();
            match self.decided.load(Ordering::Acquire) {
                PENDING => notified.await,
                decided => return decided == STORED,
            }
        }
    }

    fn decide(&self, stored: bool) {
        self.decided.store(if stored { STORED } else { FAILED }, Ordering::Release);
        self.notify.notify_waiters();
    }
}

/// What the window says of an event that has arrived.
pub enum Claim {
    /// It is new: whoever asked writes it, and settles the reservation.
    Ours,
    /// It is durable already.
    Stored,
    /// Another request is writing it.
    Pending(Arc<Outcome>),
}

/// The new ids of one request. They are free again when it is dropped without being [settled](Self::settle).
pub struct Reservation {
    window: RecentEvents,
    ids: SmallVec<[Fingerprint; 1]>,
    /// How many there may be.
    events: usize,
}

impl RecentEvents {
    /// A window of at most `capacity` ids, each of 20 to 40 bytes.
    pub fn new(capacity: usize) -> Self {
        let generation = (capacity / SHARDS / 2).max(1);
        let shards = std::array::from_fn(|_| Mutex::default());
        Self(Arc::new(Shared { shards, hasher: RandomState::new(), generation }))
    }

    /// A reservation for the ids of one request with so many events, empty at first.
    pub fn reservation(&self, events: usize) -> Reservation {
        Reservation { window: self.clone(), ids: SmallVec::new(), events }
    }

    fn fingerprint(&self, project: Uuid, event: Uuid) -> Fingerprint {
        let mut hasher = self.0.hasher.build_hasher();
        hasher.write([*project.as_bytes(), *event.as_bytes()].as_flattened());
        let (high, low) = event.as_u64_pair();
        Fingerprint { hash: hasher.finish(), event: high ^ low }
    }

    fn shard(&self, id: Fingerprint) -> MutexGuard<'_, Shard> {
        // Not by the lowest bits, which choose the place in a table, nor by the highest, which it compares.
        let shard = (id.hash >> 32) as usize % SHARDS;
        self.0.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Remembers an id that is new.
    fn claim(&mut self, id: Fingerprint, generation: usize) -> Claim {
        let pending = match self.pending.entry(id.hash, |(known, _)| *known == id, |(known, _)| known.hash) {
            Entry::Vacant(place) => place,
            Entry::Occupied(first) => {
                let outcome = &mut first.into_mut().1;
                return Claim::Pending(Arc::clone(outcome.get_or_insert_default()));
            }
        };
        if self.old.find(id.hash, |known| *known == id).is_some() {
            return Claim::Stored;
        }
        if self.young.len() >= generation && self.young.find(id.hash, |known| *known == id).is_none() {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        let Entry::Vacant(young) = self.young.entry(id.hash, |known| *known == id, |known| known.hash) else {
            return Claim::Stored;
        };
        young.insert(id);
        pending.insert((id, None));
        Claim::Ours
    }

    fn forget(&mut self, id: Fingerprint) {
        for ids in [&mut self.young, &mut self.old] {
            if let Ok(known) = ids.find_entry(id.hash, |known| *known == id) {
                known.remove();
            }
        }
    }
}

impl Reservation {
    /// Asks for an event's id, and reserves it if it is new.
    pub fn claim(&mut self, project: Uuid, event: Uuid) -> Claim {
        let id = self.window.fingerprint(project, event);
        let claim = self.window.shard(id).claim(id, self.window.0.generation);
        if matches!(claim, Claim::Ours) {
            if self.ids.is_empty() {
                self.ids.reserve_exact(self.events);
            }
            self.ids.push(id);
        }
        claim
    }

    /// Whether no id was reserved.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Says whether the request's events are durable now, to the window and to whoever waits for them.
    pub fn settle(mut self, stored: bool) {
        self.decide(stored);
    }

    fn decide(&mut self, stored: bool) {
        for id in self.ids.drain(..) {
            let mut shard = self.window.shard(id);
            if !stored {
                shard.forget(id);
            }
            let pending = shard.pending.find_entry(id.hash, |(pending, _)| *pending == id);
            let outcome = pending.ok().and_then(|pending| pending.remove().0.1);
            drop(shard);
            if let Some(outcome) = outcome {
                outcome.decide(stored);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.decide(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: Uuid = Uuid::from_u128(1);

    fn claim(window: &RecentEvents, event: u128) -> (Claim, Reservation) {
        let mut reservation = window.reservation(1);
        (reservation.claim(PROJECT, Uuid::from_u128(event)), reservation)
    }

    #[test]
    fn a_stored_event_is_known_in_its_own_project_only() {
        let window = RecentEvents::new(1_000);
        let (first, reservation) = claim(&window, 7);
        assert!(matches!(first, Claim::Ours));
        reservation.settle(true);
        assert!(matches!(claim(&window, 7).0, Claim::Stored));
        let other = window.reservation(1).claim(Uuid::from_u128(2), Uuid::from_u128(7));
        assert!(matches!(other, Claim::Ours));
    }

    #[tokio::test]
    async fn a_second_copy_waits_for_the_first_one() {
        let window = RecentEvents::new(1_000);
        let (_, reservation) = claim(&window, 7);
        let (Claim::Pending(outcome), _) = claim(&window, 7) else { panic!("the first copy is pending") };
        let waiting = tokio::spawn(async move { outcome.is_stored().await });
        reservation.settle(true);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_failure_or_a_lost_request_frees_the_id() {
        let window = RecentEvents::new(1_000);
        for settle in [true, false] {
            let (_, reservation) = claim(&window, 7);
            let (Claim::Pending(outcome), _) = claim(&window, 7) else { panic!("the first copy is pending") };
            if settle {
                reservation.settle(false);
            } else {
                drop(reservation);
            }
            assert!(!outcome.is_stored().await);
            assert!(matches!(claim(&window, 7).0, Claim::Ours));
        }
    }

    /// Claims other events until all tables have changed places so often.
    fn turn(window: &RecentEvents, times: usize) {
        for event in 0..times * 200 {
            claim(window, 1_000 + event as u128).1.settle(true);
        }
    }

    #[tokio::test]
    async fn what_a_window_has_forgotten_while_it_was_pending_is_pending_still() {
        for (turns, stored) in [(1, false), (1, true), (2, false), (2, true)] {
            let window = RecentEvents::new(SHARDS * 2);
            let (_, reservation) = claim(&window, 7);
            turn(&window, turns);
            let (Claim::Pending(outcome), _) = claim(&window, 7) else { panic!("{turns}: it is pending") };
            reservation.settle(stored);
            assert_eq!(outcome.is_stored().await, stored, "{turns}");
            if !stored {
                assert!(matches!(claim(&window, 7).0, Claim::Ours), "{turns}: it is free again");
            }
        }
    }

    #[test]
    fn a_failure_frees_an_id_in_both_generations() {
        let window = RecentEvents::new(SHARDS * 2);
        let (_, reservation) = claim(&window, 7);
        let id = window.fingerprint(PROJECT, Uuid::from_u128(7));
        let holds = || window.shard(id).old.find(id.hash, |known| *known == id).is_some();
        let others = (1_000..).take_while(|event| {
            claim(&window, *event).1.settle(true);
            !holds()
        });
        assert!(others.take(10_000).count() < 10_000, "it became old");
        reservation.settle(false);
        assert!(matches!(claim(&window, 7).0, Claim::Ours));
    }

    #[test]
    fn a_copy_of_an_old_event_pushes_nothing_out() {
        let window = RecentEvents::new(SHARDS * 2);
        claim(&window, 7).1.settle(true);
        let id = window.fingerprint(PROJECT, Uuid::from_u128(7));
        let mut others = 1_000..11_000;
        // Each generation has one id: the next one in this shard would push it out.
        while window.shard(id).old.is_empty() {
            claim(&window, others.next().expect("it became old")).1.settle(true);
        }
        for _ in 0..3 {
            assert!(matches!(claim(&window, 7).0, Claim::Stored));
        }
    }

    #[tokio::test]
    async fn each_event_of_a_request_tells_those_who_wait_for_it() {
        let window = RecentEvents::new(1_000);
        let mut reservation = window.reservation(2);
        let waiting: Vec<_> = [7, 8]
            .map(|event| {
                assert!(matches!(reservation.claim(PROJECT, Uuid::from_u128(event)), Claim::Ours));
                let (Claim::Pending(outcome), _) = claim(&window, event) else { panic!("it is pending") };
                tokio::spawn(async move { outcome.is_stored().await })
            })
            .into_iter()
            .collect();
        reservation.settle(true);
        for told in waiting {
            assert!(told.await.unwrap());
        }
    }

    #[test]
    fn an_event_twice_in_one_request_is_ours_once() {
        let window = RecentEvents::new(1_000);
        let mut reservation = window.reservation(1);
        assert!(matches!(reservation.claim(PROJECT, PROJECT), Claim::Ours));
        assert!(matches!(reservation.claim(PROJECT, PROJECT), Claim::Pending(_)));
    }

    #[test]
    fn the_window_stays_within_its_capacity_and_remembers_the_latest_half() {
        let window = RecentEvents::new(3_200);
        for event in 0..50_000 {
            claim(&window, event).1.settle(true);
        }
        let held: usize = window
            .0
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                assert_eq!(shard.pending.len(), 0);
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(held <= 3_200, "{held} ids");
        for event in 49_500..50_000 {
            assert!(matches!(claim(&window, event).0, Claim::Stored), "event {event}");
        }
    }
}
