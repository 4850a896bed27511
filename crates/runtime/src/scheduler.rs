//! Which sequences run in the next step, and over which KV blocks. Pure: no clock, no channel, no engine.
//!
//! ```text
//! waiting => running   its turn has come, blocks for its tokens and one more are there, and there is room in the batch
//! running => waiting   preempted: its blocks or its place are needed; it keeps its tokens and computes them again
//! running => gone      it is finished; its blocks return to the pool
//! waiting => gone
//! ```
//!
//! Whose turn it is (`rank`): who has waited longer than `overdue_after`, in order of arrival; then by priority, which
//! grows by one level for every `age_step` of waiting; then who was preempted; then the tenant that was served the
//! fewest tokens (virtual token counter, arXiv:2401.00588); then by arrival. So nobody waits for ever.
//!
//! In a step tokens being decoded go first; prompts share what is left of its budget in chunks, in the same order.
//! A sequence under which an engine failed runs alone until a step of its own succeeds, so that one that kills engines
//! is found without taking others along.

mod tenants;

use crate::kv::{KvPool, KvTable, Salt};
use crate::{Priority, TenantId};
use ballast_backend::{BlockId, GeneratorShape, TokenId};
use std::cmp::Reverse;
use std::time::Duration;
use tenants::Tenants;

/// What the scheduler needs to know of what it schedules.
pub(crate) trait Work {
    /// The prompt and everything generated so far, at least one token and at most a context.
    fn tokens(&self) -> &[TokenId];
    /// Whether its reader is too far behind for another step.
    fn is_paused(&self) -> bool;
    /// Whether it has ended.
    fn is_finished(&self) -> bool;
}

/// On which terms a sequence is scheduled.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) tenant: TenantId,
    pub(crate) priority: Priority,
    /// Who may find its keys and values; `None`: nobody, and it looks for none.
    pub(crate) salt: Option<Salt>,
}

/// How turns are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Waiting that is worth one level of priority.
    pub age_step: Duration,
    /// Waiting after which order of arrival alone counts.
    pub overdue_after: Duration,
    /// Most tokens in one step; `None`: as many as the engine takes. Fewer make decoding smoother while prompts come.
    pub step_tokens_max: Option<usize>,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { age_step: Duration::from_secs(10), overdue_after: Duration::from_secs(120), step_tokens_max: None }
    }
}

/// A sequence and what it holds.
#[derive(Debug)]
pub(crate) struct Slot<W> {
    /// Apart, so that the rest is small to move.
    pub(crate) work: Box<W>,
    terms: Terms,
    table: KvTable,
    /// Tokens whose keys and values are in the blocks.
    n_computed: usize,
    /// Prompt tokens that were found computed when it first ran.
    pub(crate) n_cached: Option<usize>,
    arrival: u64,
    arrived_at: Duration,
    /// It ran before and lost its blocks.
    is_resumed: bool,
    /// The engine writes its blocks now.
    in_step: bool,
    /// Engines that failed under it since its last token.
    pub(crate) n_attempts: u32,
    /// Engines that failed under it in its whole life.
    pub(crate) n_failures: u32,
    is_suspect: bool,
}

impl<W: Work> Slot<W> {
    fn n_pending(&self) -> usize {
        self.work.tokens().len() - self.n_computed
    }

    pub(crate) fn blocks(&self) -> &[BlockId] {
        self.table.blocks()
    }

    pub(crate) fn was_preempted(&self) -> bool {
        self.is_resumed
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

/// Order of turns; the smallest is next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_in_time: bool,
    level: Reverse<i64>,
    is_fresh: bool,
    n_served: u64,
    arrival: u64,
}

/// Waiting and running sequences and the KV blocks they hold.
#[derive(Debug)]
pub(crate) struct Scheduler<W> {
    shape: GeneratorShape,
    options: SchedulerOptions,
    kv: KvPool,
    tenants: Tenants,
    waiting: Vec<Slot<W>>,
    running: Vec<Slot<W>>,
    n_arrived: u64,
    n_preempted: u64,
}

impl<W: Work> Scheduler<W> {
    pub(crate) fn new(shape: GeneratorShape, options: SchedulerOptions) -> Self {
        Self {
            kv: KvPool::new(shape.n_blocks, shape.block_len),
            shape,
            options,
            tenants: Tenants::default(),
            waiting: Vec::new(),
            running: Vec::new(),
            n_arrived: 0,
            n_preempted: 0,
        }
    }

    /// Queues a sequence of at least one token and fewer than a context.
    pub(crate) fn push(&mut self, work: W, terms: Terms, now: Duration) {
        self.n_arrived += 1;
        self.tenants.enter(&terms.tenant);
        self.waiting.push(Slot {
            work: Box::new(work),
            terms,
            table: KvTable::default(),
            n_computed: 0,
            n_cached: None,
            arrival: self.n_arrived,
            arrived_at: now,
            is_resumed: false,
            in_step: false,
            n_attempts: 0,
            n_failures: 0,
            is_suspect: false,
        });
    }

    pub(crate) fn running(&self) -> &[Slot<W>] {
        &self.running
    }

    pub(crate) fn running_mut(&mut self, slot_idx: usize) -> &mut Slot<W> {
        &mut self.running[slot_idx]
    }

    /// Everything that has not ended, in no order that matters.
    pub(crate) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot<W>> {
        self.waiting.iter_mut().chain(&mut self.running)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot<W>> {
        self.waiting.iter().chain(&self.running)
    }

    pub(crate) fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    pub(crate) fn n_available_blocks(&self) -> usize {
        self.kv.n_available()
    }

    /// How often a sequence lost its blocks to another.
    pub(crate) fn n_preempted(&self) -> u64 {
        self.n_preempted
    }

    /// Blocks whose content made room for others.
    pub(crate) fn n_evicted_blocks(&self) -> u64 {
        self.kv.n_evicted()
    }

    /// Decides the next step, in the memory of an earlier one's shares. Paused sequences keep their blocks and do not run.
    pub(crate) fn plan(&mut self, now: Duration, memory: Vec<Share>) -> Vec<Share> {
        self.make_room_for_decoding();
        self.admit(now);
        let mut shares = memory;
        shares.clear();
        match self.suspect() {
            Some(slot_idx) => shares.extend(self.share(slot_idx, self.step_tokens_max())),
            None => self.share_out(now, &mut shares),
        }
        for share in &shares {
            self.running[share.slot_idx].in_step = true;
        }
        shares
    }

    /// Notes that a share was run: its tokens are in the KV blocks.
    pub(crate) fn advance(&mut self, share: Share) {
        let slot = &mut self.running[share.slot_idx];
        slot.in_step = false;
        slot.is_suspect = false;
        slot.n_computed += share.n_tokens;
        if share.samples {
            slot.n_attempts = 0;
        }
        self.kv.seal(&mut slot.table, slot.work.tokens(), slot.n_computed);
        self.tenants.charge(&slot.terms.tenant, share.n_tokens, share.samples);
    }

    /// Notes that a step ended with nothing computed.
    pub(crate) fn stand_still(&mut self, shares: &[Share]) {
        for share in shares {
            self.running[share.slot_idx].in_step = false;
        }
    }

    /// Notes that an engine failed under these shares: they are tried again, each alone.
    pub(crate) fn suspect_all(&mut self, shares: &[Share]) {
        for share in shares {
            let slot = &mut self.running[share.slot_idx];
            slot.in_step = false;
            slot.is_suspect = true;
            slot.n_attempts += 1;
            slot.n_failures += 1;
        }
    }

    /// Drops every finished sequence, and takes its blocks back. While a step runs, all that run keep their places: its
    /// shares name them by index.
    pub(crate) fn remove_finished(&mut self) {
        let Self { kv, tenants, waiting, running, .. } = self;
        let mut keep = |slot: &mut Slot<W>| {
            let keeps = !slot.work.is_finished();
            if !keeps {
                kv.release(&mut slot.table, slot.work.tokens(), slot.n_computed);
                tenants.leave(&slot.terms.tenant);
            }
            keeps
        };
        waiting.retain_mut(&mut keep);
        if !running.iter().any(|slot| slot.in_step) {
            running.retain_mut(&mut keep);
        }
    }

    /// The engine's KV cache is gone: every sequence computes its tokens again, on another.
    pub(crate) fn lose_kv(&mut self) {
        while let Some(mut slot) = self.running.pop() {
            slot.in_step = false;
            self.put_back(slot);
        }
        self.kv.forget_all();
    }

    fn step_tokens_max(&self) -> usize {
        let engine_max = self.shape.max_batch_tokens;
        self.options.step_tokens_max.map_or(engine_max, |max| max.clamp(1, engine_max))
    }

    fn rank(&self, slot: &Slot<W>, now: Duration) -> Rank {
        let waited = now.saturating_sub(slot.arrived_at);
        if waited >= self.options.overdue_after {
            return Rank { is_in_time: false, level: Reverse(0), is_fresh: false, n_served: 0, arrival: slot.arrival };
        }
        let n_steps = waited.as_nanos().checked_div(self.options.age_step.as_nanos()).unwrap_or(0);
        let aged = i64::from(slot.terms.priority.level()).saturating_add(i64::try_from(n_steps).unwrap_or(i64::MAX));
        Rank {
            is_in_time: true,
            level: Reverse(aged.min(i64::from(Priority::MAX.level()))),
            is_fresh: !slot.is_resumed,
            n_served: self.tenants.served(&slot.terms.tenant),
            arrival: slot.arrival,
        }
    }

    /// A running sequence that must run alone.
    fn suspect(&self) -> Option<usize> {
        self.running.iter().position(|slot| slot.is_suspect && !slot.work.is_paused())
    }

    /// What a sequence runs within `budget` tokens.
    fn share(&self, slot_idx: usize, budget: usize) -> Option<Share> {
        let slot = &self.running[slot_idx];
        let n_tokens = slot.n_pending().min(budget);
        let samples = n_tokens == slot.n_pending();
        let runs = n_tokens > 0 && !slot.work.is_paused() && !slot.work.is_finished();
        runs.then_some(Share { slot_idx, start: slot.n_computed, n_tokens, samples })
    }

    /// Decoding sequences first, then prompts in the order of their turns. Only prompts ask for memory.
    fn share_out(&self, now: Duration, shares: &mut Vec<Share>) {
        let decodes = |slot_idx: &usize| self.running[*slot_idx].n_pending() <= 1;
        let mut prompts: Vec<usize> = (0..self.running.len()).filter(|idx| !decodes(idx)).collect();
        prompts.sort_by_cached_key(|&idx| self.rank(&self.running[idx], now));
        let mut budget = self.step_tokens_max();
        for slot_idx in (0..self.running.len()).filter(decodes).chain(prompts) {
            if let Some(share) = self.share(slot_idx, budget) {
                budget -= share.n_tokens;
                shares.push(share);
            }
        }
    }

    /// Oldest first, gives every running sequence the block for its next token, preempting others if need be.
    fn make_room_for_decoding(&mut self) {
        // No two arrive together, so that the order is one; and a stable sort of many asks for memory.
        self.running.sort_unstable_by_key(|slot| slot.arrival);
        let mut slot_idx = 0;
        while slot_idx < self.running.len() {
            let slot = &mut self.running[slot_idx];
            if slot.work.is_paused() || self.kv.grow(&mut slot.table, slot.work.tokens().len()) {
                slot_idx += 1;
            } else if let Some(victim_idx) = self.victim() {
                self.preempt(victim_idx);
                slot_idx -= usize::from(victim_idx < slot_idx);
            }
        }
    }

    /// Who gives way: a paused one, then the lowest priority, then the youngest.
    fn victim(&self) -> Option<usize> {
        let yields = |slot: &Slot<W>| (!slot.work.is_paused(), slot.terms.priority, Reverse(slot.arrival));
        (0..self.running.len()).min_by_key(|&idx| yields(&self.running[idx]))
    }

    fn preempt(&mut self, slot_idx: usize) {
        let slot = self.running.remove(slot_idx);
        self.n_preempted += 1;
        self.put_back(slot);
    }

    fn put_back(&mut self, mut slot: Slot<W>) {
        self.kv.release(&mut slot.table, slot.work.tokens(), slot.n_computed);
        slot.n_computed = 0;
        slot.is_resumed = true;
        self.waiting.push(slot);
    }

    fn admit(&mut self, now: Duration) {
        while let Some(next) = self.next_in_line(now).filter(|&idx| {
            self.running.len() < self.shape.max_batch_sequences || self.gives_way_to(&self.waiting[idx], now)
        }) {
            let Slot { work, terms, .. } = &self.waiting[next];
            let n_positions = (work.tokens().len() + 1).min(self.shape.context_len);
            match self.kv.claim(terms.salt.as_ref(), work.tokens(), n_positions) {
                Some(claim) => {
                    if self.running.len() >= self.shape.max_batch_sequences
                        && let Some(victim_idx) = self.victim()
                    {
                        self.preempt(victim_idx);
                    }
                    let mut slot = self.waiting.remove(next);
                    slot.n_cached.get_or_insert(claim.n_cached);
                    (slot.table, slot.n_computed) = (claim.table, claim.n_cached);
                    slot.table.reserve(self.shape.context_len.div_ceil(self.shape.block_len));
                    self.running.push(slot);
                }
                None if self.gives_way_to(&self.waiting[next], now) => {
                    let Some(victim_idx) = self.victim() else { return };
                    self.preempt(victim_idx);
                }
                None => return,
            }
        }
    }

    /// Whose turn it is among those waiting whose readers can take more.
    fn next_in_line(&self, now: Duration) -> Option<usize> {
        let ready = (0..self.waiting.len()).filter(|&idx| !self.waiting[idx].work.is_paused());
        ready.min_by_key(|&idx| self.rank(&self.waiting[idx], now))
    }

    /// Whether somebody running gives way to `slot`: its priority must be higher by itself and also now that both have
    /// aged, so that the one that gives way does not come before it at once; and the other must not be overdue.
    fn gives_way_to(&self, slot: &Slot<W>, now: Duration) -> bool {
        self.victim().is_some_and(|victim_idx| {
            let victim = &self.running[victim_idx];
            let (own, other) = (self.rank(slot, now), self.rank(victim, now));
            slot.terms.priority > victim.terms.priority && other.is_in_time && own.level < other.level
        })
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If KV blocks are lost or doubled, or a sequence has more computed than it has tokens or blocks for.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.kv.check(self.slots().map(|slot| &slot.table));
        assert!(self.running.len() <= self.shape.max_batch_sequences, "more sequences run than the engine takes");
        for slot in self.slots() {
            assert!(slot.n_computed <= slot.work.tokens().len());
            assert!(slot.n_computed <= slot.table.blocks().len() * self.shape.block_len);
        }
        assert!(self.waiting.iter().all(|slot| slot.table.blocks().is_empty() && !slot.in_step));
    }
}

#[cfg(test)]
mod tests;
