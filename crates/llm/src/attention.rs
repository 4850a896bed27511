//! How attention is divided: units of some query heads that look at one KV head, over one span of positions or all.
//!
//! With many units each goes over its spans one after another; with few, as when one sequence is decoded, spans are
//! units of their own and their results are joined after. Both join in the same order, so both give the same bits.

use crate::LlamaConfig;
use crate::step::StepPlan;
use ballast_kernels::{Partial, QUERIES_MAX, SPAN};
use std::ops::Range;

/// Fewer units than so many for each thread are divided by spans.
const UNITS_PER_THREAD: usize = 4;

/// Query heads of some rows of one sequence that share a KV head, and the spans they look at.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) rows: Range<usize>,
    /// Query heads.
    pub(crate) heads: Range<usize>,
    pub(crate) kv_head: usize,
    pub(crate) spans: Range<usize>,
    /// Where the partial result is.
    pub(crate) data: Range<usize>,
}

/// The units of a step, the same in every layer. Kept between steps.
#[derive(Debug, Default)]
pub(crate) struct AttentionPlan {
    pub(crate) units: Vec<Unit>,
    /// Rows that stand together, and their units.
    pub(crate) tiles: Vec<(Range<usize>, Range<usize>)>,
    /// Entries of all partial results.
    pub(crate) data_len: usize,
}

impl AttentionPlan {
    pub(crate) fn set(&mut self, plan: &StepPlan, config: &LlamaConfig, n_threads: usize) {
        let heads_each = config.n_group().min(QUERIES_MAX);
        let rows_each = QUERIES_MAX / heads_each;
        let n_tiles: usize = plan.sequences.iter().map(|rows| rows.len().div_ceil(rows_each)).sum();
        let n_whole = n_tiles * config.n_kv_heads * config.n_group().div_ceil(heads_each);
        let by_span = n_threads > 1 && n_whole < n_threads * UNITS_PER_THREAD;
        self.units.clear();
        self.tiles.clear();
        self.data_len = 0;
        for sequence in &plan.sequences {
            for start in sequence.clone().step_by(rows_each) {
                let rows = start..sequence.end.min(start + rows_each);
                let first = self.units.len();
                let n_spans = (plan.positions[rows.end - 1] + 1).div_ceil(SPAN);
                for kv_head in 0..config.n_kv_heads {
                    let group = kv_head * config.n_group()..(kv_head + 1) * config.n_group();
                    for head in group.clone().step_by(heads_each) {
                        let heads = head..group.end.min(head + heads_each);
                        for span in 0..if by_span { n_spans } else { 1 } {
                            let spans = if by_span { span..span + 1 } else { 0..n_spans };
                            self.push(
                                Unit { rows: rows.clone(), heads: heads.clone(), kv_head, spans, data: 0..0 },
                                config,
                            );
                        }
                    }
                }
                self.tiles.push((rows, first..self.units.len()));
            }
        }
    }

    fn push(&mut self, unit: Unit, config: &LlamaConfig) {
        let len = Partial::len_of(unit.rows.len() * unit.heads.len(), config.head_dim);
        self.units.push(Unit { data: self.data_len..self.data_len + len, ..unit });
        self.data_len += len;
    }

    /// Divides the units into `n_parts` contiguous ranges of about equal cost; a unit costs as much as its rows see
    /// positions.
    pub(crate) fn parts(&self, plan: &StepPlan, n_parts: usize) -> impl Iterator<Item = Range<usize>> {
        let cost = |unit: &Unit| {
            let n_seen = (plan.positions[unit.rows.end - 1] + 1).min(unit.spans.end * SPAN) - unit.spans.start * SPAN;
            n_seen * unit.rows.len() * unit.heads.len()
        };
        let total: usize = self.units.iter().map(cost).sum();
        let (mut start, mut so_far) = (0, 0);
        (1..=n_parts).map(move |part| {
            let mut end = start;
            while end < self.units.len() && (so_far < total * part / n_parts || part == n_parts) {
                so_far += cost(&self.units[end]);
                end += 1;
            }
            let range = start..end;
            start = end;
            range
        })
    }
}
