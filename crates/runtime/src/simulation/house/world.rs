//! The loop: virtual time goes from one thing that happens to the next, and everything is checked in between.

use super::super::dice::Dice;
use super::super::tally::Tally;
use super::super::trace::Trace;
use super::super::woken::Woken;
use super::ledger::Ledger;
use super::played::{Played, Scripted};
use super::scenario::{Order, Scenario, Weather};
use super::visit::{Around, End, Stage};
use crate::instance_pool::{PoolStats, Timer};
use crate::lifecycle::{InstanceId, Job, Lifecycle, ModelHouse};
use crate::telemetry::Telemetry;
use ballast_backend::ReasonCode;
use ballast_testkit::VirtualClock;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What is bound to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Arrival,
    Order,
    Leave(usize),
    Job(usize),
}

type Visit<'a> = Pin<Box<dyn Future<Output = End> + 'a>>;

pub(super) struct World<'a> {
    scenario: &'a Scenario,
    dice: Dice,
    trace: &'a Trace,
    around: Rc<Around<'a>>,
    visits: Vec<Option<Visit<'a>>>,
    woken: Arc<Woken>,
    coming: BinaryHeap<Reverse<(Duration, u64, Coming)>>,
    n_coming: u64,
    jobs: Vec<Option<Job>>,
    /// Pools' timers, each with the time of its next turn.
    timers: Vec<(Timer<Played>, Option<Duration>)>,
    n_came: usize,
    version: u64,
    tally: Tally,
    /// For tests of the checks: visitors keep their permits for ever, this often in a thousand.
    pub(super) lies: u64,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64, trace: &'a Trace) -> Self {
        let clock = VirtualClock::new();
        let ledger = Arc::new(Ledger::new(clock.clone(), scenario.pool, scenario.loading, Dice::new(seed ^ 0x10ad)));
        let (spawner, loader) = (Arc::clone(&ledger), Arc::clone(&ledger));
        let house = ModelHouse::new(
            scenario.house.clone(),
            Arc::new(clock.clone()),
            Telemetry::default(),
            Box::new(move |job| spawner.spawn(job)),
            move |order, pulse| loader.load(order, pulse),
        );
        ledger.watch(house.lock_probe());
        let ids = Around::names(scenario);
        for (id, plan) in ids.iter().zip(&scenario.models) {
            ledger.note_plan(id, *plan);
            assert!(house.register(id.clone(), *plan));
        }
        let around = Around {
            scenario,
            house,
            ledger,
            clock,
            served: RefCell::new(vec![false; ids.len()]),
            ids,
            stages: RefCell::default(),
            timers: RefCell::default(),
            unloaded_at: RefCell::default(),
            n_asked: Cell::new(0),
            is_closing: Cell::new(false),
        };
        let mut world = Self {
            scenario,
            dice: Dice::new(!seed),
            trace,
            around: Rc::new(around),
            visits: Vec::new(),
            woken: Arc::default(),
            coming: BinaryHeap::new(),
            n_coming: 0,
            jobs: Vec::new(),
            timers: Vec::new(),
            n_came: 0,
            version: 1,
            tally: Tally::default(),
            lies: 0,
        };
        world.expect(Duration::ZERO, Coming::Arrival);
        world.expect_order();
        world
    }

    /// Lives until everybody has come and gone, and everything is unloaded.
    pub(super) fn run(mut self) -> Tally {
        loop {
            while let Some(next) = self.next_time() {
                self.around.clock.advance(next.saturating_sub(self.now()));
                self.happen();
                self.settle();
                self.check();
            }
            if self.around.is_closing.replace(true) {
                break;
            }
            self.close();
        }
        self.around.check_nothing_is_left(&self.tally);
        self.count();
        self.tally.asked = self.n_came;
        self.tally
    }

    fn now(&self) -> Duration {
        self.around.now()
    }

    fn expect(&mut self, at: Duration, what: Coming) {
        self.n_coming += 1;
        self.coming.push(Reverse((at, self.n_coming, what)));
    }

    fn expect_order(&mut self) {
        if let Some(gap) = self.scenario.order_gap(&mut self.dice) {
            self.expect(self.now() + gap, Coming::Order);
        }
    }

    fn next_time(&self) -> Option<Duration> {
        let coming = self.coming.peek().map(|Reverse((at, ..))| *at);
        let asleep = self.around.timers.borrow().peek().map(|Reverse((at, _))| *at);
        let pools = self.timers.iter().filter_map(|(_, at)| *at).min();
        [coming, asleep, pools, self.tick_at()].into_iter().flatten().min()
    }

    /// When the house has something to do. An empty one that only retries or expires goes on until it is closed.
    fn tick_at(&self) -> Option<Duration> {
        let is_over = self.n_came == self.scenario.n_visits && self.around.is_closing.get();
        let is_idle = !is_over && self.n_came == self.scenario.n_visits && self.visits.iter().all(Option::is_none);
        self.around.house.look(Lifecycle::next_tick_at).filter(|_| !is_idle)
    }

    fn happen(&mut self) {
        let now = self.now();
        while self.coming.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, what))) = self.coming.pop() else { break };
            match what {
                Coming::Arrival => self.arrive(),
                Coming::Order => self.order(),
                Coming::Leave(who) => self.leave(who),
                Coming::Job(idx) => {
                    let job = self.jobs[idx].take().expect("a job is carried out once");
                    self.trace.note(now, "carried out: job", idx, 0);
                    self.around.carry_out(job);
                }
            }
        }
        self.around.awake(now).into_iter().for_each(|who| self.poll(who));
        if self.tick_at().is_some_and(|at| at <= now) {
            let next = self.around.house.tick();
            assert!(next.is_none_or(|at| at > now), "the house would not sleep");
        }
        for (timer, at) in &mut self.timers {
            if at.take_if(|at| *at <= now).is_some() {
                timer.turn();
            }
        }
    }

    fn arrive(&mut self) {
        let mut plan = self.scenario.visit(&mut self.dice);
        plan.keeps = self.dice.chance(self.lies);
        self.n_came += 1;
        let who = self.visits.len();
        if let Some(after) = plan.leaves_after {
            self.expect(self.now() + after, Coming::Leave(who));
        }
        self.trace.note(self.now(), "came: visitor", who, plan.model as u64);
        let around = Rc::clone(&self.around);
        self.begin(Box::pin(async move { around.visit(who, plan).await }));
        if self.n_came < self.scenario.n_visits {
            let at = self.now() + self.scenario.gap(&mut self.dice);
            self.expect(at, Coming::Arrival);
        }
    }

    fn begin(&mut self, visit: Visit<'a>) {
        let who = self.visits.len();
        self.visits.push(Some(visit));
        self.around.stages.borrow_mut().push(Stage::Gone);
        self.poll(who);
    }

    fn order(&mut self) {
        let order = self.scenario.order(&mut self.dice);
        let (around, who) = (Rc::clone(&self.around), self.visits.len());
        match order {
            Order::Swap(idx, mode) => {
                self.version += 1;
                let plan = self.scenario.next_version(idx, self.version, &mut self.dice);
                around.ledger.note_plan(&around.ids[idx], plan);
                self.trace.note(self.now(), "swap: model, version", idx, self.version);
                self.begin(Box::pin(async move { around.swap(who, idx, plan, mode).await }));
            }
            Order::Preload(idx) => {
                let is_known = around.house.preload(&around.ids[idx]).is_ok();
                self.trace.note(self.now(), "preload: model", idx, u64::from(is_known));
            }
            Order::Unload(idx) => {
                self.trace.note(self.now(), "unload: model", idx, 0);
                self.begin(Box::pin(async move { around.unload(who, idx).await }));
            }
            Order::Replace(idx) => {
                self.trace.note(self.now(), "replace: model", idx, 0);
                around.unloaded_at.borrow_mut().insert(around.ids[idx].clone(), self.now());
                around.house.remove(&around.ids[idx]).expect("it is registered");
                assert!(around.house.register(around.ids[idx].clone(), self.scenario.models[idx]), "the name is free");
            }
            Order::Press(pressure) => {
                let n = around.house.observe_pressure(pressure);
                self.trace.note(self.now(), "pressure: models evicted", n, 0);
            }
        }
        if self.n_came < self.scenario.n_visits {
            self.expect_order();
        }
    }

    fn leave(&mut self, who: usize) {
        if self.visits[who].take().is_some() {
            self.trace.note(self.now(), "left: visitor", who, 0);
            self.end(who, "left", None);
        }
    }

    fn end(&mut self, who: usize, word: &str, reason: Option<ReasonCode>) {
        self.around.go_to(who, Stage::Gone);
        *self.tally.ends.entry(format!("{word} {}", reason.map_or("", ReasonCode::as_str))).or_default() += 1;
    }

    fn poll(&mut self, who: usize) {
        let Some(visit) = &mut self.visits[who] else { return };
        let waker = self.woken.waker(who);
        let polled = catch_unwind(AssertUnwindSafe(|| visit.as_mut().poll(&mut Context::from_waker(&waker))));
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(end)) => {
                self.visits[who] = None;
                let (word, reason) = end.words();
                self.trace.note(self.now(), word, who, 0);
                self.end(who, word, reason);
                let is_calm = self.scenario.weather == Weather::Calm;
                let is_refused = is_calm && end.is_failed_load();
                assert!(!is_refused, "a swap failed: {end:?}");
            }
            Err(panic) if panic.is::<Scripted>() => {
                self.visits[who] = None;
                self.trace.note(self.now(), "panicked: visitor", who, 0);
                self.end(who, "panicked", None);
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Who was woken looks, jobs and timers that came of it are planned, until nothing comes of anything.
    fn settle(&mut self) {
        loop {
            let (now, mut is_done) = (self.now(), true);
            for job in self.around.ledger.take_jobs() {
                let idx = self.jobs.len();
                self.jobs.push(Some(job));
                let at = now + self.job_time();
                self.expect(at, Coming::Job(idx));
                is_done = false;
            }
            let tick = self.scenario.pool.tick;
            self.timers.extend(self.around.ledger.take_timers().into_iter().map(|timer| (timer, None)));
            self.timers.retain_mut(|(timer, at)| {
                let needs_time = timer.needs_time();
                *at = at
                    .filter(|_| needs_time == Some(true))
                    .or_else(|| (needs_time == Some(true)).then_some(now + tick));
                needs_time.is_some()
            });
            let woken = self.woken.take();
            if is_done && woken.is_empty() {
                return;
            }
            woken.into_iter().for_each(|who| self.poll(who));
        }
    }

    fn job_time(&mut self) -> Duration {
        let loading = self.scenario.loading;
        if !self.around.is_closing.get() && self.dice.chance(loading.hangs) {
            return self.scenario.house.load_max.mul_f64(1.0 + 0.001 * self.dice.between(1, 2000) as f64);
        }
        self.dice.micros(1, loading.millis_max * 1000)
    }

    fn check(&self) {
        let mut pools: BTreeMap<InstanceId, PoolStats> = BTreeMap::new();
        self.around.house.each_seat(|id, model| pools.extend(model.map(|model| (id, model.pool.stats()))));
        self.around.check_books(self.jobs.iter().flatten().count(), &pools);
    }

    /// The last hour: everything is unloaded, and nothing fails.
    fn close(&mut self) {
        self.around.ledger.calm_down();
        for idx in 0..self.scenario.models.len() {
            self.trace.note(self.now(), "closed: model", idx, 0);
            let (around, who) = (Rc::clone(&self.around), self.visits.len());
            self.begin(Box::pin(async move { around.unload(who, idx).await }));
        }
        self.settle();
        self.check();
    }

    fn count(&mut self) {
        let stats = self.around.house.stats();
        let happened = [
            ("hits", stats.hits),
            ("loads", stats.loads),
            ("failed loads", stats.load_failures),
            ("loads given up", stats.cancelled),
            ("loads stuck", stats.stuck),
            ("old versions that answer again", stats.fallbacks),
            ("evictions", stats.evictions),
            ("expirations", stats.expirations),
            ("swaps", stats.swaps),
            ("runs of the loader", self.around.ledger.n_loads()),
        ];
        happened.into_iter().for_each(|(what, n)| self.tally.count(what, n));
    }
}
