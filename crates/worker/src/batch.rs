//! A step in shared memory: 32-bit words of this machine, one sequence after the other.
//!
//! A sequence is `n_tokens start n_blocks rows`, then its tokens, then its blocks; `rows` is 0 none, 1 last, 2 all.

use crate::WorkerError;
use ballast_backend::{BlockId, LogitRows, SequenceStep, TokenId};
use std::ops::Range;

const HEAD_WORDS: usize = 4;

/// Writes `batch` to `words`, in place of what is there.
///
/// # Errors
/// If a number takes more than 32 bits.
pub(crate) fn encode(batch: &[SequenceStep<'_>], words: &mut Vec<u32>) -> Result<(), WorkerError> {
    let word = |number: usize| {
        u32::try_from(number).map_err(|_| WorkerError::Step { expected: "numbers of 32 bits", got: number })
    };
    words.clear();
    for share in batch {
        let rows = match share.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => 2,
        };
        words.extend([word(share.tokens.len())?, word(share.start)?, word(share.blocks.len())?, rows]);
        words.extend(share.tokens.iter().map(|token| token.0));
        words.extend(share.blocks.iter().map(|block| block.0));
    }
    Ok(())
}

/// A step read back; its vectors are kept between steps.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    tokens: Vec<TokenId>,
    blocks: Vec<BlockId>,
    shares: Vec<Share>,
}

#[derive(Debug)]
struct Share {
    tokens: Range<usize>,
    start: usize,
    blocks: Range<usize>,
    logits: LogitRows,
}

impl Batch {
    /// Reads `n_sequences` sequences, in place of what is there.
    ///
    /// # Errors
    /// If `words` is anything but so many sequences. Whether the engine can run them is the engine's to say.
    pub(crate) fn decode(&mut self, mut words: &[u32], n_sequences: usize) -> Result<(), WorkerError> {
        let broken =
            || WorkerError::Protocol { expected: "a whole step in shared memory", got: "less or more".to_owned() };
        self.tokens.clear();
        self.blocks.clear();
        self.shares.clear();
        for _ in 0..n_sequences {
            let (&[n_tokens, start, n_blocks, rows], rest) =
                words.split_first_chunk::<HEAD_WORDS>().ok_or_else(broken)?;
            let (tokens, rest) = rest.split_at_checked(n_tokens as usize).ok_or_else(broken)?;
            let (blocks, rest) = rest.split_at_checked(n_blocks as usize).ok_or_else(broken)?;
            let logits = match rows {
                0 => LogitRows::None,
                1 => LogitRows::Last,
                2 => LogitRows::All,
                _ => return Err(broken()),
            };
            self.shares.push(Share {
                tokens: self.tokens.len()..self.tokens.len() + tokens.len(),
                start: start as usize,
                blocks: self.blocks.len()..self.blocks.len() + blocks.len(),
                logits,
            });
            self.tokens.extend(tokens.iter().copied().map(TokenId));
            self.blocks.extend(blocks.iter().copied().map(BlockId));
            words = rest;
        }
        if words.is_empty() { Ok(()) } else { Err(broken()) }
    }

    /// The step as engines take it.
    pub(crate) fn steps(&self) -> Vec<SequenceStep<'_>> {
        let step = |share: &Share| SequenceStep {
            tokens: &self.tokens[share.tokens.clone()],
            start: share.start,
            blocks: &self.blocks[share.blocks.clone()],
            logits: share.logits,
        };
        self.shares.iter().map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Sequence = (Vec<u32>, u32, Vec<u32>, u8);

    fn rows(code: u8) -> LogitRows {
        [LogitRows::None, LogitRows::Last, LogitRows::All][usize::from(code)]
    }

    fn plain(steps: &[SequenceStep<'_>]) -> Vec<Sequence> {
        let code = |logits| (0..3).find(|&code| rows(code) == logits).unwrap();
        let ids = |step: &SequenceStep<'_>| {
            (step.tokens.iter().map(|t| t.0).collect(), step.blocks.iter().map(|b| b.0).collect::<Vec<_>>())
        };
        let sequence = |step| {
            let (tokens, blocks) = ids(step);
            (tokens, u32::try_from(step.start).unwrap(), blocks, code(step.logits))
        };
        steps.iter().map(sequence).collect()
    }

    fn words_of(sequences: &[Sequence]) -> Vec<u32> {
        let ids: Vec<(Vec<TokenId>, Vec<BlockId>)> = sequences
            .iter()
            .map(|(tokens, _, blocks, _)| {
                (tokens.iter().copied().map(TokenId).collect(), blocks.iter().copied().map(BlockId).collect())
            })
            .collect();
        let steps: Vec<SequenceStep<'_>> = ids
            .iter()
            .zip(sequences)
            .map(|((tokens, blocks), &(_, start, _, code))| SequenceStep {
                tokens,
                start: start as usize,
                blocks,
                logits: rows(code),
            })
            .collect();
        let mut words = vec![9; 3];
        encode(&steps, &mut words).unwrap();
        words
    }

    fn sequence() -> impl Strategy<Value = Sequence> {
        let ids = || prop::collection::vec(any::<u32>(), 0..6);
        (ids(), any::<u32>(), ids(), 0..3_u8)
    }

    #[test]
    fn a_position_of_more_than_32_bits_is_refused() {
        let step = SequenceStep { tokens: &[TokenId(0)], start: 1 << 32, blocks: &[], logits: LogitRows::None };
        assert!(matches!(encode(&[step], &mut Vec::new()), Err(WorkerError::Step { got, .. }) if got == 1 << 32));
    }

    proptest! {
        #[test]
        fn a_step_reads_back_and_nothing_less_or_more_does(sequences in prop::collection::vec(sequence(), 0..5)) {
            let mut words = words_of(&sequences);
            let mut batch = Batch::default();
            batch.decode(&words, sequences.len()).unwrap();
            prop_assert_eq!(plain(&batch.steps()), sequences.clone());
            prop_assert!(batch.decode(&words, sequences.len() + 1).is_err());
            words.push(0);
            prop_assert!(batch.decode(&words, sequences.len()).is_err());
        }

        #[test]
        fn arbitrary_words_never_panic(words in prop::collection::vec(prop_oneof![0..4_u32, any::<u32>()], 0..40), n in 0..6_usize) {
            drop(Batch::default().decode(&words, n));
        }
    }
}
