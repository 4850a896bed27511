//! Operators on sequences and optional values.

use crate::array::{Array, Shape, Value};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, one};
use crate::ops::generate::type_attribute;
use crate::ops::shape::{join, split_at};
use crate::ops::view::{extent, place};
use crate::run::Context;
use std::sync::Arc;

pub(super) const OPS: &[(&str, Build)] = &[
    ("ConcatFromSequence", concat_from_sequence),
    ("Optional", optional),
    ("OptionalGetElement", optional_get_element),
    ("OptionalHasElement", optional_has_element),
    ("SequenceAt", sequence_at),
    ("SequenceConstruct", sequence_construct),
    ("SequenceEmpty", sequence_empty),
    ("SequenceErase", sequence_erase),
    ("SequenceInsert", sequence_insert),
    ("SequenceLength", sequence_length),
    ("SplitToSequence", split_to_sequence),
];

/// A sequence, taken away.
pub(super) fn take_sequence(inputs: &mut Inputs, idx: usize) -> Result<Arc<Vec<Value>>, OpError> {
    match inputs.take_value(idx)? {
        Value::Sequence(values) => Ok(values),
        other @ (Value::Array(_) | Value::Optional(_)) => Err(OpError::input(idx, "a sequence", other.kind())),
    }
}

/// A place in a sequence, if one is given.
fn position(inputs: &Inputs, idx: usize) -> Result<Option<i64>, OpError> {
    match inputs.find_ints(idx)?.as_deref() {
        None => Ok(None),
        Some(&[position]) => Ok(Some(position)),
        Some(other) => Err(OpError::input(idx, "one number", other.len().to_string())),
    }
}

fn sequence_construct(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SequenceConstruct))
}

/// Arrays in a row. (ONNX `SequenceConstruct`)
#[derive(Debug)]
struct SequenceConstruct;

impl Operator for SequenceConstruct {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let arrays = (0..inputs.len()).map(|idx| inputs.take(idx)).collect::<Result<Vec<_>, _>>()?;
        if let Some(idx) = (1..arrays.len()).find(|&idx| arrays[idx].dtype() != arrays[0].dtype()) {
            return Err(OpError::input(idx, arrays[0].dtype().as_str(), arrays[idx].dtype().as_str()));
        }
        one(Value::Sequence(Arc::new(arrays.into_iter().map(Value::from).collect())))
    }
}

fn sequence_empty(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    type_attribute(spec, "dtype")?;
    Ok(Box::new(SequenceEmpty))
}

/// No arrays. (ONNX `SequenceEmpty`)
#[derive(Debug)]
struct SequenceEmpty;

impl Operator for SequenceEmpty {
    fn run(&self, _: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(Value::Sequence(Arc::default()))
    }
}

fn sequence_at(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SequenceAt))
}

/// The array at a place. (ONNX `SequenceAt`)
#[derive(Debug)]
struct SequenceAt;

impl Operator for SequenceAt {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let at = position(&inputs, 1)?.ok_or_else(|| OpError::input(1, "one number", "nothing"))?;
        let values = take_sequence(&mut inputs, 0)?;
        one(values[place(at, values.len())?].clone())
    }
}

fn sequence_erase(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SequenceErase))
}

/// The sequence without the array at a place, or without its last. (ONNX `SequenceErase`)
#[derive(Debug)]
struct SequenceErase;

impl Operator for SequenceErase {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let at = position(&inputs, 1)?.unwrap_or(-1);
        let mut values = take_sequence(&mut inputs, 0)?;
        let at = place(at, values.len())?;
        Arc::make_mut(&mut values).remove(at);
        one(Value::Sequence(values))
    }
}

fn sequence_insert(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SequenceInsert))
}

/// The sequence with an array at a place, or behind its last. (ONNX `SequenceInsert`)
#[derive(Debug)]
struct SequenceInsert;

impl Operator for SequenceInsert {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let at = position(&inputs, 2)?;
        let array = inputs.take(1)?;
        let mut values = take_sequence(&mut inputs, 0)?;
        let n = i64::try_from(values.len()).unwrap_or(i64::MAX);
        let at = match at {
            None => values.len(),
            Some(at) if at == n => values.len(),
            Some(at) => place(at, values.len())?,
        };
        Arc::make_mut(&mut values).insert(at, array.into());
        one(Value::Sequence(values))
    }
}

fn sequence_length(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SequenceLength))
}

/// How many arrays there are. (ONNX `SequenceLength`)
#[derive(Debug)]
struct SequenceLength;

impl Operator for SequenceLength {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let n = i64::try_from(take_sequence(&mut inputs, 0)?.len()).unwrap_or(i64::MAX);
        one(Array::scalar(n))
    }
}

fn concat_from_sequence(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let axis = NodeSpec::needed(spec.int("axis")?, "axis", "an integer")?;
    Ok(Box::new(ConcatFromSequence { axis, is_stacked: spec.flag("new_axis", false)? }))
}

/// The arrays of a sequence one behind the other, or stacked along a new axis. (ONNX `ConcatFromSequence`)
#[derive(Debug)]
struct ConcatFromSequence {
    axis: i64,
    is_stacked: bool,
}

impl Operator for ConcatFromSequence {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let values = take_sequence(&mut inputs, 0)?;
        let array = |value: &Value| match value {
            Value::Array(array) => Ok(array.clone()),
            other @ (Value::Sequence(_) | Value::Optional(_)) => Err(OpError::input(0, "tensors", other.kind())),
        };
        let arrays = values.iter().map(array).collect::<Result<Vec<_>, _>>()?;
        let rank = arrays.first().ok_or_else(|| OpError::input(0, "one tensor or more", "none"))?.rank();
        if self.is_stacked {
            return one(stack(arrays, axis(self.axis, rank + 1)?, context)?);
        }
        one(join(&arrays.iter().collect::<Vec<_>>(), axis(self.axis, rank)?, context)?)
    }
}

/// Arrays of one shape along a new dimension `at`.
pub(super) fn stack(arrays: Vec<Array>, at: usize, context: &mut Context<'_>) -> Result<Array, OpError> {
    let widened = arrays.into_iter().map(|array| {
        let mut shape = Shape::from_slice(array.shape());
        if at > shape.len() {
            return Err(OpError::shape(format!("{at} dimensions or more"), &shape));
        }
        shape.insert(at, 1);
        array.reshaped(&shape)
    });
    let widened = widened.collect::<Result<Vec<_>, _>>()?;
    join(&widened.iter().collect::<Vec<_>>(), at, context)
}

fn split_to_sequence(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SplitToSequence { axis: spec.int("axis")?.unwrap_or(0), keeps_axis: spec.flag("keepdims", true)? }))
}

/// An array cut along an axis: into single places, into parts of one length, or into parts that are told.
/// (ONNX `SplitToSequence`)
#[derive(Debug)]
struct SplitToSequence {
    axis: i64,
    keeps_axis: bool,
}

impl Operator for SplitToSequence {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let split = match inputs.find(1)?.map(Array::rank) {
            None => None,
            Some(rank) => Some((rank, inputs.ints(1)?)),
        };
        let array = inputs.take(0)?;
        let at = axis(self.axis, array.rank())?;
        let total = array.shape()[at];
        let is_single = split.is_none();
        let lens = match split {
            None => vec![1; total],
            Some((0, len)) => {
                let len = extent(len[0], 1)?;
                if len == 0 {
                    return Err(OpError::input(1, "a length of 1 or more", "0"));
                }
                (0..total.div_ceil(len)).map(|idx| len.min(total - idx * len)).collect()
            }
            Some((_, lens)) => lens.into_iter().map(|len| extent(len, 1)).collect::<Result<Vec<_>, _>>()?,
        };
        let drop_axis = |array: Array| {
            let mut shape = Shape::from_slice(array.shape());
            shape.remove(at);
            array.reshaped(&shape)
        };
        let mut parts = split_at(&array, at, &lens, context)?;
        if is_single && !self.keeps_axis {
            parts = parts.into_iter().map(drop_axis).collect::<Result<_, _>>()?;
        }
        one(Value::Sequence(Arc::new(parts.into_iter().map(Value::from).collect())))
    }
}

fn optional(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    if !spec.has_type("type") && !spec.has_input(0) {
        return Err(NodeSpec::wrong("type", "a type, or an input", "neither"));
    }
    Ok(Box::new(Optional))
}

/// A value that is there, or one that is missing. (ONNX `Optional`)
#[derive(Debug)]
struct Optional;

impl Operator for Optional {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let value = inputs.value(0).is_some().then(|| inputs.take_value(0)).transpose()?;
        one(Value::Optional(value.map(Arc::new)))
    }
}

fn optional_get_element(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(OptionalGetElement))
}

/// A value that must be there. (ONNX `OptionalGetElement`)
#[derive(Debug)]
struct OptionalGetElement;

impl Operator for OptionalGetElement {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        match inputs.take_value(0)? {
            Value::Optional(Some(value)) => one(Arc::unwrap_or_clone(value)),
            Value::Optional(None) => Err(OpError::input(0, "a value", "none")),
            value @ (Value::Array(_) | Value::Sequence(_)) => one(value),
        }
    }
}

fn optional_has_element(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(OptionalHasElement))
}

/// Whether a value is there. (ONNX `OptionalHasElement`)
#[derive(Debug)]
struct OptionalHasElement;

impl Operator for OptionalHasElement {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(Array::scalar(!matches!(inputs.value(0), None | Some(Value::Optional(None)))))
    }
}

#[cfg(test)]
mod tests;
