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
use tokio::sync::Notify;
use uuid::Uuid;

/// An event's id is unique within its project only.
type Key = (Uuid, Uuid);

/// The window is split by id, so that the threads of the listener rarely meet at one lock.
const SHARDS: usize = 16;

/// A bounded window of event ids. Clones share it.
#[derive(Clone)]
pub struct RecentEvents(Arc<Shared>);

struct Shared {
    shards: [Mutex<Shard>; SHARDS],
    /// `SipHash` under a key of our own, since strangers choose the ids. An id is hashed once for shard and table, on
    /// its arrival: with a map in each shard it was hashed six times, which took 1,900 instructions.
    hasher: RandomState,
    /// Ids of one generation of a shard.
    generation: usize,
}

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten. A window so
/// holds between half and all of its capacity, without an order to keep.
#[derive(Default)]
struct Shard {
    young: HashTable<(Key, State)>,
    old: HashTable<(Key, State)>,
}

#[derive(Clone)]
enum State {
    Stored,
    Pending(Arc<Outcome>),
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
    /// Made for the first id.
    outcome: Option<Arc<Outcome>>,
    keys: Vec<(u64, Key)>,
    /// How many there may be.
    events: usize,
}

impl RecentEvents {
    /// A window of at most `capacity` ids, each of about 90 bytes.
    pub fn new(capacity: usize) -> Self {
        let generation = (capacity / SHARDS / 2).max(1);
        let shards = std::array::from_fn(|_| Mutex::default());
        Self(Arc::new(Shared { shards, hasher: RandomState::new(), generation }))
    }

    /// A reservation for the ids of one request with so many events, empty at first.
    pub fn reservation(&self, events: usize) -> Reservation {
        Reservation { window: self.clone(), outcome: None, keys: Vec::new(), events }
    }

    fn hash(&self, key: &Key) -> u64 {
        let (project, event) = key;
        let mut hasher = self.0.hasher.build_hasher();
        hasher.write([*project.as_bytes(), *event.as_bytes()].as_flattened());
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // Not by the lowest bits, which choose the place in a table, nor by the highest, which it compares.
        let shard = (hash >> 32) as usize % SHARDS;
        self.0.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Makes room in the young generation; afterwards a key is looked for in both.
    fn age(&mut self, generation: usize) {
        if self.young.len() >= generation {
            std::mem::swap(&mut self.young, &mut self.old);
            // It keeps its room: to grow again would hash every id a second time.
            self.young.clear();
        }
    }
}

impl Reservation {
    /// Asks for an event's id, and reserves it if it is new.
    pub fn claim(&mut self, project: Uuid, event: Uuid) -> Claim {
        let key = (project, event);
        let hash = self.window.hash(&key);
        let mut shard = self.window.shard(hash);
        shard.age(self.window.0.generation);
        let is_it = |(known, _): &(Key, State)| *known == key;
        if let Some((_, state)) = shard.old.find(hash, is_it) {
            return state.clone().into();
        }
        match shard.young.entry(hash, is_it, |(known, _)| self.window.hash(known)) {
            Entry::Occupied(known) => known.get().1.clone().into(),
            Entry::Vacant(new) => {
                let outcome = self.outcome.get_or_insert_default();
                new.insert((key, State::Pending(Arc::clone(outcome))));
                drop(shard);
                if self.keys.is_empty() {
                    self.keys = Vec::with_capacity(self.events);
                }
                self.keys.push((hash, key));
                Claim::Ours
            }
        }
    }

    /// Whether no id was reserved.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Says whether the request's events are durable now, to the window and to whoever waits for them.
    pub fn settle(mut self, stored: bool) {
        self.decide(stored);
    }

    fn decide(&mut self, stored: bool) {
        let Some(ours) = self.outcome.take() else { return };
        for (hash, key) in self.keys.drain(..) {
            let shard = &mut *self.window.shard(hash);
            // It may have grown old meanwhile, or been forgotten.
            for generation in [&mut shard.young, &mut shard.old] {
                let Ok(mut known) = generation.find_entry(hash, |(known, _)| *known == key) else { continue };
                if !matches!(&known.get().1, State::Pending(outcome) if Arc::ptr_eq(outcome, &ours)) {
                    continue;
                }
                if stored {
                    known.get_mut().1 = State::Stored;
                } else {
                    known.remove();
                }
                break;
            }
        }
        ours.decide(stored);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.decide(false);
    }
}

impl From<State> for Claim {
    fn from(state: State) -> Self {
        match state {
            State::Stored => Self::Stored,
            State::Pending(outcome) => Self::Pending(outcome),
        }
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
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(held <= 3_200, "{held} ids");
        for event in 49_500..50_000 {
            assert!(matches!(claim(&window, event).0, Claim::Stored), "event {event}");
        }
    }
}
