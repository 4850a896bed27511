//! By norms, by moments along any axes, by what neighbouring channels have.

use super::spread;
use crate::array::Array;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axes, axis, one, wrong_type};
use crate::ops::broadcast::{elements, map_over, split};
use crate::ops::cast::convert;
use crate::ops::elementwise::Arithmetic;
use crate::ops::number::{Number, Real, by_type};
use crate::ops::reduce::Reduction;
use crate::ops::unary::Function;
use crate::ops::widen::widened;
use crate::run::Context;
use ballast_backend::DType;

/// Each set along an axis by its norm; one whose norm is 0 is left. (ONNX `LpNormalization`)
#[derive(Debug)]
struct Lp {
    axis: i64,
    norm: Reduction,
}

pub(super) fn lp(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let norm = match spec.int("p")?.unwrap_or(2) {
        1 => Reduction::L1,
        2 => Reduction::L2,
        other => return Err(NodeSpec::wrong("p", "1 or 2", other)),
    };
    Ok(Box::new(Lp { axis: spec.int("axis")?.unwrap_or(-1), norm }))
}

impl Operator for Lp {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        let axis = axis(self.axis, x.rank())?;
        let norm = by_type!(dtype, T in floats => {
            let norm = self.norm.apply(&x, &[axis], context)?;
            map_over::<T>(norm, context, |norm| if *norm == T::ZERO { T::ONE } else { *norm })?
        }, else => return Err(wrong_type(0, "floats", dtype)));
        one(Arithmetic::Div.apply(x, norm, context)?)
    }
}

/// What is added to deviations, so that none is 0.
const DEVIATION_MIN: f64 = 1e-9;

/// By mean and deviation along axes. (ONNX `MeanVarianceNormalization`)
#[derive(Debug)]
struct MeanVariance {
    axes: Vec<i64>,
}

pub(super) fn mean_variance(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MeanVariance { axes: spec.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec() }))
}

impl Operator for MeanVariance {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        let reduced = axes(&self.axes, x.rank())?;
        if !matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::Bf16) {
            return Err(wrong_type(0, "floats", dtype));
        }
        let (_, centred, variance) = spread(x, &reduced, context)?;
        let deviation = Function::Sqrt.apply(variance, context)?;
        let least = convert(Array::scalar(DEVIATION_MIN), deviation.dtype(), context)?;
        let deviation = Arithmetic::Add.apply(deviation, least, context)?;
        one(convert(Arithmetic::Div.apply(centred, deviation, context)?, dtype, context)?)
    }
}

/// By the squares of neighbouring channels. (ONNX `LRN`)
#[derive(Debug)]
struct LocalResponse {
    size: usize,
    alpha: f32,
    beta: f32,
    bias: f32,
}

pub(super) fn local_response(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let size = NodeSpec::needed(spec.int("size")?, "size", "a number of channels")?;
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    Ok(Box::new(LocalResponse {
        size: size.ok_or_else(|| NodeSpec::wrong("size", "1 or more", "less"))?,
        alpha: spec.float("alpha")?.unwrap_or(1e-4),
        beta: spec.float("beta")?.unwrap_or(0.75),
        bias: spec.float("bias")?.unwrap_or(1.0),
    }))
}

impl Operator for LocalResponse {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        let x = widened(x, context)?;
        let y = by_type!(x.dtype(), T in reals => self.of::<T>(&x, context),
            else => Err(wrong_type(0, "floats", dtype)));
        one(convert(y?, dtype, context)?)
    }
}

impl LocalResponse {
    fn of<T: Real>(&self, x: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let n_channels = super::channels(x)?;
        let inner: usize = x.shape()[2..].iter().product();
        let real = |value: f64| T::of_f64(value);
        let (bias, beta) = (real(f64::from(self.bias)), real(f64::from(self.beta)));
        let alpha = real(f64::from(self.alpha) / self.size as f64);
        let (before, behind) = ((self.size - 1) / 2, self.size / 2);
        let values = elements::<T>(x, 0)?;
        let mut out = context.zeros::<T>(x.shape())?;
        split(context.pool, &mut out, |start, out| {
            for (at, out) in (start..).zip(out) {
                let channel = at / inner % n_channels;
                let window = channel.saturating_sub(before)..(channel + behind + 1).min(n_channels);
                let first = at - channel * inner;
                let squares = window.map(|channel| values[first + channel * inner]);
                let sum = squares.fold(T::ZERO, |sum, x| sum + x * x);
                *out = values[at] / (bias + alpha * sum).powf(beta);
            }
        });
        Ok(Array::new(x.shape(), out))
    }
}
