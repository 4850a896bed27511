//! Values that are rounded to 8 bits and back while a model runs.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::operator;

pub(super) const OPS: &[(&str, Lower)] = &[("dequantize", dequantize), ("quantize", quantize)];

/// The scale, or the zero point, in a shape that broadcasts with the input.
fn spread(op: &mut Op<'_, '_>, name: &'static str) -> Result<Option<String>, OpError> {
    let Some(array) = op.find_array(name)? else { return Ok(None) };
    let values = super::super::decode::floats(&array).ok_or_else(|| wrong(name, "numbers", array.dtype()))?;
    let axis = op.find_int("axis")?;
    let array = match (array.rank(), axis) {
        (0, _) => Array::scalar(values[0]),
        (_, Some(axis)) => {
            let rank = op.rank("input")?;
            let mut shape = vec![1; rank];
            shape[operator::axis(axis, rank)?] = values.len();
            Array::new(&shape, values)
        }
        (_, None) => return Err(wrong("axis", "the dimension of the scales", "nothing")),
    };
    Ok(Some(op.constant(array)))
}

/// `scale * (input - zero_point)`. Integers are held wider than they are, so that nothing overflows.
fn dequantize(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let input = op.input("input")?;
    let scale = spread(op, "scale")?.ok_or_else(|| wrong("scale", "a scale", "nothing"))?;
    let mut value = op.cast(&input, ballast_backend::DType::F32)?;
    if let Some(zero) = spread(op, "zero_point")? {
        value = op.emit("Sub", &[&value, &zero], &[])?;
    }
    op.bindings("axis");
    Ok(vec![op.emit("Mul", &[&value, &scale], &[])?])
}

/// `clip(round(input / scale) + zero_point)`.
fn quantize(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let input = op.input("input")?;
    let (least, most) = match op.text("output_dtype", "")?.as_str() {
        "int8" => (-128.0, 127.0),
        "uint8" => (0.0, 255.0),
        other => return Err(wrong("output_dtype", "int8 or uint8", other)),
    };
    let scale = spread(op, "scale")?.ok_or_else(|| wrong("scale", "a scale", "nothing"))?;
    let value = op.emit("Div", &[&input, &scale], &[])?;
    let mut value = op.emit("Round", &[&value], &[])?;
    if let Some(zero) = spread(op, "zero_point")? {
        value = op.emit("Add", &[&value, &zero], &[])?;
    }
    op.bindings("axis");
    let (least, most) = (op.scalar(least), op.scalar(most));
    let value = op.emit("Clip", &[&value, &least, &most], &[])?;
    Ok(vec![op.cast(&value, ballast_backend::DType::I32)?])
}
