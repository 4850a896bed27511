//! Faults come when the plan says, and hangs end as it says.

use super::*;
use crate::Script;
use ballast_backend::{BlockId, DType, LogitRows, Tensor, TokenId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

fn predictor(plan: FaultPlan) -> (FaultyPredictor, FaultControl) {
    let control = FaultControl::default();
    let echo = Arc::new(|inputs: &TensorMap| inputs.clone());
    (FaultyPredictor::new(IoSchema::default(), echo, plan, control.clone()), control)
}

fn inputs() -> TensorMap {
    TensorMap::from([("x".to_owned(), Tensor::zeros(vec![2], DType::F32).expect("a shape"))])
}

fn predict(predictor: &mut FaultyPredictor, pulse: &Pulse) -> Result<TensorMap, ErrorKind> {
    let mut outputs = TensorMap::new();
    predictor.predict(&inputs(), &mut outputs, pulse).map_err(|error| error.kind())?;
    Ok(outputs)
}

#[test]
fn a_list_is_followed_and_then_all_is_well() {
    let faults = [Fault::Fail, Fault::None, Fault::Wrong, Fault::Panic, Fault::Leak(100)];
    let ((mut predictor, control), pulse) = (predictor(FaultPlan::list(faults)), Pulse::new());
    assert_eq!(predict(&mut predictor, &pulse), Err(ErrorKind::Internal));
    assert_eq!(predict(&mut predictor, &pulse), Ok(inputs()));
    let wrong = predict(&mut predictor, &pulse).unwrap();
    assert_eq!(wrong["x"].as_f32(), Some(&[1.0, 1.0][..]));
    assert!(catch_unwind(AssertUnwindSafe(|| predict(&mut predictor, &pulse))).is_err());
    assert_eq!(predict(&mut predictor, &pulse), Ok(inputs()));
    assert_eq!((control.n_leaked_bytes(), control.n_calls()), (100, 5));
    assert_eq!(predict(&mut predictor, &pulse), Ok(inputs()));
}

#[test]
fn a_lost_instance_stays_lost() {
    let ((mut predictor, _), pulse) = (predictor(FaultPlan::list([Fault::Lost])), Pulse::new());
    for _ in 0..2 {
        assert_eq!(predict(&mut predictor, &pulse), Err(ErrorKind::Unavailable));
    }
}

#[test]
fn the_same_seed_gives_the_same_faults_at_their_rates() {
    let rates = FaultRates { fail: 300, wrong: 100, slow: (50, BEAT), ..FaultRates::default() };
    let faults = |seed| {
        let mut plan = FaultPlan::seeded(seed, rates);
        (0..4000).map(|_| plan.next_fault()).collect::<Vec<_>>()
    };
    assert_eq!(faults(1), faults(1));
    assert_ne!(faults(1), faults(2));
    let count = |wanted| faults(1).into_iter().filter(|fault| *fault == wanted).count();
    assert!((1080..1320).contains(&count(Fault::Fail)), "{}", count(Fault::Fail));
    assert!((320..480).contains(&count(Fault::Wrong)), "{}", count(Fault::Wrong));
    assert_eq!((count(Fault::Panic), count(Fault::Lost)), (0, 0));
}

#[test]
fn flapping_is_periodic() {
    let mut plan = FaultPlan::flapping(2, 1, Fault::Fail);
    let (n, f) = (Fault::None, Fault::Fail);
    assert_eq!([0; 7].map(|_| plan.next_fault()), [n, n, f, n, n, f, n]);
}

#[test]
fn a_cooperative_hang_ends_with_its_pulse_and_a_stubborn_one_with_its_release() {
    for (hang, ends_by_pulse) in [(Hang::Cooperative, true), (Hang::Deaf, false), (Hang::Silent, false)] {
        let ((mut predictor, control), pulse) = (predictor(FaultPlan::list([Fault::Hang(hang)])), Pulse::new());
        thread::scope(|scope| {
            let call = scope.spawn(|| predict(&mut predictor, &pulse));
            control.wait_hanging(1);
            pulse.abandon();
            if !ends_by_pulse {
                assert_eq!(control.n_hanging(), 1);
                control.release();
            }
            assert_eq!(call.join().unwrap(), Err(ErrorKind::Cancelled), "{hang:?}");
        });
        assert_eq!(control.n_hanging(), 0);
    }
}

#[test]
fn a_hang_that_is_released_answers() {
    let (mut predictor, control) = predictor(FaultPlan::list([Fault::Hang(Hang::Silent)]));
    let pulse = Pulse::new();
    thread::scope(|scope| {
        let call = scope.spawn(|| predict(&mut predictor, &pulse));
        control.wait_hanging(1);
        assert_eq!(pulse.beats(), 0, "it gives no sign of life");
        control.release();
        assert_eq!(call.join().unwrap(), Ok(inputs()));
    });
}

#[test]
fn a_generator_fails_and_errs_by_its_plan() {
    let (engine, _script) = Script::new(4, |_| TokenId(2)).engine();
    let plan = FaultPlan::list([Fault::Fail, Fault::Wrong, Fault::Slow(BEAT)]);
    let mut engine = FaultyGenerator::new(engine, plan, FaultControl::default());
    let mut step = || {
        let mut logits = Logits::default();
        let share = SequenceStep { tokens: &[TokenId(0)], start: 0, blocks: &[BlockId(0)], logits: LogitRows::Last };
        engine.step(&[share], &mut logits, &Pulse::new()).map(|()| logits.row(0)[2]).map_err(|error| error.kind())
    };
    assert_eq!(step(), Err(ErrorKind::Internal));
    assert!(step().is_ok_and(|logit| logit < 0.0));
    assert!(step().is_ok_and(|logit| logit > 0.0));
}
