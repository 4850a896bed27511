//! Scores to shares: `Softmax`, `LogSoftmax`, `Hardmax`.

use super::broadcast::{elements_mut, split_at};
use super::cast::convert;
use super::number::{Real, by_type};
use super::widen::widened;
use crate::array::Array;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, axis, one, wrong_type};
use crate::run::Context;
use ballast_kernels::Kernels;

pub(super) const OPS: &[(&str, Build)] = &[
    ("Softmax", |spec| Softmax::build(spec, Share::Soft)),
    ("LogSoftmax", |spec| Softmax::build(spec, Share::Log)),
    ("Hardmax", |spec| Softmax::build(spec, Share::Hard)),
];

/// What scores become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// `exp(x) / sum(exp(x))`.
    Soft,
    /// Its logarithm.
    Log,
    /// 1 for the first of the greatest, 0 for the others.
    Hard,
}

/// Shares among the scores along an axis. (ONNX `Softmax`, `LogSoftmax`, `Hardmax`)
#[derive(Debug)]
struct Softmax {
    share: Share,
    axis: i64,
    /// Until version 13, all dimensions from the axis on were one.
    is_flat: bool,
}

impl Softmax {
    fn build(spec: &NodeSpec<'_>, share: Share) -> Result<Box<dyn Operator>, OpError> {
        let is_flat = spec.version < 13;
        let axis = spec.int("axis")?.unwrap_or(if is_flat { 1 } else { -1 });
        Ok(Box::new(Self { share, axis, is_flat }))
    }
}

impl Operator for Softmax {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let rank = x.rank();
        let (at, end) = if self.is_flat {
            // An axis behind the last makes rows of one score each.
            let at = if usize::try_from(self.axis) == Ok(rank) { rank } else { axis(self.axis, rank)? };
            (at, rank)
        } else if rank == 0 {
            (0, 0)
        } else {
            let at = axis(self.axis, rank)?;
            (at, at + 1)
        };
        one(self.share.apply(x, at, end, context)?)
    }
}

impl Share {
    /// Shares among the scores of dimensions `at..end`.
    pub(super) fn apply(self, x: Array, at: usize, end: usize, context: &mut Context<'_>) -> Result<Array, OpError> {
        let (n, inner) = (x.shape()[at..end].iter().product(), x.shape()[end..].iter().product());
        let dtype = x.dtype();
        let x = widened(x, context)?;
        let shares = by_type!(x.dtype(), T in reals => self.along::<T>(x, n, inner, context),
            else => Err(wrong_type(0, "floats", dtype)));
        convert(shares?, dtype, context)
    }

    /// `x` is `[.., n, inner]`.
    fn along<T: Real>(self, mut x: Array, n: usize, inner: usize, context: &mut Context<'_>) -> Result<Array, OpError> {
        if x.len() == 0 {
            return Ok(x);
        }
        let kernels = context.kernels;
        split_at(context.pool, elements_mut::<T>(&mut x, 0)?, n * inner, |_, sets| {
            let mut scores = vec![T::ZERO; n];
            for set in sets.chunks_exact_mut(n * inner) {
                if inner == 1 {
                    self.of(set, kernels);
                    continue;
                }
                for column in 0..inner {
                    let column = || (column..).step_by(inner);
                    scores.iter_mut().zip(column()).for_each(|(score, at)| *score = set[at]);
                    self.of(&mut scores, kernels);
                    scores.iter().zip(column()).for_each(|(score, at)| set[at] = *score);
                }
            }
        });
        Ok(x)
    }

    /// Shares among scores, of which there is one at least.
    fn of<R: Real>(self, scores: &mut [R], kernels: &dyn Kernels) {
        let max = lanes(scores, R::LOWEST, |a, x| if x > a { x } else { a }, |a, b| if b > a { b } else { a });
        match self {
            Self::Soft => {
                // NaN is not greater than anything, but its power is NaN, and so is the sum.
                scores.iter_mut().for_each(|x| *x = *x - max);
                R::exp_all(kernels, scores);
                let sum = lanes(scores, R::ZERO, |a, x| a + x, |a, b| a + b);
                scores.iter_mut().for_each(|x| *x = *x / sum);
            }
            Self::Log => {
                scores.iter_mut().for_each(|x| *x = *x - max);
                let sum = lanes(scores, R::ZERO, |a, x| a + x.exp(), |a, b| a + b);
                let log = sum.ln();
                scores.iter_mut().for_each(|x| *x = *x - log);
            }
            Self::Hard => {
                let first = scores.iter().position(|x| x.is_nan()).or_else(|| scores.iter().position(|x| *x == max));
                scores.fill(R::ZERO);
                scores[first.unwrap_or(0)] = R::ONE;
            }
        }
    }
}

/// Folds in lanes, whose partial results are joined in the end.
fn lanes<R: Real>(x: &[R], init: R, step: impl Fn(R, R) -> R, join: impl Fn(R, R) -> R) -> R {
    let mut lanes = [init; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = step(*lane, *x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = step(*lane, *x));
    lanes.into_iter().fold(init, join)
}

#[cfg(test)]
mod tests;
