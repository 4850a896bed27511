//! What engines are asked and what they tell, and who bears the blame.

use super::checks::number_of;
use super::engine::Course;
use super::scenario::MEMORY_BYTES_MAX;
use super::world::World;
use crate::breaker::{Parity, Position};
use crate::scheduler::Work;
use ballast_backend::{ErrorKind, LogitRows};

impl World<'_> {
    pub(super) fn end_calls(&mut self, idx: usize) {
        let told = self.stations[idx].end_calls(self.now, &mut self.dice);
        for told in told {
            let station = &self.stations[idx];
            let is_present = told.generation == station.instance.generation && station.owner.is_some();
            self.tally.count("answers of instances given up", u64::from(!is_present));
            let leaks = station.plan.temper.leaks > 0;
            let Some(who) = told.who else {
                self.trace.note(self.now, "opened: engine", idx, told.generation);
                continue;
            };
            self.trace.note(self.now, told.course.word(), idx, told.generation);
            if leaks {
                self.observe_memory(idx);
            }
            self.compare(idx);
            match told.course {
                Course::Failed(ErrorKind::Invalid) if who.len() == 1 => {
                    self.lives[who[0]].iter_mut().for_each(|life| life.is_refused = true);
                }
                Course::Failed(ErrorKind::Cancelled) if !self.are_awaited(idx, &who) => {}
                Course::Failed(_) | Course::Panicked if is_present => self.note_faults(idx, &who),
                Course::Done if is_present => self.note_progress(idx, &told.sampled),
                Course::Done | Course::Failed(_) | Course::Panicked => {}
            }
        }
    }

    /// A comparison with the reference engine, now and then; whenever the breaker waits for one.
    pub(super) fn compare(&mut self, idx: usize) {
        let is_off = self.now < self.stations[idx].plan.heals_at && self.stations[idx].plan.temper.drifts;
        let breaker = self.runtime.inner.replicas[idx].breaker();
        if is_off && self.dice.chance(20) {
            breaker.observe_parity(Parity::Exceeded, self.now);
            assert_ne!(breaker.position(), Position::Closed, "wrong numbers do not open the breaker");
        } else if breaker.wants_parity() {
            breaker.observe_parity(Parity::Within, self.now);
        }
    }

    /// Whether some of these requests have not ended.
    pub(super) fn are_awaited(&self, idx: usize, who: &[usize]) -> bool {
        let Some(owner) = &self.stations[idx].owner else { return false };
        let mut slots = owner.conductor.scheduler().slots();
        slots.any(|slot| !slot.work.is_finished() && who.contains(&number_of(&slot.work)))
    }

    pub(super) fn observe_memory(&mut self, idx: usize) {
        let station = &self.stations[idx];
        let bytes = if self.now < station.plan.heals_at { station.memory_bytes } else { 0 };
        let breaker = self.runtime.inner.replicas[idx].breaker();
        breaker.observe_memory(bytes, self.now);
        let is_over = bytes > MEMORY_BYTES_MAX;
        assert!(!is_over || breaker.position() == Position::Open, "too much memory does not open the breaker");
    }

    /// What became of the step of an instance that was lost, as its requests will be told.
    pub(super) fn note_losses(&mut self, idx: usize) {
        let Some(who) = self.stations[idx].take_stall() else { return };
        self.trace.note(self.now, "stalled: engine", idx, who.len() as u64);
        self.tally.count("stalls", 1);
        self.note_faults(idx, &who);
    }

    pub(super) fn note_faults(&mut self, idx: usize, who: &[usize]) {
        for &who in who {
            if let Some(life) = &mut self.lives[who] {
                life.n_faults[idx] += 1;
                life.n_faults_in_a_row[idx] += 1;
            }
        }
    }

    /// A token of theirs: what failed before does not count against them any more, but in their whole life.
    fn note_progress(&mut self, idx: usize, sampled: &[usize]) {
        for &who in sampled {
            if let Some(life) = &mut self.lives[who] {
                life.n_faults_in_a_row[idx] = 0;
            }
        }
    }

    /// Hands a planned step to the engine, which looks whether it may be so.
    pub(super) fn begin_step(&mut self, idx: usize) {
        let Some(job) = self.stations[idx].take_job() else { return };
        if self.stations[idx].owner.is_none() {
            return; // The owner's last step: its requests have ended.
        }
        let step = self.check_step(idx, job);
        let is_poisoned = step.who.iter().any(|&who| self.lives[who].as_ref().is_some_and(|life| life.is_poison));
        self.tally.count("steps", 1);
        self.tally.count("shares", step.who.len() as u64);
        self.trace.note(self.now, "steps: engine", idx, step.who.first().map_or(0, |&who| who as u64));
        let station = &mut self.stations[idx];
        station.begin(step, is_poisoned, self.now, &mut self.dice);
        if self.lies > 0 && self.dice.chance(self.lies) {
            self.lie(idx);
        }
    }

    /// Spoils a position that the step relies on: a wrong engine, for tests of the checks.
    pub(super) fn lie(&mut self, idx: usize) {
        let instance = &mut self.stations[idx].instance;
        let Some(step) = instance.call.as_ref().and_then(|call| call.step.as_ref()) else { return };
        let share = &step.job.shares[0];
        if share.start > 0 && share.logits == LogitRows::Last {
            instance.memory.cell(&share.blocks, share.start - 1).value ^= 1;
        }
    }

    pub(super) fn count_engines(&mut self) {
        for station in &self.stations {
            let Some(owner) = &station.owner else { continue };
            let (scheduler, counts) = (owner.conductor.scheduler(), owner.conductor.counts());
            let trips = self.runtime.inner.replicas[station.idx].breaker().counters().trips();
            let happened = [
                ("preemptions", scheduler.n_preempted()),
                ("evicted blocks", scheduler.n_evicted_blocks()),
                ("crashes", counts.n_crashed),
                ("restarts", counts.n_restarts),
                ("breaker openings", trips),
            ];
            for (what, n) in happened {
                self.tally.count(what, n);
            }
        }
    }
}
