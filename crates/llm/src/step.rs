//! A step's batch, flattened to rows: one row per token, whatever sequence it belongs to.

use crate::LlmError;
use ballast_backend::{GeneratorShape, LogitRows, SequenceStep};
use std::ops::Range;

/// One row per token of the batch, sequences one after another.
#[derive(Debug, Default)]
pub(crate) struct StepPlan {
    /// Token of each row.
    pub(crate) tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub(crate) positions: Vec<usize>,
    /// Rows whose logits are wanted, in order.
    pub(crate) logit_rows: Vec<usize>,
    /// Which table each row uses.
    table_of_row: Vec<usize>,
    tables: Vec<Vec<u32>>,
    block_len: usize,
}

impl StepPlan {
    /// Flattens a batch after checking it against the engine's shape.
    ///
    /// # Errors
    /// If it does not fit: too many sequences, tokens or positions, unknown tokens, too few or unknown blocks.
    pub(crate) fn new(batch: &[SequenceStep<'_>], shape: &GeneratorShape) -> Result<Self, LlmError> {
        at_most("sequences within max_batch_sequences", batch.len(), shape.max_batch_sequences)?;
        let n_tokens = batch.iter().map(|s| s.tokens.len()).sum();
        at_most("tokens within max_batch_tokens", n_tokens, shape.max_batch_tokens)?;
        let mut plan = Self { block_len: shape.block_len, ..Self::default() };
        for sequence in batch {
            check(sequence, shape)?;
            plan.push(sequence);
        }
        Ok(plan)
    }

    fn push(&mut self, sequence: &SequenceStep<'_>) {
        let first_row = self.tokens.len();
        let n_tokens = sequence.tokens.len();
        self.tokens.extend(sequence.tokens.iter().map(|t| t.0));
        self.positions.extend(sequence.start..sequence.start + n_tokens);
        self.table_of_row.extend(std::iter::repeat_n(self.tables.len(), n_tokens));
        self.tables.push(sequence.blocks.iter().map(|b| b.0).collect());
        self.logit_rows.extend(match sequence.logits {
            LogitRows::None => first_row..first_row,
            LogitRows::Last => first_row + n_tokens - 1..first_row + n_tokens,
            LogitRows::All => first_row..first_row + n_tokens,
        });
    }

    /// The block table of a row's sequence.
    pub(crate) fn blocks(&self, row: usize) -> &[u32] {
        &self.tables[self.table_of_row[row]]
    }

    /// The block and the row in it where a row's keys and values are stored.
    pub(crate) fn slot(&self, row: usize) -> (u32, usize) {
        let position = self.positions[row];
        (self.blocks(row)[position / self.block_len], position % self.block_len)
    }

    /// Divides the items `(row, kv_head)`, numbered `row * n_kv_heads + kv_head`, into `n_parts` contiguous ranges of
    /// about equal cost; an item costs as much as it sees positions.
    pub(crate) fn attention_parts(&self, n_kv_heads: usize, n_parts: usize) -> impl Iterator<Item = Range<usize>> {
        let total: usize = self.positions.iter().map(|p| (p + 1) * n_kv_heads).sum();
        let n_items = self.positions.len() * n_kv_heads;
        let (mut start, mut cost) = (0, 0);
        (1..=n_parts).map(move |part| {
            let mut end = start;
            while end < n_items && (cost < total * part / n_parts || part == n_parts) {
                cost += self.positions[end / n_kv_heads] + 1;
                end += 1;
            }
            let range = start..end;
            start = end;
            range
        })
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
    fn attention_parts_cover_every_item_once() {
        let plan = StepPlan { positions: vec![0, 1, 2, 30, 4], ..StepPlan::default() };
        for n_parts in 1..6 {
            let items: Vec<usize> = plan.attention_parts(3, n_parts).flatten().collect();
            assert_eq!(items, (0..15).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_find_their_blocks_and_logits() {
        let (a, b) = ([TokenId(1), TokenId(2)], [TokenId(3)]);
        let (blocks_a, blocks_b) = ([BlockId(5), BlockId(2)], [BlockId(7)]);
        let batch = [
            SequenceStep { tokens: &a, start: 3, blocks: &blocks_a, logits: LogitRows::Last },
            SequenceStep { tokens: &b, start: 0, blocks: &blocks_b, logits: LogitRows::All },
        ];
        let plan = StepPlan::new(&batch, &SHAPE).unwrap();
        assert_eq!((0..3).map(|row| plan.slot(row)).collect::<Vec<_>>(), [(5, 3), (2, 0), (7, 0)]);
        assert_eq!(plan.logit_rows, [1, 2]);
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
        assert!(StepPlan::new(&[good], &SHAPE).is_ok());
        assert!(StepPlan::new(&[good; 3], &SHAPE).is_err());
        for step in bad {
            assert!(StepPlan::new(&[step], &SHAPE).is_err(), "{step:?}");
        }
    }
}
