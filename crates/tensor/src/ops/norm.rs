//! Operators that shift and scale numbers by what sets of them have in common.

mod layer;
mod others;

use super::broadcast::{Walk, elements, elements_mut, split};
use super::cast::convert;
use super::elementwise::Arithmetic;
use super::number::{Real, by_type};
use super::reduce::Reduction;
use super::widen::widened;
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, one, wrong_type};
use crate::run::Context;
use ballast_backend::DType;

pub(super) const OPS: &[(&str, Build)] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("GroupNormalization", group),
    ("LayerNormalization", layer::layer),
    ("RMSNormalization", layer::rms),
    ("LpNormalization", others::lp),
    ("MeanVarianceNormalization", others::mean_variance),
    ("LRN", others::local_response),
];

const EPSILON_DEFAULT: f32 = 1e-5;

fn epsilon(spec: &NodeSpec<'_>) -> Result<f32, OpError> {
    Ok(spec.float("epsilon")?.unwrap_or(EPSILON_DEFAULT))
}

/// `(x - mean) * scale + bias`, with a coefficient for each element of some shape.
struct Affine<'a, R> {
    shape: &'a [usize],
    mean: &'a [R],
    scale: &'a [R],
    bias: &'a [R],
}

impl<R: Real> Affine<'_, R> {
    /// Over the elements of `x`, to whose shape that of the coefficients broadcasts.
    fn apply(&self, x: &mut Array, context: &mut Context<'_>) -> Result<(), OpError> {
        let walk = Walk::new(x.shape(), [self.shape]);
        let [step] = walk.row_steps();
        split(context.pool, elements_mut::<R>(x, 0)?, |start, values| {
            walk.rows(start..start + values.len(), |at, [from]| {
                let values = &mut values[at];
                if step == 0 {
                    let (mean, scale, bias) = (self.mean[from], self.scale[from], self.bias[from]);
                    values.iter_mut().for_each(|x| *x = (*x - mean) * scale + bias);
                    return;
                }
                let coefficients = self.mean[from..].iter().zip(&self.scale[from..]).zip(&self.bias[from..]);
                for (x, ((mean, scale), bias)) in values.iter_mut().zip(coefficients) {
                    *x = (*x - *mean) * *scale + *bias;
                }
            });
        });
        Ok(())
    }
}

/// Elements of input `idx`, one for each of `n`, as they are computed with.
fn coefficients<R: Real>(inputs: &Inputs, idx: usize, n: usize, context: &mut Context<'_>) -> Result<Vec<R>, OpError> {
    let array = inputs.get(idx)?;
    if array.shape() != [n] {
        return Err(OpError::input(idx, format!("the shape [{n}]"), format!("{:?}", array.shape())));
    }
    wide(array, idx, context)
}

/// Floats as they are computed with.
fn wide<R: Real>(array: &Array, idx: usize, context: &mut Context<'_>) -> Result<Vec<R>, OpError> {
    if !matches!(array.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::Bf16) {
        return Err(wrong_type(idx, "floats", array.dtype()));
    }
    let array = convert(array.clone(), R::DTYPE, context)?;
    Ok(elements::<R>(&array, idx)?.to_vec())
}

/// The mean of some numbers, and their mean square distance from it.
fn moments<T: Real>(x: &[T]) -> (T, T) {
    let n = T::of_f64(x.len() as f64);
    let mean = sum(x, |x| x) / n;
    (mean, sum(x, |x| (x - mean) * (x - mean)) / n)
}

/// The sum of `f` of some numbers, in lanes.
fn sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = *lane + f(*x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = *lane + f(*x));
    lanes.into_iter().fold(T::ZERO, |a, b| a + b)
}

/// `1 / sqrt(variance + epsilon)`.
fn inverse_deviation<R: Real>(variance: R, epsilon: f32) -> R {
    R::ONE / (variance + R::of_f64(f64::from(epsilon))).sqrt()
}

/// Channels by what they were in training, or are in this batch. (ONNX `BatchNormalization`)
#[derive(Debug)]
struct Batch {
    epsilon: f32,
    /// Share of the old mean and variance in the new ones, if they are learnt.
    momentum: Option<f32>,
}

fn batch(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let epsilon = epsilon(spec)?;
    let momentum = spec.float("momentum")?.unwrap_or(0.9);
    if spec.version >= 14 {
        let momentum = spec.flag("training_mode", false)?.then_some(momentum);
        return Ok(Box::new(Batch { epsilon, momentum }));
    }
    spec.ints("consumed_inputs")?;
    let is_training =
        if spec.version < 7 { !spec.flag("is_test", false)? } else { (1..5).any(|idx| spec.has_output(idx)) };
    if is_training {
        return Err(OpError::unsupported("training before version 14"));
    }
    if spec.version < 9 && !spec.flag("spatial", true)? {
        return Err(OpError::unsupported("a mean for each place (spatial = 0)"));
    }
    Ok(Box::new(Batch { epsilon, momentum: None }))
}

impl Operator for Batch {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let dtype = x.dtype();
        let x = widened(x, context)?;
        let (y, learnt) = by_type!(x.dtype(), T in reals => self.of::<T>(x, &inputs, context),
            else => Err(wrong_type(0, "floats", dtype)))?;
        let learnt = learnt.into_iter().map(Into::into);
        Ok(std::iter::once(convert(y, dtype, context)?.into()).chain(learnt).collect())
    }
}

impl Batch {
    /// The result, and what was learnt.
    fn of<T: Real>(
        &self,
        mut x: Array,
        inputs: &Inputs,
        context: &mut Context<'_>,
    ) -> Result<(Array, Vec<Array>), OpError> {
        let n_channels = x.shape().get(1).copied().unwrap_or(1);
        let mut coefficients = |idx| coefficients::<T>(inputs, idx, n_channels, context);
        let (mut scale, bias) = (coefficients(1)?, coefficients(2)?);
        let (mut mean, mut variance) = (coefficients(3)?, coefficients(4)?);
        let mut learnt = Vec::new();
        if let Some(momentum) = self.momentum {
            let (momentum, rest) = (T::of_f64(f64::from(momentum)), T::of_f64(f64::from(1.0 - momentum)));
            let current = batch_moments::<T>(&x, context)?;
            for (idx, (old, new)) in [(3, (&mut mean, current.0)), (4, (&mut variance, current.1))] {
                let mixed = old.iter().zip(&new).map(|(old, new)| *old * momentum + *new * rest).collect();
                learnt.push(convert(Array::new(&[n_channels], mixed), inputs.get(idx)?.dtype(), context)?);
                *old = new;
            }
        }
        for (scale, variance) in scale.iter_mut().zip(&variance) {
            *scale = *scale * inverse_deviation(*variance, self.epsilon);
        }
        let mut shape = Shape::from_elem(1, x.rank());
        if let Some(channels) = shape.get_mut(1) {
            *channels = n_channels;
        }
        Affine { shape: &shape, mean: &mean, scale: &scale, bias: &bias }.apply(&mut x, context)?;
        Ok((x, learnt))
    }
}

/// Mean and variance of each channel.
fn batch_moments<T: Real>(x: &Array, context: &mut Context<'_>) -> Result<(Vec<T>, Vec<T>), OpError> {
    let dims: Vec<usize> = (0..x.rank()).filter(|at| *at != 1).collect();
    let (mean, _, variance) = spread(x.clone(), &dims, context)?;
    Ok((wide(&mean, 0, context)?, wide(&variance, 0, context)?))
}

/// Means along dimensions, differences from them, and variances; in f64 for f64, in f32 for all others.
fn spread(x: Array, dims: &[usize], context: &mut Context<'_>) -> Result<(Array, Array, Array), OpError> {
    let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let x = convert(x, dtype, context)?;
    let mean = Reduction::Mean.apply(&x, dims, context)?;
    let centred = Arithmetic::Sub.apply(x, mean.clone(), context)?;
    let square = Arithmetic::Mul.apply(centred.clone(), centred.clone(), context)?;
    let variance = Reduction::Mean.apply(&square, dims, context)?;
    Ok((mean, centred, variance))
}

/// Each channel of each example by itself. (ONNX `InstanceNormalization`, arXiv:1607.08022)
#[derive(Debug)]
struct Instance {
    epsilon: f32,
}

fn instance(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    spec.ints("consumed_inputs")?;
    Ok(Box::new(Instance { epsilon: epsilon(spec)? }))
}

impl Operator for Instance {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let n_channels = channels(&x)?;
        let groups = Groups { n_groups: n_channels, is_by_group: false, epsilon: self.epsilon };
        groups.apply(x, &inputs, context)
    }
}

fn channels(x: &Array) -> Result<usize, OpError> {
    let channels = x.shape().get(1).copied();
    channels.filter(|_| x.rank() >= 2).ok_or_else(|| OpError::shape("examples and channels", x.shape()))
}

/// Some channels of each example together. (ONNX `GroupNormalization`, arXiv:1803.08494)
#[derive(Debug)]
struct Groups {
    n_groups: usize,
    /// Whether scale and bias are of groups, not of channels: until version 21.
    is_by_group: bool,
    epsilon: f32,
}

fn group(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let n_groups = NodeSpec::needed(spec.int("num_groups")?, "num_groups", "a number of groups")?;
    let n_groups = usize::try_from(n_groups).ok().filter(|n| *n > 0);
    let n_groups = n_groups.ok_or_else(|| NodeSpec::wrong("num_groups", "1 or more", "less"))?;
    layer::stash_type(spec)?;
    Ok(Box::new(Groups { n_groups, is_by_group: spec.version < 21, epsilon: epsilon(spec)? }))
}

impl Operator for Groups {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        self.apply(x, &inputs, context)
    }
}

impl Groups {
    fn apply(&self, x: Array, inputs: &Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let dtype = x.dtype();
        let x = widened(x, context)?;
        let y = by_type!(x.dtype(), T in reals => self.of::<T>(x, inputs, context),
            else => Err(wrong_type(0, "floats", dtype)));
        one(convert(y?, dtype, context)?)
    }

    fn of<T: Real>(&self, mut x: Array, inputs: &Inputs, context: &mut Context<'_>) -> Result<Array, OpError> {
        let n_channels = channels(&x)?;
        if self.n_groups == 0 || !n_channels.is_multiple_of(self.n_groups) {
            return Err(OpError::shape(format!("channels in {} groups", self.n_groups), x.shape()));
        }
        if x.len() == 0 {
            return Ok(x);
        }
        let per_group = n_channels / self.n_groups;
        let n_settings = if self.is_by_group { self.n_groups } else { n_channels };
        let scales = coefficients::<T>(inputs, 1, n_settings, context)?;
        let biases = coefficients::<T>(inputs, 2, n_settings, context)?;
        let (mut mean, mut scale, mut bias) = (Vec::new(), Vec::new(), Vec::new());
        let n_rows = x.shape()[0] * self.n_groups;
        let mut found = vec![(T::ZERO, T::ZERO); n_rows];
        let (values, row_len) = (elements::<T>(&x, 0)?, x.len() / n_rows);
        let mut parts: Vec<_> = found.iter_mut().zip(values.chunks_exact(row_len)).collect();
        context.pool.run(&mut parts, |(found, row)| **found = moments(row));
        for (row, (row_mean, variance)) in found.into_iter().enumerate() {
            let inverse = inverse_deviation(variance, self.epsilon);
            let group = row % self.n_groups;
            for channel in group * per_group..(group + 1) * per_group {
                let at = if self.is_by_group { group } else { channel };
                mean.push(row_mean);
                scale.push(scales[at] * inverse);
                bias.push(biases[at]);
            }
        }
        let mut shape = Shape::from_elem(1, x.rank());
        shape[..2].copy_from_slice(&x.shape()[..2]);
        Affine { shape: &shape, mean: &mean, scale: &scale, bias: &bias }.apply(&mut x, context)?;
        Ok(x)
    }
}

#[cfg(test)]
mod tests;
