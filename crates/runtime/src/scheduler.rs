//! Which sequences run in the next step, and over which KV blocks. Pure: no clock, no channel, no engine.
//!
//! ```text
//! waiting => running   blocks for all its tokens and one more are free, and there is room in the batch
//! running => waiting   preempted: an older sequence needs its blocks; it keeps its tokens and recomputes them
//! running => gone      retain() drops it; its blocks return to the pool
//! waiting => gone
//! ```
//!
//! Order is by arrival. Tokens being decoded go first into a step, prompts share what is left of its budget in chunks.

use crate::blocks::BlockPool;
use ballast_backend::{BlockId, GeneratorShape};
use std::collections::VecDeque;

/// A sequence as the scheduler sees it: counts of tokens, and whatever the owner keeps with it.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) payload: T,
    /// KV blocks held, in order.
    pub(crate) blocks: Vec<BlockId>,
    /// Tokens there are: the prompt and what was generated.
    n_tokens: usize,
    /// Tokens whose keys and values are in the blocks.
    n_computed: usize,
    arrival: u64,
}

impl<T> Slot<T> {
    fn n_pending(&self) -> usize {
        self.n_tokens - self.n_computed
    }
}

/// One sequence's share of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Index into [`Scheduler::running`].
    pub(crate) slot_idx: usize,
    /// First token to run.
    pub(crate) start: usize,
    /// Tokens to run.
    pub(crate) n_tokens: usize,
    /// Whether the share ends with the last token there is, so that a new one can be sampled.
    pub(crate) samples: bool,
}

/// Waiting and running sequences and the KV blocks they hold.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    shape: GeneratorShape,
    pool: BlockPool,
    waiting: VecDeque<Slot<T>>,
    running: Vec<Slot<T>>,
    n_arrived: u64,
}

impl<T> Scheduler<T> {
    pub(crate) fn new(shape: GeneratorShape) -> Self {
        let pool = BlockPool::new(shape.n_blocks);
        Self { shape, pool, waiting: VecDeque::new(), running: Vec::new(), n_arrived: 0 }
    }

    /// Queues a sequence of `n_tokens`, at least one and fewer than a context.
    pub(crate) fn push(&mut self, payload: T, n_tokens: usize) {
        self.n_arrived += 1;
        let arrival = self.n_arrived;
        self.waiting.push_back(Slot { payload, blocks: Vec::new(), n_tokens, n_computed: 0, arrival });
    }

    pub(crate) fn running(&self) -> &[Slot<T>] {
        &self.running
    }

    pub(crate) fn running_mut(&mut self, slot_idx: usize) -> &mut Slot<T> {
        &mut self.running[slot_idx]
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Decides the next step. Paused sequences keep their blocks and do not run.
    pub(crate) fn plan(&mut self, is_paused: impl Fn(&T) -> bool) -> Vec<Share> {
        self.make_room_for_decoding(&is_paused);
        self.admit();
        let (mut shares, mut budget) = (Vec::new(), self.shape.max_batch_tokens);
        for is_prefill in [false, true] {
            for (slot_idx, slot) in self.running.iter().enumerate() {
                let n_tokens = slot.n_pending().min(budget);
                if n_tokens == 0 || (slot.n_pending() > 1) != is_prefill || is_paused(&slot.payload) {
                    continue;
                }
                let samples = n_tokens == slot.n_pending();
                shares.push(Share { slot_idx, start: slot.n_computed, n_tokens, samples });
                budget -= n_tokens;
            }
        }
        shares
    }

    /// Notes that a share was run and, if it sampled, that a token was added.
    pub(crate) fn advance(&mut self, share: Share) {
        let slot = &mut self.running[share.slot_idx];
        slot.n_computed += share.n_tokens;
        slot.n_tokens += usize::from(share.samples);
    }

    /// Drops every sequence for which `keep` is false and takes its blocks back.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.waiting.retain_mut(|slot| keep(&mut slot.payload));
        let pool = &mut self.pool;
        self.running.retain_mut(|slot| {
            let kept = keep(&mut slot.payload);
            if !kept {
                pool.release(&mut slot.blocks);
            }
            kept
        });
    }

    /// Oldest first, gives every running sequence the block for its next token, preempting the youngest if need be.
    fn make_room_for_decoding(&mut self, is_paused: &impl Fn(&T) -> bool) {
        self.running.sort_by_key(|slot| slot.arrival);
        let mut slot_idx = 0;
        while slot_idx < self.running.len() {
            let slot = &mut self.running[slot_idx];
            let n_blocks = slot.n_tokens.div_ceil(self.shape.block_len);
            if is_paused(&slot.payload) || self.pool.grow(&mut slot.blocks, n_blocks) {
                slot_idx += 1;
            } else if let Some(mut victim) = self.running.pop() {
                self.pool.release(&mut victim.blocks);
                victim.n_computed = 0;
                self.waiting.push_front(victim);
            }
        }
    }

    fn admit(&mut self) {
        while self.running.len() < self.shape.max_batch_sequences {
            let Some(slot) = self.waiting.front_mut() else { return };
            let n_positions = (slot.n_tokens + 1).min(self.shape.context_len);
            if !self.pool.grow(&mut slot.blocks, n_positions.div_ceil(self.shape.block_len)) {
                return;
            }
            self.running.extend(self.waiting.pop_front());
        }
    }

    #[cfg(test)]
    fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    fn n_free_blocks(&self) -> usize {
        self.pool.n_free()
    }
}

#[cfg(test)]
mod tests;
