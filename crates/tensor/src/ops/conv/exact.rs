//! Convolutions of whole numbers, exact: sums of few products are exact in f32, and those are added in 32 bits.

use super::dense::{Convolution, STAGED_ROWS};
use crate::pieces::{EXACT_TERMS, add_exact};
use crate::run::Context;
use ballast_kernels::{Columns, Kernels, PanelMut, RowTiles};

impl Convolution<'_> {
    /// Adds all results to `out`, `[n, rows of all groups, windows]`, integers as they wrap. Entries and weights are whole
    /// numbers up to 255 in magnitude.
    pub(in crate::ops) fn run_exact(&self, x: &[f32], out: &mut [i32], context: &mut Context<'_>) {
        let (arrangement, kernels) = (self.arrangement, context.kernels);
        let (layout, n_groups) = (&arrangement.layout, self.groups.len());
        let (n_rows, n_windows) = (self.groups[0].view().n_rows(), layout.n_windows());
        let channels_len = arrangement.n_channels * layout.channel_len();
        let mut channels = vec![0.0; if layout.is_input() { 0 } else { channels_len }];
        let images = x.chunks_exact(arrangement.n_channels * arrangement.channel_len);
        for (x, out) in images.zip(out.chunks_exact_mut(n_groups * n_rows * n_windows)) {
            let laid_out = if layout.is_input() {
                x
            } else {
                self.lay_out(x, &mut channels);
                &channels
            };
            let groups = laid_out.chunks_exact(channels_len / n_groups).zip(out.chunks_exact_mut(n_rows * n_windows));
            let mut parts = Vec::new();
            for (tiles, (laid_out, out)) in self.groups.iter().zip(groups) {
                for (idx, out) in out.chunks_mut(STAGED_ROWS * n_windows).enumerate() {
                    let first = idx * STAGED_ROWS;
                    let rows = tiles.view().rows(first..n_rows.min(first + STAGED_ROWS));
                    parts.push((rows, laid_out, out));
                }
            }
            context.pool.run(&mut parts, |(rows, laid_out, out)| self.some_rows(kernels, rows, laid_out, out));
        }
    }

    fn some_rows(&self, kernels: &dyn Kernels, rows: &RowTiles<'_>, laid_out: &[f32], out: &mut [i32]) {
        let (arrangement, n_windows) = (self.arrangement, self.arrangement.layout.n_windows());
        let row_step = arrangement.layout.row_step();
        let mut window = 0;
        for block in &arrangement.blocks {
            let mut sums = vec![0.0; rows.n_rows() * block.n_cols];
            for (idx, offsets) in arrangement.offsets.chunks(EXACT_TERMS).enumerate() {
                let first = idx * EXACT_TERMS;
                let x = Columns { values: &laid_out[block.base..], offsets };
                let terms = rows.cols(first..first + offsets.len());
                kernels.gemm(&terms, &x, &mut PanelMut::new(&mut sums, block.n_cols));
                for (sums, out) in sums.chunks_exact_mut(block.n_cols).zip(out.chunks_exact_mut(n_windows)) {
                    let to = out[window..][..block.n_windows()].chunks_exact_mut(block.row_len);
                    for (to, sums) in to.zip(sums.chunks(row_step.max(block.row_len))) {
                        add_exact(to, &sums[..block.row_len]);
                    }
                }
                sums.fill(0.0);
            }
            window += block.n_windows();
        }
    }
}
