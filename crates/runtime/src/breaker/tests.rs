//! When the breaker opens, what it lets through, and how it closes.

use super::*;
use ballast_backend::{ErrorKind, ReasonCode};
use proptest::prelude::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const GOOD: Outcome = Outcome::Success { latency: Duration::ZERO };
const BAD: Outcome = Outcome::Failed(ErrorKind::Internal);

fn steady() -> BreakerOptions {
    let open_for = Backoff { jitter: 0.0, ..BreakerOptions::default().open_for };
    BreakerOptions { sla: Some(MS(20)), open_for, ..BreakerOptions::default() }
}

fn pass(breaker: &mut Breaker, now: Duration) -> Pass {
    breaker.try_pass(now).pass.unwrap()
}

fn call(breaker: &mut Breaker, outcome: Outcome, now: Duration) -> Option<Transition> {
    let pass = pass(breaker, now);
    breaker.record(pass, outcome, now)
}

/// Up to `n` calls; the first change ends them.
fn calls(breaker: &mut Breaker, n: u32, outcome: Outcome, now: Duration) -> Option<Transition> {
    (0..n).find_map(|_| call(breaker, outcome, now))
}

/// A breaker that opened at time 0 for `cause`.
fn opened(options: BreakerOptions, cause: Cause) -> Breaker {
    let mut breaker = Breaker::new(options);
    let transition = match cause {
        Cause::SuccessRate => calls(&mut breaker, 10, BAD, MS(0)),
        Cause::SlaViolations => (0..100).find_map(|_| call(&mut breaker, Outcome::Success { latency: MS(21) }, MS(0))),
        Cause::Memory => breaker.observe_memory((2048 << 20) + 1, MS(0)),
        Cause::Parity => breaker.observe_parity(Parity::Exceeded, MS(0)),
        Cause::ProbeFailed | Cause::Forced => None,
    };
    assert_eq!(
        transition,
        Some(Transition { from: Position::Closed, to: Position::Open, cause: Some(cause) }),
        "{cause:?}"
    );
    breaker
}

#[test]
fn opens_below_95_percent_over_ten_samples() {
    struct Case {
        successes: u32,
        failures: u32,
        opens: bool,
    }
    let cases = [
        Case { successes: 0, failures: 9, opens: false },
        Case { successes: 0, failures: 10, opens: true },
        Case { successes: 9, failures: 1, opens: true },
        Case { successes: 19, failures: 1, opens: false },
        Case { successes: 18, failures: 1, opens: true },
        Case { successes: 190, failures: 10, opens: false },
        Case { successes: 189, failures: 10, opens: true },
    ];
    for Case { successes, failures, opens } in cases {
        let mut breaker = Breaker::new(BreakerOptions { samples_min: (successes + failures).max(10), ..steady() });
        assert_eq!(calls(&mut breaker, successes, GOOD, MS(0)), None);
        let transition = calls(&mut breaker, failures, BAD, MS(0));
        assert_eq!(transition.and_then(|t| t.cause), opens.then_some(Cause::SuccessRate), "{successes}+{failures}");
    }
}

#[test]
fn by_default_it_is_on_with_ten_samples_and_95_percent() {
    let mut breaker = Breaker::new(BreakerOptions::default());
    assert_eq!(calls(&mut breaker, 9, BAD, MS(0)), None);
    assert!(call(&mut breaker, BAD, MS(0)).is_some());
    let rejected = breaker.try_pass(MS(0)).pass.unwrap_err();
    assert_eq!((rejected.reason(), rejected.kind()), (ReasonCode::CircuitOpen, ErrorKind::Unavailable));
    assert_eq!(rejected.cause, Cause::SuccessRate);
}

#[test]
fn opens_above_three_sla_violations_in_a_hundred_inferences() {
    let late = Outcome::Success { latency: MS(21) };
    for (n_late, n_total, opens) in [(3, 100, false), (4, 100, true), (50, 99, false), (6, 200, false), (7, 200, true)]
    {
        let mut breaker = Breaker::new(BreakerOptions { sla_inferences_min: n_total.max(100), ..steady() });
        let outcomes = (0..n_total).map(|i| if i < n_late { late } else { GOOD });
        let transition = outcomes.into_iter().find_map(|outcome| call(&mut breaker, outcome, MS(0)));
        assert_eq!(transition.and_then(|t| t.cause), opens.then_some(Cause::SlaViolations), "{n_late} of {n_total}");
    }
}

#[test]
fn opens_on_memory_over_its_limit_and_on_parity_over_tolerance() {
    let mut breaker = Breaker::new(steady());
    assert_eq!(breaker.observe_memory(2048 << 20, MS(0)), None, "the limit itself is allowed");
    assert_eq!(breaker.observe_parity(Parity::Within, MS(0)), None);
    for cause in [Cause::Memory, Cause::Parity] {
        let breaker = opened(steady(), cause);
        assert_eq!((breaker.counters().trips(), breaker.counters().trips_by(cause)), (1, 1));
    }
    let mut unlimited = Breaker::new(BreakerOptions { memory_bytes_max: None, ..steady() });
    assert_eq!(unlimited.observe_memory(u64::MAX, MS(0)), None);
}

#[test]
fn callers_faults_do_not_count() {
    let mut breaker = Breaker::new(steady());
    let kinds = [ErrorKind::Invalid, ErrorKind::Denied, ErrorKind::Overloaded, ErrorKind::Cancelled];
    for kind in kinds.into_iter().cycle().take(400) {
        assert_eq!(call(&mut breaker, Outcome::Failed(kind), MS(0)), None, "{kind:?}");
    }
    assert_eq!(calls(&mut breaker, 9, BAD, MS(0)), None, "they are no samples either");
}

#[test]
fn old_outcomes_are_forgotten() {
    let mut breaker = Breaker::new(steady());
    assert_eq!(calls(&mut breaker, 9, BAD, MS(0)), None);
    assert_eq!(calls(&mut breaker, 9, BAD, MS(60_000)), None);
    assert!(call(&mut breaker, BAD, MS(60_000)).is_some());
}

#[test]
fn what_opened_it_is_forgotten_when_it_closes() {
    let mut breaker = opened(BreakerOptions { window: MS(3_600_000), ..steady() }, Cause::SuccessRate);
    assert!(calls(&mut breaker, 2, GOOD, MS(10_000)).is_some_and(|t| t.to == Position::Closed));
    assert_eq!(calls(&mut breaker, 9, BAD, MS(10_000)), None);
}

#[test]
fn open_rejects_until_its_time_has_passed_then_probes_and_closes() {
    let mut breaker = opened(steady(), Cause::SuccessRate);
    let rejected = breaker.try_pass(MS(4_000));
    let expected = Rejected { cause: Cause::SuccessRate, retry_after: Some(MS(6_000)) };
    assert_eq!(rejected, Decision { pass: Err(expected), transition: None });
    let Decision { pass: probe, transition } = breaker.try_pass(MS(10_000));
    assert_eq!(transition, Some(Transition { from: Position::Open, to: Position::HalfOpen, cause: None }));
    let probe = probe.unwrap();
    assert!(probe.is_probe());
    let full = Rejected { cause: Cause::SuccessRate, retry_after: None };
    assert_eq!(breaker.try_pass(MS(10_000)).pass, Err(full), "one probe at a time");
    assert_eq!(breaker.record(probe, GOOD, MS(10_100)), None, "one success is not enough");
    let closed = Transition { from: Position::HalfOpen, to: Position::Closed, cause: None };
    assert_eq!(call(&mut breaker, GOOD, MS(10_200)), Some(closed));
    assert!(!pass(&mut breaker, MS(10_200)).is_probe());
    assert_eq!(breaker.counters().rejected, 2);
}

#[test]
fn a_failed_probe_opens_again_for_twice_as_long_up_to_the_cap() {
    let mut breaker = opened(steady(), Cause::SuccessRate);
    let mut now = MS(10_000);
    for expected in [20_000, 40_000, 60_000, 60_000] {
        let transition = call(&mut breaker, Outcome::TimedOut, now);
        assert_eq!(transition.and_then(|t| t.cause), Some(Cause::ProbeFailed));
        let rejected = breaker.try_pass(now).pass.unwrap_err();
        assert_eq!(rejected, Rejected { cause: Cause::SuccessRate, retry_after: Some(MS(expected)) });
        now += MS(expected);
    }
    assert!(calls(&mut breaker, 2, GOOD, now).is_some());
    assert_eq!(breaker.position(), Position::Closed);
    assert!(calls(&mut breaker, 10, BAD, now).is_some());
    assert_eq!(breaker.try_pass(now).pass.unwrap_err().retry_after, Some(MS(10_000)), "closing forgets the doubling");
}

#[test]
fn a_probe_that_says_nothing_only_frees_its_place() {
    let mut breaker = opened(steady(), Cause::SuccessRate);
    for _ in 0..5 {
        let probe = pass(&mut breaker, MS(10_000));
        breaker.release(probe);
        assert_eq!(call(&mut breaker, Outcome::Failed(ErrorKind::Cancelled), MS(10_000)), None);
    }
    assert_eq!((breaker.position(), breaker.probes_out()), (Position::HalfOpen, 0));
}

#[test]
fn a_late_probe_fails_where_lateness_opened_it_and_succeeds_elsewhere() {
    let late = Outcome::Success { latency: MS(21) };
    for (cause, expected) in [(Cause::SlaViolations, Position::Open), (Cause::SuccessRate, Position::Closed)] {
        let mut breaker = opened(steady(), cause);
        let transition = calls(&mut breaker, 2, late, MS(10_000));
        assert_eq!(transition.map(|t| t.to), Some(expected), "{cause:?}");
    }
}

#[test]
fn parity_closes_only_after_parity_was_seen() {
    for parity_first in [true, false] {
        let mut breaker = opened(steady(), Cause::Parity);
        let probe = pass(&mut breaker, MS(10_000));
        assert!(breaker.wants_parity());
        if parity_first {
            assert_eq!(breaker.observe_parity(Parity::Within, MS(10_000)), None);
        }
        assert_eq!(breaker.record(probe, GOOD, MS(10_000)), None);
        let second = call(&mut breaker, GOOD, MS(10_000));
        let last = if parity_first { second } else { breaker.observe_parity(Parity::Within, MS(10_000)) };
        assert_eq!(last.map(|t| t.to), Some(Position::Closed), "parity first: {parity_first}");
    }
    let mut breaker = opened(steady(), Cause::Parity);
    let probe = pass(&mut breaker, MS(10_000));
    assert_eq!(breaker.observe_parity(Parity::Exceeded, MS(10_000)).map(|t| t.to), Some(Position::Open));
    assert_eq!(breaker.record(probe, GOOD, MS(10_000)), None, "the probe is from before");
}

#[test]
fn outcomes_from_before_an_opening_decide_nothing() {
    let mut breaker = Breaker::new(steady());
    let stragglers: Vec<Pass> = (0..20).map(|_| pass(&mut breaker, MS(0))).collect();
    assert!(calls(&mut breaker, 10, BAD, MS(0)).is_some());
    let mut stragglers = stragglers.into_iter();
    assert_eq!(breaker.record(stragglers.next().unwrap(), GOOD, MS(1)), None, "while open");
    let probe = pass(&mut breaker, MS(10_000));
    for (idx, straggler) in stragglers.enumerate() {
        let outcome = if idx % 2 == 0 { GOOD } else { BAD };
        assert_eq!(breaker.record(straggler, outcome, MS(10_000)), None, "while half open");
    }
    assert_eq!((breaker.position(), breaker.probes_out()), (Position::HalfOpen, 1));
    assert_eq!(breaker.counters().stale, 20);
    breaker.release(probe);
}

#[test]
fn a_person_decides_until_they_let_go() {
    let mut breaker = Breaker::new(steady());
    assert_eq!(breaker.force(Forced::Auto), None, "nothing was forced");
    let opened = Transition { from: Position::Closed, to: Position::ForcedOpen, cause: Some(Cause::Forced) };
    assert_eq!(breaker.force(Forced::Open), Some(opened));
    assert_eq!(breaker.force(Forced::Open), None);
    let rejected = Rejected { cause: Cause::Forced, retry_after: None };
    assert_eq!(breaker.try_pass(MS(u64::MAX / 2)).pass, Err(rejected), "no time ends it");
    assert_eq!(breaker.force(Forced::Closed).map(|t| t.to), Some(Position::ForcedClosed));
    assert_eq!(calls(&mut breaker, 100, BAD, MS(0)), None);
    assert_eq!(breaker.observe_memory(u64::MAX, MS(0)), None);
    assert_eq!(breaker.observe_parity(Parity::Exceeded, MS(0)), None);
    assert_eq!(breaker.force(Forced::Auto).map(|t| t.to), Some(Position::Closed));
    assert_eq!(calls(&mut breaker, 9, BAD, MS(0)), None, "what happened before is forgotten");
    assert!(call(&mut breaker, BAD, MS(0)).is_some());
    assert_eq!(breaker.force(Forced::Auto), None, "letting go of nothing does not close it");
    assert_eq!(breaker.counters().trips_by(Cause::Forced), 1);
}

#[derive(Clone, Debug)]
enum Act {
    Pass,
    Record(Outcome),
    Release,
    Wait(u64),
    Memory(u64),
    Parity(Parity),
}

fn acts(outcomes: BoxedStrategy<Outcome>) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => Just(Act::Pass),
        8 => outcomes.prop_map(Act::Record),
        1 => Just(Act::Release),
        2 => (0_u64..30_000).prop_map(Act::Wait),
        1 => (0_u64..5000).prop_map(|mb| Act::Memory(mb << 20)),
        1 => prop_oneof![3 => Just(Parity::Within), 1 => Just(Parity::Exceeded)].prop_map(Act::Parity),
    ];
    prop::collection::vec(act, 1..300)
}

fn any_outcome() -> BoxedStrategy<Outcome> {
    prop_oneof![
        (0_u64..40).prop_map(|ms| Outcome::Success { latency: MS(ms) }),
        Just(BAD),
        Just(Outcome::TimedOut),
        Just(Outcome::Failed(ErrorKind::Cancelled)),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn probes_are_bounded_and_open_ends_by_itself(acts in acts(any_outcome()), probes_max in 1_u32..4) {
        let mut breaker = Breaker::new(BreakerOptions { probes_max, samples_min: 2, ..steady() });
        let (mut now, mut out, mut position) = (Duration::ZERO, Vec::new(), Position::Closed);
        for act in acts {
            let transition = match act {
                Act::Pass => {
                    let Decision { pass, transition } = breaker.try_pass(now);
                    out.extend(pass.ok());
                    transition
                }
                Act::Record(outcome) => match out.pop() {
                    Some(pass) => breaker.record(pass, outcome, now),
                    None => None,
                },
                Act::Release => {
                    if !out.is_empty() {
                        breaker.release(out.remove(0));
                    }
                    None
                }
                Act::Wait(ms) => {
                    now += MS(ms);
                    None
                }
                Act::Memory(bytes) => breaker.observe_memory(bytes, now),
                Act::Parity(parity) => breaker.observe_parity(parity, now),
            };
            if let Some(Transition { from, to, cause }) = transition {
                prop_assert_eq!(from, position, "every change is told");
                prop_assert_eq!(cause.is_some(), to == Position::Open);
                position = to;
            }
            prop_assert_eq!(breaker.position(), position);
            let n_probes = out.iter().filter(|pass| pass.is_probe()).count();
            prop_assert_eq!(n_probes, breaker.probes_out() as usize);
            prop_assert!(n_probes <= probes_max as usize);
        }
        out.into_iter().for_each(|pass| breaker.release(pass));
        let ends_by = now + MS(60_000);
        prop_assert!(breaker.try_pass(ends_by).pass.is_ok(), "with its passes back, it lets one through in the end");
    }

    #[test]
    fn with_only_successes_it_never_opens(gaps in prop::collection::vec(0_u64..2_000, 1..500)) {
        let mut breaker = Breaker::new(steady());
        let mut now = Duration::ZERO;
        for gap in gaps {
            now += MS(gap);
            prop_assert_eq!(call(&mut breaker, Outcome::Success { latency: MS(20) }, now), None);
        }
    }
}

#[test]
fn a_pass_that_is_dropped_frees_its_place_and_counts_for_nothing() {
    use std::sync::{Arc, Mutex};
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        move |t: Transition| told.lock().unwrap().push(t.to)
    };
    let breaker = CircuitBreaker::new(steady(), observer);
    (0..20).for_each(|_| drop(breaker.try_pass(MS(0)).unwrap()));
    (0..10).for_each(|_| breaker.try_pass(MS(0)).unwrap().record(BAD, MS(0)));
    assert_eq!(breaker.try_pass(MS(0)).unwrap_err().cause, Cause::SuccessRate);
    for _ in 0..3 {
        let probe = breaker.try_pass(MS(10_000)).unwrap();
        assert!(probe.is_probe() && breaker.try_pass(MS(10_000)).is_err());
    }
    (0..2).for_each(|_| breaker.try_pass(MS(10_000)).unwrap().record(GOOD, MS(10_000)));
    assert_eq!(*told.lock().unwrap(), [Position::Open, Position::HalfOpen, Position::Closed]);
}
