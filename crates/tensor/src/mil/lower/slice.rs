//! Slices, read and written.

use super::Lower;
use super::op::{Op, wrong};
use crate::error::OpError;
use crate::graph::Attribute;

pub(super) const OPS: &[(&str, Lower)] =
    &[("slice_by_index", by_index), ("slice_by_size", by_size), ("slice_update", update)];

/// What says of a slice where it begins and ends besides the numbers themselves.
struct Masks {
    /// Dimensions that begin at their first element, whatever the number says.
    begin: Vec<bool>,
    /// Dimensions that go on to their last.
    end: Vec<bool>,
    /// Dimensions of which one element is taken; they are gone in the result.
    squeeze: Vec<bool>,
    strides: Vec<i64>,
}

fn masks(op: &mut Op<'_, '_>, rank: usize) -> Result<Masks, OpError> {
    let mut mask = |name: &'static str| match op.find_flags(name)? {
        None => Ok(vec![false; rank]),
        Some(flags) if flags.len() == rank => Ok(flags),
        Some(flags) => Err(wrong(name, format!("{rank} truth values"), flags.len())),
    };
    let (begin, end, squeeze) = (mask("begin_mask")?, mask("end_mask")?, mask("squeeze_mask")?);
    Ok(Masks { begin, end, squeeze, strides: op.n_ints("stride", rank, 1)? })
}

impl Masks {
    fn attributes(&self) -> [(&'static str, Attribute); 4] {
        let flags = |flags: &[bool]| Attribute::Ints(flags.iter().map(|&flag| i64::from(flag)).collect());
        [
            ("begin_mask", flags(&self.begin)),
            ("end_mask", flags(&self.end)),
            ("squeeze_mask", flags(&self.squeeze)),
            ("strides", Attribute::Ints(self.strides.clone())),
        ]
    }
}

/// Where the numbers are constant it is ONNX's own slice.
fn by_index(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    let masks = masks(op, rank)?;
    if !(op.is_constant("begin")? && op.is_constant("end")?) {
        let (begin, end) = (op.input("begin")?, op.input("end")?);
        return op.emit_many(("mil", "SliceByIndex"), &[&x, &begin, &end], &masks.attributes(), 1);
    }
    let (begin, end) = (op.n_ints("begin", rank, 0)?, op.n_ints("end", rank, 0)?);
    let (mut starts, mut ends, mut steps) = (begin.clone(), end, masks.strides.clone());
    for dim in 0..rank {
        if steps[dim] == 0 {
            return Err(wrong("stride", "strides other than 0", 0));
        }
        if masks.squeeze[dim] {
            // The element at the end has no number behind it that a slice could end at.
            (ends[dim], steps[dim]) = (if begin[dim] == -1 { i64::MAX } else { begin[dim] + 1 }, 1);
            continue;
        }
        let is_forward = steps[dim] > 0;
        if masks.begin[dim] {
            starts[dim] = if is_forward { 0 } else { i64::MAX };
        }
        if masks.end[dim] {
            ends[dim] = if is_forward { i64::MAX } else { i64::MIN };
        }
    }
    let axes: Vec<i64> = (0..rank).filter_map(|dim| i64::try_from(dim).ok()).collect();
    let inputs = [starts, ends, axes, steps].map(|values| op.int_list(&values));
    let sliced = op.emit("Slice", &[&x, &inputs[0], &inputs[1], &inputs[2], &inputs[3]], &[])?;
    let gone: Vec<i64> =
        (0..rank).filter(|&dim| masks.squeeze[dim]).filter_map(|dim| i64::try_from(dim).ok()).collect();
    if gone.is_empty() {
        return Ok(vec![sliced]);
    }
    let gone = op.int_list(&gone);
    Ok(vec![op.emit("Squeeze", &[&sliced, &gone], &[])?])
}

/// From `begin` on so many elements; -1 stands for all that are left.
fn by_size(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, begin, size) = (op.input("x")?, op.input("begin")?, op.input("size")?);
    op.emit_many(("mil", "SliceBySize"), &[&x, &begin, &size], &[], 1)
}

fn update(op: &mut Op<'_, '_>) -> Result<Vec<String>, OpError> {
    let (x, rank) = (op.input("x")?, op.rank("x")?);
    let masks = masks(op, rank)?;
    let (update, begin, end) = (op.input("update")?, op.input("begin")?, op.input("end")?);
    op.emit_many(("mil", "SliceUpdate"), &[&x, &update, &begin, &end], &masks.attributes(), 1)
}
