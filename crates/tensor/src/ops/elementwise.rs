//! Operators of two arrays, element by element.

use crate::array::{Array, Element};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, broadcast, one, strides, wrong_type};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] = &[("Add", add)];

fn add(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Add))
}

/// The sum of two arrays. (ONNX `Add`)
#[derive(Debug)]
struct Add;

impl Operator for Add {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (a, b) = (inputs.get(0)?, inputs.get(1)?);
        let sum = zip::<f32, f32>(a, b, context, |a, b| a + b)?;
        let sum = match sum {
            Some(sum) => sum,
            None => zip::<i64, i64>(a, b, context, i64::wrapping_add)?
                .ok_or_else(|| wrong_type(0, "f32 or i64", a.dtype()))?,
        };
        one(sum)
    }
}

/// Combines two arrays of a type, broadcast to one shape; `None` if they are not both of that type.
fn zip<T: Element + Copy, U: Element>(
    a: &Array,
    b: &Array,
    context: &Context<'_>,
    combine: impl Fn(T, T) -> U,
) -> Result<Option<Array>, OpError> {
    let (Some(x), Some(y)) = (a.values::<T>(), b.values::<T>()) else { return Ok(None) };
    let shape = broadcast(a.shape(), b.shape())?;
    let mut out = context.room(&shape)?;
    let steps = |array: &Array| -> Vec<usize> {
        let (own, missing) = (strides(array.shape()), shape.len() - array.rank());
        let step = |at: usize| if at < missing || array.shape()[at - missing] == 1 { 0 } else { own[at - missing] };
        (0..shape.len()).map(step).collect()
    };
    let (a_steps, b_steps) = (steps(a), steps(b));
    let mut at = vec![0; shape.len()];
    let len = shape.iter().product::<usize>();
    for _ in 0..len {
        let offset = |steps: &[usize]| at.iter().zip(steps).map(|(at, step)| at * step).sum::<usize>();
        out.push(combine(x[offset(&a_steps)], y[offset(&b_steps)]));
        for (at, extent) in at.iter_mut().zip(&shape).rev() {
            *at += 1;
            if *at < *extent {
                break;
            }
            *at = 0;
        }
    }
    Ok(Some(Array::new(&shape, out)))
}
