//! One pass over a row of logits before a token is chosen: whether the row can be used, what a mask leaves of it, and
//! how high each block of it goes. What comes after reads only the blocks that can matter.

use super::{SamplingError, TokenMask};
use ballast_backend::TokenId;

/// Logits of a block: as many as a word of a mask has bits.
pub(super) const BLOCK_LEN: usize = 64;

/// Logits that are compared side by side. The compiler makes vector code of it on every instruction set.
const LANES: usize = 8;

/// A block of logits.
pub(super) type Block = [f32; BLOCK_LEN];

/// What is known of a row. Its memory is used again for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    highs: Vec<f32>,
    highest: f32,
}

impl Survey {
    /// Looks at a row, and makes every token impossible (negative infinity) that `allowed` does not have.
    ///
    /// # Errors
    /// If a logit is not a number or positive infinity, allowed or not; the first that is. Nothing is known then.
    pub(super) fn look(&mut self, logits: &mut [f32], allowed: Option<&TokenMask>) -> Result<(), SamplingError> {
        self.highs.clear();
        let mut look_at = |block: &mut Block, block_idx: usize| {
            let high = high_of(block);
            if high == f32::INFINITY || has_nan(block) {
                return Err(not_finite(block, block_idx * BLOCK_LEN));
            }
            let word = allowed.map_or(u64::MAX, |mask| mask.word(block_idx));
            self.highs.push(if word == u64::MAX { high } else { high_of_allowed(block, word) });
            Ok(())
        };
        let (blocks, rest) = logits.as_chunks_mut::<BLOCK_LEN>();
        let n_blocks = blocks.len();
        for (block, block_idx) in blocks.iter_mut().zip(0..) {
            look_at(block, block_idx)?;
        }
        if !rest.is_empty() {
            let mut block = padded(rest);
            look_at(&mut block, n_blocks)?;
            rest.copy_from_slice(&block[..rest.len()]);
        }
        self.highest = self.highs.iter().copied().fold(f32::NEG_INFINITY, higher);
        Ok(())
    }

    /// The highest logit; negative infinity where no token is possible.
    pub(super) fn highest(&self) -> f32 {
        self.highest
    }

    /// The highest logit of each block.
    pub(super) fn highs(&self) -> &[f32] {
        &self.highs
    }
}

/// A block of fewer logits, filled up with impossible ones.
pub(super) fn padded(logits: &[f32]) -> Block {
    let mut block = [f32::NEG_INFINITY; BLOCK_LEN];
    block[..logits.len()].copy_from_slice(logits);
    block
}

/// Makes the logits without a bit in `word` impossible; the highest of the others.
fn high_of_allowed(block: &mut Block, word: u64) -> f32 {
    const BITS: [u32; LANES] = [1, 2, 4, 8, 16, 32, 64, 128];
    for (lanes, byte) in block.as_chunks_mut::<LANES>().0.iter_mut().zip(word.to_le_bytes()) {
        let bits = u32::from(byte);
        for (logit, bit) in lanes.iter_mut().zip(BITS) {
            *logit = if bits & bit == 0 { f32::NEG_INFINITY } else { *logit };
        }
    }
    high_of(block)
}

fn high_of(block: &Block) -> f32 {
    let mut highs = [f32::NEG_INFINITY; 2 * LANES];
    for lanes in block.as_chunks::<{ 2 * LANES }>().0 {
        for (high, logit) in highs.iter_mut().zip(lanes) {
            *high = higher(*high, *logit);
        }
    }
    highs.into_iter().fold(f32::NEG_INFINITY, higher)
}

fn has_nan(block: &Block) -> bool {
    block.iter().map(|logit| u32::from(logit.is_nan())).sum::<u32>() > 0
}

/// The error of the first logit that cannot be sampled from; there is one. `first_id` is the id of the first.
///
/// # Panics
/// If every logit can.
pub(super) fn not_finite(logits: &[f32], first_id: usize) -> SamplingError {
    let idx = logits.iter().position(|logit| is_bad(*logit)).expect("a row is refused for one of its logits");
    let id = u32::try_from(first_id + idx).expect("the vocabulary size was checked to fit");
    SamplingError::LogitNotFinite { token: TokenId(id), value: logits[idx] }
}

/// Whether a logit cannot be sampled from. Negative infinity can: such a token is impossible.
pub(super) fn is_bad(logit: f32) -> bool {
    logit.is_nan() || logit == f32::INFINITY
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
    fn a_bad_logit_is_seen_wherever_it_stands_and_also_behind_a_mask() {
        for len in [1, 9, 64, 70] {
            for at in 0..len {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
                    let mut logits = vec![1.0; len];
                    logits[at..].fill(bad);
                    for mask in [None, Some(&TokenMask::none(len))] {
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
}
