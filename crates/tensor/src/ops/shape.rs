//! Operators that lay elements out anew and compute nothing. Here: those that leave the elements as they are.

mod arrange;
mod parts;

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axes, axis, one};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] = &[
    ("CenterCropPad", super::pad::center_crop_pad),
    ("Compress", parts::compress),
    ("Concat", parts::concat),
    ("DepthToSpace", arrange::depth_to_space),
    ("Expand", arrange::expand),
    ("Flatten", flatten),
    ("Identity", identity),
    ("Reshape", reshape),
    ("ReverseSequence", arrange::reverse_sequence),
    ("Shape", shape_of),
    ("Size", size),
    ("Slice", parts::slice),
    ("SpaceToDepth", arrange::space_to_depth),
    ("Split", parts::split),
    ("Squeeze", squeeze),
    ("Tile", arrange::tile),
    ("Transpose", arrange::transpose),
    ("Unsqueeze", unsqueeze),
];

pub(super) use parts::{join, split_at};

fn reshape(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    // A hint of the first version about memory, which changes nothing.
    spec.ints("consumed_inputs")?;
    let shape = spec.ints("shape")?.map(<[i64]>::to_vec);
    if spec.version < 5 && shape.is_none() {
        return Err(NodeSpec::wrong("shape", "integers", "nothing"));
    }
    Ok(Box::new(Reshape { shape, allows_zero: spec.flag("allowzero", false)? }))
}

/// The same elements in a shape that is given, of which one extent may be left to be found. (ONNX `Reshape`)
#[derive(Debug)]
struct Reshape {
    shape: Option<Vec<i64>>,
    allows_zero: bool,
}

impl Operator for Reshape {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let wanted = match &self.shape {
            Some(shape) => shape.clone(),
            None => inputs.ints(1)?,
        };
        let array = inputs.take(0)?;
        let shape = self.resolve(&wanted, &array)?;
        one(array.reshaped(&shape)?)
    }
}

impl Reshape {
    fn resolve(&self, wanted: &[i64], array: &Array) -> Result<Shape, OpError> {
        let fault = || OpError::shape(format!("a shape that becomes {wanted:?}"), array.shape());
        let (mut shape, mut unknown) = (Shape::new(), None);
        for (at, &extent) in wanted.iter().enumerate() {
            match extent {
                0 if !self.allows_zero => shape.push(*array.shape().get(at).ok_or_else(fault)?),
                -1 if unknown.is_none() => {
                    unknown = Some(at);
                    shape.push(1);
                }
                extent => shape.push(usize::try_from(extent).map_err(|_| fault())?),
            }
        }
        if let Some(at) = unknown {
            let known = shape.iter().try_fold(1_usize, |len, &extent| len.checked_mul(extent));
            let known = known.filter(|&known| known > 0 && array.len().is_multiple_of(known)).ok_or_else(fault)?;
            shape[at] = array.len() / known;
        }
        Ok(shape)
    }
}

fn flatten(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Flatten { axis: spec.int("axis")?.unwrap_or(1) }))
}

/// A matrix of the dimensions before an axis by those from it on. (ONNX `Flatten`)
#[derive(Debug)]
struct Flatten {
    axis: i64,
}

impl Operator for Flatten {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.take(0)?;
        // One more place than there are dimensions: behind the last.
        let at = match self.axis {
            0 => 0,
            before if before < 0 => axis(before, array.rank())?,
            behind => axis(behind, array.rank() + 1)?,
        };
        let (outer, inner) = array.shape().split_at(at);
        let shape = [outer.iter().product(), inner.iter().product()];
        one(array.reshaped(&shape)?)
    }
}

fn identity(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Identity))
}

/// What comes in. (ONNX `Identity`)
#[derive(Debug)]
struct Identity;

impl Operator for Identity {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(inputs.take_value(0)?)
    }
}

fn shape_of(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ShapeOf { start: spec.int("start")?.unwrap_or(0), end: spec.int("end")? }))
}

/// The extents of an array, or some of them. (ONNX `Shape`)
#[derive(Debug)]
struct ShapeOf {
    start: i64,
    end: Option<i64>,
}

impl Operator for ShapeOf {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let array = inputs.get(0)?;
        let rank = i64::try_from(array.rank()).unwrap_or(i64::MAX);
        let clamped = |at: i64| {
            let from_front = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(from_front.clamp(0, rank)).unwrap_or(0)
        };
        let (start, end) = (clamped(self.start), clamped(self.end.unwrap_or(rank)));
        let extents = array.shape().get(start..end).unwrap_or_default();
        let extents: Vec<i64> = extents.iter().map(|extent| extent.cast_signed() as i64).collect();
        one(Array::new(&[extents.len()], extents))
    }
}

fn size(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Size))
}

/// How many elements an array has. (ONNX `Size`)
#[derive(Debug)]
struct Size;

impl Operator for Size {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        one(Array::scalar(inputs.get(0)?.len().cast_signed() as i64))
    }
}

fn squeeze(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Squeeze { axes: spec.ints("axes")?.map(<[i64]>::to_vec) }))
}

/// The same elements without some dimensions of one place. (ONNX `Squeeze`)
#[derive(Debug)]
struct Squeeze {
    axes: Option<Vec<i64>>,
}

impl Operator for Squeeze {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let wanted = match &self.axes {
            Some(axes) => Some(axes.clone()),
            None => inputs.find_ints(1)?,
        };
        let array = inputs.take(0)?;
        let extents = || array.shape().iter().enumerate();
        let dropped = match wanted {
            Some(wanted) => axes(&wanted, array.rank())?,
            None => extents().filter(|(_, extent)| **extent == 1).map(|(at, _)| at).collect(),
        };
        if let Some(&at) = dropped.iter().find(|&&at| array.shape()[at] != 1) {
            return Err(OpError::shape(format!("one place along dimension {at}"), array.shape()));
        }
        let shape: Shape = extents().filter(|(at, _)| !dropped.contains(at)).map(|(_, extent)| *extent).collect();
        one(array.reshaped(&shape)?)
    }
}

fn unsqueeze(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Unsqueeze { axes: spec.ints("axes")?.map(<[i64]>::to_vec) }))
}

/// The same elements with more dimensions of one place. (ONNX `Unsqueeze`)
#[derive(Debug)]
struct Unsqueeze {
    axes: Option<Vec<i64>>,
}

impl Operator for Unsqueeze {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let wanted = match &self.axes {
            Some(axes) => axes.clone(),
            None => inputs.ints(1)?,
        };
        let array = inputs.take(0)?;
        let rank = array.rank() + wanted.len();
        let added = axes(&wanted, rank)?;
        let mut own = array.shape().iter().copied();
        let shape: Shape = (0..rank).map(|at| if added.contains(&at) { 1 } else { own.next().unwrap_or(1) }).collect();
        one(array.reshaped(&shape)?)
    }
}

#[cfg(test)]
mod tests;
