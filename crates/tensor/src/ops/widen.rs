//! Computes with f32 where arrays are f16 or bf16.

use super::cast::convert;
use crate::array::{Array, Value};
use crate::error::OpError;
use crate::operator::{Inputs, Outputs};
use crate::run::Context;
use ballast_backend::DType;
use half::{bf16, f16};

fn is_narrow(array: &Array) -> bool {
    matches!(array.dtype(), DType::F16 | DType::Bf16)
}

/// An array as f32, if it is f16 or bf16; all others as they are.
pub(super) fn widened(x: Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    if is_narrow(&x) { convert(x, DType::F32, context) } else { Ok(x) }
}

/// Inputs with f16 and bf16 as f32, and the narrow type, if there is one.
pub(super) fn inputs(mut inputs: Inputs, context: &mut Context<'_>) -> Result<(Inputs, Option<DType>), OpError> {
    let mut narrow = None;
    for value in inputs.0.iter_mut().flatten() {
        if let Value::Array(array) = value
            && is_narrow(array)
        {
            narrow.get_or_insert(array.dtype());
            *array = convert(array.clone(), DType::F32, context)?;
        }
    }
    Ok((inputs, narrow))
}

/// Outputs of f32 as the narrow type that inputs had.
pub(super) fn output(
    mut outputs: Outputs,
    narrow: Option<DType>,
    context: &mut Context<'_>,
) -> Result<Outputs, OpError> {
    let Some(narrow) = narrow else { return Ok(outputs) };
    for value in &mut outputs {
        if let Value::Array(array) = value
            && array.dtype() == DType::F32
        {
            *array = convert(array.clone(), narrow, context)?;
        }
    }
    Ok(outputs)
}

/// Rounds to the values that the narrow type has.
pub(super) fn round(values: &mut [f32], narrow: Option<DType>) {
    match narrow {
        Some(DType::F16) => values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32()),
        Some(DType::Bf16) => values.iter_mut().for_each(|value| *value = bf16::from_f32(*value).to_f32()),
        _ => {}
    }
}
