//! The buckets of one limiter: a table that is made once and never grows, whatever keys come.
//!
//! A key belongs to one set of [`WAYS`] places, which a keyed hash chooses, so that nobody can aim at a set. A bucket
//! is one number: the moment at which it is full again. A bucket that is full needs no place, since a key without one
//! has a full one.
//!
//! A new key in a set without a free place takes that of the bucket which is full first. So full ones go before others,
//! without anybody sweeping; and when none is full, who is forgotten is who has used least. That one begins again with a
//! full bucket, which errs on its side: nobody is refused for what others do, known or new. Who floods is the last
//! to be forgotten.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Places in a set: enough that sets overflow about evenly, few enough to look at all of them.
const WAYS: usize = 16;

/// The table.
pub(super) struct Buckets {
    sets: Box<[Mutex<Set>]>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Set {
    keys: [u128; WAYS],
    /// In nanoseconds of the limiter's clock; zero at a place that is free.
    full_at: [u64; WAYS],
}

impl Buckets {
    /// A table with places for this many keys, rounded up to a power of two. A place takes 24 bytes.
    pub(super) fn new(places: usize) -> Self {
        let sets = places.div_ceil(WAYS).next_power_of_two();
        let empty = || Mutex::new(Set { keys: [0; WAYS], full_at: [0; WAYS] });
        Self { sets: (0..sets).map(|_| empty()).collect(), hasher: RandomState::new() }
    }

    fn set(&self, key: u128) -> &Mutex<Set> {
        let hash = self.hasher.hash_one(key);
        // Their number is a power of two, so this is in range; the lowest bits are as good as any.
        let mask = self.sets.len() as u64 - 1;
        &self.sets[usize::try_from(hash & mask).unwrap_or(0)]
    }
}

impl Set {
    /// The place whose bucket is full first.
    fn fullest(&self) -> usize {
        let mut fullest = 0;
        for (place, full_at) in self.full_at.iter().enumerate() {
            if *full_at < self.full_at[fullest] {
                fullest = place;
            }
        }
        fullest
    }
}

impl StateStore for Buckets {
    type Key = u128;

    fn measure_and_replace<T, F, E>(&self, key: &u128, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut set = self.set(*key).lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.keys.iter().position(|other| other == key);
        // One that is refused leaves nothing behind.
        let (outcome, full_at) = decide(known.map(|place| Nanos::from(set.full_at[place])))?;
        let place = known.unwrap_or_else(|| set.fullest());
        set.keys[place] = *key;
        set.full_at[place] = full_at.into();
        Ok(outcome)
    }
}

#[cfg(test)]
impl Buckets {
    /// How many keys have a bucket that is not known to be full.
    pub(super) fn held(&self) -> usize {
        let held =
            |set: &Mutex<Set>| set.lock().unwrap().full_at.iter().filter(|full_at| **full_at > 0).count();
        self.sets.iter().map(held).sum()
    }

    /// What all of it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    /// How many keys can have one.
    pub(super) fn places(&self) -> usize {
        self.sets.len() * WAYS
    }
}
