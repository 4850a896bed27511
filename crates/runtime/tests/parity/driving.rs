//! Two predictors over the same inputs.

use ballast_backend::{
    DType, Dim, Dispatch, EngineError, ErrorKind, IoSchema, Predictor, Pulse, Tensor, TensorData, TensorMap, TensorSpec,
};
use ballast_runtime::parity::{
    EngineLabel, InputOptions, InputsLabel, ParityError, ParityInputs, ParityPlan, ParityReport, Precision,
    SAMPLES_MAX, Side, compare_predictors,
};

/// What a predictor gets wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Adds this to every output.
    Off(f32),
    /// Adds this to the outputs of its third call.
    OffOnce(f32),
    /// Writes its output in the first call only.
    WritesOnce,
    Fails,
}

/// Doubles its input.
struct Doubler {
    schema: IoSchema,
    fault: Fault,
    n_calls: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("the predictor fails")]
struct Failure;

impl Doubler {
    fn new(fault: Fault) -> Self {
        let spec = |name: &str| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: vec![Dim::Any, Dim::Fixed(3)],
            batch_capable: true,
        };
        let schema = IoSchema { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        Self { schema, fault, n_calls: 0 }
    }
}

impl Predictor for Doubler {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, _: &Pulse) -> Result<(), EngineError> {
        self.n_calls += 1;
        let off = match self.fault {
            Fault::None => 0.0,
            Fault::Off(off) => off,
            Fault::OffOnce(off) => {
                if self.n_calls == 3 {
                    off
                } else {
                    0.0
                }
            }
            Fault::WritesOnce if self.n_calls > 1 => return Ok(()),
            Fault::WritesOnce => 0.0,
            Fault::Fails => return Err(EngineError::new(ErrorKind::Unavailable, Failure)),
        };
        let x = &inputs["x"];
        let y = x.as_f32().unwrap().iter().map(|x| 2.0 * x + off).collect();
        outputs.insert("y".to_owned(), Tensor::new(x.shape().to_vec(), TensorData::F32(y)).unwrap());
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        Some(Dispatch::CPU)
    }
}

fn label(engine: &str) -> EngineLabel {
    EngineLabel { engine: engine.to_owned(), version: "1".to_owned(), model_sha256: String::new(), cache_key: None }
}

fn seeded(n_samples: usize) -> ParityInputs {
    ParityInputs::Seeded { options: InputOptions { seed: 9, any_dim: 2, ..InputOptions::default() }, n_samples }
}

fn run(fault: Fault, precision: Precision, inputs: ParityInputs) -> Result<ParityReport, ParityError> {
    let (mut reference, mut candidate) = (Doubler::new(Fault::None), Doubler::new(fault));
    let plan = ParityPlan { inputs, precision, tolerances: precision.tolerances(), machine: "test".to_owned() };
    compare_predictors(
        &mut Side { label: label("cpu"), predictor: &mut reference },
        &mut Side { label: label("other"), predictor: &mut candidate },
        &plan,
        &Pulse::new(),
    )
}

#[test]
fn engines_that_agree_are_within() {
    let report = run(Fault::None, Precision::F32, seeded(5)).unwrap();
    assert!(report.is_within());
    assert_eq!((report.n_samples, report.outputs[0].n_elements, &report.worst), (5, 5 * 6, &None));
    let ParityInputs::Seeded { options, .. } = seeded(5) else { panic!() };
    assert_eq!(report.head.inputs, InputsLabel::Seeded(options));
    assert_eq!((report.head.reference, report.head.candidate), (label("cpu"), label("other")));
}

#[test]
fn an_engine_that_is_off_is_over_the_tolerances_of_its_precision() {
    for (precision, inside, outside) in
        [(Precision::F32, 0.0, 1e-4), (Precision::F16, 9e-4, 2e-3), (Precision::Int8, 4e-3, 6e-3)]
    {
        assert!(run(Fault::Off(inside), precision, seeded(3)).unwrap().is_within(), "{precision:?}");
        assert!(!run(Fault::Off(outside), precision, seeded(3)).unwrap().is_within(), "{precision:?}");
    }
    let report = run(Fault::OffOnce(1.0), Precision::Int8, seeded(10)).unwrap();
    assert_eq!(report.worst.unwrap().sample, 2, "one of ten samples is enough");
}

#[test]
fn inputs_given_by_the_caller_are_run_as_they_are() {
    let sample = |values: [f32; 3]| {
        TensorMap::from([("x".to_owned(), Tensor::new(vec![1, 3], TensorData::F32(values.to_vec())).unwrap())])
    };
    let given = |samples: Vec<TensorMap>| ParityInputs::Given { samples, origin: "golden".to_owned() };
    let report = run(Fault::Off(0.5), Precision::F32, given(vec![sample([1.0, 2.0, 3.0])])).unwrap();
    assert_eq!(report.head.inputs, InputsLabel::Given("golden".to_owned()));
    assert_eq!((report.outputs[0].l_inf, report.n_samples), (0.5, 1));
    let wrong = TensorMap::from([("z".to_owned(), Tensor::zeros(vec![1, 3], DType::F32).unwrap())]);
    assert!(matches!(run(Fault::None, Precision::F32, given(vec![wrong])), Err(ParityError::Tensor(_))));
}

#[test]
fn an_output_that_is_not_written_is_missing_not_an_old_one() {
    let error = run(Fault::WritesOnce, Precision::F32, seeded(2)).unwrap_err();
    assert!(matches!(&error, ParityError::OutputMissing { name } if name == "y"), "{error}");
}

#[test]
fn a_failing_engine_is_named_and_keeps_its_kind() {
    let error = run(Fault::Fails, Precision::F32, seeded(1)).unwrap_err();
    assert!(matches!(&error, ParityError::Engine { engine, .. } if engine == "other"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn the_number_of_samples_has_bounds() {
    for n_samples in [0, SAMPLES_MAX + 1] {
        let error = run(Fault::None, Precision::F32, seeded(n_samples)).unwrap_err();
        assert!(matches!(error, ParityError::Samples { .. }), "{error}");
    }
}
