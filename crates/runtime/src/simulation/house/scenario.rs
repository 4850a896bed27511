//! What a seed stands for: bounds, models, how loaders and instances behave, and who comes for what.

use super::super::dice::Dice;
use crate::confine::Rank;
use crate::instance_pool::PoolOptions;
use crate::lifecycle::{LifecycleOptions, ModelPlan, Orphans, Pressure, ProvisionalPlan, SwapMode};
use crate::retry::Backoff;
use std::time::Duration;

/// Names of models.
pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Most bytes of a model's first version; later ones take as much or more, and at most twice as much.
const BYTES_MAX: u64 = 50;

/// What kind of day it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Room for everything, nothing fails: everybody is served.
    Calm,
    /// Version after version, most of which fail; nobody who uses the model may notice.
    Swaps,
    /// Less room than is wanted.
    Tight,
    /// Loaders that are slow, fail, panic and hang; threads that the system refuses.
    Loads,
    /// Few instances, which fail to open, panic, crash and hang.
    Pools,
    /// Everything at once.
    Storm,
}

impl Weather {
    /// The weather of seeds that follow one another.
    const FORECAST: [Self; 8] =
        [Self::Calm, Self::Swaps, Self::Tight, Self::Loads, Self::Pools, Self::Storm, Self::Swaps, Self::Storm];

    pub(super) fn of(seed: u64) -> Self {
        Self::FORECAST[usize::try_from(seed % 8).expect("it is below 8")]
    }

    /// Nobody may be refused, sent away or left without a permit.
    pub(super) fn serves_everybody(self) -> bool {
        matches!(self, Self::Calm | Self::Swaps)
    }
}

/// How loads go, chances in thousands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loading {
    pub(super) fails: u64,
    pub(super) panics: u64,
    /// Takes longer than it may.
    pub(super) hangs: u64,
    /// The system has no thread for it.
    pub(super) refused: u64,
    /// Ends with an error where it was given up.
    pub(super) obeys: bool,
    /// Longest time in ms.
    pub(super) millis_max: u64,
    /// What loaded once loads again.
    pub(super) is_steady: bool,
}

/// How a call of an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Done,
    /// The caller panics with the permit.
    Panics,
    /// It hangs: the caller gives the instance up.
    Hangs,
    /// Its thread dies.
    Crashes,
    /// Its thread dies once it is back in the pool.
    CrashesIdle,
}

/// How the opening of an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Done,
    Fails,
    Panics,
}

/// What a visitor does.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) model: usize,
    /// When it goes, wherever it is.
    pub(super) leaves_after: Option<Duration>,
    /// Time from its lease to its deadline.
    pub(super) deadline: Option<Duration>,
    pub(super) rank: Rank,
    pub(super) opening: Opening,
    pub(super) opens_in: Duration,
    /// How long the thread of the instance it opens lives on once that is given up.
    pub(super) ends_after: Duration,
    pub(super) course: Course,
    pub(super) takes: Duration,
    /// For tests of the checks: it never gives its permit back.
    pub(super) keeps: bool,
}

/// What the house is told to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Swap(usize, SwapMode),
    Preload(usize),
    Unload(usize),
    /// The name goes, and comes back with its first version.
    Replace(usize),
    Press(Pressure),
}

/// How instances and their callers behave, chances in thousands.
#[derive(Clone, Copy, Debug, Default)]
struct Using {
    fails_to_open: u64,
    panics: u64,
    hangs: u64,
    crashes: u64,
    leaves: u64,
    has_deadline: u64,
}

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) weather: Weather,
    pub(super) house: LifecycleOptions,
    pub(super) pool: PoolOptions,
    pub(super) models: Vec<ModelPlan>,
    pub(super) loading: Loading,
    pub(super) n_visits: usize,
    /// Only one version fits at a time.
    is_exact: bool,
    using: Using,
    gap_micros: u64,
    /// Longest time between orders.
    order_gap: Option<Duration>,
}

impl Scenario {
    pub(super) fn new(seed: u64, n_visits: usize) -> Self {
        let dice = &mut Dice::new(seed ^ 0x40_05e);
        let weather = Weather::of(seed);
        let is_exact = weather == Weather::Swaps && dice.chance(400);
        let n_models = if is_exact { 1 } else { dice.size(1, NAMES.len()) };
        let models: Vec<_> = (0..n_models).map(|_| model(dice, weather, is_exact)).collect();
        let loading = loading(dice, weather, is_exact);
        Self {
            weather,
            house: house(dice, weather, is_exact, &models),
            pool: pool(dice, weather, n_visits),
            models,
            loading,
            n_visits,
            is_exact,
            using: using(dice, weather),
            gap_micros: dice.pick(&[200, 600, 2000, 6000]),
            order_gap: (weather != Weather::Pools).then(|| dice.millis(5, 60)),
        }
    }

    /// Time from one arrival to the next; some come together.
    pub(super) fn gap(&self, dice: &mut Dice) -> Duration {
        if dice.chance(200) { Duration::ZERO } else { dice.micros(1, self.gap_micros) }
    }

    pub(super) fn order_gap(&self, dice: &mut Dice) -> Option<Duration> {
        Some(dice.micros(1, u64::try_from(self.order_gap?.as_micros()).expect("it is below a second")))
    }

    pub(super) fn visit(&self, dice: &mut Dice) -> Plan {
        let using = self.using;
        let opening = match dice.between(0, 999) {
            n if n < using.fails_to_open => Opening::Fails,
            n if n < using.fails_to_open + using.panics => Opening::Panics,
            _ => Opening::Done,
        };
        let mut course = Course::Done;
        let others = [
            (using.panics, Course::Panics),
            (using.hangs, Course::Hangs),
            (using.crashes, Course::Crashes),
            (using.crashes, Course::CrashesIdle),
        ];
        for (often, other) in others {
            course = if dice.chance(often) { other } else { course };
        }
        Plan {
            model: dice.size(0, self.models.len() - 1),
            leaves_after: dice.maybe(using.leaves, |dice| dice.micros(0, 10_000)),
            deadline: dice.maybe(using.has_deadline, |dice| dice.micros(0, 20_000)),
            rank: Rank(dice.pick(&[0, 128, 128, 255])),
            opening,
            opens_in: dice.micros(0, 4000),
            ends_after: dice.micros(0, 60_000),
            course,
            takes: dice.micros(1, 3000),
            keeps: false,
        }
    }

    pub(super) fn order(&self, dice: &mut Dice) -> Order {
        let idx = dice.size(0, self.models.len() - 1);
        // Where only one version fits, the old one goes first; where all fit, that is not needed.
        let mode =
            if self.is_exact { SwapMode::EvictFirst } else { dice.pick(&[SwapMode::Beside, SwapMode::EvictFirst]) };
        let pressure = dice.pick(&[Pressure::Normal, Pressure::Elevated, Pressure::Critical]);
        match (self.weather, dice.between(0, 9)) {
            (Weather::Calm, 0..3) | (Weather::Storm, 0) => Order::Preload(idx),
            (Weather::Calm | Weather::Swaps, _) | (Weather::Storm | Weather::Loads, 1..4) => Order::Swap(idx, mode),
            (Weather::Loads, 0) | (Weather::Storm, 4) => Order::Replace(idx),
            (Weather::Storm, 5..7) => Order::Unload(idx),
            (Weather::Tight | Weather::Loads | Weather::Pools | Weather::Storm, _) => Order::Press(pressure),
        }
    }

    /// A later version of a model.
    pub(super) fn next_version(&self, idx: usize, version: u64, dice: &mut Dice) -> ModelPlan {
        let first = self.models[idx];
        let bytes = if self.is_exact { first.bytes } else { dice.between(first.bytes, first.bytes * 2) };
        ModelPlan { version, bytes, ..first }
    }

    /// Whether the old version of a model goes before the new one is there.
    pub(super) fn goes_first(&self) -> bool {
        self.is_exact
    }

    /// Longest wait for a lease: for room and for a load, and the same again where the old version had to go first.
    pub(super) fn lease_bound(&self) -> Duration {
        self.house.load_max * 4
    }
}

fn model(dice: &mut Dice, weather: Weather, is_exact: bool) -> ModelPlan {
    let bytes = dice.between(10, BYTES_MAX);
    let may_expire = !weather.serves_everybody();
    ModelPlan {
        version: 1,
        bytes,
        keep_alive: dice.maybe(300, |dice| dice.millis(1, 10)).filter(|_| may_expire),
        provisional: dice.maybe(300, |dice| ProvisionalPlan { bytes: dice.between(1, bytes) }).filter(|_| !is_exact),
    }
}

fn house(dice: &mut Dice, weather: Weather, is_exact: bool, models: &[ModelPlan]) -> LifecycleOptions {
    let all: u64 = models.iter().map(|plan| plan.bytes).sum();
    let largest = models.iter().map(|plan| plan.bytes).max().expect("there is a model");
    let budget_bytes = match weather {
        Weather::Swaps if is_exact => all,
        // Two versions of everything, each with a stand-in.
        Weather::Calm | Weather::Swaps | Weather::Pools => all * 5,
        Weather::Tight | Weather::Loads | Weather::Storm => dice.between(largest, all * 2),
    };
    let is_roomy = weather.serves_everybody();
    LifecycleOptions {
        models_max: if is_roomy || weather == Weather::Pools { 8 } else { dice.size(1, 6) },
        waiters_max: if is_roomy { u32::MAX } else { u32::try_from(dice.between(1, 40)).expect("it is small") },
        // The old version's users go first, however many they are.
        load_max: if is_exact { Duration::from_secs(10) } else { dice.millis(60, 300) },
        // The longest hang ends before it is stuck, where everybody is served: the room for it is there.
        obey_max: if is_roomy { Duration::from_secs(30) } else { dice.millis(1, 300) },
        backoff: Backoff { initial: Duration::from_millis(2), max: dice.millis(4, 50), ..Backoff::default() },
        orphans: dice.pick(&[Orphans::Keep, Orphans::Cancel]),
        ..LifecycleOptions::new(budget_bytes)
    }
}

fn pool(dice: &mut Dice, weather: Weather, n_visits: usize) -> PoolOptions {
    let is_roomy = weather.serves_everybody();
    PoolOptions {
        n_instances: dice.size(1, 3),
        concurrency: dice.size(1, 3),
        acquire_timeout: if is_roomy { Duration::from_secs(1000) } else { dice.millis(1, 30) },
        waiters_max: if is_roomy { n_visits } else { dice.size(0, 20) },
        tick: dice.millis(1, 5),
    }
}

fn loading(dice: &mut Dice, weather: Weather, is_exact: bool) -> Loading {
    let calm = Loading { millis_max: dice.between(1, 20), is_steady: true, obeys: true, ..Loading::default() };
    match weather {
        Weather::Calm | Weather::Tight | Weather::Pools => calm,
        // Where the old version has gone first, nobody is served while the new one hangs.
        Weather::Swaps => Loading { fails: 300, panics: 100, hangs: if is_exact { 0 } else { 100 }, ..calm },
        Weather::Loads | Weather::Storm => Loading {
            fails: dice.pick(&[0, 50, 400]),
            panics: dice.pick(&[0, 50]),
            hangs: dice.pick(&[0, 50, 200]),
            refused: dice.pick(&[0, 30]),
            obeys: dice.chance(500),
            is_steady: false,
            ..calm
        },
    }
}

fn using(dice: &mut Dice, weather: Weather) -> Using {
    match weather {
        Weather::Calm | Weather::Swaps => Using::default(),
        Weather::Tight | Weather::Loads => Using { leaves: dice.pick(&[0, 100]), ..Using::default() },
        Weather::Pools | Weather::Storm => Using {
            fails_to_open: dice.pick(&[0, 100, 600]),
            panics: dice.pick(&[0, 50]),
            hangs: dice.pick(&[0, 20, 100]),
            crashes: dice.pick(&[0, 50]),
            leaves: dice.pick(&[0, 100]),
            has_deadline: dice.pick(&[0, 300]),
        },
    }
}
