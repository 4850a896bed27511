//! What must hold at every step.

use super::engine::{Cell, Step};
use super::world::World;
use crate::EngineState;
use crate::breaker::Position;
use crate::engine_thread::StepJob;
use crate::scheduler::{Slot, Work};
use crate::sequence::Sequence;
use ballast_backend::LogitRows;
use std::collections::BTreeSet;

pub(super) fn number_of(sequence: &Sequence) -> usize {
    let number = sequence.correlation().number().expect("requests of a simulation are numbered");
    usize::try_from(number).expect("there are fewer")
}

impl World<'_> {
    /// Places, blocks and probes are where they are said to be, and nowhere else.
    pub(super) fn check_books(&self) {
        let (mut n_queued, mut n_tokens) = (0, 0);
        for station in &self.stations {
            let Some(owner) = &station.owner else { continue };
            let scheduler = owner.conductor.scheduler();
            scheduler.check();
            let runs = |slot: &Slot<Sequence>| !slot.work.is_finished() && !slot.work.is_paused();
            let is_idle = owner.conductor.engine_state() == EngineState::Ready && !station.is_behind;
            assert!(!is_idle || !scheduler.running().iter().any(runs), "engine {} idles at work", station.idx);
            let mut n_probes = 0;
            for slot in scheduler.slots() {
                let life = self.lives[number_of(&slot.work)].as_ref().expect("it was taken");
                n_queued += usize::from(slot.work.is_queued());
                n_tokens += if slot.work.is_queued() { life.n_prompt } else { 0 };
                n_probes += u32::from(slot.work.is_probe());
            }
            let probes_out = self.runtime.inner.replicas[station.idx].breaker().probes_out();
            let is_right = station.is_behind || probes_out == n_probes;
            assert!(is_right, "engine {}: {probes_out} probes are out, {n_probes} are held", station.idx);
            assert!(probes_out <= self.scenario.options.breaker.probes_max, "too many probes are out");
        }
        if self.stations.iter().any(|station| station.is_behind) {
            return; // Some requests are still on their way to their owner.
        }
        let admission = &self.runtime.inner.admission;
        let counted = (admission.n_waiting(), admission.n_queued_tokens());
        assert_eq!(counted, (n_queued, n_tokens), "places in the queue are miscounted");
    }

    /// A step may run what it runs: nobody who has ended, over blocks that hold what they should.
    pub(super) fn check_step(&mut self, idx: usize, job: StepJob) -> Step {
        let Self { stations, lives, .. } = self;
        let station = &mut stations[idx];
        let owner = station.owner.as_ref().expect("an owner handed this over");
        let shape = &station.plan.shape;
        let shares = owner.conductor.shares();
        assert_eq!(shares.len(), job.shares.len(), "a step is not what was planned");
        assert!(shares.len() <= shape.max_batch_sequences, "more sequences than the engine takes");
        let n_tokens: usize = job.shares.iter().map(|share| share.tokens.len()).sum();
        assert!(n_tokens <= shape.max_batch_tokens, "more tokens than the engine takes");
        let mut written = BTreeSet::new();
        let (mut who, mut tags) = (Vec::with_capacity(shares.len()), Vec::with_capacity(shares.len()));
        for (share, owned) in shares.iter().zip(&job.shares) {
            let sequence = &owner.conductor.slot(share).work;
            let number = number_of(sequence);
            let life = lives[number].as_mut().expect("it was taken");
            assert!(!sequence.is_finished(), "request {number} runs after its end");
            assert!(!sequence.is_paused(), "request {number} runs although its reader is behind");
            let is_past = life.ended_by_reader_at.is_some_and(|at| at < self.now);
            assert!(!is_past, "request {number} runs although its reader has given it up");
            let end = owned.start + owned.tokens.len();
            let (tokens, values) = life.story.until(end);
            assert_eq!(tokens[owned.start..], owned.tokens, "request {number} runs other tokens than its own");
            assert_eq!(owned.logits == LogitRows::Last, end == sequence.tokens().len(), "request {number}: logits");
            for (position, &value) in values[..owned.start].iter().enumerate() {
                let expected = Cell { value, tag: life.tag };
                let cell = *station.instance.memory.cell(&owned.blocks, position);
                assert_eq!(cell, expected, "request {number} reads what is not its own at {position}");
            }
            for block in &owned.blocks[owned.start / shape.block_len..end.div_ceil(shape.block_len)] {
                assert!(written.insert(block.0), "two sequences write one block");
            }
            who.push(number);
            tags.push(life.tag);
        }
        Step::new(job, who, tags)
    }

    /// A request that nobody has answered fails only where no later engine could be asked.
    pub(super) fn check_no_engine_was_left(&self, who: usize, engine_idx: usize, n_prompt: usize) {
        for station in &self.stations[engine_idx + 1..] {
            let replica = &self.runtime.inner.replicas[station.idx];
            let could = replica.is_running()
                && replica.breaker().position() == Position::Closed
                && n_prompt < replica.shape.context_len;
            assert!(!could, "request {who} failed, and engine {} was not asked", station.idx);
        }
    }

    /// After the drain there is no request, no place, no owner.
    pub(super) fn check_nothing_is_left(&self) {
        assert!(self.drained_at.is_some(), "it ends with a drain");
        assert!(self.stations.iter().all(|station| station.owner.is_none()), "an owner has not ended");
        assert!(self.lives.iter().flatten().all(|life| life.stream.is_none()), "a request has not ended");
        let admission = &self.runtime.inner.admission;
        assert_eq!((admission.n_waiting(), admission.n_queued_tokens()), (0, 0), "places were kept");
        let health = self.runtime.health();
        assert!(!health.running && health.draining && health.active_sequences == 0, "{health:?}");
        let n_probes: u32 = self.runtime.inner.replicas.iter().map(|replica| replica.breaker().probes_out()).sum();
        assert_eq!(n_probes, 0, "probes were kept");
    }
}
