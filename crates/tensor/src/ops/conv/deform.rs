//! A convolution whose taps are moved, each window's by itself. (arXiv:1703.06211, arXiv:1811.11168)

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one};
use crate::ops::matmul::{Right, multiply};
use crate::ops::widen;
use crate::ops::window::{Window, Windows};
use crate::pieces::Epilogue;
use crate::run::Context;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let count = |name| -> Result<usize, OpError> {
        let n = spec.int(name)?.unwrap_or(1);
        usize::try_from(n).ok().filter(|&n| n > 0).ok_or_else(|| NodeSpec::wrong(name, "a number from 1 on", n))
    };
    Ok(Box::new(DeformConv {
        windows: Windows::new(spec)?,
        n_groups: count("group")?,
        n_moved: count("offset_group")?,
    }))
}

/// (ONNX `DeformConv`)
#[derive(Debug)]
struct DeformConv {
    windows: Windows,
    n_groups: usize,
    /// Groups of channels whose taps are moved alike.
    n_moved: usize,
}

/// What taps of one image are on.
struct Image<'a> {
    x: &'a [f32],
    offsets: &'a [f32],
    mask: Option<&'a [f32]>,
    input: [usize; 2],
    windows: [Window; 2],
}

impl Operator for DeformConv {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let (x, weights, offsets) = (inputs.get(0)?, inputs.get(1)?, inputs.get(2)?);
        let (&[n_images, n_channels, height, width], &[n_rows, group_in, k_y, k_x]) = (x.shape(), weights.shape())
        else {
            return Err(OpError::shape("an image of two dimensions", x.shape()));
        };
        let windows = self.windows.over(&[k_y, k_x], &[height, width])?;
        let (taps, n_windows) = (k_y * k_x, windows[0].n_out * windows[1].n_out);
        let is_right = n_channels == group_in * self.n_groups
            && n_rows.is_multiple_of(self.n_groups)
            && n_channels.is_multiple_of(self.n_moved)
            && offsets.len() == n_images * self.n_moved * taps * 2 * n_windows;
        if !is_right {
            return Err(OpError::shape(format!("offsets for an input of {:?}", x.shape()), offsets.shape()));
        }
        let mask = inputs.find(4)?.map(|_| inputs.values::<f32>(4)).transpose()?;
        let bias = inputs.find(3)?.map(|_| inputs.values::<f32>(3)).transpose()?;
        let fits = |values: Option<&[f32]>, len: usize| values.is_none_or(|values| values.len() == len);
        if !fits(mask, n_images * self.n_moved * taps * n_windows) || !fits(bias, n_rows) {
            return Err(OpError::input(3, "a bias for each row and a mask for each offset", "others"));
        }
        let shape = Shape::from_slice(&[n_images, n_rows, windows[0].n_out, windows[1].n_out]);
        let mut out = context.zeros::<f32>(&shape)?;
        let mut moved = context.zeros::<f32>(&[n_channels * taps, n_windows])?;
        let (values, weights, offsets) = (inputs.values::<f32>(0)?, inputs.values::<f32>(1)?, inputs.values::<f32>(2)?);
        for (idx, out) in out.chunks_exact_mut((n_rows * n_windows).max(1)).enumerate() {
            let of_image = |values, len| &(values as &[f32])[idx * len..][..len];
            let n_offsets = self.n_moved * taps * n_windows;
            let image = Image {
                x: of_image(values, n_channels * height * width),
                offsets: of_image(offsets, 2 * n_offsets),
                mask: mask.map(|mask| of_image(mask, n_offsets)),
                input: [height, width],
                windows: [windows[0], windows[1]],
            };
            let mut parts: Vec<_> = moved.chunks_exact_mut(taps * n_windows).enumerate().collect();
            let per_group = n_channels / self.n_moved;
            context.pool.run(&mut parts, |(channel, out)| image.move_taps(*channel, *channel / per_group, out));
            let group_rows = n_rows / self.n_groups;
            for (group, out) in out.chunks_exact_mut(group_rows * n_windows).enumerate() {
                for (row, out) in out.chunks_exact_mut(n_windows).enumerate() {
                    out.fill(bias.map_or(0.0, |bias| bias[group * group_rows + row]));
                }
                let n_cols = group_in * taps;
                let right =
                    Right::direct(&moved[group * n_cols * n_windows..][..n_cols * n_windows], n_cols, n_windows);
                let weights = &weights[group * group_rows * n_cols..][..group_rows * n_cols];
                multiply(weights, [n_cols, 1], &right, out, (&Epilogue::default(), context));
            }
        }
        widen::output(one(Array::new(&shape, out))?, narrow, context)
    }
}

impl Image<'_> {
    /// What the taps of a channel are on, `[taps, windows]`.
    fn move_taps(&self, channel: usize, group: usize, out: &mut [f32]) {
        let [y, x] = self.windows;
        let n_windows = y.n_out * x.n_out;
        let plane = &self.x[channel * self.input[0] * self.input[1]..][..self.input[0] * self.input[1]];
        let taps = y.kernel * x.kernel;
        for (tap, out) in out.chunks_exact_mut(n_windows).enumerate() {
            let first = group * taps + tap;
            let offsets = &self.offsets[2 * first * n_windows..][..2 * n_windows];
            for (window, out) in out.iter_mut().enumerate() {
                let place = |dim: &Window, at: usize, tap: usize| {
                    (at * dim.stride + tap * dim.dilation) as f32 - dim.pads[0] as f32
                };
                let at_y = place(&y, window / x.n_out, tap / x.kernel) + offsets[window];
                let at_x = place(&x, window % x.n_out, tap % x.kernel) + offsets[n_windows + window];
                let weight = self.mask.map_or(1.0, |mask| mask[first * n_windows + window]);
                *out = weight * between(plane, self.input, [at_y, at_x]);
            }
        }
    }
}

/// The plane between its entries, which are zero outside.
#[expect(clippy::cast_possible_truncation, reason = "places far outside are outside all the same")]
fn between(plane: &[f32], [height, width]: [usize; 2], [y, x]: [f32; 2]) -> f32 {
    let ([floor_y, floor_x], mut sum) = ([y.floor(), x.floor()], 0.0);
    for (dy, weight_y) in [(0, 1.0 - (y - floor_y)), (1, y - floor_y)] {
        for (dx, weight_x) in [(0, 1.0 - (x - floor_x)), (1, x - floor_x)] {
            let at = |floor: f32, step: i64, len: usize| {
                usize::try_from((floor as i64).saturating_add(step)).ok().filter(|&at| at < len)
            };
            if let (Some(y), Some(x)) = (at(floor_y, dy, height), at(floor_x, dx, width)) {
                sum += weight_y * weight_x * plane[y * width + x];
            }
        }
    }
    sum
}
