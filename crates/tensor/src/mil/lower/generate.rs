//! Tensors from few numbers: filled, counted, summed up.

use super::Lower;
use super::op::{Op, wrong};
use crate::array::Array;
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] = &[
    ("band_part", band_part),
    ("cumsum", cumsum),
    ("fill", fill),
    ("fill_like", fill_like),
    ("one_hot", one_hot),
    ("range_1d", range),
];

fn value(op: &mut Op<'_, '_>) -> Result<String, OpError> {
    match op.find("value")? {
        Some(value) => Ok(value),
        None => Ok(op.scalar(0.0)),
    }
}

fn fill(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (value, shape) = (value(op)?, op.wide("shape")?);
    Ok(vec![op.emit("Expand", &[&value, &shape], &[])?])
}

fn fill_like(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (value, like) = (value(op)?, op.input("ref_tensor")?);
    let shape = op.emit("Shape", &[&like], &[])?;
    Ok(vec![op.emit("Expand", &[&value, &shape], &[])?])
}

fn range(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (start, end, step) = (op.input("start")?, op.input("end")?, op.input("step")?);
    Ok(vec![op.emit("Range", &[&start, &end, &step], &[])?])
}

fn one_hot(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (places, n) = (op.input("indices")?, op.wide("one_hot_vector_size")?);
    let axis = op.find_int("axis")?.unwrap_or(-1);
    let (on, off) = (op.find_array("on_value")?, op.find_array("off_value")?);
    let values = match (on, off) {
        (None, None) => Array::new(&[2], vec![0, 1]),
        (on, off) => {
            let of = |array: Option<Array>, default| match array {
                None => Ok(default),
                Some(array) => super::super::decode::floats(&array)
                    .and_then(|values| values.first().copied())
                    .ok_or_else(|| wrong("on_value", "a number", format!("{array:?}"))),
            };
            let pair = vec![of(off, 0.0)?, of(on, 1.0)?];
            if op.output(0)?.element.is_float() {
                Array::new(&[2], pair)
            } else {
                #[expect(clippy::cast_possible_truncation, reason = "they were integers")]
                Array::new(&[2], pair.into_iter().map(|value| value as i32).collect())
            }
        }
    };
    let values = op.constant(values);
    Ok(vec![op.emit("OneHot", &[&places, &n, &values], &[("axis", Attribute::Int(axis))])?])
}

fn cumsum(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, axis) = (op.input("x")?, op.find_int("axis")?.unwrap_or(0));
    let axis = op.constant(Array::scalar(axis));
    let attributes = [
        ("exclusive", Attribute::Int(i64::from(op.flag("exclusive", false)?))),
        ("reverse", Attribute::Int(i64::from(op.flag("reverse", false)?))),
    ];
    Ok(vec![op.emit("CumSum", &[&x, &axis], &attributes)?])
}

/// Keeps so many diagonals below and above the main one; a negative number keeps all.
fn band_part(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let mut x = op.input("x")?;
    let (below, above) = (op.find_int("lower")?.unwrap_or(-1), op.find_int("upper")?.unwrap_or(-1));
    for (is_upper, diagonal) in [(1, below), (0, above)] {
        if diagonal >= 0 {
            let k = op.constant(Array::scalar(if is_upper == 1 { -diagonal } else { diagonal }));
            x = op.emit("Trilu", &[&x, &k], &[("upper", Attribute::Int(is_upper))])?;
        }
    }
    Ok(vec![x])
}
