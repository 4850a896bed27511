//! Pooling of whole channels.

use super::average::{Float, norm, power, root};
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::number::by_type;
use crate::ops::widen;
use crate::pieces::PIECES_PER_THREAD;
use crate::run::Context;

pub(super) fn average(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(GlobalPool::Mean))
}

pub(super) fn max(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(GlobalPool::Max))
}

pub(super) fn lp(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(GlobalPool::Norm(norm(spec)?)))
}

/// (ONNX `GlobalAveragePool`, `GlobalMaxPool`, `GlobalLpPool`)
#[derive(Debug)]
enum GlobalPool {
    Mean,
    Max,
    Norm(f64),
}

impl Operator for GlobalPool {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let dtype = inputs.get(0)?.dtype();
        let pooled = by_type!(dtype, T in reals => self.pool::<T>(&inputs, context),
            else => Err(wrong_type(0, "a float", dtype)));
        widen::output(one(pooled?)?, narrow, context)
    }
}

impl GlobalPool {
    fn pool<T: Float>(&self, inputs: &Inputs, context: &mut Context<'_>) -> Result<Array, OpError> {
        let (x, values) = (inputs.get(0)?, inputs.values::<T>(0)?);
        if x.rank() < 2 {
            return Err(OpError::shape("channels", x.shape()));
        }
        let mut shape = Shape::from_slice(&x.shape()[..2]);
        shape.resize(x.rank(), 1);
        let mut out = context.zeros::<T>(&shape)?;
        let len: usize = x.shape()[2..].iter().product();
        if len == 0 {
            return Err(OpError::shape("channels that are not empty", x.shape()));
        }
        let n_parts = PIECES_PER_THREAD * context.pool.n_threads();
        let per_part = out.len().div_ceil(n_parts).max(1);
        let mut parts: Vec<_> = values.chunks(per_part * len).zip(out.chunks_mut(per_part)).collect();
        context.pool.run(&mut parts, |(x, out)| {
            for (x, out) in x.chunks_exact(len).zip(out.iter_mut()) {
                *out = T::of(self.of(x));
            }
        });
        Ok(Array::new(&shape, out))
    }

    fn of<T: Float>(&self, x: &[T]) -> f64 {
        match *self {
            Self::Mean => sum(x, |value| value) / x.len() as f64,
            Self::Norm(p) => root(sum(x, |value| power(value, p)), p),
            Self::Max => {
                let greater = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
                x.iter().map(|value| value.wide()).fold(f64::NEG_INFINITY, greater)
            }
        }
    }
}

/// In lanes, so that no addition waits for the one before.
fn sum<T: Float>(x: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = x.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value.wide());
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|value| f(value.wide())).sum::<f64>()
}
