//! The loop: virtual time goes from one thing that happens to the next, and everything is checked in between.

use super::dice::Dice;
use super::reader::Life;
use super::scenario::{Habit, Rules, Scenario};
use super::station::Station;
use super::tally::Tally;
use super::trace::Trace;
use super::woken::Woken;
use crate::Runtime;
use crate::breaker::Position;
use crate::runtime::RuntimeParts;
use ballast_backend::Clock;
use ballast_testkit::VirtualClock;
use ballast_tokens::Tokenizer;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

/// How long everything that was taken may take to end once nothing more comes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between requests that find out whether an engine has recovered.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// What is bound to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coming {
    Arrival,
    Read(usize),
    Leave(usize),
    Cancel(usize),
    Probe,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) dice: Dice,
    pub(super) trace: &'a Trace,
    clock: VirtualClock,
    pub(super) now: Duration,
    pub(super) coming: BinaryHeap<Reverse<(Duration, u64, Coming)>>,
    pub(super) n_coming: u64,
    pub(super) runtime: Runtime,
    pub(super) stations: Vec<Station>,
    pub(super) lives: Vec<Option<Box<Life>>>,
    pub(super) woken: Arc<Woken>,
    pub(super) n_asked: usize,
    pub(super) drained_at: Option<Duration>,
    /// The breaker of the first engine was seen open, for how many times, since when.
    pub(super) open_since: Option<(u64, Duration)>,
    pub(super) tally: Tally,
    /// For tests of the checks: engines say something else, this often in a thousand.
    pub(super) lies: u64,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64, tokenizer: &Arc<Tokenizer>, trace: &'a Trace) -> Self {
        let clock = VirtualClock::new();
        let mut parts = RuntimeParts::new(Arc::clone(tokenizer), Arc::new(clock.clone()));
        parts.options = scenario.options.clone();
        parts.policy = Some(Arc::new(Rules));
        let plans = scenario.chain.iter().enumerate();
        let (replicas, stations) = plans.map(|(idx, plan)| Station::new(idx, plan, &parts)).unzip();
        let mut world = Self {
            scenario,
            dice: Dice::new(!seed),
            trace,
            clock,
            now: Duration::ZERO,
            coming: BinaryHeap::new(),
            n_coming: 0,
            runtime: Runtime::of(replicas, parts),
            stations,
            lives: Vec::with_capacity(scenario.n_requests),
            woken: Arc::default(),
            n_asked: 0,
            drained_at: None,
            open_since: None,
            tally: Tally::default(),
            lies: 0,
        };
        world.expect(Duration::from_millis(1), Coming::Arrival);
        world
    }

    /// Lives until everything has been asked, has ended, and was drained.
    pub(super) fn run(mut self) -> Tally {
        while let Some(next) = self.next_time() {
            self.go_to(next);
            self.happen();
            self.settle();
            self.check_books();
            if self.n_asked == self.scenario.n_requests && self.is_quiet() {
                self.wind_up();
            }
        }
        self.check_nothing_is_left();
        self.tally.asked = self.n_asked;
        self.tally
    }

    pub(super) fn expect(&mut self, at: Duration, what: Coming) {
        self.n_coming += 1;
        self.coming.push(Reverse((at, self.n_coming, what)));
    }

    fn next_time(&self) -> Option<Duration> {
        let coming = self.coming.peek().map(|Reverse((at, ..))| *at);
        let wakes = self.stations.iter().filter(|station| station.owner.is_some()).filter_map(|s| s.wake_at);
        let calls = self.stations.iter().filter(|s| s.owner.is_some()).filter_map(Station::next_call_end);
        wakes.chain(calls).chain(coming).min()
    }

    fn go_to(&mut self, next: Duration) {
        let is_stuck = self.n_asked == self.scenario.n_requests && next > self.last_arrival() + PATIENCE;
        assert!(!is_stuck, "requests do not end: {:?}", self.live());
        self.clock.advance(next.saturating_sub(self.now));
        self.now = self.clock.now();
    }

    fn last_arrival(&self) -> Duration {
        let last_heal = self.stations.iter().map(|station| station.plan.heals_at).max().unwrap_or_default();
        self.lives.iter().rev().flatten().next().map_or(self.now, |life| life.submitted_at).max(last_heal)
    }

    pub(super) fn live(&self) -> Vec<usize> {
        self.lives.iter().flatten().filter(|life| life.stream.is_some()).map(|life| life.who).collect()
    }

    fn happen(&mut self) {
        while let Some(Reverse((_, _, what))) = {
            let is_due = self.coming.peek().is_some_and(|Reverse((at, ..))| *at <= self.now);
            if is_due { self.coming.pop() } else { None }
        } {
            match what {
                Coming::Arrival => self.arrive(),
                Coming::Read(who) => self.read(who),
                Coming::Leave(who) => self.leave(who),
                Coming::Cancel(who) => self.cancel(who),
                Coming::Probe => self.probe(),
            }
        }
        for idx in 0..self.stations.len() {
            self.end_calls(idx);
        }
    }

    pub(super) fn drain(&mut self, patience: Duration) {
        self.trace.note(self.now, "drained, ms of patience:", 0, u64::try_from(patience.as_millis()).unwrap());
        self.drained_at = Some(self.now + patience);
        self.runtime.drain(patience);
    }

    /// Owners and readers take turns until none has anything to do.
    pub(super) fn settle(&mut self) {
        loop {
            let mut is_done = true;
            for idx in 0..self.stations.len() {
                is_done &= !self.turn(idx);
            }
            let woken = self.woken.take();
            if is_done && woken.is_empty() {
                return;
            }
            woken.into_iter().for_each(|who| self.on_woken(who));
        }
    }

    /// A turn of an owner that has something to do. Whether it had.
    fn turn(&mut self, idx: usize) -> bool {
        let now = self.now;
        let (lag, is_due) = (self.scenario.lag, self.stations[idx].wake_at.is_some_and(|at| at <= now));
        if !lag.is_zero() && !is_due && (self.stations[idx].is_behind || self.dice.chance(500)) {
            return self.put_off(idx, lag);
        }
        let station = &mut self.stations[idx];
        station.is_behind = false;
        station.beat(now);
        let Some(owner) = &mut station.owner else { return false };
        let n_heard = owner.take_in_the_rest();
        if n_heard == 0 && station.wake_at.is_none_or(|at| at > now) {
            return false;
        }
        let is_over = owner.is_over_after_a_turn(now);
        station.wake_at = owner.wake_at(now);
        if let Some(at) = station.wake_at {
            // A turn in which nothing was left to do asks for none before its time.
            assert!(at > now || is_over, "engine {idx}: its owner would not sleep");
        }
        if is_over {
            owner.end_requests();
            self.trace.note(now, "over: engine", idx, 0);
            station.owner = None;
        }
        self.note_losses(idx);
        if let Some(generation) = self.stations[idx].take_newborn(now, &mut self.dice) {
            self.trace.note(now, "opening: engine", idx, generation);
            self.tally.count("openings", 1);
        }
        self.begin_step(idx);
        self.stations[idx].beat(now);
        true
    }

    /// Lets the owner look later.
    fn put_off(&mut self, idx: usize, lag: Duration) -> bool {
        let station = &mut self.stations[idx];
        if !std::mem::replace(&mut station.is_behind, true) {
            let at = self.now + self.dice.micros(1, 1 + u64::try_from(lag.as_micros()).expect("it is below a second"));
            station.wake_at = Some(station.wake_at.map_or(at, |due| due.min(at)));
        }
        false
    }

    /// Nothing is asked, and nobody works: requests that were taken have ended, or their readers do not read.
    pub(super) fn is_quiet(&self) -> bool {
        let no_work = |station: &Station| {
            !station.is_behind && station.owner.as_ref().is_none_or(|owner| owner.conductor.scheduler().is_idle())
        };
        self.stations.iter().all(no_work)
            && self.lives.iter().flatten().all(|life| life.stream.is_none() || life.stalled_at.is_some())
    }

    /// The last hours: those that stalled read after all, engines recover, and the runtime is drained.
    fn wind_up(&mut self) {
        let stalled: Vec<usize> = self.live();
        for &who in &stalled {
            self.lives[who].iter_mut().for_each(|life| life.habit = Habit::Prompt);
        }
        if !stalled.is_empty() {
            stalled.into_iter().for_each(|who| self.read(who));
            self.settle();
        }
        if self.is_quiet() && self.drained_at.is_none() {
            if self.is_recovered() {
                self.count_engines();
                self.drain(Duration::from_millis(100));
                self.settle();
            } else if self.coming.is_empty() {
                self.expect(self.now + PROBE_EVERY, Coming::Probe);
            }
        }
    }

    /// Whether the first engine passes calls again, or never will.
    fn is_recovered(&self) -> bool {
        let (station, replica) = (&self.stations[0], &self.runtime.inner.replicas[0]);
        station.owner.is_none() || replica.breaker().position() == Position::Closed
    }
}
