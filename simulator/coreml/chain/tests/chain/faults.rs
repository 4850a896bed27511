//! A framework that misbehaves in this process.

use crate::house::{ACCELERATOR, House, until};
use ballast_backend::ReasonCode;
use ballast_coreml::CoreMlOptions;
use ballast_runtime::breaker::{Cause, Position};
use ballast_runtime::supervised::PredictOptions;
use coreml_simulator::{Fault, Knobs, late_work_is_done, release_stalled, set_knobs, stalled, start};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

#[test]
fn a_well_framework_answers_within_the_parity_of_f16_and_not_as_the_cpu() {
    let _turn = start();
    let house = House::open(CoreMlOptions::default());
    for value in 1..20_u8 {
        assert_eq!(house.predict(f32::from(value) / 30.0).engine, "coreml");
    }
    until("answers were compared", || house.engine.metrics().engines.parity_measured > 0);
    assert_eq!((house.engine.metrics().engines.parity_exceeded, house.first().breaker), (0, Some(Position::Closed)));
    let rounded = house.predict(0.7).outputs.get("y").unwrap().as_f32().unwrap().to_vec();
    set_knobs(Knobs { predict: Fault::Error(0), ..ACCELERATOR });
    let exact = house.predict(0.7).outputs.get("y").unwrap().as_f32().unwrap().to_vec();
    assert_ne!(rounded, exact, "one is rounded to f16 after every operation");
}

#[test]
fn wrong_numbers_open_the_breaker() {
    let _turn = start();
    let house = House::open(CoreMlOptions::default());
    set_knobs(Knobs { error: 0.5, ..ACCELERATOR });
    assert_eq!(house.ask(5.0, PredictOptions::default()).engine, "coreml");
    until("it was compared", || house.is_open());
    assert_eq!((house.trips_by(Cause::Parity), house.engine.metrics().engines.parity_exceeded), (1, 1));
    assert_eq!(house.falls_back(), [ReasonCode::FallbackEngaged, ReasonCode::CircuitOpen]);
    house.recovers();
}

#[test]
fn errors_and_arrays_that_lie_are_answered_by_the_cpu_and_open_the_breaker() {
    let _turn = start();
    let cases = [
        Knobs { predict: Fault::Error(0), ..ACCELERATOR },
        Knobs { predict: Fault::Silence, ..ACCELERATOR },
        Knobs { predict: Fault::Dropped, ..ACCELERATOR },
        Knobs { wrap: Fault::Error(0), ..ACCELERATOR },
        Knobs { lying_strides: true, ..ACCELERATOR },
        Knobs { other_type: true, ..ACCELERATOR },
        Knobs { missing_output: true, ..ACCELERATOR },
    ];
    for knobs in cases {
        let house = House::open(CoreMlOptions::default());
        set_knobs(knobs);
        for _ in 0..2 {
            house.falls_back();
        }
        set_knobs(ACCELERATOR);
        (0..7).for_each(|_| assert_eq!(house.predict(1.0).engine, "coreml"));
        assert!(house.is_open(), "{knobs:?}");
        assert_eq!(house.trips_by(Cause::SuccessRate), 1);
        assert!(house.falls_back().contains(&ReasonCode::CircuitOpen));
        let failures: u64 = house.core_ml.get_metrics().failure_modes.values().sum();
        assert_eq!(failures, 2, "both are counted: {knobs:?}");
        house.recovers();
    }
}

#[test]
fn a_call_that_hangs_is_answered_by_the_cpu_and_its_late_answer_is_dropped() {
    let _turn = start();
    for fault in [Fault::Stall, Fault::Freeze] {
        let house = House::open(CoreMlOptions::default());
        set_knobs(Knobs { predict: fault, ..ACCELERATOR });
        thread::scope(|scope| {
            let caller = scope.spawn(|| house.predict(1.0));
            until("the call hangs", || stalled() == 1);
            house.clock.advance(Duration::from_millis(2500));
            let prediction = caller.join().unwrap();
            assert_eq!(prediction.engine, "tensor-cpu");
            assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::CancelledByTimeout], "{fault:?}");
        });
        if fault == Fault::Stall {
            // Core ML's call goes on until its own time-out.
            house.clock.advance(Duration::from_secs(5));
            let failures = || house.core_ml.get_metrics().failure_modes.values().sum::<u64>();
            until("the call is given up", || failures() == 1);
        }
        set_knobs(ACCELERATOR);
        release_stalled();
        until("nothing hangs", || stalled() == 0);
        late_work_is_done();
        if fault == Fault::Stall {
            until("it is noted", || house.core_ml.get_metrics().late_completions == 1);
        }
        house.recovers();
    }
}

#[test]
fn answers_that_come_late_open_the_breaker() {
    let _turn = start();
    let long = Duration::from_secs(100_000);
    let house = House::open(CoreMlOptions { predict_timeout: long, ..CoreMlOptions::default() });
    // Each look at the clock takes this long: a call looks several times, and takes longer than the engine's SLA.
    house.clock.step_ms.store(30, Ordering::SeqCst);
    let mut n_asked = 0;
    while !house.is_open() {
        let prediction = house.ask(1.0, PredictOptions { deadline: long, ..PredictOptions::default() });
        assert_eq!((prediction.engine, &prediction.degraded[..]), ("coreml", &[ReasonCode::SlaViolated][..]));
        n_asked += 1;
        assert!(n_asked <= 1000, "the breaker does not open");
    }
    house.clock.step_ms.store(0, Ordering::SeqCst);
    assert_eq!(house.trips_by(Cause::SlaViolations), 1);
    house.falls_back();
    house.recovers();
}

#[test]
fn a_model_that_does_not_load_is_answered_for_by_the_cpu() {
    let _turn = start();
    let house = House::cold(CoreMlOptions::default());
    set_knobs(Knobs { load: Fault::Error(3), ..ACCELERATOR });
    house.falls_back();
    assert_eq!(house.core_ml.get_metrics().failure_modes.get("load_error"), Some(&1));
    house.recovers();
}
