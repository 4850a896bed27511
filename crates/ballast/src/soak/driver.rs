//! The loop of a soak: lets requests come, polls their readers, strikes workers, takes samples.

use super::client::{Client, Outcome};
use super::ledger::Ledger;
use super::processes::{Blow, Count, resident_bytes, strike, workers};
use super::traffic::{Ask, Dice, N_CHATS, TOTAL_MAX, Topic, Traffic};
use super::{SoakOptions, SoakProgress};
use crate::telemetry::{Growth, GrowthMeter, GrowthOptions, HistogramSnapshot, Timing};
use crate::{Engine, Error, FinishReason, Generate, RuntimeError, SystemClock};
use ballast_backend::Clock;
use ballast_runtime::breaker::Position;
use ballast_tokens::ChatMessage;
use std::collections::{BTreeSet, VecDeque};
use std::task::{Context, Waker};
use std::time::Duration;

/// Wait of the loop.
const TICK: Duration = Duration::from_millis(1);
/// Between two samples of memory.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Between two words of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// What is added to a request's own bound before it counts as stuck.
const STUCK_GRACE: Duration = Duration::from_secs(10);
/// Turns of a conversation before it begins anew.
const TURNS_MAX: usize = 20;
/// Part of the load, and the longest time, after which memory is looked at: by then tokenizer, allocator and threads
/// have what they keep.
const WARM_SHARE: u32 = 4;
const WARM_MAX: Duration = Duration::from_secs(60);
/// Samples at each end of a run by which its memory is compared.
const END_SAMPLES: usize = 20;

/// The most an engine answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    pub(super) requests_per_second: f64,
    pub(super) tokens_per_second: f64,
}

/// What the load showed.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) ledger: Ledger,
    /// Tokens of whole answers, per second while requests came.
    pub(super) good_tokens_per_second: f64,
    pub(super) inter_token: Option<HistogramSnapshot>,
    pub(super) n_struck: u64,
    pub(super) n_restarts: u64,
    pub(super) n_trips: u64,
    pub(super) n_waiting_max: usize,
    pub(super) queue_max: usize,
    pub(super) growth: Growth,
    /// The growth by work, which needs less time to show.
    pub(super) growth_by_work: Growth,
    /// Memory at the end as a share of that at the beginning, in percent more.
    pub(super) more_memory_pct: Option<f64>,
    /// The workers' memory is in these figures.
    pub(super) has_workers: bool,
}

#[derive(Debug, Default)]
struct Chat {
    history: Vec<ChatMessage>,
    is_busy: bool,
}

/// What is looked at now and then.
#[derive(Debug)]
struct Samples {
    next_at: Duration,
    growth: GrowthMeter,
    growth_by_work: GrowthMeter,
    first: Vec<u64>,
    last: VecDeque<u64>,
    n_samples: usize,
    was_open: Vec<bool>,
    n_trips: u64,
    n_waiting_max: usize,
}

pub(super) struct Driver<'a> {
    engine: &'a Engine,
    clock: SystemClock,
    traffic: Traffic,
    dice: Dice,
    strikes_per_minute: f64,
    clients: Vec<Client>,
    chats: Vec<Chat>,
    ledger: Ledger,
    struck: BTreeSet<u32>,
    samples: Samples,
    next_progress_at: Duration,
    on_progress: &'a mut dyn FnMut(&SoakProgress),
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        options: &SoakOptions,
        clock: SystemClock,
        on_progress: &'a mut dyn FnMut(&SoakProgress),
    ) -> Self {
        let context_len = engine.runtime().shape().context_len;
        Self {
            engine,
            clock,
            traffic: Traffic::new(options.seed, options.faults, context_len),
            dice: Dice::new(options.seed ^ 0x5eed),
            strikes_per_minute: options.strikes_per_minute,
            clients: Vec::new(),
            chats: std::iter::repeat_with(Chat::default).take(N_CHATS).collect(),
            ledger: Ledger::default(),
            struck: BTreeSet::new(),
            samples: Samples::new(options.duration),
            next_progress_at: Duration::ZERO,
            on_progress,
        }
    }

    /// Keeps the batch full for a while and measures what comes out.
    pub(super) fn calibrate(&mut self, time: Duration) -> Peak {
        let n_in_flight = self.engine.runtime().shape().max_batch_sequences * 2;
        let start = self.clock.now();
        while self.clock.now() < start + time {
            for _ in self.clients.len()..n_in_flight {
                self.submit();
            }
            self.turn("calibration");
        }
        let seconds = (self.clock.now() - start).as_secs_f64();
        let n_ended = self.ledger.n_admitted.saturating_sub(self.clients.len() as u64);
        let peak = Peak {
            requests_per_second: n_ended as f64 / seconds,
            tokens_per_second: self.ledger.n_good_tokens as f64 / seconds,
        };
        self.drain();
        self.ledger = Ledger::default();
        peak
    }

    /// Lets requests come at a rate, whatever becomes of them; then waits until all have ended.
    pub(super) fn load(mut self, per_second: f64, time: Duration) -> Load {
        let n_restarts_before = self.n_restarts();
        let gaps_before = self.inter_token();
        self.samples = Samples::new(time);
        let start = self.clock.now();
        self.samples.next_at = start + (time / WARM_SHARE).min(WARM_MAX);
        let mut next_at = start;
        let mut strike_at = start.saturating_add(self.strike_gap());
        while self.clock.now() < start + time {
            let now = self.clock.now();
            while next_at <= now {
                self.submit();
                next_at = next_at.saturating_add(self.traffic.gap(per_second));
            }
            if now >= strike_at {
                self.strike();
                strike_at = now.saturating_add(self.strike_gap());
            }
            self.sample(now);
            self.turn("load");
        }
        let seconds = (self.clock.now() - start).as_secs_f64();
        let good_tokens_per_second = self.ledger.n_good_tokens as f64 / seconds;
        self.drain();
        let inter_token = self.inter_token().zip(gaps_before).map(|(after, before)| after.since(&before));
        Load {
            good_tokens_per_second,
            inter_token,
            n_struck: self.struck.len() as u64,
            n_restarts: self.n_restarts() - n_restarts_before,
            n_trips: self.samples.n_trips,
            n_waiting_max: self.samples.n_waiting_max,
            queue_max: super::soak_runtime().admission.queue_max,
            growth: self.samples.growth.growth(),
            growth_by_work: self.samples.growth_by_work.growth(),
            more_memory_pct: self.samples.more_memory_pct(),
            has_workers: self.counts() == Count::WithWorkers,
            ledger: self.ledger,
        }
    }

    /// One round: every reader is polled, and a word is said now and then.
    fn turn(&mut self, stage: &'static str) {
        self.poll_clients();
        let now = self.clock.now();
        if now >= self.next_progress_at {
            self.next_progress_at = now + PROGRESS_EVERY;
            (self.on_progress)(&SoakProgress {
                stage,
                elapsed: now,
                n_admitted: self.ledger.n_admitted,
                n_answered: self.ledger.n_answered,
                n_refused: self.ledger.n_refused(),
                n_in_flight: self.clients.len(),
                n_struck: self.struck.len() as u64,
                resident_bytes: resident_bytes(Count::WithWorkers),
            });
        }
        std::thread::sleep(TICK);
    }

    fn poll_clients(&mut self) {
        let now = self.clock.now();
        let mut context = Context::from_waker(Waker::noop());
        let mut idx = 0;
        while idx < self.clients.len() {
            match self.clients[idx].poll(now, &mut context) {
                None => idx += 1,
                Some(outcome) => {
                    let client = self.clients.swap_remove(idx);
                    self.end(&client, &outcome);
                }
            }
        }
    }

    fn end(&mut self, client: &Client, outcome: &Outcome) {
        self.ledger.end(client.conduct, outcome);
        let Some(chat) = client.chat_idx.map(|idx| &mut self.chats[idx]) else { return };
        chat.is_busy = false;
        let is_answered = match outcome {
            Outcome::Ended { summary, text } => {
                chat.history.push(message("assistant", text));
                matches!(summary.finish_reason, FinishReason::Stop | FinishReason::Length)
            }
            Outcome::Left | Outcome::Silent => false,
        };
        if !is_answered || chat.history.len() >= 2 * TURNS_MAX {
            chat.history.clear();
        }
    }

    /// Asks for the next answer of the traffic.
    fn submit(&mut self) {
        let ask = self.traffic.ask();
        let (prompt, chat_idx) = self.prompt(&ask);
        let began = self.clock.now();
        match self.engine.stream(&ask.generate(prompt)) {
            Ok(stream) => {
                self.ledger.n_admitted += 1;
                self.clients.push(Client::new(stream, ask.conduct, chat_idx, began));
            }
            Err(error) => {
                self.refused(chat_idx, &error, self.clock.now() - began);
            }
        }
    }

    fn refused(&mut self, chat_idx: Option<usize>, error: &Error, took: Duration) {
        if let Some(chat) = chat_idx.map(|idx| &mut self.chats[idx]) {
            *chat = Chat::default();
        }
        // A conversation that has become too long begins anew; nobody was refused anything.
        let Error::Runtime(error) = error else {
            return tracing::error!(%error, "a request of the soak cannot be asked");
        };
        if !matches!(error, RuntimeError::ContextLengthExceeded { .. }) {
            self.ledger.refuse(error, took);
        }
    }

    /// The prompt, and the conversation it belongs to. While that waits for an answer, its message stands alone.
    fn prompt(&mut self, ask: &Ask) -> (Generate, Option<usize>) {
        match &ask.topic {
            Topic::Text(text) => (Generate::chat(text.clone()), None),
            Topic::Turn { chat_idx, message: text } if self.chats[*chat_idx].is_busy => {
                (Generate::chat(text.clone()), None)
            }
            Topic::Turn { chat_idx, message: text } => {
                let chat = &mut self.chats[*chat_idx];
                chat.is_busy = true;
                chat.history.push(message("user", text));
                (Generate::messages(chat.history.clone()), Some(*chat_idx))
            }
        }
    }

    /// Waits for those in flight; what does not end within its bound is stuck.
    fn drain(&mut self) {
        while !self.clients.is_empty() {
            self.turn("drain");
            let now = self.clock.now();
            let is_stuck = |client: &Client| client.age(now) > TOTAL_MAX + STUCK_GRACE;
            self.ledger.n_stuck += self.clients.iter().filter(|client| is_stuck(client)).count() as u64;
            self.clients.retain(|client| !is_stuck(client));
        }
    }

    fn strike_gap(&mut self) -> Duration {
        if self.strikes_per_minute > 0.0 { self.dice.gap(self.strikes_per_minute / 60.0) } else { Duration::MAX }
    }

    /// Kills a worker, or stops it so that the watchdog has to find out. Each is struck once.
    fn strike(&mut self) {
        let Some(pid) = workers().into_iter().find(|pid| !self.struck.contains(pid)) else { return };
        let blow = if self.dice.below(8) == 0 { Blow::Stop } else { Blow::Kill };
        if strike(pid, blow) {
            self.struck.insert(pid);
        }
    }

    fn n_restarts(&self) -> u64 {
        self.engine.runtime().health().engines.iter().map(|engine| engine.restarts).sum()
    }

    fn inter_token(&self) -> Option<HistogramSnapshot> {
        self.engine.runtime().telemetry().metrics.as_ref().map(|metrics| metrics.timing(Timing::InterToken))
    }

    /// A worker that is replaced takes its memory along: where workers are struck, only this process's tells anything.
    fn counts(&self) -> Count {
        if self.strikes_per_minute > 0.0 { Count::Own } else { Count::WithWorkers }
    }

    fn sample(&mut self, now: Duration) {
        let health = self.engine.runtime().health();
        self.samples.n_waiting_max = self.samples.n_waiting_max.max(health.waiting_requests);
        let is_open = |position| matches!(position, Position::Open | Position::ForcedOpen);
        self.samples.see_breakers(health.engines.iter().map(|engine| is_open(engine.breaker)).collect());
        if now < self.samples.next_at {
            return;
        }
        self.samples.next_at = now + SAMPLE_EVERY;
        if let Some(bytes) = resident_bytes(self.counts()) {
            self.samples.add(now, bytes, self.ledger.n_admitted);
        }
    }
}

impl Samples {
    fn new(time: Duration) -> Self {
        let options = GrowthOptions { window: time, ..GrowthOptions::default() };
        let by_work = GrowthOptions { time_min: Duration::from_secs(60), ..options };
        Self {
            next_at: Duration::ZERO,
            growth: GrowthMeter::new(options),
            growth_by_work: GrowthMeter::new(by_work),
            first: Vec::new(),
            last: VecDeque::new(),
            n_samples: 0,
            was_open: Vec::new(),
            n_trips: 0,
            n_waiting_max: 0,
        }
    }

    fn add(&mut self, now: Duration, bytes: u64, n_requests: u64) {
        self.growth.add(now, bytes, n_requests);
        self.growth_by_work.add(now, bytes, n_requests);
        self.n_samples += 1;
        if self.first.len() < END_SAMPLES {
            self.first.push(bytes);
        }
        if self.last.len() == END_SAMPLES {
            self.last.pop_front();
        }
        self.last.push_back(bytes);
    }

    fn see_breakers(&mut self, is_open: Vec<bool>) {
        let was_open = |idx: usize| self.was_open.get(idx).copied().unwrap_or(false);
        let trips = is_open.iter().enumerate().filter(|(idx, is_open)| **is_open && !was_open(*idx));
        self.n_trips += trips.count() as u64;
        self.was_open = is_open;
    }

    /// `None` until both ends have samples of their own.
    fn more_memory_pct(&self) -> Option<f64> {
        let mean = |bytes: &mut dyn Iterator<Item = &u64>| bytes.sum::<u64>() as f64 / END_SAMPLES as f64;
        let (before, after) = (mean(&mut self.first.iter()), mean(&mut self.last.iter()));
        (self.n_samples >= 2 * END_SAMPLES).then(|| (after / before - 1.0) * 100.0)
    }
}

fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage::text(role, content)
}
