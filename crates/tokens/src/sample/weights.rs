//! Weights: the softmax at a temperature, relative to the most likely token, which weighs 1.
//!
//! A token is drawn by exact weights, added in a fixed order. To take the exponential of every logit for one draw would
//! be most of its cost, so the weights of the whole vocabulary are first added approximately, in vector code, with a
//! bound on the error. Where the bound leaves a choice open, the exact sum decides; it is rarely needed.

use super::survey::{BLOCK_LEN, Survey};

/// Relative error of a sum of approximate weights. A weight is off by at most 2.8e-7 (tested), the exact one by 1.2e-7
/// (one unit in the last place), and adding four of them in single precision, in pairs, by 1.2e-7.
pub(super) const SUM_ERROR: f64 = 6e-7;

/// Blocks below exp of this are left out of approximate sums: a vocabulary of 2^32 would not weigh [`LEFT_OUT`].
const LEFT_OUT_BELOW: f32 = -40.0;

/// More than what is left out of an approximate sum, which is at least 1.
pub(super) const LEFT_OUT: f64 = 2e-8;

/// Sums that are added to side by side.
const LANES: usize = 4;

/// A row of logits and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) logits: &'a [f32],
    pub(super) survey: &'a Survey,
    /// Above 0.
    pub(super) temperature: f32,
}

impl Row<'_> {
    /// The exact weight of a token with this logit.
    pub(super) fn weight(&self, logit: f32) -> f32 {
        ((logit - self.survey.highest()) / self.temperature).exp()
    }

    /// The blocks of which a token is possible, each with the place of its first logit, by ascending id. The logits of
    /// others say nothing.
    pub(super) fn possible_blocks(&self) -> impl DoubleEndedIterator<Item = (usize, &[f32])> {
        let blocks = self.logits.chunks(BLOCK_LEN).zip(self.survey.highs()).enumerate();
        let possible = blocks.filter(|(_, (_, high))| **high > f32::NEG_INFINITY);
        possible.map(|(block_idx, (block, _))| (block_idx * BLOCK_LEN, block))
    }

    /// The exact sum of all weights, by ascending id.
    pub(super) fn exact_total(&self) -> f64 {
        self.possible_blocks().flat_map(|(_, block)| block).map(|logit| f64::from(self.weight(*logit))).sum()
    }

    /// Fills `masses` with the exact sum of all weights up to the end of each block, by ascending id.
    pub(super) fn exact_masses(&self, masses: &mut Vec<f64>) {
        let mut mass = 0.0;
        masses.clear();
        masses.extend(self.logits.chunks(BLOCK_LEN).zip(self.survey.highs()).map(|(block, high)| {
            if *high > f32::NEG_INFINITY {
                block.iter().for_each(|logit| mass += f64::from(self.weight(*logit)));
            }
            mass
        }));
    }

    /// Fills `sums` with the weight of each block and returns that of all, within [`SUM_ERROR`] and [`LEFT_OUT`].
    pub(super) fn approximate_sums(&self, sums: &mut Vec<f64>) -> f64 {
        sums.clear();
        let blocks = self.logits.chunks(BLOCK_LEN).zip(self.survey.highs());
        sums.extend(blocks.map(|(block, high)| self.block_sum(block, *high)));
        sums.iter().sum()
    }

    fn block_sum(&self, logits: &[f32], high: f32) -> f64 {
        let (highest, temperature) = (self.survey.highest(), self.temperature);
        if (high - highest) / temperature < LEFT_OUT_BELOW {
            return 0.0;
        }
        let mut block = [f32::NEG_INFINITY; BLOCK_LEN];
        block[..logits.len()].copy_from_slice(logits);
        let weights = block.map(|logit| approximate_exp((logit - highest) / temperature));
        let mut sums = [0.0; LANES];
        for four in weights.as_chunks::<{ 4 * LANES }>().0 {
            for lane in 0..LANES {
                let pairs = (four[lane] + four[lane + LANES]) + (four[lane + 2 * LANES] + four[lane + 3 * LANES]);
                sums[lane] += f64::from(pairs);
            }
        }
        sums.iter().sum()
    }
}

/// The lowest exponent below which [`approximate_exp`] stays where it is, so that its result is a normal number.
const EXP_MIN: f32 = -86.0;

/// Adding this to a number of magnitude below 2^22 rounds it to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;

/// ln 2 in two parts; the first has few enough bits that its products here are exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// The polynomial of degree 5 through exp at the Chebyshev nodes of [-ln 2 / 2, ln 2 / 2], lowest power first.
const EXP: [f32; 6] = [1.000_000_1, 1.0, 0.499_988_68, 0.166_665_05, 4.191_776e-2, 8.369_185e-3];

/// exp of a number that is at most 0, within 2.8e-7 of it where that is above [`EXP_MIN`]. No branches.
fn approximate_exp(x: f32) -> f32 {
    let x = if x > EXP_MIN { x } else { EXP_MIN };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let rest = (x - n * LN2[0]) - n * LN2[1];
    // In pairs of powers, which do not wait for each other.
    let square = rest * rest;
    let high = (EXP[2] + EXP[3] * rest) + square * (EXP[4] + EXP[5] * rest);
    let power = (EXP[0] + EXP[1] * rest) + square * high;
    f32::from_bits((shifted.to_bits() << 23).wrapping_add(power.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::{EXP_MIN, LEFT_OUT, Row, SUM_ERROR, approximate_exp};
    use crate::sample::survey::Survey;
    use proptest::prelude::*;

    #[test]
    fn the_exponential_is_within_its_bound() {
        let mut worst = 0.0_f64;
        let mut x = 0.0_f32;
        while x > EXP_MIN {
            worst = worst.max((f64::from(approximate_exp(x)) / f64::from(x).exp() - 1.0).abs());
            x = if x > -1.0 { x - 1e-6 } else { x * 1.000_003 };
        }
        assert!(worst < 2.8e-7, "{worst}");
        for x in [EXP_MIN, -1e30, f32::NEG_INFINITY] {
            assert!(approximate_exp(x) < 1e-37, "{x}");
        }
    }

    proptest! {
        #[test]
        fn approximate_sums_are_within_their_bound(
            mut logits in prop::collection::vec(prop_oneof![-90.0f32..10.0, -3.0f32..10.0], 1..2000),
            temperature in 0.05f32..20.0,
        ) {
            let mut survey = Survey::default();
            survey.look(&mut logits, None).unwrap();
            let row = Row { logits: &logits, survey: &survey, temperature };
            let (mut sums, exact) = (Vec::new(), row.exact_total());
            let total = row.approximate_sums(&mut sums);
            prop_assert!((total - exact).abs() <= SUM_ERROR * exact + LEFT_OUT, "{} {}", total, exact);
            prop_assert_eq!(sums.len(), logits.len().div_ceil(64));
            row.exact_masses(&mut sums);
            prop_assert_eq!(sums.last(), Some(&exact));
        }
    }
}
