//! The loop: virtual time goes from one thing that happens to the next, and everything is checked in between.

use super::checks::number_of;
use super::dice::Dice;
use super::engine::Course;
use super::reader::{Around, Life, TICK, Woken};
use super::scenario::{Asked, CAPPED_TOKENS, Habit, MEMORY_BYTES_MAX, Rules, Scenario};
use super::station::{NAMES, Station};
use super::trace::Trace;
use crate::breaker::{Parity, Position};
use crate::runtime::RuntimeParts;
use crate::scheduler::Work;
use crate::{CorrelationId, Event, FinishReason, Runtime, RuntimeError, Summary};
use ballast_backend::{Clock, ErrorKind, LogitRows, ReasonCode};
use ballast_testkit::VirtualClock;
use ballast_tokens::Tokenizer;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// How long everything that was taken may take to end once nothing more comes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between requests that find out whether an engine has recovered.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// What is bound to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Arrival,
    Read(usize),
    Leave(usize),
    Cancel(usize),
    Probe,
}

/// What became of the requests, and what happened on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) asked: usize,
    pub(super) ends: BTreeMap<String, usize>,
    pub(super) happened: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn count(&mut self, what: &'static str, n: u64) {
        *self.happened.entry(what).or_default() += n;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        for (end, n) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += n;
        }
        for (&what, n) in &other.happened {
            self.count(what, *n);
        }
    }
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    dice: Dice,
    trace: &'a Trace,
    clock: VirtualClock,
    pub(super) now: Duration,
    coming: BinaryHeap<Reverse<(Duration, u64, Coming)>>,
    n_coming: u64,
    pub(super) runtime: Runtime,
    pub(super) stations: Vec<Station>,
    pub(super) lives: Vec<Option<Box<Life>>>,
    woken: Arc<Woken>,
    n_asked: usize,
    pub(super) drained_at: Option<Duration>,
    /// The breaker of the first engine was seen open, for how many times, since when.
    open_since: Option<(u64, Duration)>,
    tally: Tally,
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

    fn expect(&mut self, at: Duration, what: Coming) {
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

    fn live(&self) -> Vec<usize> {
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

    fn arrive(&mut self) {
        let asked = self.scenario.ask(&mut self.dice);
        self.submit(asked);
        if let Some((_, patience)) = self.scenario.drain.filter(|(at, _)| *at == self.n_asked) {
            self.drain(patience);
        }
        if self.n_asked < self.scenario.n_requests {
            let at = self.now + self.scenario.gap(&mut self.dice);
            self.expect(at, Coming::Arrival);
        }
    }

    fn submit(&mut self, mut asked: Asked) {
        let who = self.lives.len();
        asked.request.correlation = Some(CorrelationId::from_number(who as u64));
        let cap = (asked.request.tenant.as_str() == "capped").then_some(CAPPED_TOKENS);
        let mut life = Box::new(Life::new(who, &asked, cap, self.now, &self.woken));
        self.n_asked += 1;
        let before = self.runtime.health();
        match self.runtime.submit(asked.request) {
            Ok(stream) => {
                self.trace.note(self.now, "taken: request", who, life.n_prompt as u64);
                self.check_open_ends(life.n_prompt);
                assert!(self.drained_at.is_none(), "request {who} was taken while draining");
                assert_ne!(life.tenant.as_str(), "blocked", "request {who} was to be blocked");
                (life.canceller, life.stream) = (stream.canceller(), Some(stream));
                self.lives.push(Some(life));
                self.begin_reading(who);
            }
            Err(error) => {
                self.check_refusal(&life, &error, &before);
                if matches!(error, RuntimeError::CircuitOpen { .. }) {
                    self.check_open_ends(life.n_prompt);
                }
                let word = error.reason().map_or("invalid", ReasonCode::as_str);
                *self.tally.ends.entry(format!("refused {word}")).or_default() += 1;
                self.lives.push(None);
            }
        }
    }

    fn begin_reading(&mut self, who: usize) {
        let Some(life) = &self.lives[who] else { return };
        match life.habit {
            Habit::LeavesAfter(after) => self.expect(self.now + after, Coming::Leave(who)),
            Habit::CancelsAfter(after) => self.expect(self.now + after, Coming::Cancel(who)),
            Habit::Prompt | Habit::Slow(_) | Habit::Stalls(_) | Habit::LeavesAt(_) => {}
        }
        self.on_woken(who);
    }

    fn on_woken(&mut self, who: usize) {
        let Some(life) = &self.lives[who] else { return };
        match life.habit {
            Habit::Slow(pause) => self.expect(self.now + pause, Coming::Read(who)),
            Habit::Prompt | Habit::Stalls(_) | Habit::LeavesAt(_) | Habit::LeavesAfter(_) | Habit::CancelsAfter(_) => {
                self.read(who);
            }
        }
    }

    /// Reads what there is, as the reader does.
    fn read(&mut self, who: usize) {
        loop {
            let Some(life) = self.lives[who].as_mut().filter(|life| life.stream.is_some()) else { return };
            match life.habit {
                Habit::Stalls(n) if life.n_read >= n => {
                    life.stalled_at.get_or_insert(self.now);
                    return;
                }
                Habit::LeavesAt(n) if life.n_read >= n => return self.leave(who),
                _ => {}
            }
            let Some(event) = life.poll() else { return };
            match event {
                Event::Token(token) => life.check_token(&token, self.now),
                Event::Done(summary) => return self.end(who, &summary),
            }
            if let Habit::Slow(pause) = life.habit {
                return self.expect(self.now + pause, Coming::Read(who));
            }
        }
    }

    fn end(&mut self, who: usize, summary: &Summary) {
        let Some(life) = self.lives[who].as_mut() else { return };
        let engine_idx = NAMES.iter().position(|name| *name == summary.engine);
        let engine_idx = engine_idx.unwrap_or_else(|| panic!("request {who} was lost: {summary:?}"));
        self.trace.note(self.now, "ended: request", who, engine_idx as u64);
        let station = &self.stations[engine_idx];
        let around = Around {
            engine_idx,
            context_len: crate::owner::usable(&station.plan.shape).context_len,
            attempts_max: self.scenario.options.supervision.attempts.0,
            is_lost: station.owner.is_none() && self.drained_at.is_none() && !station.plan.reopens
                || (!station.plan.reopens && station.instance.is_gone_or_given_up()),
            is_draining: self.drained_at.is_some(),
            slow_reader_max: self.scenario.options.slow_reader_max,
            queue_bound: self.scenario.queue_bound,
            tick: TICK + self.scenario.lag * 2,
        };
        life.check_end(summary, &around);
        life.stream = None;
        let (is_error, n_read, n_prompt) = (summary.finish_reason == FinishReason::Error, life.n_read, life.n_prompt);
        let is_poison = life.is_poison;
        if is_error && n_read == 0 {
            self.check_no_engine_was_left(who, engine_idx, n_prompt);
        }
        assert!(!is_error || self.scenario.weather.has_faults(), "request {who} failed on healthy engines");
        assert!(
            !is_poison || is_error || summary.finish_reason == FinishReason::Cancelled,
            "poison {who} was answered"
        );
        let word = summary.reason.map_or("", ReasonCode::as_str);
        *self.tally.ends.entry(format!("{} {word}", summary.finish_reason.as_str())).or_default() += 1;
        self.tally.count("cached prompt tokens", summary.usage.cached_tokens as u64);
        self.tally.count("tokens", n_read as u64);
        self.tally.count("went on at another engine", u64::from(engine_idx > 0));
        self.tally.count("retried", u64::from(summary.degraded.contains(&ReasonCode::Retried)));
        self.tally
            .count("answered after a retry", u64::from(!is_error && summary.degraded.contains(&ReasonCode::Retried)));
    }

    fn leave(&mut self, who: usize) {
        let Some(life) = self.lives[who].as_mut().filter(|life| life.stream.is_some()) else { return };
        self.trace.note(self.now, "left: request", who, life.n_read as u64);
        life.ended_by_reader_at = Some(self.now);
        life.stream = None;
        *self.tally.ends.entry("reader left".to_owned()).or_default() += 1;
    }

    fn cancel(&mut self, who: usize) {
        let Some(life) = self.lives[who].as_mut().filter(|life| life.stream.is_some()) else { return };
        self.trace.note(self.now, "cancelled: request", who, life.n_read as u64);
        life.ended_by_reader_at = Some(self.now);
        life.canceller.cancel();
    }

    pub(super) fn drain(&mut self, patience: Duration) {
        self.trace.note(self.now, "drained, ms of patience:", 0, u64::try_from(patience.as_millis()).unwrap());
        self.drained_at = Some(self.now + patience);
        self.runtime.drain(patience);
    }

    fn end_calls(&mut self, idx: usize) {
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
                Course::Done | Course::Failed(_) | Course::Panicked => {}
            }
        }
    }

    /// A comparison with the reference engine, now and then; whenever the breaker waits for one.
    fn compare(&mut self, idx: usize) {
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
    fn are_awaited(&self, idx: usize, who: &[usize]) -> bool {
        let Some(owner) = &self.stations[idx].owner else { return false };
        let mut slots = owner.conductor.scheduler().slots();
        slots.any(|slot| !slot.work.is_finished() && who.contains(&number_of(&slot.work)))
    }

    fn observe_memory(&mut self, idx: usize) {
        let station = &self.stations[idx];
        let bytes = if self.now < station.plan.heals_at { station.memory_bytes } else { 0 };
        let breaker = self.runtime.inner.replicas[idx].breaker();
        breaker.observe_memory(bytes, self.now);
        let is_over = bytes > MEMORY_BYTES_MAX;
        assert!(!is_over || breaker.position() == Position::Open, "too much memory does not open the breaker");
    }

    /// Owners and readers take turns until none has anything to do.
    fn settle(&mut self) {
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

    /// What became of the step of an instance that was lost, as its requests will be told.
    fn note_losses(&mut self, idx: usize) {
        let Some(who) = self.stations[idx].take_stall() else { return };
        self.trace.note(self.now, "stalled: engine", idx, who.len() as u64);
        self.tally.count("stalls", 1);
        self.note_faults(idx, &who);
    }

    pub(super) fn note_faults(&mut self, idx: usize, who: &[usize]) {
        for &who in who {
            if let Some(life) = &mut self.lives[who] {
                life.n_faults[idx] += 1;
            }
        }
    }

    /// Hands a planned step to the engine, which looks whether it may be so.
    fn begin_step(&mut self, idx: usize) {
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
    fn lie(&mut self, idx: usize) {
        let instance = &mut self.stations[idx].instance;
        let Some(step) = instance.call.as_ref().and_then(|call| call.step.as_ref()) else { return };
        let share = &step.job.shares[0];
        if share.start > 0 && share.logits == LogitRows::Last {
            instance.memory.cell(&share.blocks, share.start - 1).value ^= 1;
        }
    }

    /// Nothing is asked, and nobody works: requests that were taken have ended, or their readers do not read.
    fn is_quiet(&self) -> bool {
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

    fn probe(&mut self) {
        if self.drained_at.is_none() {
            self.observe_memory(0);
            self.submit(self.scenario.probe());
            self.n_asked -= 1;
        }
    }

    fn count_engines(&mut self) {
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

    /// An open breaker ends: once its time has passed, whoever asks finds it half open.
    fn check_open_ends(&mut self, n_prompt: usize) {
        let replica = &self.runtime.inner.replicas[0];
        let (position, trips) = (replica.breaker().position(), replica.breaker().counters().trips());
        let is_asked = replica.is_running() && n_prompt < replica.shape.context_len;
        self.open_since = match self.open_since.filter(|(earlier, _)| *earlier == trips) {
            Some((_, since)) if position == Position::Open => {
                let is_over = self.now > since + self.scenario.options.breaker.open_for.max;
                assert!(!is_over || !is_asked, "a breaker is open since {since:?}");
                Some((trips, since))
            }
            None if position == Position::Open => Some((trips, self.now)),
            Some(_) | None => None,
        };
    }

    /// Only these refusals, and only for their reasons.
    fn check_refusal(&self, life: &Life, error: &RuntimeError, before: &crate::Health) {
        let who = life.who;
        let options = &self.scenario.options.admission;
        let context_len = self.runtime.shape().context_len;
        match error {
            RuntimeError::ContextLengthExceeded { .. } => assert!(life.n_prompt >= context_len),
            RuntimeError::QueueFull { .. } => assert!(before.waiting_requests >= options.queue_max),
            RuntimeError::QueuedTokensFull { .. } => {
                assert!(before.queued_tokens > 0 && before.queued_tokens + life.n_prompt > options.queued_tokens_max);
            }
            RuntimeError::Draining => assert!(self.drained_at.is_some(), "request {who}: nothing is drained"),
            RuntimeError::PolicyBlocked { .. } => assert_eq!(life.tenant.as_str(), "blocked"),
            RuntimeError::CircuitOpen { .. } => {
                let takes = |engine: &crate::EngineHealth| engine.breaker == Position::Closed;
                let running = before.engines.iter().zip(&self.stations).filter(|(_, station)| station.owner.is_some());
                let mut fits = running.filter(|(_, s)| life.n_prompt < crate::owner::usable(&s.plan.shape).context_len);
                assert!(!fits.any(|(engine, _)| takes(engine)), "request {who}: an engine could be asked");
            }
            RuntimeError::Stopped => {
                let takes = |station: &Station| station.owner.is_some();
                let mut fits =
                    self.stations.iter().filter(|s| life.n_prompt < crate::owner::usable(&s.plan.shape).context_len);
                assert!(!fits.any(takes), "request {who}: an engine runs");
            }
            other => panic!("request {who} was refused: {other}"),
        }
    }
}
