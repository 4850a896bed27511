//! The runs.

use super::lived::{Lived, setting};
use super::scenario::{Scenario, Weather};
use super::tally::Tally;
use super::trace::Trace;
use super::world::World;
use ballast_testkit::tiny_tokenizer;
use ballast_tokens::Tokenizer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Requests of one seed.
const PER_SEED: usize = 500;
/// Requests of all long tests together.
const REQUESTS: usize = 1_000_000;
/// Tests among which they are shared, so that cores are.
const PARTS: usize = 4;

/// Lives a seed's life. `lies`: how often engines are wrong, in a thousand.
fn live(seed: u64, n_requests: usize, lies: u64, tokenizer: &Arc<Tokenizer>) -> Tally {
    let (scenario, trace) = (Scenario::new(seed, n_requests), Trace::default());
    let life = Lived { seed, replay: "tests::replays_a_seed", scenario: &scenario, trace: &trace, is_told: lies == 0 };
    life.live(|| {
        let mut world = World::new(&scenario, seed, tokenizer, &trace);
        world.lies = lies;
        world.run()
    })
}

/// What must have been seen where a quarter of a million requests have lived: a simulation in which nothing goes wrong
/// proves nothing.
const SEEN: [&str; 14] = [
    "answered after a retry",
    "answers of instances given up",
    "breaker openings",
    "cached prompt tokens",
    "crashes",
    "evicted blocks",
    "openings",
    "preemptions",
    "restarts",
    "retried",
    "shares",
    "stalls",
    "steps",
    "went on at another engine",
];

const ENDS: [&str; 15] = [
    "cancelled BACKPRESSURE_BUFFER_FULL",
    "cancelled CANCELLED_BY_CALLER",
    "cancelled CANCELLED_BY_TIMEOUT",
    "cancelled DRAINING",
    "error ENGINE_CRASHED",
    "error ENGINE_FAILED",
    "error ENGINE_STALLED",
    "length ",
    "reader left",
    "refused BACKPRESSURE_QUEUE_FULL",
    "refused CIRCUIT_OPEN",
    "refused CONTEXT_LENGTH_EXCEEDED",
    "refused DRAINING",
    "refused POLICY_BLOCKED",
    "stop ",
];

fn part(idx: usize) {
    let tokenizer = tiny_tokenizer();
    let n_requests = setting("BALLAST_REQUESTS").unwrap_or(REQUESTS);
    let n_seeds = n_requests.div_ceil(PER_SEED);
    let mut tally = Tally::default();
    for seed in (0..n_seeds).skip(idx * n_seeds / PARTS).take((idx + 1) * n_seeds / PARTS - idx * n_seeds / PARTS) {
        tally.add(&live(seed as u64, PER_SEED, 0, &tokenizer));
    }
    println!("{tally:#?}");
    if n_requests >= REQUESTS {
        SEEN.iter().for_each(|what| assert!(tally.happened.get(what).is_some_and(|n| *n > 0), "no {what}"));
        ENDS.iter().for_each(|&end| assert!(tally.ends.contains_key(end), "no {end}"));
    }
}

#[test]
fn a_million_requests_keep_every_promise_first_quarter() {
    part(0);
}

#[test]
fn a_million_requests_keep_every_promise_second_quarter() {
    part(1);
}

#[test]
fn a_million_requests_keep_every_promise_third_quarter() {
    part(2);
}

#[test]
fn a_million_requests_keep_every_promise_last_quarter() {
    part(3);
}

#[test]
fn replays_a_seed() {
    let seed = setting("BALLAST_SEED").unwrap_or(4);
    println!("{:#?}", live(seed as u64, PER_SEED, 0, &tiny_tokenizer()));
}

#[test]
fn a_seed_lives_the_same_life_again() {
    let tokenizer = tiny_tokenizer();
    for seed in 0..8 {
        let [first, again] = [(); 2].map(|()| live(seed, 300, 0, &tokenizer));
        assert_eq!(first, again, "seed {seed}");
    }
}

#[test]
fn an_engine_that_is_wrong_once_is_found() {
    let tokenizer = tiny_tokenizer();
    for seed in (0..8).filter(|&seed| !Weather::of(seed).has_faults()) {
        let found = catch_unwind(AssertUnwindSafe(|| live(seed, 500, 5, &tokenizer))).expect_err("it lied");
        let found = found.downcast_ref::<String>().expect("checks say what they found");
        let says = ["reads what is not its own", "is not the next", "runs other tokens"];
        assert!(says.iter().any(|what| found.contains(what)), "seed {seed}: {found}");
    }
}
