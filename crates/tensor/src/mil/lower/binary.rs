//! Operations of two tensors, element by element, and the choice between two.

use super::Lower;
use super::op::Op;
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("add", |op| plain(op, "Add")),
    ("equal", |op| plain(op, "Equal")),
    ("floor_div", floor_div),
    ("greater", |op| plain(op, "Greater")),
    ("greater_equal", |op| plain(op, "GreaterOrEqual")),
    ("less", |op| plain(op, "Less")),
    ("less_equal", |op| plain(op, "LessOrEqual")),
    ("logical_and", |op| plain(op, "And")),
    ("logical_or", |op| plain(op, "Or")),
    ("logical_xor", |op| plain(op, "Xor")),
    ("maximum", |op| plain(op, "Max")),
    ("minimum", |op| plain(op, "Min")),
    ("mod", modulo),
    ("mul", |op| plain(op, "Mul")),
    ("not_equal", not_equal),
    ("pow", |op| plain(op, "Pow")),
    ("real_div", real_div),
    ("select", select),
    ("sub", |op| plain(op, "Sub")),
];

fn plain(op: &mut Op<'_, '_>, name: &str) -> Result<Vec<String>, OpError> {
    let (x, y) = (op.input("x")?, op.input("y")?);
    Ok(vec![op.emit(name, &[&x, &y], &[])?])
}

fn not_equal(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, y) = (op.input("x")?, op.input("y")?);
    let equal = op.emit("Equal", &[&x, &y], &[])?;
    Ok(vec![op.emit("Not", &[&equal], &[])?])
}

/// What it is for integers no document says: a fraction, as in the converter's own evaluation, has no place in them.
fn real_div(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    if !op.is_float("x")? {
        return Err(OpError::unsupported("a fraction of integers"));
    }
    plain(op, "Div")
}

/// The remainder with the divisor's sign.
fn remainder(op: &mut Op<'_, '_>, x: &str, y: &str) -> Result<String, OpError> {
    if !op.is_float("x")? {
        return op.emit("Mod", &[x, y], &[("fmod", Attribute::Int(0))]);
    }
    let fraction = op.emit("Div", &[x, y], &[])?;
    let whole = op.emit("Floor", &[&fraction], &[])?;
    let whole = op.emit("Mul", &[&whole, y], &[])?;
    op.emit("Sub", &[x, &whole], &[])
}

fn modulo(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, y) = (op.input("x")?, op.input("y")?);
    Ok(vec![remainder(op, &x, &y)?])
}

/// ONNX divides integers towards 0, this operation downwards: what has no remainder is the same in both.
fn floor_div(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, y) = (op.input("x")?, op.input("y")?);
    if op.is_float("x")? {
        let fraction = op.emit("Div", &[&x, &y], &[])?;
        return Ok(vec![op.emit("Floor", &[&fraction], &[])?]);
    }
    let rest = remainder(op, &x, &y)?;
    let whole = op.emit("Sub", &[&x, &rest], &[])?;
    Ok(vec![op.emit("Div", &[&whole, &y], &[])?])
}

fn select(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (condition, a, b) = (op.input("cond")?, op.input("a")?, op.input("b")?);
    Ok(vec![op.emit("Where", &[&condition, &a, &b], &[])?])
}
