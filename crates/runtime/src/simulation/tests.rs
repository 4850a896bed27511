//! The runs.

use super::scenario::Scenario;
use super::trace::Trace;
use super::world::{Tally, World};
use ballast_testkit::tiny_tokenizer;
use ballast_tokens::Tokenizer;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Requests of one seed.
const PER_SEED: usize = 2000;
/// Requests of all long tests together.
const REQUESTS: usize = 1_000_000;
/// Tests among which they are shared, so that cores are.
const PARTS: usize = 4;

#[expect(clippy::disallowed_methods, reason = "a test has no command line; these two set which lives are lived")]
fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

/// Lives a seed's life. `lies`: how often engines are wrong, in a thousand.
fn live(seed: u64, n_requests: usize, lies: u64, tokenizer: &Arc<Tokenizer>) -> Tally {
    let (scenario, trace) = (Scenario::new(seed, n_requests), Trace::default());
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(&scenario, seed, tokenizer, &trace);
        world.lies = lies;
        world.run()
    }));
    lived.unwrap_or_else(|panic| {
        if lies == 0 {
            println!("{scenario:#?}\n{trace}");
            println!("seed {seed} failed; to live it again:");
            println!(
                "BALLAST_SEED={seed} cargo test -p ballast-runtime --lib simulation::tests::replays_a_seed -- --nocapture"
            );
        }
        resume_unwind(panic)
    })
}

fn part(idx: usize) {
    let tokenizer = tiny_tokenizer();
    let n_requests = setting("BALLAST_REQUESTS").unwrap_or(REQUESTS);
    let n_seeds = n_requests.div_ceil(PER_SEED);
    let mut tally = Tally::default();
    for seed in (0..n_seeds).skip(idx).step_by(PARTS) {
        tally.add(&live(seed as u64, PER_SEED, 0, &tokenizer));
    }
    println!("{tally:#?}");
}

#[test]
fn a_million_requests_first_quarter() {
    part(0);
}

#[test]
fn a_million_requests_second_quarter() {
    part(1);
}

#[test]
fn a_million_requests_third_quarter() {
    part(2);
}

#[test]
fn a_million_requests_last_quarter() {
    part(3);
}

#[test]
fn replays_a_seed() {
    let seed = setting("BALLAST_SEED").unwrap_or(4);
    println!("{:#?}", live(seed as u64, PER_SEED, 0, &tiny_tokenizer()));
}
