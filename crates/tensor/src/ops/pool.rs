//! Pooling: `MaxPool`, `AveragePool`, `LpPool`, the global ones, `MaxUnpool`.

mod average;
mod global;
mod max;
#[cfg(test)]
mod tests;
mod unpool;

use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::Build;
use crate::ops::window::{SPATIAL_MAX, Spatial, Window, Windows, volume};

pub(super) const OPS: &[(&str, Build)] = &[
    ("AveragePool", average::average_pool),
    ("GlobalAveragePool", global::average),
    ("GlobalLpPool", global::lp),
    ("GlobalMaxPool", global::max),
    ("LpPool", average::lp_pool),
    ("MaxPool", max::build),
    ("MaxUnpool", unpool::build),
];

/// Reads the windows of an operator that needs a kernel.
fn windows(spec: &NodeSpec<'_>) -> Result<(Windows, Spatial<usize>), OpError> {
    let windows = Windows::new(spec)?.with_ceil_mode(spec)?;
    let kernel = Spatial::from_slice(NodeSpec::needed(windows.kernel(), "kernel_shape", "integers")?);
    Ok((windows, kernel))
}

/// Windows over the volume of a channel.
struct Volume {
    input: [usize; SPATIAL_MAX],
    windows: [Window; SPATIAL_MAX],
}

impl Volume {
    fn new(input: &[usize], windows: &Spatial<Window>) -> Self {
        Self { input: volume(input, 1), windows: volume(windows, Window::ONE) }
    }

    /// Entries of a channel.
    fn n_entries(&self) -> usize {
        self.input.iter().product()
    }

    /// Windows of a channel.
    fn n_windows(&self) -> usize {
        self.windows.iter().map(|window| window.n_out).product()
    }

    /// Calls `visit` for each window with its number and, for each line of entries in it, where the line begins, how many
    /// entries it has and how far they are apart.
    fn each_window(&self, mut visit: impl FnMut(usize, &mut dyn FnMut(&mut dyn FnMut(usize, usize, usize)))) {
        let ([z, y, x], [in_z, in_y, in_x]) = (self.windows, self.input);
        let spans = |window: &Window, len: usize| -> Vec<(usize, usize)> {
            (0..window.n_out).map(|at| span(window, at, len)).collect()
        };
        let (spans_z, spans_y, spans_x) = (spans(&z, in_z), spans(&y, in_y), spans(&x, in_x));
        let mut idx = 0;
        for (z0, n_z) in &spans_z {
            for (y0, n_y) in &spans_y {
                for (x0, n_x) in &spans_x {
                    visit(idx, &mut |line| {
                        for kz in 0..*n_z {
                            for ky in 0..*n_y {
                                let row = (z0 + kz * z.dilation) * in_y + y0 + ky * y.dilation;
                                line(row * in_x + x0, *n_x, x.dilation);
                            }
                        }
                    });
                    idx += 1;
                }
            }
        }
    }
}

/// The first entry of a window that there is, and how many of its entries there are.
fn span(window: &Window, at: usize, len: usize) -> (usize, usize) {
    let start = at * window.stride;
    let skipped = window.pads[0].saturating_sub(start).div_ceil(window.dilation);
    let first = (start + skipped * window.dilation).saturating_sub(window.pads[0]);
    let n = len.saturating_sub(first).div_ceil(window.dilation);
    (first, n.min(window.kernel.saturating_sub(skipped)))
}
