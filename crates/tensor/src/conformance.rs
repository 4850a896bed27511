//! Runs the test cases that come with the ONNX standard: a model, inputs, and the outputs that are expected.

use crate::array::{Array, Value};
use crate::error::GraphError;
use crate::executor::{Executor, ExecutorOptions};
use crate::graph::Model;
use crate::onnx::{ReadLimits, ValueKind, read_file, read_value};
use ballast_backend::Pulse;
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
    /// As the standard's own runner has it.
    fn default() -> Self {
        Self { relative: 1e-3, absolute: 1e-7 }
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
    for set in 0.. {
        let data = folder.join(format!("test_data_set_{set}"));
        if !data.is_dir() {
            break;
        }
        let n_inputs = model.graph.inputs.len();
        let inputs = (0..n_inputs).map(|idx| value_or_nothing(&data.join(format!("input_{idx}.pb"))));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = match executor.run_values(inputs, &Pulse::new(), None) {
            Ok(outputs) => outputs,
            Err(error) => return Ok(CaseOutcome::Failed { fault: error.to_string() }),
        };
        for (idx, got) in outputs.iter().enumerate() {
            let expected = value_like(&data.join(format!("output_{idx}.pb")), got)?;
            if let Some(difference) = difference(&expected, got, tolerance) {
                return Ok(CaseOutcome::Wrong { difference: format!("output {idx}: {difference}") });
            }
        }
    }
    Ok(CaseOutcome::Passed)
}

fn refused(error: GraphError) -> Result<CaseOutcome, GraphError> {
    match error {
        GraphError::Unsupported { what } => Ok(CaseOutcome::Refused { what: what.join("; ") }),
        GraphError::File { .. } => Err(error),
        error => Ok(CaseOutcome::Failed { fault: error.to_string() }),
    }
}

/// Files do not say what kind of value they hold: one that is read as the wrong kind has no type.
fn value_or_nothing(path: &Path) -> Result<Option<Value>, GraphError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_file(path, ReadLimits::default().file_bytes_max)?;
    let kinds = [ValueKind::Tensor, ValueKind::Sequence, ValueKind::Optional];
    let read = kinds.into_iter().find_map(|kind| read_value(&bytes, kind).ok());
    read.map(Some).ok_or_else(|| GraphError::malformed("input", "a tensor, a sequence or an optional value", "neither"))
}

fn value_like(path: &Path, like: &Value) -> Result<Value, GraphError> {
    let bytes = read_file(path, ReadLimits::default().file_bytes_max)?;
    let kind = match like {
        Value::Array(_) => ValueKind::Tensor,
        Value::Sequence(_) => ValueKind::Sequence,
        Value::Optional(_) => ValueKind::Optional,
    };
    read_value(&bytes, kind)
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
    let is_near = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance.absolute + tolerance.relative * a.abs()
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
