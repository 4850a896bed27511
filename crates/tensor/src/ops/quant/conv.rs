//! Convolutions of quantised numbers, exact in 32 bits.

use super::{less_zero_point, only, requantized, zero_of};
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one};
use crate::ops::broadcast::{elements, map, zip_over};
use crate::ops::conv::{Arrangement, Convolution};
use crate::ops::window::Windows;
use crate::pieces::Tiles;
use crate::run::Context;

/// Where kernels lie on the input, and in how many groups channels come.
#[derive(Debug)]
struct Kernels {
    windows: Windows,
    n_groups: usize,
}

impl Kernels {
    fn new(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        let n_groups = usize::try_from(spec.int("group")?.unwrap_or(1)).ok().filter(|n| *n > 0);
        let n_groups = n_groups.ok_or_else(|| NodeSpec::wrong("group", "1 or more", "less"))?;
        Ok(Self { windows: Windows::new(spec)?, n_groups })
    }

    /// Sums of products of windows and kernels, of numbers less their zero points.
    fn convolve(&self, x: &Array, w: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
        let mismatch = |what: &str| OpError::shape(format!("{what} for kernels {:?}", w.shape()), x.shape());
        let fits = x.rank() >= 3 && x.rank() == w.rank();
        if !fits || self.windows.kernel().is_some_and(|kernel| *kernel != w.shape()[2..]) {
            return Err(mismatch("an input"));
        }
        let n_channels = w.shape()[1].checked_mul(self.n_groups);
        if Some(x.shape()[1]) != n_channels || !w.shape()[0].is_multiple_of(self.n_groups) {
            return Err(mismatch("channels"));
        }
        let windows = self.windows.over(&w.shape()[2..], &x.shape()[2..])?;
        let mut shape = Shape::from_slice(&[x.shape()[0], w.shape()[0]]);
        shape.extend(windows.iter().map(|window| window.n_out));
        let mut out = context.zeros::<i32>(&shape)?;
        let (x_values, w_values) = (elements::<f32>(x, 0)?, elements::<f32>(w, 1)?);
        if out.is_empty() || w_values.is_empty() {
            return Ok(Array::new(&shape, out));
        }
        let (n_rows, n_cols) = (w.shape()[0] / self.n_groups, w_values.len() / w.shape()[0]);
        let groups = w_values.chunks_exact(n_rows * n_cols);
        let groups: Vec<Tiles> = groups.map(|values| Tiles::pack(values, [n_cols, 1], n_rows, n_cols)).collect();
        let arrangement = Arrangement::new(&x.shape()[2..], &windows, self.n_groups, x.shape()[1]);
        let convolution = Convolution { arrangement: &arrangement, groups: &groups };
        convolution.run_exact(x_values, &mut out, context);
        Ok(Array::new(&shape, out))
    }
}

/// Settings of kernels, of which there is one in all or one for each, in a shape that broadcasts behind `n` dimensions.
fn by_kernel(settings: &Array, n: usize) -> Result<Array, OpError> {
    let [n_kernels] = settings.shape()[..] else { return Ok(settings.clone()) };
    if n_kernels == 1 {
        return settings.clone().reshaped(&[]);
    }
    let mut shape = Shape::from_elem(1, n + 1);
    shape[0] = n_kernels;
    settings.clone().reshaped(&shape)
}

/// A convolution of bytes. (ONNX `ConvInteger`)
#[derive(Debug)]
struct ConvInteger {
    kernels: Kernels,
}

pub(super) fn integer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ConvInteger { kernels: Kernels::new(spec)? }))
}

impl Operator for ConvInteger {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = less_zero_point(inputs.get(0)?, inputs.find(2)?.cloned(), context)?;
        let w = inputs.get(1)?;
        let zero_point = inputs.find(3)?.map(|zero| by_kernel(zero, w.rank().max(1) - 1)).transpose()?;
        let w = less_zero_point(w, zero_point, context)?;
        one(self.kernels.convolve(&x, &w, context)?)
    }
}

/// A convolution of bytes with scales, as bytes with a scale. (ONNX `QLinearConv`)
#[derive(Debug)]
struct QLinearConv {
    kernels: Kernels,
}

pub(super) fn quantized(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(QLinearConv { kernels: Kernels::new(spec)? }))
}

impl Operator for QLinearConv {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = less_zero_point(inputs.get(0)?, Some(inputs.get(2)?.clone()), context)?;
        let w = inputs.get(3)?;
        let n_behind = w.rank().max(1) - 1;
        let w = less_zero_point(w, Some(by_kernel(inputs.get(5)?, n_behind)?), context)?;
        let mut sums = self.kernels.convolve(&x, &w, context)?;
        if let Some(bias) = inputs.find(8)? {
            let bias = by_kernel(bias, n_behind - 1)?;
            sums = zip_over::<i32>(sums, bias, context, |sum, bias| sum.wrapping_add(*bias))?;
        }
        let (x_scale, y_scale) = (only::<f32>(&inputs, 1)?, only::<f32>(&inputs, 6)?);
        let scale = map::<f32, f32>(&by_kernel(inputs.get(4)?, n_behind - 1)?, context, |w| x_scale * w / y_scale)?;
        one(requantized(&sums, &scale, zero_of(&inputs, 7)?, context)?)
    }
}
