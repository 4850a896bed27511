//! The runs.

use super::super::lived::{Lived, setting};
use super::super::tally::Tally;
use super::super::trace::Trace;
use super::scenario::{Scenario, Weather};
use super::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Visits of one seed.
const PER_SEED: usize = 250;
/// Visits of the long test.
const VISITS: usize = 200_000;

/// Lives a seed's life. `lies`: how often visitors keep their permits, in a thousand.
fn live(seed: u64, lies: u64) -> Tally {
    let (scenario, trace) = (Scenario::new(seed, PER_SEED), Trace::default());
    let replay = "house::tests::replays_a_seed";
    Lived { seed, replay, scenario: &scenario, trace: &trace, is_told: lies == 0 }.live(|| {
        let mut world = World::new(&scenario, seed, &trace);
        world.lies = lies;
        world.run()
    })
}

/// What must have been seen: a simulation in which nothing goes wrong proves nothing.
const SEEN: [&str; 9] = [
    "evictions",
    "expirations",
    "failed loads",
    "hits",
    "loads",
    "loads given up",
    "loads stuck",
    "old versions that answer again",
    "swaps",
];

const ENDS: [&str; 14] = [
    "gave its instance up ",
    "left ",
    "no lease BACKPRESSURE_QUEUE_FULL",
    "no lease ENGINE_UNAVAILABLE",
    "no lease MEMORY_BUDGET_EXCEEDED",
    "no lease MODEL_LOAD_FAILED",
    "no permit CANCELLED_BY_TIMEOUT",
    "no permit POOL_EXHAUSTED",
    "not opened ",
    "order carried out ",
    "order refused ENGINE_UNAVAILABLE",
    "order refused MODEL_LOAD_FAILED",
    "panicked ",
    "served ",
];

#[test]
fn two_hundred_thousand_visits_keep_every_promise() {
    // The same setting as for requests, of which there are five times as many.
    let n_visits = setting("BALLAST_REQUESTS").map_or(VISITS, |n| (n / 5).max(PER_SEED * 48));
    let mut tally = Tally::default();
    for seed in 0..n_visits.div_ceil(PER_SEED) {
        tally.add(&live(seed as u64, 0));
    }
    println!("{tally:#?}");
    if n_visits >= VISITS {
        SEEN.iter().for_each(|what| assert!(tally.happened.get(what).is_some_and(|n| *n > 0), "no {what}"));
        ENDS.iter().for_each(|&end| assert!(tally.ends.contains_key(end), "no {end}"));
    }
}

#[test]
fn replays_a_seed() {
    let seed = setting("BALLAST_SEED").unwrap_or(5);
    println!("{:#?}", live(seed as u64, 0));
}

#[test]
fn a_seed_lives_the_same_life_again() {
    for seed in 0..8 {
        let [first, again] = [(); 2].map(|()| live(seed, 0));
        assert_eq!(first, again, "seed {seed}");
    }
}

#[test]
fn a_permit_that_does_not_come_back_is_found() {
    for seed in (0..16).filter(|&seed| Weather::of(seed) == Weather::Pools) {
        let found = catch_unwind(AssertUnwindSafe(|| live(seed, 200))).expect_err("permits were kept");
        let found = found.downcast_ref::<String>().expect("checks say what they found");
        assert!(found.contains("permits out"), "seed {seed}: {found}");
    }
}
