//! A step's batch, flattened to rows: one row per token, whatever sequence it belongs to.

use crate::LlmError;
use ballast_backend::{GeneratorShape, LogitRows, SequenceStep};
use std::ops::Range;

/// One row per token of the batch, sequences one after another. Kept between steps, so that a step allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct StepPlan {
    /// Token of each row.
    pub(crate) tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub(crate) positions: Vec<usize>,
    /// Rows whose logits are wanted, in order.
    pub(crate) logit_rows: Vec<usize>,
    /// Rows of each sequence.
    pub(crate) sequences: Vec<Range<usize>>,
    /// The block tables of the sequences, one after another, and where that of each row is.
    tables: Vec<u32>,
    table_of_row: Vec<Range<usize>>,
    block_len: usize,
}

impl StepPlan {
    /// Flattens a batch after checking it against the engine's shape.
    ///
    /// # Errors
    /// If it does not fit: too many sequences, tokens or positions, unknown tokens, too few or unknown blocks.
    pub(crate) fn set(&mut self, batch: &[SequenceStep<'_>], shape: &GeneratorShape) -> Result<(), LlmError> {
        at_most("sequences within max_batch_sequences", batch.len(), shape.max_batch_sequences)?;
        let n_tokens = batch.iter().map(|s| s.tokens.len()).sum();
        at_most("tokens within max_batch_tokens", n_tokens, shape.max_batch_tokens)?;
        self.clear();
        self.block_len = shape.block_len;
        for sequence in batch {
            check(sequence, shape)?;
            self.push(sequence);
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.logit_rows.clear();
        self.sequences.clear();
        self.tables.clear();
        self.table_of_row.clear();
    }

    fn push(&mut self, sequence: &SequenceStep<'_>) {
        let first_row = self.tokens.len();
        let n_tokens = sequence.tokens.len();
        let table = self.tables.len()..self.tables.len() + sequence.blocks.len();
        self.tokens.extend(sequence.tokens.iter().map(|t| t.0));
        self.positions.extend(sequence.start..sequence.start + n_tokens);
        self.table_of_row.extend(std::iter::repeat_n(table, n_tokens));
        self.tables.extend(sequence.blocks.iter().map(|b| b.0));
        self.sequences.push(first_row..first_row + n_tokens);
        self.logit_rows.extend(match sequence.logits {
            LogitRows::None => first_row..first_row,
            LogitRows::Last => first_row + n_tokens - 1..first_row + n_tokens,
            LogitRows::All => first_row..first_row + n_tokens,
        });
    }

    /// The block table of a row's sequence.
    pub(crate) fn blocks(&self, row: usize) -> &[u32] {
        &self.tables[self.table_of_row[row].clone()]
    }

    /// The block and the row in it where a row's keys and values are stored.
    pub(crate) fn slot(&self, row: usize) -> (u32, usize) {
        let position = self.positions[row];
        (self.blocks(row)[position / self.block_len], position % self.block_len)
    }
}

fn check(sequence: &SequenceStep<'_>, shape: &GeneratorShape) -> Result<(), LlmError> {
    if sequence.tokens.is_empty() {
        return Err(LlmError::Step { expected: "at least one token in every sequence", got: 0 });
    }
    let n_positions = sequence.start.saturating_add(sequence.tokens.len());
    at_most("positions within context_len", n_positions, shape.context_len)?;
    at_most("positions within the sequence's blocks", n_positions, sequence.blocks.len() * shape.block_len)?;
    for block in sequence.blocks {
        below("blocks below n_blocks", block.index(), shape.n_blocks)?;
    }
    for token in sequence.tokens {
        below("tokens below vocab_size", token.index(), shape.vocab_size)?;
    }
    Ok(())
}

fn at_most(expected: &'static str, got: usize, max: usize) -> Result<(), LlmError> {
    if got <= max { Ok(()) } else { Err(LlmError::Step { expected, got }) }
}

fn below(expected: &'static str, got: usize, end: usize) -> Result<(), LlmError> {
    if got < end { Ok(()) } else { Err(LlmError::Step { expected, got }) }
}

#[cfg(test)]
mod tests {
    use super::StepPlan;
    use ballast_backend::{BlockId, GeneratorShape, LogitRows, SequenceStep, TokenId};

    const SHAPE: GeneratorShape = GeneratorShape {
        vocab_size: 10,
        context_len: 64,
        block_len: 4,
        n_blocks: 8,
        max_batch_tokens: 6,
        max_batch_sequences: 2,
    };

    #[test]
    fn rows_find_their_blocks_and_logits() {
        let (a, b) = ([TokenId(1), TokenId(2)], [TokenId(3)]);
        let (blocks_a, blocks_b) = ([BlockId(5), BlockId(2)], [BlockId(7)]);
        let batch = [
            SequenceStep { tokens: &a, start: 3, blocks: &blocks_a, logits: LogitRows::Last },
            SequenceStep { tokens: &b, start: 0, blocks: &blocks_b, logits: LogitRows::All },
        ];
        let mut plan = StepPlan::default();
        plan.set(&batch, &SHAPE).unwrap();
        assert_eq!((0..3).map(|row| plan.slot(row)).collect::<Vec<_>>(), [(5, 3), (2, 0), (7, 0)]);
        assert_eq!(plan.logit_rows, [1, 2]);
        assert_eq!(plan.sequences, [0..2, 2..3]);
    }

    #[test]
    fn a_batch_outside_the_shape_is_refused() {
        let (token, block) = ([TokenId(1)], [BlockId(0)]);
        let good = SequenceStep { tokens: &token, start: 0, blocks: &block, logits: LogitRows::None };
        let bad = [
            SequenceStep { tokens: &[], ..good },
            SequenceStep { tokens: &[TokenId(10)], ..good },
            SequenceStep { tokens: &[TokenId(0); 7], ..good },
            SequenceStep { start: 4, ..good },
            SequenceStep { start: usize::MAX, ..good },
            SequenceStep { blocks: &[BlockId(8)], ..good },
        ];
        let set = |batch: &[SequenceStep<'_>]| StepPlan::default().set(batch, &SHAPE);
        assert!(set(&[good]).is_ok());
        assert!(set(&[good; 3]).is_err());
        for step in bad {
            assert!(set(&[step]).is_err(), "{step:?}");
        }
    }
}
