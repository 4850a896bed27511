//! One pass over a row of logits before a token is chosen: whether the row can be used, what a mask leaves of it, and
//! how high each block of it goes. What comes after reads only the blocks that can matter; of which a mask allows
//! nothing are not even looked at.

use super::{SamplingError, TokenMask};
use ballast_backend::TokenId;

/// Logits of a block: as many as a word of a mask has bits.
pub(super) const BLOCK_LEN: usize = 64;

/// Logits that are compared side by side. The compiler makes vector code of it on every instruction set.
const LANES: usize = 8;

/// What is known of a row. Its memory is used again for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    highs: Vec<f32>,
    highest: f32,
}

impl Survey {
    /// Looks at the blocks of a row of which `allowed` has a token, and makes the others of their tokens impossible (negative
    /// infinity). A block of which it has none is left as it is, and counts as one without a possible token.
    ///
    /// # Errors
    /// If a logit in a block that is looked at is not a number or positive infinity; the first that is. Nothing is known
    /// then.
    pub(super) fn look(&mut self, logits: &mut [f32], allowed: Option<&TokenMask>) -> Result<(), SamplingError> {
        self.highs.clear();
        for (block, block_idx) in logits.chunks_mut(BLOCK_LEN).zip(0..) {
            let word = allowed.map_or(u64::MAX, |mask| mask.word(block_idx));
            if word == 0 {
                self.highs.push(f32::NEG_INFINITY);
                continue;
            }
            // A count and not a search: without an early exit the compiler makes vector code of it.
            if block.iter().map(|logit| u32::from(is_bad(*logit))).sum::<u32>() > 0 {
                return Err(not_finite(block, block_idx * BLOCK_LEN));
            }
            if word != u64::MAX {
                forbid(block, !word);
            }
            self.highs.push(high_of(block));
        }
        self.highest = self.highs.iter().copied().fold(f32::NEG_INFINITY, higher);
        Ok(())
    }

    /// The highest logit; negative infinity where no token is possible.
    pub(super) fn highest(&self) -> f32 {
        self.highest
    }

    /// The highest logit of each block; negative infinity where no token of it is possible. Then its logits say nothing.
    pub(super) fn highs(&self) -> &[f32] {
        &self.highs
    }
}

/// Makes the logits impossible that have a bit in `word`.
fn forbid(block: &mut [f32], word: u64) {
    const BITS: [u32; LANES] = [1, 2, 4, 8, 16, 32, 64, 128];
    let (all_lanes, rest) = block.as_chunks_mut::<LANES>();
    let n_lanes = all_lanes.len();
    for (lanes, byte) in all_lanes.iter_mut().zip(word.to_le_bytes()) {
        let byte = u32::from(byte);
        for lane in 0..LANES {
            lanes[lane] = if byte & BITS[lane] == 0 { lanes[lane] } else { f32::NEG_INFINITY };
        }
    }
    for (logit, lane) in rest.iter_mut().zip(n_lanes * LANES..) {
        *logit = if word >> lane & 1 == 0 { *logit } else { f32::NEG_INFINITY };
    }
}

fn high_of(block: &[f32]) -> f32 {
    let mut highs = [f32::NEG_INFINITY; LANES];
    let (all_lanes, rest) = block.as_chunks::<LANES>();
    for lanes in all_lanes {
        for lane in 0..LANES {
            highs[lane] = higher(highs[lane], lanes[lane]);
        }
    }
    highs.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, higher)
}

/// The error of the first logit that cannot be sampled from, of which the first is that of the token numbered `start`.
///
/// # Panics
/// If every logit can.
pub(super) fn not_finite(logits: &[f32], start: usize) -> SamplingError {
    let idx = logits.iter().position(|logit| is_bad(*logit)).expect("a row is refused for one of its logits");
    let id = u32::try_from(start + idx).expect("the vocabulary size was checked to fit");
    SamplingError::LogitNotFinite { token: TokenId(id), value: logits[idx] }
}

/// Whether a logit cannot be sampled from: not a number, or positive infinity. With negative infinity it can; the token
/// is impossible then.
pub(super) fn is_bad(logit: f32) -> bool {
    logit.is_nan() | (logit == f32::INFINITY)
}

/// As `f32::max` for numbers, and one instruction.
fn higher(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::Survey;
    use crate::{SamplingError, TokenMask};
    use ballast_backend::TokenId;

    #[test]
    fn blocks_are_as_high_as_their_highest_logit_whatever_the_length() {
        for len in [1_u16, 7, 63, 64, 65, 200] {
            let mut logits: Vec<f32> = (0..len).map(|idx| f32::from(idx * 37 % 101) - 50.0).collect();
            let mut survey = Survey::default();
            survey.look(&mut logits, None).unwrap();
            let expected: Vec<f32> =
                logits.chunks(64).map(|block| block.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect();
            assert_eq!(survey.highs(), expected, "{len}");
            assert_eq!(survey.highest(), expected.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn a_bad_logit_is_seen_wherever_it_stands_and_also_beside_an_allowed_one() {
        for len in [1, 9, 64, 70] {
            for at in 0..len {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
                    let mut logits = vec![1.0; len];
                    logits[at..].fill(bad);
                    let mut mask = TokenMask::none(len);
                    (0..len).step_by(64).for_each(|id| mask.allow(TokenId(u32::try_from(id).unwrap())));
                    for mask in [None, Some(&mask)] {
                        let refused = Survey::default().look(&mut logits.clone(), mask);
                        let Err(SamplingError::LogitNotFinite { token, .. }) = refused else { panic!("{bad} at {at}") };
                        assert_eq!(token.index(), at, "{bad} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_mask_does_not_allow_becomes_impossible() {
        let len = 150;
        let mut mask = TokenMask::none(len);
        (0..150).filter(|id| id % 3 == 1 || (64..128).contains(id)).for_each(|id| mask.allow(TokenId(id)));
        let mut logits = vec![2.0; len];
        Survey::default().look(&mut logits, Some(&mask)).unwrap();
        for (id, logit) in (0..).map(TokenId).zip(&logits) {
            assert_eq!(*logit, if mask.is_allowed(id) { 2.0 } else { f32::NEG_INFINITY }, "{id}");
        }
    }

    #[test]
    fn a_block_of_which_nothing_is_allowed_is_not_looked_at() {
        let mut mask = TokenMask::none(200);
        [3, 130, 199].map(TokenId).into_iter().for_each(|id| mask.allow(id));
        let mut logits = vec![2.0; 200];
        logits[64..128].fill(f32::INFINITY);
        let mut survey = Survey::default();
        survey.look(&mut logits, Some(&mask)).unwrap();
        assert_eq!(survey.highs(), [2.0, f32::NEG_INFINITY, 2.0, 2.0]);
        assert_eq!((survey.highest(), logits[64]), (2.0, f32::INFINITY));
    }
}
