//! Convolution as one product: inputs are laid out once so that every tap of the kernel sees its entries in a row, at
//! an offset of its own.
//!
//! Rows and columns are dealt out by their remainder to the stride. In such a plane neighbouring windows see
//! neighbouring entries, whatever the stride is, and a whole plane of windows is one row of columns that is as wide as
//! the plane. The padding behind a row is the padding before the next, as far as both have it. Results beside the
//! windows, where a row of the plane ends, are computed and dropped.

use crate::ops::window::{Spatial, Window, volume};

/// Columns that a block has about.
const BLOCK_COLS: usize = 192;

/// How entries are laid out for windows over a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Extents of the input.
    input: [usize; 3],
    windows: [Window; 3],
    /// Which remainders of rows and columns any tap is on.
    phases: Vec<[usize; 2]>,
    /// From a row of a plane to the next.
    row_step: usize,
    plane_len: usize,
    /// Planes of the depth, padding among them.
    n_depths: usize,
    /// The input as it is has this layout.
    is_input: bool,
    /// Where the entries of a channel go, if they go anywhere.
    stretches: Vec<Stretch>,
}

/// Entries of a channel, as far apart as windows are, that come to stand one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: usize,
    to: usize,
    n: usize,
}

/// A part of the windows: some rows of one depth, or a piece of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where its entries begin.
    pub(super) base: usize,
    pub(super) n_rows: usize,
    /// Windows of each row.
    pub(super) row_len: usize,
    /// Columns of the product.
    pub(super) n_cols: usize,
}

impl Block {
    /// Windows.
    pub(super) fn n_windows(&self) -> usize {
        self.n_rows * self.row_len
    }
}

impl Layout {
    pub(super) fn new(input: &[usize], windows: &Spatial<Window>) -> Self {
        let (input, windows) = (volume(input, 1), volume(windows, Window::ONE));
        let [z, y, x] = windows;
        let mut phases: Vec<[usize; 2]> = Vec::new();
        for ky in 0..y.kernel {
            for kx in 0..x.kernel {
                let phase = [ky * y.dilation % y.stride, kx * x.dilation % x.stride];
                if !phases.contains(&phase) {
                    phases.push(phase);
                }
            }
        }
        // Entries of a row of a plane, from the first that a window sees to the last.
        let row_len = x.n_out + x.reach() / x.stride;
        let before = x.pads[0] / x.stride;
        let behind = row_len.saturating_sub((x.pads[0] + input[2]).div_ceil(x.stride));
        let row_step = (row_len - before.min(behind)).max(x.n_out);
        let n_rows = y.n_out + y.reach() / y.stride;
        let plane_len = (n_rows - 1) * row_step + row_len;
        let n_depths = (z.n_out - 1) * z.stride + z.reach() + 1;
        let is_input = phases.len() == 1
            && x.stride == 1
            && y.stride == 1
            && windows.iter().all(|window| window.pads == [0, 0])
            && [n_depths, n_rows, row_len] == input;
        let mut layout =
            Self { input, windows, phases, row_step, plane_len, n_depths, is_input, stretches: Vec::new() };
        if !is_input {
            layout.stretches = layout.stretches();
        }
        layout
    }

    /// Whether an input is laid out so as it comes.
    pub(super) fn is_input(&self) -> bool {
        self.is_input
    }

    /// Entries of a channel.
    pub(super) fn channel_len(&self) -> usize {
        self.n_depths * self.phases.len() * self.plane_len
    }

    /// Windows of all dimensions.
    pub(super) fn n_windows(&self) -> usize {
        self.windows.iter().map(|window| window.n_out).product()
    }

    /// Where the entries of every tap begin, for `n_channels`, in the order of weights.
    pub(super) fn offsets(&self, n_channels: usize) -> Vec<usize> {
        let [z, y, x] = self.windows;
        let mut offsets = Vec::with_capacity(n_channels * z.kernel * y.kernel * x.kernel);
        for channel in 0..n_channels {
            for kz in 0..z.kernel {
                let depth = channel * self.n_depths + kz * z.dilation;
                for ky in 0..y.kernel {
                    for kx in 0..x.kernel {
                        let [at_y, at_x] = [ky * y.dilation, kx * x.dilation];
                        let phase = [at_y % y.stride, at_x % x.stride];
                        let plane = self.phases.iter().position(|other| *other == phase).unwrap_or(0);
                        let start = (depth * self.phases.len() + plane) * self.plane_len;
                        offsets.push(start + at_y / y.stride * self.row_step + at_x / x.stride);
                    }
                }
            }
        }
        offsets
    }

    fn stretches(&self) -> Vec<Stretch> {
        let [z, y, x] = self.windows;
        let [n_depths, n_rows, n_cols] = self.input;
        let mut stretches = Vec::new();
        for plane in 0..self.n_depths * self.phases.len() {
            let (depth, [phase_y, phase_x]) = (plane / self.phases.len(), self.phases[plane % self.phases.len()]);
            let Some(depth) = depth.checked_sub(z.pads[0]).filter(|&depth| depth < n_depths) else { continue };
            // The first column of this remainder that there is, and where it goes.
            let first_q = x.pads[0].saturating_sub(phase_x).div_ceil(x.stride);
            let first = first_q * x.stride + phase_x - x.pads[0];
            let row_len = x.n_out + x.reach() / x.stride;
            if first >= n_cols || first_q >= row_len {
                continue;
            }
            let n = (n_cols - first).div_ceil(x.stride).min(row_len - first_q);
            for q in 0..y.n_out + y.reach() / y.stride {
                let row = (q * y.stride + phase_y).checked_sub(y.pads[0]).filter(|&row| row < n_rows);
                if let Some(row) = row {
                    let from = (depth * n_rows + row) * n_cols + first;
                    stretches.push(Stretch { from, to: plane * self.plane_len + q * self.row_step + first_q, n });
                }
            }
        }
        stretches
    }

    /// Lays out a channel. `out` is `channel_len` zeros, or was laid out before.
    pub(super) fn fill(&self, channel: &[f32], out: &mut [f32]) {
        let stride = self.windows[2].stride;
        for stretch in &self.stretches {
            let to = &mut out[stretch.to..][..stretch.n];
            let from = &channel[stretch.from..];
            if stride == 1 {
                to.copy_from_slice(&from[..stretch.n]);
            } else {
                to.iter_mut().zip(from.chunks(stride)).for_each(|(to, from)| *to = from[0]);
            }
        }
    }

    /// All windows in blocks, in order.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let [z, y, x] = self.windows;
        let depth_step = self.phases.len() * self.plane_len * z.stride;
        let mut blocks = Vec::new();
        for depth in 0..z.n_out {
            if x.n_out > 2 * BLOCK_COLS {
                for row in 0..y.n_out {
                    for col in (0..x.n_out).step_by(BLOCK_COLS) {
                        let row_len = (x.n_out - col).min(BLOCK_COLS);
                        let base = depth * depth_step + row * self.row_step + col;
                        blocks.push(Block { base, n_rows: 1, row_len, n_cols: row_len });
                    }
                }
                continue;
            }
            let n = (BLOCK_COLS / self.row_step).max(1);
            for row in (0..y.n_out).step_by(n) {
                let n_rows = (y.n_out - row).min(n);
                let n_cols = (n_rows - 1) * self.row_step + x.n_out;
                blocks.push(Block { base: depth * depth_step + row * self.row_step, n_rows, row_len: x.n_out, n_cols });
            }
        }
        blocks
    }

    /// From a row of windows to the next among the columns of a block.
    pub(super) fn row_step(&self) -> usize {
        self.row_step
    }
}
