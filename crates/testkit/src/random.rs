//! Seeded numbers for test data. Not for anything that must be unpredictable.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next byte.
    pub fn next_u8(&mut self) -> u8 {
        self.next_u64().to_le_bytes()[7]
    }

    /// A number from -1 up to 1, uniform.
    pub fn next_f32(&mut self) -> f32 {
        let [.., a, b] = self.next_u64().to_le_bytes();
        f32::from(i16::from_le_bytes([a, b])) / 32768.0
    }
}
