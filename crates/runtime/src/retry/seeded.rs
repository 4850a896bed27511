//! Numbers that look random and are the same every time: a hash of a seed and a position.

/// Mixes a position into a seed. The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
/// number generators", 2014).
pub(crate) fn mix(seed: u64, position: u64) -> u64 {
    let mut z = seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `0.0..1.0` from the upper 53 bits of `bits`.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::{mix, unit};

    #[test]
    fn covers_the_unit_interval_evenly() {
        let mut tenths = [0_u32; 10];
        for position in 0..10_000 {
            let value = unit(mix(7, position));
            assert!((0.0..1.0).contains(&value));
            tenths[(1..10).filter(|&edge| value * 10.0 >= f64::from(edge)).count()] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
        assert!(unit(u64::MAX) < 1.0);
    }
}
