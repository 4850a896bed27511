//! Runs the test cases that come with the ONNX standard: a model, inputs, and the outputs that are expected.

use crate::array::{Array, Value};
use crate::error::GraphError;
use crate::executor::{Executor, ExecutorOptions};
use crate::graph::{Model, Port};
use crate::onnx::{ReadLimits, read_file, read_value};
use ballast_backend::{DType, Pulse, TensorMap};
use half::{bf16, f16};
use std::path::Path;

/// How a test case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// All outputs are those expected.
    Passed,
    /// The engine says that it does not have what the model needs.
    Refused {
        /// What that is.
        what: String,
    },
    /// The engine could not compute.
    Failed {
        /// Why.
        fault: String,
    },
    /// The engine computed something else.
    Wrong {
        /// What differs.
        difference: String,
    },
}

/// What two floats may differ by: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaseTolerance {
    /// Per unit of the expected value.
    pub relative: f64,
    /// Beyond that.
    pub absolute: f64,
}

impl Default for CaseTolerance {
    /// The standard's own runner has 1e-7 for the second; expected values near 0 carry more rounding of their own.
    fn default() -> Self {
        Self { relative: 1e-3, absolute: 1e-6 }
    }
}

/// Runs the case in `folder`: `model.onnx` on `test_data_set_*/input_*.pb`, against `output_*.pb`.
///
/// # Errors
/// If the folder has no such files.
pub fn run_case(folder: &Path, options: ExecutorOptions, tolerance: CaseTolerance) -> Result<CaseOutcome, GraphError> {
    let model = match Model::open_onnx(&folder.join("model.onnx"), ReadLimits::default()) {
        Ok(model) => model,
        Err(error) => return refused(error),
    };
    let mut executor = match Executor::new(&model, options) {
        Ok(executor) => executor,
        Err(error) => return refused(error),
    };
    run_sets(folder, &model, tolerance, |inputs| {
        let outputs = executor.run_values(inputs, &Pulse::new(), None);
        outputs.map_err(|error| CaseOutcome::Failed { fault: error.to_string() })
    })
}

/// Runs the case in `folder` by another engine: `open` is given the model's path, and gives what runs it on named tensors;
/// or says what the engine does not have.
///
/// A case whose inputs or outputs are no tensors of our types is refused: no engine is given those by name.
///
/// # Errors
/// If the folder has no such files.
pub fn run_case_by<R>(
    folder: &Path,
    tolerance: CaseTolerance,
    open: impl FnOnce(&Path) -> Result<R, String>,
) -> Result<CaseOutcome, GraphError>
where
    R: FnMut(TensorMap) -> Result<TensorMap, String>,
{
    let path = folder.join("model.onnx");
    let model = match Model::open_onnx(&path, ReadLimits::default()) {
        Ok(model) => model,
        Err(error) => return refused(error),
    };
    let mut run = match open(&path) {
        Ok(run) => run,
        Err(what) => return Ok(CaseOutcome::Refused { what }),
    };
    run_sets(folder, &model, tolerance, |values| {
        let mut inputs = TensorMap::new();
        for (port, value) in model.graph.inputs.iter().zip(values) {
            match value {
                Some(Value::Array(array)) => drop(inputs.insert(port.name.clone(), array.into_tensor())),
                Some(Value::Sequence(_) | Value::Optional(_)) => return Err(no_tensor(port)),
                None => {}
            }
        }
        let mut outputs = run(inputs).map_err(|fault| CaseOutcome::Failed { fault })?;
        let taken = model.graph.outputs.iter().map(|port| {
            let output = outputs.remove(&port.name).ok_or_else(|| no_tensor(port))?;
            Ok(Value::Array(Array::from_tensor(output)))
        });
        taken.collect()
    })
}

fn no_tensor(port: &Port) -> CaseOutcome {
    CaseOutcome::Refused { what: format!("{:?}, which is no tensor", port.name) }
}

/// Runs a model on every set of inputs, until one does not give what is expected.
fn run_sets(
    folder: &Path,
    model: &Model,
    tolerance: CaseTolerance,
    mut run: impl FnMut(Vec<Option<Value>>) -> Result<Vec<Value>, CaseOutcome>,
) -> Result<CaseOutcome, GraphError> {
    for set in 0.. {
        let data = folder.join(format!("test_data_set_{set}"));
        if !data.is_dir() {
            break;
        }
        let ports = model.graph.inputs.iter().enumerate();
        let inputs = ports.map(|(idx, port)| read_part(&data.join(format!("input_{idx}.pb")), port));
        let outputs = match run(inputs.collect::<Result<_, _>>()?) {
            Ok(outputs) => outputs,
            Err(outcome) => return Ok(outcome),
        };
        for (idx, (got, port)) in outputs.iter().zip(&model.graph.outputs).enumerate() {
            let missing = || GraphError::malformed(format!("output {idx}"), "a file", "none");
            let expected = read_part(&data.join(format!("output_{idx}.pb")), port)?.ok_or_else(missing)?;
            if let Some(difference) = difference(&expected, got, tolerance) {
                return Ok(CaseOutcome::Wrong { difference: format!("output {idx}: {difference}") });
            }
        }
    }
    Ok(CaseOutcome::Passed)
}

fn refused(error: GraphError) -> Result<CaseOutcome, GraphError> {
    if let GraphError::Unsupported { what } = error {
        return Ok(CaseOutcome::Refused { what: what.join("; ") });
    }
    if matches!(error, GraphError::File { .. }) {
        Err(error)
    } else {
        Ok(CaseOutcome::Failed { fault: error.to_string() })
    }
}

/// The value of a file, which does not say itself of what kind it is; `None`: there is no file.
fn read_part(path: &Path, port: &Port) -> Result<Option<Value>, GraphError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_file(path, ReadLimits::default().file_bytes_max)?;
    read_value(&bytes, port.kind).map(Some)
}

fn difference(expected: &Value, got: &Value, tolerance: CaseTolerance) -> Option<String> {
    match (expected, got) {
        (Value::Array(expected), Value::Array(got)) => array_difference(expected, got, tolerance),
        (Value::Sequence(expected), Value::Sequence(got)) if expected.len() == got.len() => {
            expected.iter().zip(got.iter()).find_map(|(expected, got)| difference(expected, got, tolerance))
        }
        (Value::Optional(None), Value::Optional(None)) => None,
        (Value::Optional(Some(expected)), Value::Optional(Some(got))) => difference(expected, got, tolerance),
        _ => Some(format!("expected {expected:?}, got {got:?}")),
    }
}

fn array_difference(expected: &Array, got: &Array, tolerance: CaseTolerance) -> Option<String> {
    if (expected.shape(), expected.dtype()) != (got.shape(), got.dtype()) {
        return Some(format!("expected {expected:?}, got {got:?}"));
    }
    let (Some(a), Some(b)) = (floats(expected), floats(got)) else {
        return (expected != got).then(|| format!("other elements in {got:?}"));
    };
    // Expected halves were rounded after each of the reference's own steps: two units in their last place.
    let relative = match expected.dtype() {
        DType::F16 => tolerance.relative.max(2.0 / 1024.0),
        DType::Bf16 => tolerance.relative.max(2.0 / 128.0),
        DType::F32
        | DType::F64
        | DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U64
        | DType::U32
        | DType::U16
        | DType::U8
        | DType::Bool
        | DType::Str => tolerance.relative,
    };
    let is_near = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance.absolute + relative * a.abs()
    };
    let at = a.iter().zip(&b).position(|(a, b)| !is_near(*a, *b))?;
    Some(format!("element {at} of {got:?}: expected {}, got {}", a[at], b[at]))
}

fn floats(array: &Array) -> Option<Vec<f64>> {
    if let Some(values) = array.values::<f32>() {
        return Some(values.iter().map(|value| f64::from(*value)).collect());
    }
    if let Some(values) = array.values::<f16>() {
        return Some(values.iter().map(|value| value.to_f64()).collect());
    }
    if let Some(values) = array.values::<bf16>() {
        return Some(values.iter().map(|value| value.to_f64()).collect());
    }
    array.values::<f64>().map(<[f64]>::to_vec)
}
