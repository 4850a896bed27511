//! The draws: SplitMix64, addressed by position instead of stepped.
//!
//! Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. Its state is a counter, so
//! draw n is a function of (seed, n): batch mates, retries and preemption cannot shift it. Integer arithmetic only,
//! hence the same on every platform.

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Output `n` of SplitMix64 started at `seed`.
fn splitmix64(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(GAMMA));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draw `n` of `seed`, uniform in [0, 1) with 53 bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
pub(super) fn uniform(seed: u64, n: u64) -> f64 {
    const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
    (splitmix64(seed, n) >> 11) as f64 * UNIT
}

#[cfg(test)]
mod tests {
    use super::{splitmix64, uniform};

    #[test]
    fn sample_rng_gives_the_published_sequence() {
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (n, want) in (0..).zip(expected) {
            assert_eq!(splitmix64(1_234_567, n), want, "output {n}");
        }
    }

    #[test]
    fn sample_rng_stays_in_the_unit_interval() {
        assert!((0..10_000).map(|n| uniform(n, u64::MAX - n)).all(|u| (0.0..1.0).contains(&u)));
    }
}
