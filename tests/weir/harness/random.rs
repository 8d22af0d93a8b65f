//! Random numbers that a failed test can be repeated with.

use uuid::Uuid;

/// `SplitMix64`.
pub struct Random(u64);

impl Random {
    /// Draws a seed and prints it; `WEIR_TEST_SEED` sets it.
    pub fn seeded(test: &str) -> Self {
        let given = std::env::var("WEIR_TEST_SEED").ok().map(|seed| seed.parse().expect("WEIR_TEST_SEED"));
        let seed = given.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        eprintln!("{test}: repeat it with WEIR_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another series that follows from this one.
    pub fn branch(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
