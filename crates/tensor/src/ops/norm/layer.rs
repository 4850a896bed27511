//! Rows by themselves: `LayerNormalization`, `RMSNormalization`.

use super::{inverse_deviation, moments, sum, wide};
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, axis, broadcast, wrong_type};
use crate::ops::broadcast::{elements, elements_mut, split_at};
use crate::ops::cast::convert;
use crate::ops::elementwise::Arithmetic;
use crate::ops::number::{Real, by_type};
use crate::ops::widen::widened;
use crate::run::Context;
use ballast_backend::DType;

/// Each row by its mean and deviation, or by the root of its mean square. (ONNX `LayerNormalization`, arXiv:1607.06450;
/// ONNX `RMSNormalization`, arXiv:1910.07467)
#[derive(Debug)]
struct Layer {
    /// Rows are the dimensions from here on.
    axis: i64,
    epsilon: f32,
    /// Whether the mean is left where it is.
    is_rms: bool,
    /// Whether mean and deviation are wanted as outputs.
    wants_moments: bool,
}

pub(super) fn layer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    build(spec, false)
}

pub(super) fn rms(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    build(spec, true)
}

fn build(spec: &NodeSpec<'_>, is_rms: bool) -> Result<Box<dyn Operator>, OpError> {
    stash_type(spec)?;
    let wants_moments = spec.has_output(1) || spec.has_output(2);
    let (axis, epsilon) = (spec.int("axis")?.unwrap_or(-1), super::epsilon(spec)?);
    Ok(Box::new(Layer { axis, epsilon, is_rms, wants_moments }))
}

/// The type that moments are computed in, which is f32 here, or f64 for f64.
pub(super) fn stash_type(spec: &NodeSpec<'_>) -> Result<(), OpError> {
    match spec.int("stash_type")?.unwrap_or(1) {
        1 => Ok(()),
        other => Err(OpError::unsupported(format!("moments in another type than f32 (stash_type = {other})"))),
    }
}

impl Operator for Layer {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = inputs.take(0)?;
        let axis = axis(self.axis, x.rank())?;
        for idx in [1, 2] {
            if let Some(settings) = inputs.find(idx)?
                && broadcast(x.shape(), settings.shape())?[..] != *x.shape()
            {
                return Err(OpError::shape(format!("a shape that broadcasts to {:?}", x.shape()), settings.shape()));
            }
        }
        let dtype = x.dtype();
        let x = widened(x, context)?;
        let (y, moments) = by_type!(x.dtype(), T in reals => self.of::<T>(x, axis, &inputs, context),
            else => Err(wrong_type(0, "floats", dtype)))?;
        let y = convert(y, dtype, context)?;
        Ok(std::iter::once(y).chain(moments).map(Into::into).collect())
    }
}

impl Layer {
    /// The result, and the moments if they are wanted.
    fn of<T: Real>(
        &self,
        x: Array,
        axis: usize,
        inputs: &Inputs,
        context: &mut Context<'_>,
    ) -> Result<(Array, Vec<Array>), OpError> {
        let row_shape = x.shape()[axis..].to_vec();
        let n_rows: usize = x.shape()[..axis].iter().product();
        let is_of_row = |idx| {
            let settings = inputs.find(idx)?;
            Ok::<_, OpError>(settings.is_none_or(|settings| settings.shape() == row_shape))
        };
        let is_by_row = is_of_row(1)? && is_of_row(2)?;
        let mut found = Vec::new();
        if self.wants_moments {
            let mut shape = Shape::from_slice(x.shape());
            shape[axis..].fill(1);
            found.extend(self.row_moments::<T>(&x, n_rows, &shape)?);
        }
        let x = if x.len() == 0 {
            x
        } else if is_by_row && x.dtype() == DType::F32 && !(self.is_rms && inputs.find(2)?.is_some()) {
            self.rows_of_f32(&x, row_shape.iter().product(), inputs, context)?
        } else if is_by_row {
            self.rows::<T>(x, row_shape.iter().product(), inputs, context)?
        } else {
            let nothing = Inputs(smallvec::smallvec![None; 3]);
            let x = self.rows::<T>(x, row_shape.iter().product(), &nothing, context)?;
            let mut scaled = Arithmetic::Mul.apply(x, converted::<T>(inputs.get(1)?, context)?, context)?;
            if let Some(bias) = inputs.find(2)? {
                let bias = converted::<T>(bias, context)?;
                scaled = Arithmetic::Add.apply(scaled, bias, context)?;
            }
            scaled
        };
        Ok((x, found))
    }

    /// Mean and inverse deviation of a row.
    fn moments<T: Real>(&self, row: &[T]) -> (T, T) {
        let (mean, variance) =
            if self.is_rms { (T::ZERO, sum(row, |x| x * x) / T::of_f64(row.len() as f64)) } else { moments(row) };
        (mean, inverse_deviation(variance, self.epsilon))
    }

    fn row_moments<T: Real>(&self, x: &Array, n_rows: usize, shape: &[usize]) -> Result<[Array; 2], OpError> {
        let row_len = x.len().checked_div(n_rows).unwrap_or(0).max(1);
        let rows = elements::<T>(x, 0)?.chunks_exact(row_len).map(|row| self.moments(row));
        let (means, inverses): (Vec<T>, Vec<T>) = rows.unzip();
        if means.len() != n_rows {
            return Err(OpError::shape("rows with elements", x.shape()));
        }
        Ok([Array::new(shape, means), Array::new(shape, inverses)])
    }

    /// As [`Layer::rows`], by the kernels.
    fn rows_of_f32(
        &self,
        x: &Array,
        row_len: usize,
        inputs: &Inputs,
        context: &mut Context<'_>,
    ) -> Result<Array, OpError> {
        let scale = wide::<f32>(inputs.get(1)?, 1, context)?;
        let bias = match inputs.find(2)? {
            Some(bias) => wide::<f32>(bias, 2, context)?,
            None => vec![0.0; row_len],
        };
        let (values, mut out) = (elements::<f32>(x, 0)?, context.zeros::<f32>(x.shape())?);
        let kernels = context.kernels;
        split_at(context.pool, &mut out, row_len, |start, out| {
            for (out, x) in out.chunks_exact_mut(row_len).zip(values[start..].chunks_exact(row_len)) {
                if self.is_rms {
                    kernels.rms_norm(x, &scale, self.epsilon, out);
                } else {
                    kernels.layer_norm(x, &scale, &bias, self.epsilon, out);
                }
            }
        });
        Ok(Array::new(x.shape(), out))
    }

    /// Rows with a scale and a bias for each place, if there are any.
    fn rows<T: Real>(
        &self,
        mut x: Array,
        row_len: usize,
        inputs: &Inputs,
        context: &mut Context<'_>,
    ) -> Result<Array, OpError> {
        let settings = |idx: usize, default: T, context: &mut Context<'_>| match inputs.find(idx)? {
            Some(settings) => wide::<T>(settings, idx, context),
            None => Ok(vec![default; row_len]),
        };
        let scale = settings(1, T::ONE, context)?;
        let bias = settings(2, T::ZERO, context)?;
        split_at(context.pool, elements_mut::<T>(&mut x, 0)?, row_len, |_, rows| {
            for row in rows.chunks_exact_mut(row_len) {
                let (mean, inverse) = self.moments(row);
                for ((x, scale), bias) in row.iter_mut().zip(&scale).zip(&bias) {
                    *x = (*x - mean) * inverse * *scale + *bias;
                }
            }
        });
        Ok(x)
    }
}

fn converted<T: Real>(array: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    convert(array.clone(), T::DTYPE, context)
}
