//! Where the greatest or least element is.

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::ops::broadcast::{elements, split};
use crate::ops::number::{Number, by_type};
use crate::run::Context;

/// Place of an extreme along an axis; NaN is one. (ONNX `ArgMax`, `ArgMin`)
#[derive(Debug)]
struct ArgExtreme {
    is_max: bool,
    axis: i64,
    keeps_dims: bool,
    /// Of several, the last.
    is_last: bool,
}

fn build(spec: &NodeSpec<'_>, is_max: bool) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ArgExtreme {
        is_max,
        axis: spec.int("axis")?.unwrap_or(0),
        keeps_dims: spec.flag("keepdims", true)?,
        is_last: spec.version >= 12 && spec.flag("select_last_index", false)?,
    }))
}

pub(super) fn arg_max(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    build(spec, true)
}

pub(super) fn arg_min(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    build(spec, false)
}

impl Operator for ArgExtreme {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.get(0)?;
        let axis = axis(self.axis, x.rank())?;
        if x.shape()[axis] == 0 {
            return Err(OpError::shape("something along the axis", x.shape()));
        }
        let places = by_type!(x.dtype(), T in numbers => self.places(elements::<T>(x, 0)?, x.shape(), axis, context)?,
            else => return Err(wrong_type(0, "numbers", x.dtype())));
        let mut shape = Shape::from_slice(x.shape());
        if self.keeps_dims {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        one(Array::new(&shape, places))
    }
}

impl ArgExtreme {
    fn places<T: Number>(
        &self,
        x: &[T],
        shape: &[usize],
        axis: usize,
        context: &mut Context<'_>,
    ) -> Result<Vec<i64>, OpError> {
        let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let outer: usize = shape[..axis].iter().product();
        let mut places = context.zeros::<i64>(&[outer, inner])?;
        let is_beyond = |x: T, best: T| match (x.is_nan(), best.is_nan()) {
            (true, false) => true,
            (_, true) => self.is_last && x.is_nan(),
            (false, false) if self.is_last && x == best => true,
            (false, false) => (x > best) == self.is_max && x != best,
        };
        split(context.pool, &mut places, |start, places| {
            for (place, set) in places.iter_mut().zip(start..) {
                let first = (set / inner) * n * inner + set % inner;
                let (mut best, mut at) = (x[first], 0);
                for idx in 1..n {
                    let candidate = x[first + idx * inner];
                    if is_beyond(candidate, best) {
                        (best, at) = (candidate, idx);
                    }
                }
                *place = i64::try_from(at).unwrap_or(i64::MAX);
            }
        });
        Ok(places)
    }
}
