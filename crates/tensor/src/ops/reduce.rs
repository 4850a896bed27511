//! Operators that make one number of many: sums, extremes and the like along axes, and sums that run along one.

mod arg;
mod fold;
mod running;

use super::broadcast::{elements, split};
use super::cast::convert;
use super::number::{Number, Real, by_type};
use super::widen::widened;
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axes, one, wrong_type};
use crate::run::Context;
use ballast_backend::DType;
use fold::Folding;
use smallvec::SmallVec;

pub(super) const OPS: &[(&str, Build)] = &[
    ("ReduceSum", |spec| Reduce::build(spec, Reduction::Sum, 13)),
    ("ReduceMean", |spec| Reduce::build(spec, Reduction::Mean, 18)),
    ("ReduceProd", |spec| Reduce::build(spec, Reduction::Product, 18)),
    ("ReduceMax", |spec| Reduce::build(spec, Reduction::Max, 18)),
    ("ReduceMin", |spec| Reduce::build(spec, Reduction::Min, 18)),
    ("ReduceL1", |spec| Reduce::build(spec, Reduction::L1, 18)),
    ("ReduceL2", |spec| Reduce::build(spec, Reduction::L2, 18)),
    ("ReduceLogSum", |spec| Reduce::build(spec, Reduction::LogSum, 18)),
    ("ReduceLogSumExp", |spec| Reduce::build(spec, Reduction::LogSumExp, 18)),
    ("ReduceSumSquare", |spec| Reduce::build(spec, Reduction::SumSquare, 18)),
    ("ArgMax", arg::arg_max),
    ("ArgMin", arg::arg_min),
    ("CumSum", running::sum),
    ("CumProd", running::product),
];

/// What becomes of the numbers of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reduction {
    Sum,
    Mean,
    Product,
    Max,
    Min,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

/// A reduction along axes. (ONNX `ReduceSum` and the others of its kind)
#[derive(Debug)]
struct Reduce {
    reduction: Reduction,
    /// `None`: they are the second input.
    axes: Option<Vec<i64>>,
    keeps_dims: bool,
    /// Whether no axes means none, not all.
    is_none_none: bool,
}

impl Reduce {
    /// Axes are an input from version `since` on.
    fn build(spec: &NodeSpec<'_>, reduction: Reduction, since: i64) -> Result<Box<dyn Operator>, OpError> {
        let keeps_dims = spec.flag("keepdims", true)?;
        if spec.version < since {
            let axes = Some(spec.ints("axes")?.unwrap_or_default().to_vec());
            return Ok(Box::new(Self { reduction, axes, keeps_dims, is_none_none: false }));
        }
        let is_none_none = spec.flag("noop_with_empty_axes", false)?;
        Ok(Box::new(Self { reduction, axes: None, keeps_dims, is_none_none }))
    }
}

impl Operator for Reduce {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.get(0)?;
        let named = match &self.axes {
            Some(axes) => axes.clone(),
            None => inputs.find_ints(1)?.unwrap_or_default(),
        };
        let reduced =
            if named.is_empty() && !self.is_none_none { (0..x.rank()).collect() } else { axes(&named, x.rank())? };
        let kept = self.reduction.apply(x, &reduced, context)?;
        if self.keeps_dims {
            return one(kept);
        }
        let shape: Shape = (0..x.rank()).filter(|at| !reduced.contains(at)).map(|at| x.shape()[at]).collect();
        one(kept.reshaped(&shape)?)
    }
}

impl Reduction {
    /// The reduction along `reduced`, dimensions in order, which stay with an extent of 1.
    pub(super) fn apply(self, x: &Array, reduced: &[usize], context: &mut Context<'_>) -> Result<Array, OpError> {
        let folding = Folding::new(x.shape(), reduced);
        let (dtype, extents) = (x.dtype(), Shape::from_slice(x.shape()));
        let x = widened(x.clone(), context)?;
        let out = by_type!(x.dtype(), T in reals => self.of_reals::<T>(&x, &folding, context)?,
            else => self.of_others(&x, &folding, context)?);
        let extent = |at: usize| if reduced.contains(&at) { 1 } else { extents[at] };
        let out = out.reshaped(&(0..x.rank()).map(extent).collect::<SmallVec<[usize; 6]>>())?;
        convert(out, dtype, context)
    }

    fn of_reals<T: Real>(self, x: &Array, folding: &Folding, context: &mut Context<'_>) -> Result<Array, OpError> {
        let x = elements::<T>(x, 0)?;
        let n = T::of_f64(folding.n as f64);
        let add = |a: T, b: T| a + b;
        let mut out = match self {
            Self::Sum | Self::Mean | Self::LogSum => folding.run(x, context, T::ZERO, add, add)?,
            Self::Product => folding.run(x, context, T::ONE, |a, x| a * x, |a, b| a * b)?,
            Self::Max => folding.run(x, context, T::LOWEST, Number::greater, Number::greater)?,
            Self::Min => folding.run(x, context, T::HIGHEST, Number::lesser, Number::lesser)?,
            Self::L1 => folding.run(x, context, T::ZERO, |a, x: T| a + x.abs(), add)?,
            Self::L2 | Self::SumSquare => folding.run(x, context, T::ZERO, |a, x| a + x * x, add)?,
            Self::LogSumExp => log_sum_exp(x, folding, context)?,
        };
        match self {
            Self::Mean => out.iter_mut().for_each(|out| *out = *out / n),
            Self::L2 => out.iter_mut().for_each(|out| *out = out.sqrt()),
            Self::LogSum => out.iter_mut().for_each(|out| *out = out.ln()),
            Self::Sum | Self::Product | Self::Max | Self::Min | Self::L1 | Self::SumSquare | Self::LogSumExp => {}
        }
        Ok(Array::new(&[out.len()], out))
    }

    /// Of integers, in their own type where that is all it takes, and through f64 otherwise; of truth values, extremes.
    fn of_others(self, x: &Array, folding: &Folding, context: &mut Context<'_>) -> Result<Array, OpError> {
        let dtype = x.dtype();
        if dtype == DType::Bool && matches!(self, Self::Max | Self::Min) {
            let bytes = convert(x.clone(), DType::U8, context)?;
            let extremes = self.of_others(&bytes, folding, context)?;
            // Of nothing: the least truth value or the greatest, which other bytes are, too.
            return convert(extremes, DType::Bool, context);
        }
        by_type!(dtype, T in integers => {
            // One loop for all of them.
            type Step = fn(T, T) -> T;
            let (init, step, join): (T, Step, Step) = match self {
                Self::Sum => (T::ZERO, T::plus, T::plus),
                Self::Product => (T::ONE, T::times, T::times),
                Self::Max => (T::LOWEST, T::greater, T::greater),
                Self::Min => (T::HIGHEST, T::lesser, T::lesser),
                Self::L1 => (T::ZERO, |a, x| a.plus(x.magnitude()), T::plus),
                Self::SumSquare => (T::ZERO, |a, x| a.plus(x.times(x)), T::plus),
                Self::Mean | Self::L2 | Self::LogSum | Self::LogSumExp => {
                    let reals = convert(x.clone(), DType::F64, context)?;
                    return convert(self.of_reals::<f64>(&reals, folding, context)?, dtype, context);
                }
            };
            let out = folding.run(elements::<T>(x, 0)?, context, init, step, join)?;
            Ok(Array::new(&[out.len()], out))
        }, else => Err(wrong_type(0, "numbers", dtype)))
    }
}

/// `max + ln(sum(exp(x - max)))`, which does not overflow.
fn log_sum_exp<T: Real>(x: &[T], folding: &Folding, context: &mut Context<'_>) -> Result<Vec<T>, OpError> {
    let max = folding.run(x, context, T::LOWEST, Number::greater, Number::greater)?;
    let mut out = vec![T::ZERO; max.len()];
    split(context.pool, &mut out, |start, out| {
        for (idx, out) in out.iter_mut().enumerate() {
            let max = max[start + idx];
            // An infinite maximum is the result; the difference from itself would be no number.
            let is_finite = max.abs() < T::HIGHEST;
            let mut sum = T::ZERO;
            folding.each(start + idx, |at| sum = sum + (x[at] - max).exp());
            *out = if is_finite { max + sum.ln() } else { max };
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests;
