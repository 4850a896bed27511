//! The convolution's transpose: every entry of the input is spread over a window of the output.

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one};
use crate::ops::matmul::{Right, multiply};
use crate::ops::widen;
use crate::ops::window::{AutoPad, Spatial, Window, Windows, sizes, volume};
use crate::pieces::Epilogue;
use crate::run::Context;
use smallvec::SmallVec;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let n_groups = spec.int("group")?.unwrap_or(1);
    let n_groups = usize::try_from(n_groups).ok().filter(|&n| n > 0);
    Ok(Box::new(ConvTranspose {
        windows: Windows::new(spec)?,
        n_groups: n_groups.ok_or_else(|| NodeSpec::wrong("group", "a number from 1 on", "another"))?,
        output_padding: sizes(spec, "output_padding", 0)?,
        output_shape: sizes(spec, "output_shape", 1)?,
    }))
}

/// Windows of the output, each an entry of the input times the weights, added up. (ONNX `ConvTranspose`)
#[derive(Debug)]
struct ConvTranspose {
    windows: Windows,
    n_groups: usize,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
}

impl ConvTranspose {
    /// For each dimension how windows lie on the output, and its extent. (ONNX `ConvTranspose`, on shapes and pads)
    fn spread(&self, kernel: &[usize], input: &[usize]) -> Result<Spatial<(Window, usize)>, OpError> {
        let rank = kernel.len();
        let steps = self.windows.steps(rank)?;
        let is_rank = |values: &Option<Vec<usize>>| values.as_ref().is_none_or(|values| values.len() == rank);
        // Some exporters name the outer dimensions, too.
        let output_shape = self.output_shape.as_ref().map(|shape| &shape[shape.len().saturating_sub(rank)..]);
        if !is_rank(&self.output_padding) || output_shape.is_some_and(|shape| shape.len() != rank) {
            return Err(NodeSpec::wrong("output_padding", format!("{rank} entries"), "others"));
        }
        let spread = |at: usize| {
            let (stride, dilation, pads) = steps[at];
            let extra = self.output_padding.as_ref().map_or(0, |padding| padding[at]);
            let window = Window { kernel: kernel[at], stride, dilation, pads, n_out: input[at] };
            let full = stride * input[at].checked_sub(1)? + extra + window.reach() + 1;
            let auto = self.windows.auto_pad;
            let same = matches!(auto, AutoPad::SameUpper | AutoPad::SameLower);
            let wanted = output_shape.map(|shape| shape[at]).or(same.then_some(input[at] * stride));
            let Some(wanted) = wanted else {
                let pads = if auto == AutoPad::Valid { [0, 0] } else { pads };
                return Some((Window { pads, ..window }, full.checked_sub(pads[0] + pads[1])?));
            };
            let total = full.saturating_sub(wanted);
            let less = total / 2;
            let pads = if auto == AutoPad::SameUpper { [less, total - less] } else { [total - less, less] };
            Some((Window { pads, ..window }, wanted))
        };
        let spreads: Option<_> = (0..rank).map(spread).collect();
        spreads.ok_or_else(|| OpError::shape(format!("an input for windows of {kernel:?}"), input))
    }
}

impl Operator for ConvTranspose {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let (x, weights) = (inputs.get(0)?, inputs.get(1)?);
        let (extents, shape) = (x.shape(), weights.shape());
        let is_right = (3..=5).contains(&extents.len()) && shape.len() == extents.len() && extents[1] == shape[0];
        if !is_right || !shape[0].is_multiple_of(self.n_groups) || shape.contains(&0) {
            return Err(OpError::shape(format!("weights for an input of {extents:?}"), shape));
        }
        let spread = self.spread(&shape[2..], &extents[2..])?;
        let n_rows = shape[1];
        let bias = inputs.find(2)?.map(|_| inputs.values::<f32>(2)).transpose()?;
        if bias.is_some_and(|bias| bias.len() != n_rows * self.n_groups) {
            return Err(OpError::input(2, format!("{} entries", n_rows * self.n_groups), "others"));
        }
        let mut out_shape = Shape::from_slice(&[extents[0], n_rows * self.n_groups]);
        out_shape.extend(spread.iter().map(|(_, extent)| *extent));
        let mut out = context.zeros::<f32>(&out_shape)?;
        if out.is_empty() {
            return widen::output(one(Array::new(&out_shape, out))?, narrow, context);
        }
        let (values, weights) = (inputs.values::<f32>(0)?, inputs.values::<f32>(1)?);
        let n_entries: usize = extents[2..].iter().product();
        let (group_in, taps) = (shape[0] / self.n_groups, shape[2..].iter().product::<usize>());
        let mut spread_out = context.zeros::<f32>(&[n_rows * taps, n_entries])?;
        let group_out = n_rows * out_shape[2..].iter().product::<usize>();
        let groups = out.chunks_exact_mut(group_out).zip(values.chunks_exact((group_in * n_entries).max(1)));
        for (idx, (out, x)) in groups.enumerate() {
            let group = idx % self.n_groups;
            let weights = &weights[group * group_in * n_rows * taps..][..group_in * n_rows * taps];
            spread_out.fill(0.0);
            let right = Right::direct(x, group_in, n_entries);
            multiply(weights, [1, n_rows * taps], &right, &mut spread_out, (&Epilogue::default(), context));
            let mut parts: Vec<_> = out
                .chunks_exact_mut(group_out / n_rows)
                .zip(spread_out.chunks_exact(taps * n_entries))
                .zip((0..n_rows).map(|row| bias.map_or(0.0, |bias| bias[group * n_rows + row])))
                .collect();
            let (spread, extents) = (&spread, &extents[2..]);
            context.pool.run(&mut parts, |((out, values), bias)| {
                out.fill(*bias);
                add_windows(values, extents, spread, out);
            });
        }
        widen::output(one(Array::new(&out_shape, out))?, narrow, context)
    }
}

/// Adds what each tap says, `[taps, entries of the input]`, to the output.
fn add_windows(values: &[f32], input: &[usize], spread: &Spatial<(Window, usize)>, out: &mut [f32]) {
    let windows: SmallVec<[Window; 3]> = spread.iter().map(|(window, _)| *window).collect();
    let extents: SmallVec<[usize; 3]> = spread.iter().map(|(_, extent)| *extent).collect();
    let ([z, y, x], [_, in_y, in_x]) = (volume(&windows, Window::ONE), volume(input, 1));
    let [out_z, out_y, out_x] = volume(&extents, 1);
    let n_entries: usize = input.iter().product();
    for (tap, values) in values.chunks_exact(n_entries).enumerate() {
        let [kz, ky, kx] = [tap / (y.kernel * x.kernel), tap / x.kernel % y.kernel, tap % x.kernel];
        for (line, values) in values.chunks_exact(in_x).enumerate() {
            let (at_z, at_y) = (z.entry(line / in_y, kz, out_z), y.entry(line % in_y, ky, out_y));
            let (Some(at_z), Some(at_y)) = (at_z, at_y) else { continue };
            let row = &mut out[(at_z * out_y + at_y) * out_x..][..out_x];
            for (at, value) in values.iter().enumerate() {
                if let Some(at) = x.entry(at, kx, out_x) {
                    row[at] += value;
                }
            }
        }
    }
}
