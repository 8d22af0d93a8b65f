//! Secret keys of backends: how one looks, and what is kept of it.
//!
//! A key is `weir_sk_`, 43 base62 digits that hold 256 random bits, and 6 base62 digits of the CRC-32 (that of zlib)
//! of all characters before them: 57 characters. Prefix and checksum let a scanner recognise one in somebody's
//! sources, and let a mistyped one be refused without a lookup.
//!
//! A key is shown once, when it is made. What is kept is the SHA-256 of its text; against 256 random bits nothing
//! slower is needed. Nothing here prints a key, or can be printed with one in it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use clap::ValueEnum;
use flate2::Crc;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "weir_sk_";
const RANDOM_BYTES: usize = 32;
/// Digits that 256 bits take.
const RANDOM_DIGITS: usize = 43;
/// Digits that 32 bits take.
const SUM_DIGITS: usize = 6;
/// Where the checksum begins.
const SUM_AT: usize = PREFIX.len() + RANDOM_DIGITS;
const LENGTH: usize = SUM_AT + SUM_DIGITS;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A secret key as a client presents it. It has neither `Debug` nor `Display`.
#[derive(Clone)]
pub struct ApiKey([u8; LENGTH]);

impl ApiKey {
    /// Makes a key of the system's randomness.
    ///
    /// # Panics
    /// Where the system has none.
    pub fn generate() -> Self {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).expect("the system gives random bytes");
        Self::of(random)
    }

    fn of(mut random: [u8; RANDOM_BYTES]) -> Self {
        let mut text = [0; LENGTH];
        let (start, sum) = text.split_at_mut(SUM_AT);
        let (prefix, digits) = start.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        write_digits(&mut random, digits);
        write_digits(&mut checksum(start), sum);
        Self(text)
    }

    /// Reads a key; `None` for any text that cannot be one, a mistyped key included.
    pub fn parse(text: &str) -> Option<Self> {
        let key = Self(text.as_bytes().try_into().ok()?);
        let (start, sum) = key.0.split_at(SUM_AT);
        let digits = start.strip_prefix(PREFIX.as_bytes())?;
        if !digits.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut expected = [0; SUM_DIGITS];
        write_digits(&mut checksum(start), &mut expected);
        (sum == expected).then_some(key)
    }

    /// What is kept of the key, and what it is found by.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0).into())
    }

    /// The key's text, for the one who may see it.
    pub fn expose(&self) -> &str {
        // Never the default: nothing but ASCII gets in.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn checksum(start: &[u8]) -> [u8; 4] {
    let mut sum = Crc::new();
    sum.update(start);
    sum.sum().to_be_bytes()
}

/// Writes a number, most significant byte first, in as many base62 digits as there is room for; leaves zeros in its
/// place.
fn write_digits(number: &mut [u8], digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        let mut rest = 0;
        for byte in number.iter_mut() {
            let value = rest * 256 + u16::from(*byte);
            // Below 256, since the rest is below 62.
            *byte = (value / 62).to_be_bytes()[1];
            rest = value % 62;
        }
        *digit = DIGITS[usize::from(rest)];
    }
}

/// The SHA-256 of a key's text. Two are compared in the same time wherever they differ.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash in 64 hexadecimal digits in lower case.
    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// Reads what [`to_hex`](Self::to_hex) writes; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != hash.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(hash))
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyHash {
    /// Enough to tell two apart, too little to find a key by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Scope {
    /// Sending events
    Events,
    /// Sending conversions
    Conversions,
}

impl Scope {
    /// The word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Conversions => "conversions",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Events, Self::Conversions].into_iter().find(|scope| scope.as_str() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_looks_as_documented() {
        let zeros = ApiKey::of([0; 32]);
        assert_eq!(zeros.expose(), "weir_sk_00000000000000000000000000000000000000000001jnDfD");
        // The largest number, written by another program.
        assert_eq!(
            ApiKey::of([255; 32]).expose(),
            "weir_sk_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp14UjrBn"
        );
        let (one, other) = (ApiKey::generate(), ApiKey::generate());
        assert_eq!(one.expose().len(), 57);
        assert!(one.expose() != other.expose() && one.hash() != other.hash());
    }

    #[test]
    fn the_hash_is_the_sha_256_of_the_text() {
        let key = ApiKey::of([0; 32]);
        assert_eq!(key.hash().to_hex(), "cbc593756f2d474d1291f5096224a52e07774412d680daaf80cbf26015a1196c");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = ApiKey::of([7; 32]).expose().to_owned();
        assert!(ApiKey::parse(&good).is_some());
        let bad = [
            String::new(),
            "weir_sk_".to_owned(),
            good.to_uppercase(),
            good.to_lowercase(),
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            good.replace("weir_sk_", "weir_pk_"),
            good[..56].to_owned(),
            "0".repeat(57),
            "é".repeat(28) + "x",
            format!("weir_sk_{}", "-".repeat(49)),
        ];
        for text in bad {
            assert!(ApiKey::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_scope_is_stored_as_its_word() {
        for scope in Scope::value_variants() {
            assert_eq!(scope.as_str().parse(), Ok(*scope));
        }
        assert_eq!("Events".parse::<Scope>(), Err(()));
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_is_written(random in any::<[u8; 32]>()) {
            let key = ApiKey::of(random);
            let read = ApiKey::parse(key.expose()).map(|read| read.hash());
            prop_assert_eq!(read, Some(key.hash()));
            prop_assert_eq!(KeyHash::from_hex(&key.hash().to_hex()), Some(key.hash()));
        }

        #[test]
        fn a_mistyped_character_is_noticed(random in any::<[u8; 32]>(), at in 0..LENGTH, typed in 0..62_usize) {
            let mut text = ApiKey::of(random).expose().as_bytes().to_vec();
            prop_assume!(text[at] != DIGITS[typed]);
            text[at] = DIGITS[typed];
            prop_assert!(ApiKey::parse(&String::from_utf8(text).unwrap()).is_none());
        }

        #[test]
        fn two_characters_in_each_others_place_are_noticed(random in any::<[u8; 32]>(), at in 0..LENGTH - 1) {
            let mut text = ApiKey::of(random).expose().as_bytes().to_vec();
            prop_assume!(text[at] != text[at + 1]);
            text.swap(at, at + 1);
            prop_assert!(ApiKey::parse(&String::from_utf8(text).unwrap()).is_none());
        }

        #[test]
        fn keys_differ_where_their_bits_do(one in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
            let (text, hash) = (ApiKey::of(one), ApiKey::of(one).hash());
            prop_assert_eq!(one == other, text.expose() == ApiKey::of(other).expose());
            prop_assert_eq!(one == other, hash == ApiKey::of(other).hash());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", hex in "[0-9a-fg]{60,66}") {
            prop_assert!(ApiKey::parse(&text).is_none());
            let read = KeyHash::from_hex(&hex).map(|hash| hash.to_hex());
            prop_assert!(read.is_none_or(|again| again == hex));
        }
    }
}
