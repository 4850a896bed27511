//! Operators that read a picture at places that are given, and that make such places.

use crate::array::Shape;
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one, strides, wrong_type};
use crate::ops::generate::{cast, floats};
use crate::ops::view::{advance, extent, fill_rows};
use crate::run::Context;
use ballast_backend::DType;

/// What is read outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How places between others are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

pub(super) fn grid_sample(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let mode = match spec.text("mode")?.unwrap_or("linear") {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(NodeSpec::wrong("mode", "nearest, linear or cubic", other)),
    };
    let padding = match spec.text("padding_mode")?.unwrap_or("zeros") {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(NodeSpec::wrong("padding_mode", "zeros, border or reflection", other)),
    };
    Ok(Box::new(GridSample { mode, padding, aligns_corners: spec.flag("align_corners", false)? }))
}

/// A picture read at the places of a grid. (ONNX `GridSample`)
#[derive(Debug)]
struct GridSample {
    mode: Mode,
    padding: Padding,
    aligns_corners: bool,
}

impl Operator for GridSample {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, grid) = (inputs.get(0)?, inputs.get(1)?);
        let (&[n, channels, ref extents @ ..], rank) = (array.shape(), array.rank()) else {
            return Err(OpError::shape("batch, channels and more", array.shape()));
        };
        let is_fit = rank > 2 && grid.rank() == rank && grid.shape()[0] == n && grid.shape()[rank - 1] == rank - 2;
        if !is_fit {
            return Err(OpError::shape(format!("a grid of places in {:?}", array.shape()), grid.shape()));
        }
        let shape: Shape = [&[n, channels], &grid.shape()[1..rank - 1]].concat().into();
        let dtype = array.dtype();
        if matches!(dtype, DType::Str | DType::Bool) {
            return Err(wrong_type(0, "numbers", dtype));
        }
        let n_points: usize = grid.shape()[1..rank - 1].iter().product();
        let values = floats(array).ok_or_else(|| wrong_type(0, "numbers", dtype))?;
        let places = floats(grid).ok_or_else(|| wrong_type(1, "numbers", grid.dtype()))?;
        let (picture_len, n_axes) = (extents.iter().product::<usize>(), rank - 2);
        let n_taps = self.n_taps().checked_pow(u32::try_from(n_axes).unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
        context.len_of(&[n_points, n_taps], DType::I64)?;
        let mut out: Vec<f64> = context.zeros(&shape)?;
        if n_points * channels * n == 0 {
            return one(cast(out, &shape, dtype));
        }
        for (batch, out) in out.chunks_mut(channels * n_points).enumerate() {
            context.pulse.beat()?;
            let points = places[batch * n_points * n_axes..][..n_points * n_axes].chunks(n_axes);
            let taps: Vec<Vec<(usize, f64)>> = points.map(|point| self.taps(point, extents)).collect();
            fill_rows(out, n_points, context.pool, |channel, out| {
                let picture = &values[(batch * channels + channel) * picture_len..][..picture_len];
                for (out, taps) in out.iter_mut().zip(&taps) {
                    *out = taps.iter().map(|&(at, weight)| picture[at] * weight).sum();
                }
            });
        }
        one(cast(out, &shape, dtype))
    }
}

impl GridSample {
    /// Places along one axis that a point is read from.
    fn n_taps(&self) -> usize {
        match self.mode {
            Mode::Nearest => 1,
            Mode::Linear => 2,
            Mode::Cubic => 4,
        }
    }

    /// Places of a picture and their weights, for a point whose axes come last one first.
    fn taps(&self, point: &[f64], extents: &[usize]) -> Vec<(usize, f64)> {
        let mut taps = vec![(0, 1.0)];
        for (&at, (&extent, step)) in point.iter().rev().zip(extents.iter().zip(strides(extents))) {
            let along = self.along(at, extent);
            let product = taps
                .iter()
                .flat_map(|&(offset, weight)| along.iter().map(move |&(at, more)| (offset + at * step, weight * more)));
            taps = product.collect();
        }
        taps
    }

    /// Places along an axis and their weights. Places outside that count as zero are left out.
    fn along(&self, at: f64, extent: usize) -> Vec<(usize, f64)> {
        let n = wide(extent);
        let (low, high) = if self.aligns_corners { (0.0, n - 1.0) } else { (-0.5, n - 0.5) };
        let at = if self.aligns_corners { (at + 1.0) / 2.0 * (n - 1.0) } else { ((at + 1.0) * n - 1.0) / 2.0 };
        // The places are computed as floats of 32 bits, as those who made the grids expect.
        let at = f64::from(super::narrow(at));
        let at = if self.mode == Mode::Nearest { at.round_ties_even() } else { at };
        let at = match self.padding {
            Padding::Zeros => at,
            Padding::Border => at.clamp(0.0, n - 1.0),
            Padding::Reflection => reflected(at, (low, high)),
        };
        let base = at.floor();
        let weights: &[(f64, f64)] = match self.mode {
            Mode::Nearest => &[(0.0, 1.0)],
            Mode::Linear => &[(0.0, 1.0 - (at - base)), (1.0, at - base)],
            Mode::Cubic => &cubic(at - base),
        };
        let tap = |&(step, weight): &(f64, f64)| {
            let at = base + step;
            let at = match self.padding {
                Padding::Zeros if !(0.0..n).contains(&at) => return None,
                Padding::Zeros | Padding::Border => at,
                Padding::Reflection => reflected(at, (low, high)).trunc(),
            };
            Some((super::clamped(super::narrow(at), extent), weight))
        };
        weights.iter().filter_map(tap).collect()
    }
}

fn wide(extent: usize) -> f64 {
    f64::from(super::float(extent))
}

/// Weights of the four places around a point. (R. Keys, 1981, with -0.75)
fn cubic(t: f64) -> [(f64, f64); 4] {
    let a = -0.75;
    let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [(-1.0, far(t + 1.0)), (0.0, near(t)), (1.0, near(1.0 - t)), (2.0, far(2.0 - t))]
}

/// A place mirrored at both borders until it is between them.
fn reflected(at: f64, (low, high): (f64, f64)) -> f64 {
    let span = high - low;
    if (low..=high).contains(&at) || span <= 0.0 {
        return if span <= 0.0 { low } else { at };
    }
    let over = if at < low { low - at } else { at - high };
    let (times, rest) = ((over / span).floor(), over % span);
    let is_from_low = (at < low) == (times % 2.0 == 0.0);
    if is_from_low { low + rest } else { high - rest }
}

pub(super) fn affine_grid(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(AffineGrid { aligns_corners: spec.flag("align_corners", false)? }))
}

/// The places of a picture's pixels after an affine transformation. (ONNX `AffineGrid`)
#[derive(Debug)]
struct AffineGrid {
    aligns_corners: bool,
}

impl Operator for AffineGrid {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let theta = inputs.get(0)?;
        let size = inputs.ints(1)?.into_iter().map(|value| extent(value, 1)).collect::<Result<Shape, _>>()?;
        let (&[n, _, ref extents @ ..], dtype) = (&size[..], theta.dtype()) else {
            return Err(OpError::input(1, "batch, channels, height and width", format!("{size:?}")));
        };
        let rank = extents.len();
        if !matches!(rank, 2 | 3) || theta.shape() != [n, rank, rank + 1] {
            return Err(OpError::shape(format!("transformations of the size {size:?}"), theta.shape()));
        }
        if self.aligns_corners && extents.contains(&1) {
            // The standard's reference and the frameworks disagree about where it is.
            return Err(OpError::unsupported("the corner of one pixel"));
        }
        let theta = floats(theta).ok_or_else(|| wrong_type(0, "numbers", dtype))?;
        let shape: Shape = [&[n], extents, &[rank]].concat().into();
        let mut grid: Vec<f64> = context.zeros(&shape)?;
        let n_points: usize = extents.iter().product();
        let pixel = |at: usize, extent: usize| {
            let (at, extent) = (wide(at), wide(extent));
            if self.aligns_corners { 2.0 * at / (extent - 1.0) - 1.0 } else { (2.0 * at + 1.0) / extent - 1.0 }
        };
        let mut at = Shape::from_elem(0, rank);
        for (idx, point) in grid.chunks_mut(rank).enumerate() {
            let rows = theta[idx / n_points * rank * (rank + 1)..].chunks(rank + 1);
            for (out, row) in point.iter_mut().zip(rows) {
                let own = at.iter().zip(extents).rev().map(|(&at, &extent)| pixel(at, extent));
                *out = own.zip(row).map(|(x, weight)| x * weight).sum::<f64>() + row[rank];
            }
            advance(&mut at, extents);
        }
        one(cast(grid, &shape, dtype))
    }
}
