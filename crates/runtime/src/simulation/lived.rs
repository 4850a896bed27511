//! A seed's life, and what is said of one that fails.

use super::tally::Tally;
use super::trace::Trace;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[expect(clippy::disallowed_methods, reason = "a test has no command line; these two set which lives are lived")]
pub(super) fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

/// What is told of a life that fails.
pub(super) struct Lived<'a, S> {
    pub(super) seed: u64,
    /// The test that lives it again, below `simulation`.
    pub(super) replay: &'static str,
    pub(super) scenario: &'a S,
    pub(super) trace: &'a Trace,
    /// Whether it is told at all: where a failure is expected, it is not.
    pub(super) is_told: bool,
}

impl<S: Debug> Lived<'_, S> {
    /// Lives a life; one that fails says how to live it again.
    pub(super) fn live(self, life: impl FnOnce() -> Tally) -> Tally {
        let Self { seed, replay, scenario, trace, is_told } = self;
        catch_unwind(AssertUnwindSafe(life)).unwrap_or_else(|panic| {
            if is_told {
                println!("{scenario:#?}\n{trace}seed {seed} failed; to live it again:");
                println!("BALLAST_SEED={seed} cargo test -p ballast-runtime --lib simulation::{replay} -- --nocapture");
            }
            resume_unwind(panic)
        })
    }
}
