//! Versions behind one name: shares, reports, roll-back.

use crate::support::{Shelf, answer_of, declare, opened, question, report, room};
use ballast::telemetry::{LogRecord, RingLogger, Telemetry, Value};
use ballast::{
    AbArm, AffinityKey, CanaryTerms, ErrorKind, FinishReason, Generate, Models, ModelsOptions, ReasonCode,
    RollbackReason, RolloutState, RoutePlan, RouteReport,
};
use ballast_testkit::{Fault, FaultControl, FaultPlan, FaultyGenerator, PATIENCE, VirtualClock};
use std::sync::Arc;
use std::time::Duration;

const N_KEYS: u64 = 2000;

fn key(number: u64) -> AffinityKey {
    AffinityKey::of_bytes(&number.to_le_bytes())
}

fn canary(percent: u8) -> RoutePlan {
    let terms = CanaryTerms { stages: vec![percent, 100], ..CanaryTerms::default() };
    RoutePlan::Canary { baseline: "a".to_owned(), canary: "b".to_owned(), terms }
}

fn route(models: &Models) -> RouteReport {
    models.routes().into_iter().find(|route| route.name == "chat").unwrap()
}

/// Successes, failures, and requests on their way, of each version.
fn counts(models: &Models) -> Vec<(u64, u64, u64)> {
    let stats = route(models).targets.into_iter().map(|target| target.stats);
    stats.map(|stats| (stats.successes, stats.failures, stats.outstanding)).collect()
}

fn lease(models: &Models, number: u64) -> ballast::RoutedLease {
    models.acquire_for("chat", key(number), Some(PATIENCE)).unwrap()
}

/// A model that is declared as `b` and fails every step.
fn declare_broken(models: &Models, shelf: &Shelf) {
    let broken = opened(&shelf.file(2), shelf.bytes(), |engine| {
        let plan = FaultPlan::flapping(0, 1, Fault::Fail);
        Box::new(FaultyGenerator::new(Wrapped(engine), plan, FaultControl::default()))
    });
    models.declare_source("b", broken).unwrap();
}

/// A boxed engine as an engine.
struct Wrapped(Box<dyn ballast_backend::Generator>);

impl ballast_backend::Generator for Wrapped {
    fn shape(&self) -> &ballast_backend::GeneratorShape {
        self.0.shape()
    }

    fn step(
        &mut self,
        batch: &[ballast_backend::SequenceStep<'_>],
        logits: &mut ballast_backend::Logits,
        pulse: &ballast_backend::Pulse,
    ) -> Result<(), ballast_backend::EngineError> {
        self.0.step(batch, logits, pulse)
    }
}

#[test]
fn a_canary_gets_its_share_and_keys_keep_their_version() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    models.route("chat", canary(10)).unwrap();
    let versions = || (0..N_KEYS).map(|number| lease(&models, number).model().to_owned()).collect::<Vec<_>>();
    let first = versions();
    let n_canary = first.iter().filter(|model| *model == "b").count();
    assert!((150..=250).contains(&n_canary), "{n_canary} of {N_KEYS} keys, 10 percent asked for");
    assert_eq!(versions(), first);
    assert_eq!(counts(&models), [(0, 0, 0), (0, 0, 0)], "a lease that asks nothing says nothing");
    assert_eq!(route(&models).rollout, Some(RolloutState::Stage { idx: 0, percent: 10 }));
}

#[test]
fn another_seed_gives_the_share_to_other_keys() {
    let shelf = Shelf::new();
    let chosen = |routing_seed| {
        let models = Models::new(ModelsOptions { routing_seed, ..room(&shelf, 2) });
        declare(&models, &shelf, 2);
        models.route("chat", canary(50)).unwrap();
        (0..64).map(|number| lease(&models, number).model().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(1), chosen(1));
    assert_ne!(chosen(1), chosen(2));
}

#[test]
fn arms_share_the_keys_by_weight() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    let arm = |model: &str, weight| AbArm { model: model.to_owned(), weight };
    models.route("chat", RoutePlan::Ab(vec![arm("a", 3), arm("b", 1)])).unwrap();
    let n_b = (0..N_KEYS).filter(|&number| lease(&models, number).model() == "b").count();
    assert!((430..=570).contains(&n_b), "{n_b} of {N_KEYS} keys, a quarter asked for");
    assert_eq!(route(&models).rollout, None);
}

#[test]
fn a_failing_canary_is_taken_back_and_told() {
    let shelf = Shelf::new();
    let ring = Arc::new(RingLogger::new(64));
    let telemetry = Telemetry { metrics: None, logger: Some(Arc::clone(&ring) as _) };
    let models = Models::new(ModelsOptions { telemetry, ..room(&shelf, 2) });
    declare(&models, &shelf, 1);
    declare_broken(&models, &shelf);
    models.route("chat", canary(50)).unwrap();
    let (expected, mut n_failed) = (answer_of(&shelf, 1), 0);
    for number in 0..100 {
        let generate = Generate { correlation: Some(format!("ask-{number}").parse().unwrap()), ..question() };
        let lease = lease(&models, number);
        let (is_canary, answer) = (lease.model() == "b", lease.generate(&generate));
        match answer {
            Ok(answer) if !is_canary => assert_eq!(answer.text, expected),
            Ok(answer) => {
                assert_eq!((answer.finish_reason, is_canary), (FinishReason::Error, true));
                n_failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let terms = CanaryTerms::default();
    assert_eq!(n_failed, terms.failures_in_row_max, "nobody else had to suffer");
    let taken_back = RolloutState::RolledBack { reason: RollbackReason::FailuresInRow };
    assert_eq!(route(&models).rollout, Some(taken_back));
    assert_eq!(counts(&models), [(95, 0, 0), (0, 5, 0)]);
    let events: Vec<LogRecord> = ring.records();
    assert_eq!(events.iter().map(|record| record.name).collect::<Vec<_>>(), ["rollout_changed"]);
    let correlation = events[0].correlation.as_ref().unwrap().to_string();
    assert!(correlation.starts_with("ask-"), "the request that tipped it: {correlation}");
    let field = |name| events[0].fields.as_slice().iter().find(|(key, _)| *key == name).unwrap().1;
    assert_eq!(
        [field("from"), field("to"), field("reason")],
        [Value::Word("stage"), Value::Word("rolled_back"), Value::Word("failures_in_row")]
    );
}

#[test]
fn a_canary_that_works_is_promoted_in_its_stages() {
    let shelf = Shelf::new();
    let clock = VirtualClock::new();
    let models = Models::with_clock(room(&shelf, 2), Arc::new(clock.clone()));
    declare(&models, &shelf, 2);
    let terms = CanaryTerms {
        stages: vec![50, 100],
        stage_samples_min: 5,
        stage_time_min: Duration::from_secs(1),
        ..CanaryTerms::default()
    };
    let plan = RoutePlan::Canary { baseline: "a".to_owned(), canary: "b".to_owned(), terms };
    models.route("chat", plan).unwrap();
    let mut states = Vec::new();
    for number in 0..60 {
        clock.advance(Duration::from_millis(200));
        lease(&models, number).generate(&question()).unwrap();
        states.extend(route(&models).rollout);
    }
    states.dedup();
    let stage = |idx, percent| RolloutState::Stage { idx, percent };
    assert_eq!(states, [stage(0, 50), stage(1, 100), RolloutState::Promoted]);
    assert!((100..110).all(|number| lease(&models, number).model() == "b"));
    assert!(route(&models).targets[1].stats.latency.is_some(), "latency is reported");
}

#[test]
fn what_its_caller_gives_up_is_not_held_against_a_version() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 1));
    declare(&models, &shelf, 1);
    models.route("chat", RoutePlan::Single("a".to_owned())).unwrap();
    let endless = Generate { max_tokens: None, ..question() };
    let mut dropped = lease(&models, 1).stream(&endless).unwrap();
    assert_eq!(counts(&models), [(0, 0, 1)]);
    assert!(dropped.next_blocking().is_some());
    assert_eq!((dropped.model(), report(&models, "a").n_leases()), ("a", 1));
    drop(dropped);
    assert_eq!((counts(&models), report(&models, "a").n_leases()), (vec![(0, 0, 0)], 0));
    let cancelled = lease(&models, 2).stream(&endless).unwrap();
    cancelled.canceller().cancel();
    read(cancelled);
    let too_long = Generate { prompt: ballast::Prompt::Text("x".repeat(300)), ..question() };
    let error = lease(&models, 3).generate(&too_long).unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::ContextLengthExceeded));
    assert_eq!(counts(&models), [(0, 0, 0)]);
    assert_eq!(lease(&models, 4).generate(&question()).unwrap().text, answer_of(&shelf, 1));
    assert_eq!(counts(&models), [(1, 0, 0)]);
}

fn read(mut stream: ballast::RoutedStream) {
    while stream.next_blocking().is_some() {}
}

#[test]
fn a_canary_that_cannot_be_loaded_counts_as_failed_and_costs_no_request() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    let path = shelf.file(2);
    std::fs::write(&path, b"no model").unwrap();
    models.route("chat", canary(50)).unwrap();
    let expected = answer_of(&shelf, 1);
    for number in 0..50 {
        let lease = lease(&models, number);
        assert_eq!(lease.model(), "a");
        assert_eq!(lease.generate(&question()).unwrap().text, expected);
    }
    let n_failed = u64::from(CanaryTerms::default().failures_in_row_max);
    assert_eq!(counts(&models), [(50, 0, 0), (0, n_failed, 0)]);
    let taken_back = RolloutState::RolledBack { reason: RollbackReason::FailuresInRow };
    assert_eq!(route(&models).rollout, Some(taken_back));
}

#[test]
fn a_version_of_an_a_b_test_that_cannot_be_loaded_is_not_replaced_by_another() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    std::fs::write(shelf.file(2), b"no model").unwrap();
    let arm = |model: &str| AbArm { model: model.to_owned(), weight: 1 };
    models.route("chat", RoutePlan::Ab(vec![arm("a"), arm("b")])).unwrap();
    let asked = |number| models.acquire_for("chat", key(number), Some(PATIENCE)).map(drop);
    let errors: Vec<_> = (0..20).filter_map(|number| asked(number).err()).collect();
    assert!(!errors.is_empty() && errors.iter().all(|error| error.kind() == ErrorKind::Unavailable));
    assert_eq!(counts(&models)[1].1, errors.len() as u64);
}

#[test]
fn a_person_promotes_takes_back_and_forgets() {
    let shelf = Shelf::new();
    let models = Models::new(room(&shelf, 2));
    declare(&models, &shelf, 2);
    assert!(models.promote("chat").is_none());
    models.route("chat", canary(1)).unwrap();
    assert_eq!(models.promote("chat").unwrap().to, RolloutState::Promoted);
    assert!((0..20).all(|number| lease(&models, number).model() == "b"));
    models.roll_back("chat").unwrap();
    assert!((0..20).all(|number| lease(&models, number).model() == "a"));
    models.route("chat", canary(1)).unwrap();
    assert_eq!(route(&models).rollout, Some(RolloutState::Stage { idx: 0, percent: 1 }), "a roll-out begins anew");
    assert!(models.unroute("chat") && !models.unroute("chat"));
    let error = models.acquire_for("chat", key(1), None).map(drop).unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::ModelNotFound), "without a route the name is a model's");
    assert_eq!(models.acquire_for("a", key(1), Some(PATIENCE)).unwrap().model(), "a");
}

#[test]
fn routes_that_lead_nowhere_are_refused() {
    let shelf = Shelf::new();
    let models = Models::new(ModelsOptions { names_max: 2, ..room(&shelf, 2) });
    declare(&models, &shelf, 2);
    let refused = |plan| models.route("chat", plan).unwrap_err();
    let arm = |model: &str, weight| AbArm { model: model.to_owned(), weight };
    assert_eq!(refused(RoutePlan::Single("x".to_owned())).reason(), Some(ReasonCode::ModelNotFound));
    for plan in [
        RoutePlan::Ab(vec![]),
        RoutePlan::Ab(vec![arm("a", 1), arm("a", 1)]),
        RoutePlan::Ab(vec![arm("a", 0), arm("b", 0)]),
        canary(100),
    ] {
        assert_eq!(refused(plan).kind(), ErrorKind::Invalid);
    }
    for name in ["one", "two", "one"] {
        models.route(name, RoutePlan::Single("a".to_owned())).unwrap();
    }
    assert_eq!(refused(RoutePlan::Single("a".to_owned())).kind(), ErrorKind::Overloaded);
}
