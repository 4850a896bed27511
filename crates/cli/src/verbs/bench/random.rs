//! Seeded numbers: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).

/// The same seed gives the same numbers.
#[derive(Debug)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.bits().to_le_bytes()[..part.len()]);
        }
    }

    /// A number above 0, 1 at most.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        // A list of 2^64 entries does not exist: the remainder fits.
        usize::try_from(self.bits() % n as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix;

    #[test]
    fn numbers_are_in_their_range_and_of_their_seed() {
        let numbers = |seed| {
            let mut random = SplitMix::new(seed);
            (0..1_000).map(|_| random.unit()).collect::<Vec<_>>()
        };
        assert!(numbers(1).iter().all(|&n| n > 0.0 && n <= 1.0));
        let mean = numbers(2).iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(numbers(3) == numbers(3) && numbers(3) != numbers(4));
        let mut random = SplitMix::new(5);
        assert!((0..100).all(|_| random.below(7) < 7));
    }
}
