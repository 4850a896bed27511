//! Convolutions of quantised numbers, exact in 32 bits: patches of the input are laid out as columns, and multiplied.

use super::product::matrix;
use super::{less_zero_point, only, requantized, zero_of};
use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one};
use crate::ops::broadcast::{elements, map, zip_over};
use crate::run::Context;

/// How windows lie on the input.
#[derive(Debug)]
struct Windows {
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    kernel: Option<Vec<usize>>,
    padding: Padding,
    n_groups: usize,
}

#[derive(Debug)]
enum Padding {
    /// Before each dimension, then behind each.
    Given(Option<Vec<usize>>),
    /// As much as it takes for one window at each stride; if that is odd, the more `is_upper`: behind.
    Same { is_upper: bool },
}

impl Windows {
    fn new(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        let extents = |name, least: i64| match spec.ints(name)? {
            None => Ok(None),
            Some(values) => {
                let extent = |value: &i64| usize::try_from(*value).ok().filter(|_| *value >= least);
                let extents = values.iter().map(extent).collect::<Option<Vec<usize>>>();
                extents
                    .map(Some)
                    .ok_or_else(|| NodeSpec::wrong(name, format!("{least} or more"), format!("{values:?}")))
            }
        };
        let given = extents("pads", 0)?;
        let padding = match spec.text("auto_pad")?.unwrap_or("NOTSET") {
            "NOTSET" => Padding::Given(given),
            "VALID" => Padding::Given(None),
            "SAME_UPPER" => Padding::Same { is_upper: true },
            "SAME_LOWER" => Padding::Same { is_upper: false },
            other => return Err(NodeSpec::wrong("auto_pad", "NOTSET, VALID, SAME_UPPER or SAME_LOWER", other)),
        };
        let n_groups = usize::try_from(spec.int("group")?.unwrap_or(1)).ok().filter(|n| *n > 0);
        Ok(Self {
            strides: extents("strides", 1)?,
            dilations: extents("dilations", 1)?,
            kernel: extents("kernel_shape", 1)?,
            padding,
            n_groups: n_groups.ok_or_else(|| NodeSpec::wrong("group", "1 or more", "less"))?,
        })
    }

    /// Places of windows for these shapes.
    fn layout(&self, x: &[usize], w: &[usize]) -> Result<Layout, OpError> {
        let mismatch = |what: &str| OpError::shape(format!("{what} for a kernel {w:?}"), x);
        if x.len() < 3 || x.len() != w.len() || self.kernel.as_ref().is_some_and(|kernel| kernel[..] != w[2..]) {
            return Err(mismatch("an input"));
        }
        if Some(x[1]) != w[1].checked_mul(self.n_groups) || !w[0].is_multiple_of(self.n_groups) {
            return Err(mismatch("channels"));
        }
        let n = x.len() - 2;
        let or_ones = |values: &Option<Vec<usize>>| values.clone().unwrap_or_else(|| vec![1; n]);
        let (strides, dilations) = (or_ones(&self.strides), or_ones(&self.dilations));
        if strides.len() != n || dilations.len() != n {
            return Err(mismatch("strides and dilations"));
        }
        let (mut before, mut out) = (Vec::new(), Shape::new());
        for at in 0..n {
            let reach = (w[at + 2].max(1) - 1).saturating_mul(dilations[at]).saturating_add(1);
            let (first, all) = match &self.padding {
                Padding::Given(None) => (0, 0),
                Padding::Given(Some(pads)) if pads.len() == 2 * n => (pads[at], pads[at].saturating_add(pads[at + n])),
                Padding::Given(Some(_)) => return Err(mismatch("pads")),
                Padding::Same { is_upper } => {
                    let n_windows = x[at + 2].div_ceil(strides[at]);
                    let needed = (n_windows.max(1) - 1).saturating_mul(strides[at]).saturating_add(reach);
                    let all = needed.saturating_sub(x[at + 2]);
                    (if *is_upper { all / 2 } else { all - all / 2 }, all)
                }
            };
            let room = x[at + 2].saturating_add(all).checked_sub(reach).ok_or_else(|| mismatch("a larger input"))?;
            before.push(first);
            out.push(room / strides[at] + 1);
        }
        Ok(Layout { x: x[2..].into(), kernel: w[2..].into(), out, strides, dilations, before })
    }
}

/// Windows on the dimensions behind the channels.
struct Layout {
    x: Shape,
    kernel: Shape,
    out: Shape,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    before: Vec<usize>,
}

impl Layout {
    /// What each window has of `plane` at `place` of the kernel, 0 outside.
    fn column(&self, plane: &[i32], place: usize, out: &mut [i32]) {
        let kernel_at = position(place, &self.kernel);
        for (idx, out) in out.iter_mut().enumerate() {
            let out_at = position(idx, &self.out);
            let at = (0..self.x.len()).try_fold(0, |at, dim| {
                let padded = out_at[dim] * self.strides[dim] + kernel_at[dim] * self.dilations[dim];
                let inside = padded.checked_sub(self.before[dim]).filter(|inside| *inside < self.x[dim])?;
                Some(at * self.x[dim] + inside)
            });
            *out = at.map_or(0, |at| plane[at]);
        }
    }
}

/// Where an element of a dense array of `shape` is.
fn position(mut idx: usize, shape: &[usize]) -> Shape {
    let mut at = Shape::from_elem(0, shape.len());
    for (at, extent) in at.iter_mut().zip(shape).rev() {
        *at = idx % extent;
        idx /= extent;
    }
    at
}

/// Sums of products of windows and kernels.
fn convolve(windows: &Windows, x: &Array, w: &Array, context: &mut Context<'_>) -> Result<Array, OpError> {
    let layout = windows.layout(x.shape(), w.shape())?;
    let (n_images, n_channels, n_kernels) = (x.shape()[0], w.shape()[1], w.shape()[0]);
    let (places, windows_len): (usize, usize) = (layout.kernel.iter().product(), layout.out.iter().product());
    let plane: usize = layout.x.iter().product();
    let mut shape = Shape::from_slice(&[n_images, n_kernels]);
    shape.extend_from_slice(&layout.out);
    let mut out = context.zeros::<i32>(&shape)?;
    let (rows, per_group) = (n_channels * places, n_kernels / windows.n_groups);
    let mut columns = context.zeros::<i32>(&[rows, windows_len])?;
    let (x, w) = (elements::<i32>(x, 0)?, elements::<i32>(w, 1)?);
    for image in 0..n_images {
        for group in 0..windows.n_groups {
            let first = (image * windows.n_groups + group) * n_channels;
            for (row, column) in columns.chunks_exact_mut(windows_len.max(1)).enumerate() {
                layout.column(&x[(first + row / places) * plane..][..plane], row % places, column);
            }
            let w = &w[group * per_group * rows..][..per_group * rows];
            let from = (image * n_kernels + group * per_group) * windows_len;
            matrix(w, &columns, &mut out[from..from + per_group * windows_len], [rows, windows_len], context);
        }
    }
    Ok(Array::new(&shape, out))
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
    windows: Windows,
}

pub(super) fn integer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ConvInteger { windows: Windows::new(spec)? }))
}

impl Operator for ConvInteger {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = less_zero_point(inputs.get(0)?, inputs.find(2)?.cloned(), context)?;
        let w = inputs.get(1)?;
        let zero_point = inputs.find(3)?.map(|zero| by_kernel(zero, w.rank().max(1) - 1)).transpose()?;
        let w = less_zero_point(w, zero_point, context)?;
        one(convolve(&self.windows, &x, &w, context)?)
    }
}

/// A convolution of bytes with scales, as bytes with a scale. (ONNX `QLinearConv`)
#[derive(Debug)]
struct QLinearConv {
    windows: Windows,
}

pub(super) fn quantized(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(QLinearConv { windows: Windows::new(spec)? }))
}

impl Operator for QLinearConv {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let x = less_zero_point(inputs.get(0)?, Some(inputs.get(2)?.clone()), context)?;
        let w = inputs.get(3)?;
        let n_behind = w.rank().max(1) - 1;
        let w = less_zero_point(w, Some(by_kernel(inputs.get(5)?, n_behind)?), context)?;
        let mut sums = convolve(&self.windows, &x, &w, context)?;
        if let Some(bias) = inputs.find(8)? {
            let bias = by_kernel(bias, n_behind - 1)?;
            sums = zip_over::<i32>(sums, bias, context, |sum, bias| sum.wrapping_add(*bias))?;
        }
        let (x_scale, y_scale) = (only::<f32>(&inputs, 1)?, only::<f32>(&inputs, 6)?);
        let scale = map::<f32, f32>(&by_kernel(inputs.get(4)?, n_behind - 1)?, context, |w| x_scale * w / y_scale)?;
        one(requantized(&sums, &scale, zero_of(&inputs, 7)?, context)?)
    }
}
