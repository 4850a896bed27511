//! Computes with f32 where arrays are f16 or bf16.

use crate::array::{Array, Value};
use crate::error::OpError;
use crate::operator::{Inputs, Outputs};
use ballast_backend::DType;
use half::{bf16, f16};

/// Inputs with f16 and bf16 as f32, and the narrow type, if there is one.
pub(super) fn inputs(inputs: Inputs) -> (Inputs, Option<DType>) {
    let mut narrow = None;
    let widened = inputs.0.into_iter().map(|value| match value {
        Some(Value::Array(array)) if matches!(array.dtype(), DType::F16 | DType::Bf16) => {
            narrow.get_or_insert(array.dtype());
            Some(Value::Array(widened(&array)))
        }
        other => other,
    });
    (Inputs(widened.collect()), narrow)
}

/// An array as f32, if it is f16 or bf16.
pub(super) fn widened(array: &Array) -> Array {
    if let Some(values) = array.values::<f16>() {
        return Array::new(array.shape(), values.iter().map(|value| value.to_f32()).collect());
    }
    match array.values::<bf16>() {
        Some(values) => Array::new(array.shape(), values.iter().map(|value| value.to_f32()).collect()),
        None => array.clone(),
    }
}

/// An array of f32 as the narrow type.
pub(super) fn narrowed(array: Array, narrow: Option<DType>) -> Array {
    match (narrow, array.values::<f32>()) {
        (Some(DType::F16), Some(values)) => {
            Array::new(array.shape(), values.iter().map(|value| f16::from_f32(*value)).collect())
        }
        (Some(DType::Bf16), Some(values)) => {
            Array::new(array.shape(), values.iter().map(|value| bf16::from_f32(*value)).collect())
        }
        _ => array,
    }
}

/// Outputs of f32 as the narrow type that inputs had.
pub(super) fn output(outputs: Outputs, narrow: Option<DType>) -> Result<Outputs, OpError> {
    let narrow = |value| if let Value::Array(array) = value { Value::Array(narrowed(array, narrow)) } else { value };
    Ok(outputs.into_iter().map(narrow).collect())
}

/// Rounds to the values that the narrow type has.
pub(super) fn round(values: &mut [f32], narrow: Option<DType>) {
    match narrow {
        Some(DType::F16) => values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32()),
        Some(DType::Bf16) => values.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32()),
        _ => {}
    }
}
