//! What a seed stands for: options, engines and their tempers, and who asks for what.

use super::dice::Dice;
use crate::breaker::BreakerOptions;
use crate::governance::{InputPolicy, Obligations, Verdict};
use crate::retry::Backoff;
use crate::watchdog::WatchdogOptions;
use crate::{
    AdmissionOptions, Attempts, Deadlines, PrefixCache, Priority, Request, RuntimeOptions, SchedulerOptions,
    SupervisionOptions, TenantId,
};
use ballast_backend::{ErrorKind, GeneratorShape, TokenId};
use ballast_tokens::SamplingParams;
use std::time::Duration;

/// Most engines in a chain.
pub(super) const CHAIN_MAX: usize = 3;
/// Bytes above which breakers open.
pub(super) const MEMORY_BYTES_MAX: u64 = 1000;
/// Entries of the tiny tokenizer.
pub(super) const VOCAB: usize = 264;
/// The policy's bound for the tenant it caps.
pub(super) const CAPPED_TOKENS: usize = 3;

/// What kind of day it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Healthy engines, readers that read, no deadlines: everything ends well.
    Calm,
    /// As calm, but far more is asked than can be done, nearly all of it with priority.
    Flood,
    /// Healthy engines; readers, deadlines and cancellations of every kind.
    Readers,
    /// Engines that fail in every way; readers that read.
    Engines,
    /// Everything at once.
    Storm,
}

impl Weather {
    /// The weather of seeds that follow one another.
    const FORECAST: [Self; 8] =
        [Self::Calm, Self::Flood, Self::Readers, Self::Engines, Self::Storm, Self::Engines, Self::Storm, Self::Engines];

    pub(super) fn of(seed: u64) -> Self {
        Self::FORECAST[usize::try_from(seed % 8).expect("it is below 8")]
    }

    pub(super) fn has_faults(self) -> bool {
        matches!(self, Self::Engines | Self::Storm)
    }

    fn has_wild_readers(self) -> bool {
        matches!(self, Self::Readers | Self::Storm)
    }
}

/// How an engine behaves, chances in thousands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Temper {
    pub(super) fails: Option<(ErrorKind, u64)>,
    pub(super) panics: u64,
    /// Hangs without a sign of life.
    pub(super) hangs: u64,
    /// Hangs, but beats.
    pub(super) dallies: u64,
    /// Returns when it is told to.
    pub(super) obeys: bool,
    /// Answers some time after it was given up.
    pub(super) comes_back: bool,
    pub(super) fails_to_open: u64,
    pub(super) hangs_in_open: u64,
    /// Bytes that every step leaves behind.
    pub(super) leaks: u64,
    /// Its numbers are now and then further from the reference than they may be.
    pub(super) drifts: bool,
    /// Faulty for this long, then well for as long, and so on.
    pub(super) flaps: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) struct EnginePlan {
    pub(super) shape: GeneratorShape,
    pub(super) reopens: bool,
    pub(super) temper: Temper,
    /// From when on it has no faults.
    pub(super) heals_at: Duration,
    pub(super) micros_per_step: u64,
    pub(super) micros_per_token: u64,
    pub(super) opens_in: Duration,
}

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// At once.
    Prompt,
    /// One event, then a pause.
    Slow(Duration),
    /// Nothing more after so many tokens.
    Stalls(usize),
    /// Drops the stream then.
    LeavesAfter(Duration),
    /// Drops the stream after so many tokens.
    LeavesAt(usize),
    /// Cancels then, and reads what comes.
    CancelsAfter(Duration),
}

/// One request and its reader.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) habit: Habit,
    /// Kills every engine.
    pub(super) is_poison: bool,
}

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) weather: Weather,
    pub(super) options: RuntimeOptions,
    pub(super) chain: Vec<EnginePlan>,
    pub(super) n_requests: usize,
    gap_micros: u64,
    tenants: Vec<TenantId>,
    prefixes: Vec<Vec<TokenId>>,
    poison: u64,
    /// When and with how much patience it is drained before everything has been asked.
    pub(super) drain: Option<(usize, Duration)>,
    /// Longest time in the queue, where that can be said.
    pub(super) queue_bound: Option<Duration>,
    /// Longest time that an owner is late.
    pub(super) lag: Duration,
}

impl Scenario {
    pub(super) fn new(seed: u64, n_requests: usize) -> Self {
        let dice = &mut Dice::new(seed);
        let weather = Weather::of(seed);
        let options = options(dice, weather);
        let n_engines = if weather.has_faults() { dice.size(1, CHAIN_MAX) } else { 1 };
        let context_len = dice.size(24, 48);
        // Later engines may have less room.
        let contexts = (0..n_engines).map(|idx| if idx == 0 { context_len } else { dice.size(8, 48) });
        let contexts: Vec<usize> = contexts.collect();
        let mut chain: Vec<_> = contexts.into_iter().map(|context_len| engine(dice, weather, context_len)).collect();
        let prefixes = (0..dice.size(1, 5)).map(|_| letters(dice, 0, 14)).collect();
        let tenants: Vec<TenantId> = ["a", "b", "capped", "blocked"].map(|name| name.parse().unwrap()).into();
        if options.supervision.watchdog.call_max.is_none() {
            // Then a call that beats may take as long as it likes.
            chain.iter_mut().for_each(|plan| plan.temper.dallies = 0);
        }
        let first = &chain[0];
        // What one request takes of the engine's time, alone: about six tokens, and its share of a batch.
        let work = first.micros_per_step * 7 / first.shape.max_batch_sequences as u64 + 12 * first.micros_per_token;
        let load_percent = if weather == Weather::Flood { dice.between(120, 250) } else { dice.between(30, 130) };
        let drain = (weather != Weather::Calm && dice.chance(300))
            .then(|| (dice.size(n_requests / 2, n_requests), dice.millis(0, 60)));
        let mut scenario = Self {
            weather,
            options,
            chain,
            n_requests,
            gap_micros: (work * 100 / load_percent).max(1),
            tenants,
            prefixes,
            poison: if weather.has_faults() { dice.pick(&[0, 0, 2]) } else { 0 },
            drain,
            queue_bound: None,
            lag: if weather == Weather::Storm { dice.micros(0, 800) } else { Duration::ZERO },
        };
        scenario.queue_bound = (weather == Weather::Flood).then(|| scenario.flood_bound());
        scenario
    }

    /// Nobody waits longer than until it is overdue (by age or by the rule), and then for those that came before it:
    /// all that fit into the queue and the batch, one after another.
    fn flood_bound(&self) -> Duration {
        let plan = &self.chain[0];
        let (options, shape) = (&self.options, &plan.shape);
        let levels = u32::try_from(Priority::MAX.level() - Priority::MIN.level()).expect("it is 20");
        let overdue = options.scheduling.overdue_after.min(options.scheduling.age_step * levels);
        let n_ahead = options.admission.queue_max + 2 * shape.max_batch_sequences;
        let step = Duration::from_micros(plan.micros_per_step + plan.micros_per_token * shape.max_batch_tokens as u64);
        let n_steps = n_ahead * FLOOD_STEPS_MAX;
        overdue + step * u32::try_from(n_steps).expect("queues of a scenario are short")
    }

    /// Time from one arrival to the next; some come together.
    pub(super) fn gap(&self, dice: &mut Dice) -> Duration {
        if dice.chance(200) { Duration::ZERO } else { dice.micros(1, self.gap_micros * 5 / 2) }
    }

    pub(super) fn ask(&self, dice: &mut Dice) -> Asked {
        if self.weather == Weather::Flood {
            return self.ask_in_flood(dice);
        }
        let mut prompt = dice.pick(&(0..self.prefixes.len()).collect::<Vec<_>>());
        let mut tokens = self.prefixes[prompt].clone();
        tokens.extend(letters(dice, 1, 6));
        if dice.chance(30) {
            prompt = dice.size(1, self.chain[0].shape.context_len + 1);
            tokens = letters(dice, prompt, prompt);
        }
        let mut request = Request::new(tokens);
        request.sampling = greedy();
        request.max_tokens = dice.maybe(980, |dice| dice.size(1, 12));
        request.ignore_eos = dice.chance(100);
        request.tenant = self.tenants[if dice.chance(20) { 3 } else { dice.size(0, 2) }].clone();
        request.priority = Priority::new(dice.pick(&[-10, -1, 0, 0, 0, 1, 10])).unwrap();
        request.prefix_cache =
            dice.pick(&[PrefixCache::Tenant, PrefixCache::Tenant, PrefixCache::Shared, PrefixCache::Off]);
        let mut habit = Habit::Prompt;
        if self.weather.has_wild_readers() {
            request.deadlines = deadlines(dice);
            habit = self.habit(dice);
        }
        Asked { request, habit, is_poison: dice.chance(self.poison) }
    }

    /// Small requests of the highest priority, and now and then one of the lowest.
    fn ask_in_flood(&self, dice: &mut Dice) -> Asked {
        let is_low = dice.chance(15);
        let mut request = Request::new(letters(dice, 1, 6));
        request.sampling = greedy();
        request.max_tokens = Some(dice.size(1, 6));
        request.tenant = self.tenants[usize::from(is_low)].clone();
        request.priority = if is_low { Priority::MIN } else { Priority::MAX };
        Asked { request, habit: Habit::Prompt, is_poison: false }
    }

    fn habit(&self, dice: &mut Dice) -> Habit {
        match dice.between(0, 19) {
            0 | 1 => Habit::Slow(dice.millis(1, 8)),
            2 => Habit::Slow(self.options.slow_reader_max * 3),
            3 => Habit::Stalls(dice.size(0, 4)),
            4 | 5 => Habit::LeavesAfter(dice.millis(0, 30)),
            6 => Habit::LeavesAt(dice.size(0, 4)),
            7 | 8 => Habit::CancelsAfter(dice.millis(0, 30)),
            _ => Habit::Prompt,
        }
    }

    /// A request that finds out whether the engine can be asked again.
    pub(super) fn probe(&self) -> Asked {
        let mut request = Request::new(vec![TokenId(97)]);
        (request.sampling, request.max_tokens) = (greedy(), Some(1));
        Asked { request, habit: Habit::Prompt, is_poison: false }
    }
}

/// Steps that a request of a flood can take when it is alone: its prompt token by token, and its tokens.
const FLOOD_STEPS_MAX: usize = 12;

fn greedy() -> SamplingParams {
    SamplingParams { temperature: 0.0, ..SamplingParams::default() }
}

/// Few letters, so that prompts begin alike by chance, too.
fn letters(dice: &mut Dice, low: usize, high: usize) -> Vec<TokenId> {
    (0..dice.size(low, high)).map(|_| TokenId(dice.pick(&[97, 97, 98, 99]))).collect()
}

fn deadlines(dice: &mut Dice) -> Deadlines {
    Deadlines {
        queue: dice.maybe(120, |dice| dice.millis(1, 80)),
        first_token: dice.maybe(120, |dice| dice.millis(1, 100)),
        inter_token: dice.maybe(120, |dice| dice.millis(1, 20)),
        total: dice.maybe(120, |dice| dice.millis(1, 150)),
    }
}

fn options(dice: &mut Dice, weather: Weather) -> RuntimeOptions {
    let is_flood = weather == Weather::Flood;
    // In a flood either the rule of the overdue or ageing is what helps, so that each is seen to.
    let by_age = dice.chance(500);
    let never = Duration::from_secs(100_000);
    let scheduling = SchedulerOptions {
        age_step: if is_flood && !by_age { never } else { dice.millis(2, 10) },
        overdue_after: if is_flood && by_age { never } else { dice.millis(40, 200) },
        step_tokens_max: dice.maybe(300, |dice| dice.size(1, 6)).filter(|_| !is_flood),
    };
    let watchdog =
        WatchdogOptions { stall_after: dice.millis(40, 120), call_max: dice.maybe(600, |dice| dice.millis(60, 300)) };
    let backoff = |millis| Backoff { initial: millis, max: millis * 8, ..Backoff::default() };
    RuntimeOptions {
        admission: AdmissionOptions { queue_max: dice.size(2, 24), queued_tokens_max: dice.size(20, 400) },
        scheduling,
        supervision: SupervisionOptions {
            watchdog,
            restart: backoff(dice.millis(2, 20)),
            attempts: Attempts(u32::try_from(dice.between(0, 3)).unwrap()),
        },
        breaker: BreakerOptions {
            window: dice.millis(200, 1000),
            samples_min: 5,
            success_percent_min: dice.pick(&[95, 80, 0, 0]),
            memory_bytes_max: Some(MEMORY_BYTES_MAX),
            sla: dice.maybe(200, |dice| dice.millis(1, 50)).filter(|_| weather.has_faults()),
            sla_inferences_min: 20,
            open_for: backoff(dice.millis(10, 60)),
            probes_max: u32::try_from(dice.between(1, 3)).unwrap(),
            successes_to_close: u32::try_from(dice.between(1, 3)).unwrap(),
            ..BreakerOptions::default()
        },
        buffered_tokens_max: dice.size(1, 6),
        slow_reader_max: dice.millis(20, 60),
    }
}

fn engine(dice: &mut Dice, weather: Weather, context_len: usize) -> EnginePlan {
    let block_len = dice.pick(&[2, 4, 8]);
    let positions = context_len * dice.size(10, 40) / 10;
    let shape = GeneratorShape {
        vocab_size: VOCAB,
        context_len,
        block_len,
        n_blocks: positions.div_ceil(block_len),
        max_batch_tokens: dice.size(4, 32),
        max_batch_sequences: dice.size(1, 6),
    };
    let flawed = weather.has_faults() && dice.chance(850);
    EnginePlan {
        shape,
        reopens: !flawed || dice.chance(920),
        temper: if flawed { temper(dice) } else { Temper::default() },
        heals_at: dice.millis(300, 1500),
        micros_per_step: dice.between(100, 900),
        micros_per_token: dice.between(5, 60),
        opens_in: dice.millis(1, 30),
    }
}

fn temper(dice: &mut Dice) -> Temper {
    let kinds = [
        ErrorKind::Invalid,
        ErrorKind::Denied,
        ErrorKind::Overloaded,
        ErrorKind::Unavailable,
        ErrorKind::Cancelled,
        ErrorKind::Internal,
        ErrorKind::Internal,
    ];
    let rare = |dice: &mut Dice| dice.maybe(400, |dice| dice.pick(&[10, 50, 150])).unwrap_or(0);
    Temper {
        fails: dice.maybe(600, |dice| (dice.pick(&kinds), dice.pick(&[5, 50, 300, 900]))),
        panics: rare(dice),
        hangs: rare(dice) / 2,
        dallies: rare(dice) / 2,
        obeys: dice.chance(600),
        comes_back: dice.chance(600),
        fails_to_open: dice.maybe(400, |dice| dice.between(100, 900)).unwrap_or(0),
        hangs_in_open: dice.maybe(300, |dice| dice.between(50, 500)).unwrap_or(0),
        leaks: dice.maybe(250, |dice| dice.between(1, 8)).unwrap_or(0),
        drifts: dice.chance(150),
        flaps: dice.maybe(400, |dice| dice.millis(20, 300)),
    }
}

/// Blocks one tenant, bounds another.
#[derive(Debug)]
pub(super) struct Rules;

impl InputPolicy for Rules {
    fn review(&self, request: &Request) -> Verdict {
        match request.tenant.as_str() {
            "blocked" => Verdict::Block { rule: "not-today" },
            "capped" => Verdict::AllowWithin(Obligations { max_tokens: Some(CAPPED_TOKENS) }),
            _ => Verdict::Allow,
        }
    }
}
