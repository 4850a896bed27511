//! Means and norms of windows.

use super::Volume;
use crate::array::{Array, Element, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Inputs, Operator, Outputs, one, wrong_type};
use crate::ops::number::by_type;
use crate::ops::widen;
use crate::ops::window::{Spatial, Window, Windows};
use crate::run::Context;

pub(super) fn average_pool(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (windows, kernel) = super::windows(spec)?;
    let counted = if spec.flag("count_include_pad", false)? { Counted::Padded } else { Counted::Present };
    Ok(Box::new(WindowPool { windows, kernel, of: Of::Mean(counted) }))
}

pub(super) fn lp_pool(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (windows, kernel) = super::windows(spec)?;
    Ok(Box::new(WindowPool { windows, kernel, of: Of::Norm(norm(spec)?) }))
}

/// The order of a norm; once a float.
pub(super) fn norm(spec: &NodeSpec<'_>) -> Result<f64, OpError> {
    if spec.version < 2 {
        return Ok(f64::from(spec.float("p")?.unwrap_or(2.0)));
    }
    Ok(spec.int("p")?.unwrap_or(2) as f64)
}

/// Which entries of a window count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Present,
    /// Those of the padding, too, but none beyond it.
    Padded,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Mean(Counted),
    Norm(f64),
}

/// (ONNX `AveragePool`, `LpPool`)
#[derive(Debug)]
struct WindowPool {
    windows: Windows,
    kernel: Spatial<usize>,
    of: Of,
}

impl Operator for WindowPool {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let dtype = inputs.get(0)?.dtype();
        let outputs = by_type!(dtype, T in reals => self.pool::<T>(&inputs, context),
            else => Err(wrong_type(0, "a float", dtype)));
        widen::output(outputs?, narrow, context)
    }
}

/// A float that sums are made of.
pub(super) trait Float: Element + Copy {
    fn wide(self) -> f64;
    fn of(wide: f64) -> Self;
}

impl Float for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded to its type")]
    fn of(wide: f64) -> Self {
        wide as Self
    }
}

impl Float for f64 {
    fn wide(self) -> f64 {
        self
    }

    fn of(wide: f64) -> Self {
        wide
    }
}

impl WindowPool {
    fn pool<T: Float>(&self, inputs: &Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (x, values) = (inputs.get(0)?, inputs.values::<T>(0)?);
        let (outer, extents) = x.shape().split_at(x.rank().min(2));
        let windows = self.windows.over(&self.kernel, extents)?;
        let mut shape = Shape::from_slice(outer);
        shape.extend(windows.iter().map(|window| window.n_out));
        let mut out = context.zeros::<T>(&shape)?;
        let volume = Volume::new(extents, &windows);
        let counts = self.counts(&volume);
        let channels = values.chunks_exact(volume.n_entries().max(1));
        let mut parts: Vec<_> = channels.zip(out.chunks_exact_mut(volume.n_windows().max(1))).collect();
        context.pool.run(&mut parts, |(x, out)| {
            volume.each_window(|idx, lines| {
                let mut sum = 0.0;
                lines(&mut |start, n, step| {
                    let line = (0..n).map(|i| x[start + i * step].wide());
                    sum += match self.of {
                        Of::Mean(_) => line.sum::<f64>(),
                        Of::Norm(p) => line.map(|value| power(value, p)).sum::<f64>(),
                    };
                });
                out[idx] = T::of(match self.of {
                    Of::Mean(_) => sum / counts[idx],
                    Of::Norm(p) => root(sum, p),
                });
            });
        });
        one(Array::new(&shape, out))
    }

    /// How many entries of each window count.
    fn counts(&self, volume: &Volume) -> Vec<f64> {
        let mut counts = Vec::with_capacity(volume.n_windows());
        let count = |window: &Window, at: usize, len: usize| match self.of {
            Of::Mean(Counted::Padded) => {
                let padded = len + window.pads[0] + window.pads[1];
                padded.saturating_sub(at * window.stride).div_ceil(window.dilation).min(window.kernel)
            }
            Of::Mean(Counted::Present) | Of::Norm(_) => super::span(window, at, len).1,
        };
        let [z, y, x] = [0, 1, 2].map(|dim| -> Vec<usize> {
            let window = &volume.windows[dim];
            (0..window.n_out).map(|at| count(window, at, volume.input[dim])).collect()
        });
        for n_z in &z {
            for n_y in &y {
                counts.extend(x.iter().map(|n_x| (n_z * n_y * n_x) as f64));
            }
        }
        counts
    }
}

/// `|value|^p`.
pub(super) fn power(value: f64, p: f64) -> f64 {
    if p == 2.0 {
        value * value
    } else if p == 1.0 {
        value.abs()
    } else {
        value.abs().powf(p)
    }
}

/// `sum^(1/p)`.
pub(super) fn root(sum: f64, p: f64) -> f64 {
    if p == 2.0 { sum.sqrt() } else { sum.powf(1.0 / p) }
}
