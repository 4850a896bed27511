//! Which requests are compared while serving, and when it is too much.

use ballast_backend::ReasonCode;
use ballast_runtime::parity::{LiveOptions, LiveSampler, LiveVerdict, Shadow, ShadowOutcome};
use proptest::prelude::*;
use std::time::Duration;

const EVERY: LiveOptions = LiveOptions {
    seed: 1,
    share_ppm: 1_000_000,
    concurrent_max: 2,
    running_max: Duration::from_secs(10),
    window: 4,
    exceeded_trip: 2,
};

fn at(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Compares request `request` at once.
fn compare(sampler: &mut LiveSampler, request: u64, outcome: ShadowOutcome) -> LiveVerdict {
    assert_eq!(sampler.decide(request, at(0)), Shadow::Run);
    sampler.finish(request, outcome)
}

#[test]
fn the_share_of_requests_is_drawn_by_seed_and_number() {
    let sampler = |seed, share_ppm| LiveSampler::new(LiveOptions { seed, share_ppm, ..EVERY });
    let drawn = |sampler: &LiveSampler| (0..100_000).filter(|n| sampler.draws(*n)).collect::<Vec<u64>>();
    for (share_ppm, expected) in [(0, 0), (1_000_000, 100_000), (u32::MAX, 100_000)] {
        assert_eq!(drawn(&sampler(1, share_ppm)).len(), expected);
    }
    let tenth = drawn(&sampler(1, 100_000));
    // Four standard deviations of a binomial of 100,000 and a tenth.
    assert!(tenth.len().abs_diff(10_000) < 380, "{}", tenth.len());
    assert_eq!(drawn(&sampler(1, 100_000)), tenth);
    assert_ne!(drawn(&sampler(2, 100_000)), tenth);
    let more = drawn(&sampler(1, 200_000));
    assert!(tenth.iter().all(|n| more.contains(n)), "a larger share adds to a smaller one");
}

#[test]
fn no_more_than_the_bound_run_at_a_time() {
    let mut sampler = LiveSampler::new(EVERY);
    assert_eq!((sampler.decide(1, at(0)), sampler.decide(2, at(0))), (Shadow::Run, Shadow::Run));
    assert_eq!(sampler.decide(3, at(1)), Shadow::Skip);
    assert_eq!((sampler.n_running(), sampler.stats().skipped_busy), (2, 1));
    sampler.finish(1, ShadowOutcome::Within);
    assert_eq!(sampler.decide(4, at(1)), Shadow::Run);
    let mut none = LiveSampler::new(LiveOptions { concurrent_max: 0, ..EVERY });
    assert_eq!(none.decide(1, at(0)), Shadow::Skip);
}

#[test]
fn a_comparison_that_never_ends_gives_its_place_back() {
    let mut sampler = LiveSampler::new(LiveOptions { concurrent_max: 1, ..EVERY });
    assert_eq!(sampler.decide(1, at(0)), Shadow::Run);
    assert_eq!(sampler.decide(2, at(9)), Shadow::Skip);
    assert_eq!(sampler.decide(3, at(10)), Shadow::Run);
    assert_eq!((sampler.stats().expired, sampler.n_running()), (1, 1));
    assert_eq!(sampler.finish(1, ShadowOutcome::Exceeded), LiveVerdict::NotMeasured, "it came too late");
}

#[test]
fn the_verdict_is_about_the_last_comparisons() {
    let mut sampler = LiveSampler::new(EVERY);
    assert_eq!(sampler.verdict(), LiveVerdict::NotMeasured);
    let outcomes = [(false, 0), (true, 1), (false, 1), (true, 2), (false, 2), (false, 1), (false, 1), (false, 0)];
    for (idx, (is_exceeded, n_exceeded)) in outcomes.into_iter().enumerate() {
        let outcome = if is_exceeded { ShadowOutcome::Exceeded } else { ShadowOutcome::Within };
        let verdict = compare(&mut sampler, idx as u64, outcome);
        let n_samples = (idx + 1).min(4);
        if n_exceeded >= 2 {
            assert_eq!(verdict, LiveVerdict::Exceeded { n_samples, n_exceeded });
            assert_eq!(verdict.reason(), Some(ReasonCode::ParityExceeded));
        } else {
            assert_eq!(verdict, LiveVerdict::Within { n_samples, n_exceeded });
            assert_eq!(verdict.reason(), None);
        }
    }
    let stats = sampler.stats();
    assert_eq!((stats.begun, stats.within, stats.exceeded), (8, 6, 2));
}

#[test]
fn none_over_tolerance_is_never_too_much() {
    let mut sampler = LiveSampler::new(LiveOptions { exceeded_trip: 0, ..EVERY });
    let verdict = compare(&mut sampler, 0, ShadowOutcome::Within);
    assert_eq!(verdict, LiveVerdict::Within { n_samples: 1, n_exceeded: 0 });
}

#[test]
fn a_comparison_that_fails_says_nothing_of_parity() {
    let mut sampler = LiveSampler::new(EVERY);
    assert_eq!(compare(&mut sampler, 0, ShadowOutcome::Failed), LiveVerdict::NotMeasured);
    assert_eq!((sampler.stats().failed, sampler.n_running()), (1, 0));
}

#[test]
fn an_outcome_counts_once() {
    let mut sampler = LiveSampler::new(EVERY);
    compare(&mut sampler, 0, ShadowOutcome::Exceeded);
    let expected = LiveVerdict::Within { n_samples: 1, n_exceeded: 1 };
    assert_eq!(sampler.finish(0, ShadowOutcome::Exceeded), expected);
    assert_eq!(sampler.finish(77, ShadowOutcome::Exceeded), expected);
}

#[test]
fn an_engine_that_was_replaced_begins_anew() {
    let mut sampler = LiveSampler::new(LiveOptions { exceeded_trip: 1, ..EVERY });
    assert!(compare(&mut sampler, 0, ShadowOutcome::Exceeded).reason().is_some());
    sampler.forget();
    assert_eq!(sampler.verdict(), LiveVerdict::NotMeasured);
}

proptest! {
    #[test]
    fn bounds_hold_and_every_comparison_is_accounted_for(
        events in proptest::collection::vec((0_u64..40, 0_u8..5, 0_u64..3), 0..300),
        concurrent_max in 0_usize..4,
        window in 0_usize..6,
    ) {
        let mut sampler =
            LiveSampler::new(LiveOptions { share_ppm: 500_000, concurrent_max, window, exceeded_trip: 0, ..EVERY });
        let (mut now, mut next, mut run) = (0, 0, Vec::new());
        for (pick, what, step) in events {
            now += step;
            if what < 2 {
                next += 1;
                if sampler.decide(next, at(now)) == Shadow::Run {
                    run.push(next);
                }
            } else if let Some(&request) = run.get(usize::try_from(pick).unwrap()) {
                let outcome =
                    [ShadowOutcome::Within, ShadowOutcome::Exceeded, ShadowOutcome::Failed][usize::from(what) - 2];
                sampler.finish(request, outcome);
            }
            let stats = sampler.stats();
            prop_assert!(sampler.n_running() <= concurrent_max);
            let ended = stats.within + stats.exceeded + stats.failed + stats.expired;
            prop_assert_eq!(stats.begun, ended + sampler.n_running() as u64);
            match sampler.verdict() {
                LiveVerdict::NotMeasured => prop_assert_eq!(stats.within + stats.exceeded, 0),
                LiveVerdict::Within { n_samples, n_exceeded } | LiveVerdict::Exceeded { n_samples, n_exceeded } => {
                    prop_assert!(n_exceeded <= n_samples && n_samples <= window.max(1));
                }
            }
        }
    }
}
