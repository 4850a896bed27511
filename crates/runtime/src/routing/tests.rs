//! Shares, stickiness, roll-out and roll-back.

use super::*;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

const BASELINE: TargetId = TargetId(10);
const CANARY: TargetId = TargetId(11);
const BAD: Outcome = Outcome::Failed(ErrorKind::Internal);
const GOOD: Outcome = Outcome::Success { latency: Duration::from_millis(10) };
const SECS: fn(u64) -> Duration = Duration::from_secs;

fn canary(terms: CanaryTerms) -> Router {
    Router::new(strategy(terms), 7).unwrap()
}

fn strategy(terms: CanaryTerms) -> Strategy {
    Strategy::Canary(CanaryPlan { baseline: BASELINE, canary: CANARY, terms })
}

fn arms(weights: &[u32]) -> Vec<Arm> {
    weights.iter().zip(0..).map(|(&weight, id)| Arm { target: TargetId(id), weight }).collect()
}

/// Picks for `key` and gives the choice back at once.
fn target_of(router: &mut Router, key: u64) -> TargetId {
    let Choice { target, token } = router.pick(AffinityKey::of_number(key)).unwrap();
    router.release(token);
    target
}

/// Picks keys until one goes to `target`, and reports `outcome` for it.
fn report_at(router: &mut Router, target: TargetId, outcome: Outcome, now: Duration) -> Option<RolloutChange> {
    for key in 0..100_000 {
        let choice = router.pick(AffinityKey::of_number(key)).unwrap();
        if choice.target == target {
            return router.report(choice.token, outcome, now);
        }
        router.release(choice.token);
    }
    panic!("{target} gets no traffic");
}

/// Up to `n` reports; the roll-out's first step ends them.
fn reports(router: &mut Router, n: u32, target: TargetId, outcome: Outcome) -> Option<RolloutChange> {
    (0..n).find_map(|_| report_at(router, target, outcome, SECS(0)))
}

#[track_caller]
fn assert_share(n: u64, of: u64, percent: f64) {
    // Four standard deviations of a binomial: one seed in 16 000 would be outside.
    let (n, of, p) = (n as f64, of as f64, percent / 100.0);
    let tolerance = 4.0 * (p * (1.0 - p) * of).sqrt();
    assert!((n - p * of).abs() <= tolerance, "expected {percent} % of {of} within {tolerance:.0}, got {n}");
}

#[test]
fn a_canary_gets_its_share_and_keys_only_ever_move_to_it() {
    let n_keys = 20_000;
    let mut before = vec![false; n_keys];
    for percent in [0, 1, 5, 25, 50, 99, 100] {
        let mut router = canary(CanaryTerms { stages: vec![percent], ..CanaryTerms::default() });
        let now: Vec<bool> = (0..n_keys as u64).map(|key| target_of(&mut router, key) == CANARY).collect();
        assert_share(now.iter().filter(|&&is| is).count() as u64, n_keys as u64, f64::from(percent));
        assert!(before.iter().zip(&now).all(|(before, now)| now >= before), "a key left the canary at {percent} %");
        before = now;
    }
}

#[test]
fn a_roll_out_goes_through_its_stages_with_enough_samples_and_time() {
    let mut router = canary(CanaryTerms::default());
    let mut now = Duration::ZERO;
    for (idx, percent, next) in [(0, 5, 25), (1, 25, 50), (2, 50, 100), (3, 100, 0)] {
        assert_eq!(router.rollout().unwrap().state(), RolloutState::Stage { idx, percent });
        (0..150).for_each(|_| assert_eq!(report_at(&mut router, CANARY, GOOD, now), None, "the time is missing"));
        now += SECS(299);
        assert_eq!(report_at(&mut router, CANARY, GOOD, now), None);
        now += SECS(1);
        let to = if next == 0 { RolloutState::Promoted } else { RolloutState::Stage { idx: idx + 1, percent: next } };
        let from = RolloutState::Stage { idx, percent };
        assert_eq!(report_at(&mut router, CANARY, GOOD, now), Some(RolloutChange { from, to }));
    }
    assert!((0..1000).all(|key| target_of(&mut router, key) == CANARY));
    let mut few = canary(CanaryTerms::default());
    for minute in 0..99 {
        assert_eq!(report_at(&mut few, CANARY, GOOD, SECS(60 * minute)), None, "samples are missing");
    }
    assert!(report_at(&mut few, CANARY, GOOD, SECS(60 * 99)).is_some());
}

#[test]
fn a_canary_over_the_error_budget_is_taken_back() {
    struct Case {
        baseline: (u32, u32),
        canary: (u32, u32),
        expected: bool,
    }
    // (successes, failures) of each; the budget is 5 points, rates are compared from 20 samples on.
    let cases = [
        Case { baseline: (100, 0), canary: (19, 1), expected: false },
        Case { baseline: (100, 0), canary: (18, 2), expected: true },
        Case { baseline: (100, 0), canary: (15, 4), expected: false },
        Case { baseline: (90, 10), canary: (17, 3), expected: false },
        Case { baseline: (90, 10), canary: (16, 4), expected: true },
        Case { baseline: (0, 0), canary: (18, 2), expected: true },
        Case { baseline: (0, 0), canary: (19, 1), expected: false },
    ];
    for (idx, Case { baseline, canary: new, expected }) in cases.into_iter().enumerate() {
        let mut router = canary(CanaryTerms::default());
        reports(&mut router, baseline.0, BASELINE, GOOD);
        reports(&mut router, baseline.1, BASELINE, BAD);
        let outcomes = (0..new.1).map(|_| BAD).chain((0..new.0).map(|_| GOOD));
        let change = outcomes.into_iter().find_map(|outcome| report_at(&mut router, CANARY, outcome, SECS(0)));
        let reason = RollbackReason::FailureRate;
        assert_eq!(change.map(|c| c.to), expected.then_some(RolloutState::RolledBack { reason }), "case {idx}");
    }
}

#[test]
fn only_failures_in_a_row_are_in_a_row() {
    let mut router = canary(CanaryTerms { failure_budget_percent: 100, ..CanaryTerms::default() });
    for _ in 0..3 {
        assert_eq!(reports(&mut router, 4, CANARY, BAD), None);
        assert_eq!(reports(&mut router, 1, CANARY, GOOD), None);
    }
    let reason = RollbackReason::FailuresInRow;
    let change = reports(&mut router, 5, CANARY, BAD);
    assert_eq!(change.map(|change| change.to), Some(RolloutState::RolledBack { reason }));
}

#[test]
fn late_answers_count_where_there_is_a_service_level() {
    let late = Outcome::Success { latency: SECS(2) };
    let mut router = canary(CanaryTerms { sla: Some(SECS(1)), ..CanaryTerms::default() });
    let change = (0..5).find_map(|_| report_at(&mut router, CANARY, late, SECS(0)));
    let reason = RollbackReason::FailuresInRow;
    assert_eq!(change.map(|change| change.to), Some(RolloutState::RolledBack { reason }));
}

#[test]
fn a_person_may_promote_and_take_back_but_not_revive() {
    let mut router = canary(CanaryTerms::default());
    let rollout = router.rollout_mut().unwrap();
    assert!(rollout.promote().is_some() && rollout.promote().is_none());
    assert!(rollout.roll_back().is_some() && rollout.roll_back().is_none());
    assert_eq!(rollout.promote(), None, "what was taken back stays so");
    assert_eq!(rollout.state(), RolloutState::RolledBack { reason: RollbackReason::ByHand });
}

#[test]
fn a_version_that_is_down_leaves_its_keys_to_the_other() {
    let mut router = canary(CanaryTerms { stages: vec![50], ..CanaryTerms::default() });
    assert!(router.set_availability(CANARY, Availability::Down));
    assert!((0..500).all(|key| target_of(&mut router, key) == BASELINE));
    assert!(router.set_availability(BASELINE, Availability::Down));
    let error = router.pick(AffinityKey::of_number(1)).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some(ReasonCode::EngineUnavailable)));
    router.set_availability(CANARY, Availability::Up);
    assert!((0..500).all(|key| target_of(&mut router, key) == CANARY));
    router.rollout_mut().unwrap().roll_back();
    assert_eq!(router.pick(AffinityKey::of_number(1)), Err(RoutingError::NoneUp), "not even when the old one is down");
    assert!(!router.set_availability(TargetId(99), Availability::Up));
}

#[test]
fn splits_keep_their_weights_and_their_keys() {
    let mut router = Router::new(Strategy::Split(arms(&[50, 30, 20, 0])), 3).unwrap();
    let before: Vec<TargetId> = (0..20_000).map(|key| target_of(&mut router, key)).collect();
    for (id, percent) in [(0, 50.0), (1, 30.0), (2, 20.0), (3, 0.0)] {
        assert_share(before.iter().filter(|t| t.0 == id).count() as u64, 20_000, percent);
    }
    router.set_availability(TargetId(1), Availability::Down);
    let after: Vec<TargetId> = (0..20_000).map(|key| target_of(&mut router, key)).collect();
    for (before, after) in before.iter().zip(&after) {
        assert!(if before.0 == 1 { after.0 != 1 } else { before == after }, "{before} moved to {after}");
    }
    assert_share(after.iter().filter(|t| t.0 == 0).count() as u64, 20_000, 50.0 + 30.0 * 50.0 / 70.0);
}

#[test]
fn a_key_stays_at_its_replica_while_that_is_up() {
    let ids: Vec<TargetId> = (0..8).map(TargetId).collect();
    let mut router = Router::new(Strategy::Affinity(ids.clone()), 3).unwrap();
    let before: Vec<TargetId> = (0..8_000).map(|key| target_of(&mut router, key)).collect();
    for id in &ids {
        assert_share(before.iter().filter(|t| *t == id).count() as u64, 8_000, 12.5);
    }
    router.set_availability(TargetId(5), Availability::Down);
    for (key, before) in (0..).zip(&before) {
        let after = target_of(&mut router, key);
        assert!(if before.0 == 5 { after.0 != 5 } else { after == *before }, "{before} moved to {after}");
    }
    router.set_availability(TargetId(5), Availability::Up);
    assert!((0..).zip(&before).all(|(key, before)| target_of(&mut router, key) == *before), "and it comes back");
}

#[test]
fn balance_gives_idle_replicas_their_weights() {
    let mut router = Router::new(Strategy::Balance(arms(&[3, 1])), 3).unwrap();
    for key in 0..20_000 {
        target_of(&mut router, key);
    }
    assert_share(router.targets()[0].picks, 20_000, 75.0);
}

#[test]
fn balance_avoids_the_loaded_the_slow_and_the_failing() {
    let share = |prepare: &dyn Fn(&mut Router)| {
        let mut router = Router::new(Strategy::Balance(arms(&[1, 1])), 3).unwrap();
        let measured = |router: &mut Router, outcome| {
            for target in [TargetId(0), TargetId(1)] {
                report_at(router, target, outcome, SECS(0));
            }
        };
        measured(&mut router, GOOD);
        prepare(&mut router);
        let before = router.targets()[0].picks;
        for key in 0..10_000 {
            target_of(&mut router, key);
        }
        router.targets()[0].picks - before
    };
    // Drawn twice, or it would not be chosen at all: a quarter.
    assert_share(share(&|router| while target_of_kept(router).0 != 0 {}), 10_000, 25.0);
    let slow = Outcome::Success { latency: SECS(1) };
    assert_share(share(&|router| assert_eq!(reports(router, 1, TargetId(0), slow), None)), 10_000, 25.0);
    assert_share(share(&|router| assert_eq!(reports(router, 1, TargetId(0), BAD), None)), 10_000, 25.0);
    assert_share(share(&|_| ()), 10_000, 50.0);
}

/// Picks and leaves the request at its target; one at target 1 is given back.
fn target_of_kept(router: &mut Router) -> TargetId {
    let Choice { target, token } = router.pick(AffinityKey::of_number(0)).unwrap();
    if target.0 == 1 {
        router.release(token);
    }
    target
}

#[test]
fn latency_is_nine_parts_old_and_one_part_new() {
    let mut router = Router::new(Strategy::Affinity(vec![BASELINE]), 0).unwrap();
    assert_eq!(router.targets()[0].latency, None, "nothing was measured");
    for (ms, expected) in [(10, 10_000), (20, 11_000), (11, 11_000)] {
        report_at(&mut router, BASELINE, Outcome::Success { latency: Duration::from_millis(ms) }, SECS(0));
        assert_eq!(router.targets()[0].latency, Some(Duration::from_micros(expected)));
    }
    report_at(&mut router, BASELINE, Outcome::Failed(ErrorKind::Cancelled), SECS(0));
    let stats = router.targets()[0];
    assert_eq!((stats.successes, stats.failures, stats.outstanding), (3, 0, 0), "a caller's fault says nothing");
    reports(&mut router, 100, BASELINE, BAD);
    assert_eq!(router.targets()[0].latency, Some(SECS(10)), "the penalty has a bound");
}

#[test]
fn strategies_that_cannot_work_are_refused() {
    let refused = |strategy| Router::new(strategy, 0).unwrap_err();
    let stages = |stages: &[u8]| refused(strategy(CanaryTerms { stages: stages.to_vec(), ..CanaryTerms::default() }));
    assert_eq!(refused(Strategy::Affinity(Vec::new())), RoutingError::Targets { got: 0 });
    assert_eq!(refused(Strategy::Affinity((0..65).map(TargetId).collect())), RoutingError::Targets { got: 65 });
    assert_eq!(refused(Strategy::Affinity(vec![CANARY, CANARY])), RoutingError::TargetTwice { target: CANARY });
    assert_eq!(refused(Strategy::Split(arms(&[0, 0]))), RoutingError::Weights { sum: 0 });
    assert_eq!(refused(Strategy::Balance(arms(&[u32::MAX, 1]))), RoutingError::Weights { sum: 1 << 32 });
    for bad in [&[][..], &[101], &[50, 25], &[5, 5], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]] {
        assert_eq!(stages(bad), RoutingError::Stages, "{bad:?}");
    }
}

#[test]
fn a_choice_that_is_dropped_counts_as_cancelled() {
    let router = SharedRouter::new(canary(CanaryTerms { stages: vec![100], ..CanaryTerms::default() }));
    (0..100).for_each(|key| drop(router.pick(AffinityKey::of_number(key)).unwrap()));
    let kept = router.pick(AffinityKey::of_number(1)).unwrap();
    let stats = router.targets()[1];
    assert_eq!((stats.picks, stats.outstanding, stats.successes, stats.failures), (101, 1, 0, 0));
    assert_eq!(kept.target(), CANARY);
    assert_eq!(kept.report(GOOD, SECS(0)), None);
    assert_eq!((router.targets()[1].outstanding, router.targets()[1].successes), (0, 1));
}

proptest! {
    #[test]
    fn a_failing_canary_is_taken_back_within_n_failures_and_stays_so(
        before in prop::collection::vec((any::<bool>(), any::<bool>()), 0..100),
        failures_in_row_max in 1_u32..10,
        seed: u64,
    ) {
        let terms = CanaryTerms { stages: vec![50, 100], stage_samples_min: 30, failures_in_row_max, ..CanaryTerms::default() };
        let mut router = Router::new(strategy(terms), seed).unwrap();
        let is_rolled_back = |router: &Router| {
            matches!(router.rollout().unwrap().state(), RolloutState::RolledBack { .. })
        };
        let mut out = Vec::new();
        for (key, (is_good, waits)) in (0..).zip(before) {
            let Choice { target, token } = router.pick(AffinityKey::of_number(key)).unwrap();
            prop_assert!(target == BASELINE || !is_rolled_back(&router));
            if waits {
                out.push(token);
            } else {
                router.report(token, if is_good { GOOD } else { BAD }, SECS(key));
            }
        }
        let mut n_failures = 0;
        for key in 1000..1500 {
            let Choice { target, token } = router.pick(AffinityKey::of_number(key)).unwrap();
            prop_assert!(target == BASELINE || !is_rolled_back(&router), "traffic to a version that was taken back");
            n_failures += u32::from(target == CANARY);
            router.report(token, if target == CANARY { BAD } else { GOOD }, SECS(200));
        }
        prop_assert!(is_rolled_back(&router) && n_failures <= failures_in_row_max);
        for token in out {
            prop_assert_eq!(router.report(token, GOOD, SECS(300)), None, "late news change nothing");
        }
        prop_assert!(is_rolled_back(&router));
        prop_assert!(router.targets().iter().all(|stats| stats.outstanding == 0));
    }

    #[test]
    fn the_same_seed_and_reports_give_the_same_choices(
        script in prop::collection::vec((0_u64..50, 1_u64..100, any::<bool>()), 1..200),
        seed: u64,
    ) {
        let run = || {
            let mut router = Router::new(Strategy::Balance(arms(&[5, 2, 1])), seed).unwrap();
            let mut chosen = Vec::new();
            for &(key, ms, is_good) in &script {
                let Choice { target, token } = router.pick(AffinityKey::of_number(key)).unwrap();
                let latency = Duration::from_millis(ms);
                router.report(token, if is_good { Outcome::Success { latency } } else { BAD }, SECS(0));
                chosen.push(target);
            }
            chosen
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn a_canary_that_cannot_be_used_leaves_its_request_to_the_baseline_until_it_is_taken_back() {
    let terms = CanaryTerms { stages: vec![100], failures_in_row_max: 3, ..CanaryTerms::default() };
    let mut router = canary(terms);
    let lost = Outcome::Failed(ErrorKind::Unavailable);
    for nth in 1..=3 {
        let Choice { target, token } = router.pick(AffinityKey::of_number(nth)).unwrap();
        assert_eq!(target, CANARY);
        let (change, instead) = router.instead(token, lost, SECS(nth));
        assert_eq!(change.is_some(), nth == 3, "failure {nth}");
        let Choice { target, token } = instead.expect("the old version is up");
        assert_eq!((target, router.targets()[0].outstanding), (BASELINE, 1));
        assert_eq!(router.report(token, GOOD, SECS(nth)), None);
    }
    assert_eq!(target_of(&mut router, 9), BASELINE);
    let [baseline, canary] = router.targets() else { panic!("two versions") };
    assert_eq!((baseline.successes, baseline.failures, canary.successes, canary.failures), (3, 0, 0, 3));
    assert_eq!((baseline.outstanding, canary.outstanding), (0, 0));
}

#[test]
fn nobody_answers_instead_where_there_is_no_old_version() {
    let mut baseline_down = canary(CanaryTerms { stages: vec![100], ..CanaryTerms::default() });
    baseline_down.set_availability(BASELINE, Availability::Down);
    let at_baseline = canary(CanaryTerms { stages: vec![0], ..CanaryTerms::default() });
    let split = Router::new(Strategy::Split(arms(&[0, 1])), 7).unwrap();
    for (what, mut router) in [("down", baseline_down), ("baseline", at_baseline), ("split", split)] {
        let Choice { token, .. } = router.pick(AffinityKey::of_number(1)).unwrap();
        assert_eq!(router.instead(token, BAD, SECS(1)).1, None, "{what}");
        assert!(router.targets().iter().all(|target| target.outstanding == 0), "{what}");
    }
}
