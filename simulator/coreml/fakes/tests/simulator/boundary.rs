//! The boundary under every fault that the classes can be told to have.

use crate::house::{House, inputs, shared, y};
use crate::packages::{growing, picture, square};
use ballast_backend::{DType, ErrorKind, Predictor, Pulse, Tensor, TensorData, TensorMap};
use ballast_coreml::{Action, Canary, CoreMlError, CoreMlOptions, LayoutError, PredictApi, SharedTensors};
use coreml_simulator::{
    Fault, Knobs, deallocator_calls, late_work_is_done, live, release_stalled, set_knobs, stalled, start,
};
use std::sync::Arc;
use std::time::Duration;

const ONE: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
const ANSWER: [f32; 4] = [3.0, 5.0, 7.0, 9.0];

fn both() -> [CoreMlOptions; 2] {
    [PredictApi::Async, PredictApi::Blocking].map(|api| CoreMlOptions { api, ..CoreMlOptions::default() })
}

fn short(options: CoreMlOptions) -> CoreMlOptions {
    CoreMlOptions { predict_timeout: Duration::from_millis(50), ..options }
}

fn until_stalled(n: usize) {
    for _ in 0..20_000 {
        if stalled() == n {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("expected {n} calls to hang, got {}", stalled());
}

#[test]
fn the_answer_is_that_of_the_model_by_every_interface() {
    let _turn = start();
    for options in both() {
        let house = House::new(options);
        let (mut model, pulse) = (house.open(), Pulse::new());
        let mut outputs = TensorMap::new();
        model.predict(&inputs(&ONE), &mut outputs, &pulse).unwrap();
        assert_eq!(y(&outputs), ANSWER);
        assert_eq!(y(&model.predict_shared(&shared(&ONE), &pulse).unwrap()), ANSWER);
        let batch = model.predict_batch(&[shared(&ONE), shared(&[0.0; 4])], &pulse).unwrap();
        assert_eq!(batch.iter().map(y).collect::<Vec<_>>(), [ANSWER, [1.0; 4]]);
    }
}

#[test]
fn padded_outputs_are_read_by_their_strides() {
    let _turn = start();
    let house = House::with(CoreMlOptions::default(), &square());
    let (mut model, pulse) = (house.open(), Pulse::new());
    for row_padding in [0, 1, 14] {
        set_knobs(Knobs { row_padding, ..Knobs::default() });
        let outputs = model.predict_shared(&shared(&ONE), &pulse).unwrap();
        assert_eq!((y(&outputs), outputs["y"].shape()), (ANSWER.to_vec(), &[2, 2][..]), "{row_padding}");
    }
}

#[test]
fn arrays_that_lie_about_themselves_are_refused() {
    let _turn = start();
    for options in both() {
        let house = House::with(options, &square());
        let (mut model, pulse) = (house.open(), Pulse::new());
        let mut failed = |knobs| {
            set_knobs(knobs);
            model.predict_shared(&shared(&ONE), &pulse).unwrap_err()
        };
        let lie = failed(Knobs { lying_strides: true, ..Knobs::default() });
        assert!(matches!(lie, CoreMlError::Layout { source: LayoutError::OutOfBounds { .. }, .. }), "{lie}");
        let other = failed(Knobs { other_type: true, ..Knobs::default() });
        assert!(matches!(other, CoreMlError::OutputType { expected: DType::F32, got: DType::F64, .. }), "{other}");
        let missing = failed(Knobs { missing_output: true, ..Knobs::default() });
        assert!(matches!(missing, CoreMlError::OutputMissing { .. }), "{missing}");
    }
}

#[test]
fn inputs_that_do_not_fit_never_reach_the_framework() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let (mut model, pulse) = (house.open(), Pulse::new());
    let before = deallocator_calls();
    let bad = |tensor: Tensor| SharedTensors::from([("x".to_owned(), Arc::new(tensor))]);
    let mut torn = Tensor::zeros(vec![1, 4], DType::F32).unwrap();
    *torn.data_mut() = TensorData::F32(vec![0.0; 2]);
    let cases = [bad(torn), bad(Tensor::zeros(vec![1, 5], DType::F32).unwrap()), SharedTensors::new()];
    for inputs in cases {
        assert_eq!(model.predict_shared(&inputs, &pulse).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(model.predict_batch(&[inputs], &pulse).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(deallocator_calls(), before);
}

#[test]
fn errors_of_the_framework_come_back_in_our_words() {
    let _turn = start();
    for options in both() {
        let house = House::new(options);
        let (mut model, pulse) = (house.open(), Pulse::new());
        let cases = [(0, ErrorKind::Internal), (1, ErrorKind::Invalid), (11, ErrorKind::Cancelled)];
        for (code, kind) in cases {
            set_knobs(Knobs { predict: Fault::Error(code), ..Knobs::default() });
            let error = model.predict_shared(&shared(&ONE), &pulse).unwrap_err();
            let CoreMlError::Framework { action: Action::Predict, domain, code: got, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!((domain.as_str(), *got, error.kind()), ("com.apple.CoreML", code as i64, kind));
        }
        set_knobs(Knobs { wrap: Fault::Error(7), ..Knobs::default() });
        let error = model.predict_shared(&shared(&ONE), &pulse).unwrap_err();
        assert!(matches!(error, CoreMlError::Framework { action: Action::WrapInputs, code: 7, .. }), "{error}");
        set_knobs(Knobs::default());
        assert_eq!(y(&model.predict_shared(&shared(&ONE), &pulse).unwrap()), ANSWER);
    }
}

#[test]
fn a_handler_that_gets_nothing_or_too_much_or_is_never_called_hangs_nobody() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let (mut model, pulse) = (house.open(), Pulse::new());
    for fault in [Fault::Silence, Fault::Dropped] {
        set_knobs(Knobs { predict: fault, ..Knobs::default() });
        let error = model.predict_shared(&shared(&ONE), &pulse).unwrap_err();
        assert!(matches!(error, CoreMlError::NoAnswer { action: Action::Predict }), "{fault:?}: {error}");
    }
    set_knobs(Knobs { predict: Fault::Twice, ..Knobs::default() });
    for _ in 0..10 {
        assert_eq!(y(&model.predict_shared(&shared(&ONE), &pulse).unwrap()), ANSWER);
    }
    late_work_is_done();
    assert_eq!(model.in_flight(), 0);
}

#[test]
fn a_call_that_hangs_ends_at_its_timeout_and_its_late_answer_is_dropped() {
    let _turn = start();
    for options in both() {
        let house = House::new(short(options));
        let (mut model, pulse) = (house.open(), Pulse::new());
        let tensors = shared(&ONE);
        late_work_is_done();
        let opened = live();
        set_knobs(Knobs { predict: Fault::Stall, ..Knobs::default() });
        let error = model.predict_shared(&tensors, &pulse).unwrap_err();
        assert!(matches!(error, CoreMlError::TimedOut { action: Action::Predict, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        until_stalled(1);
        assert_eq!(model.in_flight(), 1);
        assert!(Arc::strong_count(&tensors["x"]) > 1, "the tensor is still lent");
        set_knobs(Knobs::default());
        release_stalled();
        until_stalled(0);
        late_work_is_done();
        for _ in 0..20_000 {
            if model.in_flight() == 0 && live() == opened {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!((model.in_flight(), live()), (0, opened));
        assert_eq!(Arc::strong_count(&tensors["x"]), 1, "the tensor was let go");
        assert_eq!(house.engine.get_metrics().late_completions, 1);
        assert_eq!(house.engine.get_metrics().failure_modes.get("timeout"), Some(&1));
        assert_eq!(y(&model.predict_shared(&tensors, &pulse).unwrap()), ANSWER);
    }
}

#[test]
fn an_interrupted_call_returns_at_once() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let (mut model, pulse) = (house.open(), Pulse::new());
    set_knobs(Knobs { predict: Fault::Stall, ..Knobs::default() });
    let asker = pulse.clone();
    let asking = std::thread::spawn(move || {
        until_stalled(1);
        asker.interrupt();
    });
    let error = model.predict_shared(&shared(&ONE), &pulse).unwrap_err();
    assert!(matches!(error, CoreMlError::Interrupted(_)), "{error}");
    asking.join().unwrap();
    release_stalled();
    late_work_is_done();
}

#[test]
fn calls_that_hang_are_bounded() {
    let _turn = start();
    for (options, in_flight_max) in both().into_iter().zip([2, 1]) {
        let house = House::new(short(options));
        let (mut model, pulse) = (house.open(), Pulse::new());
        set_knobs(Knobs { predict: Fault::Stall, ..Knobs::default() });
        for _ in 0..in_flight_max {
            assert!(matches!(model.predict_shared(&shared(&ONE), &pulse), Err(CoreMlError::TimedOut { .. })));
        }
        let error = model.predict_shared(&shared(&ONE), &pulse).unwrap_err();
        assert!(matches!(error, CoreMlError::TooManyInFlight { .. }), "{error}");
        let error = model.predict_batch(&[shared(&ONE)], &pulse).unwrap_err();
        assert!(matches!(error, CoreMlError::TooManyInFlight { .. }), "{error}");
        until_stalled(in_flight_max);
        release_stalled();
        until_stalled(0);
    }
}

#[test]
fn a_model_that_is_dropped_while_a_call_hangs_goes_when_the_call_ends() {
    let _turn = start();
    let house = House::new(short(CoreMlOptions::default()));
    let at_first = live();
    let mut model = house.open();
    set_knobs(Knobs { predict: Fault::Stall, ..Knobs::default() });
    assert!(model.predict_shared(&shared(&ONE), &Pulse::new()).is_err());
    until_stalled(1);
    drop(model);
    assert!(live() > at_first);
    release_stalled();
    until_stalled(0);
    late_work_is_done();
    assert_eq!(live(), at_first);
}

#[test]
fn faults_of_compiling_loading_planning_and_the_canary_are_told_apart() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let prepare = || ballast_backend::InferenceEngine::prepare(&house.engine, &house.artifact(), &house.options());
    set_knobs(Knobs { compile: Fault::Error(0), ..Knobs::default() });
    assert_eq!(prepare().unwrap_err().kind(), ErrorKind::Invalid);
    set_knobs(Knobs { load: Fault::Error(3), ..Knobs::default() });
    assert_eq!(prepare().unwrap_err().kind(), ErrorKind::Unavailable);
    set_knobs(Knobs::default());
    let prepared = prepare().unwrap();
    set_knobs(Knobs { predict: Fault::Error(0), ..Knobs::default() });
    let error = house.engine.open_model(&prepared).unwrap_err();
    assert!(matches!(error, CoreMlError::Framework { action: Action::Predict, .. }), "the canary fails: {error}");
    set_knobs(Knobs { plan: Fault::Error(0), ..Knobs::default() });
    let model = house.engine.open_model(&prepared).unwrap();
    assert!(model.plan().is_none() && model.dispatch().is_none(), "a plan that fails is none of the model's");
    let failures = house.engine.get_metrics().failure_modes;
    assert_eq!((failures.get("compile_error"), failures.get("runtime_error")), (Some(&1), Some(&1)));
}

#[test]
fn a_load_that_hangs_ends_at_its_timeout_and_the_late_model_is_dropped() {
    let _turn = start();
    let options =
        CoreMlOptions { load_timeout: Duration::from_millis(50), canary: Canary::Skip, ..CoreMlOptions::default() };
    let house = House::new(options);
    let prepared = house.prepared();
    late_work_is_done();
    let at_first = live();
    set_knobs(Knobs { load: Fault::Stall, ..Knobs::default() });
    let error = house.engine.open_model(&prepared).unwrap_err();
    assert!(matches!(error, CoreMlError::TimedOut { action: Action::Load, .. }), "{error}");
    until_stalled(1);
    release_stalled();
    until_stalled(0);
    late_work_is_done();
    assert_eq!(live(), at_first);
}

#[test]
fn states_go_on_from_call_to_call_and_are_used_by_one_at_a_time() {
    let _turn = start();
    for options in both() {
        let house = House::with(short(options), &growing());
        let (mut model, pulse) = (house.open(), Pulse::new());
        let mut state = model.new_state().unwrap();
        for step in 0..3_u8 {
            let outputs = model.predict_with_state(&shared(&[0.0; 4]), &mut state, &pulse).unwrap();
            assert_eq!(y(&outputs), [1.0 + f32::from(step); 4]);
        }
        let kept = state.read("s").unwrap().unwrap();
        assert_eq!((kept.shape(), kept.data()), (&[1, 4][..], &TensorData::F16(vec![0x4200; 4])), "3 in f16");
        assert!(state.read("t").unwrap().is_none());
        // Without a state, each call begins anew.
        for _ in 0..2 {
            assert_eq!(y(&model.predict_shared(&shared(&[0.0; 4]), &pulse).unwrap()), [1.0; 4]);
        }
        set_knobs(Knobs { predict: Fault::Stall, ..Knobs::default() });
        assert!(model.predict_with_state(&shared(&ONE), &mut state, &pulse).is_err());
        until_stalled(1);
        assert!(matches!(state.read("s"), Err(CoreMlError::TooManyInFlight { in_flight_max: 1 })));
        release_stalled();
        until_stalled(0);
        set_knobs(Knobs::default());
    }
}

#[test]
fn wrong_numbers_pass_the_boundary_as_they_are() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let mut model = house.open();
    set_knobs(Knobs { error: 0.5, ..Knobs::default() });
    assert_eq!(y(&model.predict_shared(&shared(&ONE), &Pulse::new()).unwrap()), ANSWER.map(|value| value + 0.5));
}

#[test]
fn features_that_are_no_arrays_are_refused_by_name() {
    let _turn = start();
    let house = House::with(CoreMlOptions::default(), &picture());
    let error =
        ballast_backend::InferenceEngine::prepare(&house.engine, &house.artifact(), &house.options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error: CoreMlError = error.downcast().unwrap();
    assert!(matches!(&error, CoreMlError::Feature { name, feature_type: 4 } if name == "picture"), "{error}");
}

/// Opens a model whose first prediction ends the process, as a bad compilation for the neural engine does.
#[test]
#[ignore = "the next test runs it in a process of its own"]
fn victim() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let prepared = house.prepared();
    set_knobs(Knobs { predict: Fault::Kill, ..Knobs::default() });
    drop(house.engine.open_model(&prepared));
}

#[test]
fn the_canary_of_a_bad_compilation_takes_its_own_process_and_no_other() {
    use std::os::unix::process::ExitStatusExt as _;
    let program = std::env::current_exe().unwrap();
    let arguments = ["--ignored", "--exact", "boundary::victim"];
    let ended = std::process::Command::new(program).args(arguments).output().unwrap();
    assert_eq!(ended.status.signal(), Some(6), "{ended:?}");
}
