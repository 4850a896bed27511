//! Runs a convolution as products over the blocks of its layout.

use super::flat::{Block, Layout};
use crate::ops::window::{Spatial, Window};
use crate::pieces::{Epilogue, INNER, PIECES_PER_THREAD, Tiles, row_cuts};
use crate::run::Context;
use ballast_kernels::{Columns, Kernels, PanelMut, RowTiles};
use ballast_threads::part_range;

/// Rows of results that are computed before they are copied to their places.
pub(super) const STAGED_ROWS: usize = 64;

/// What a convolution does with inputs of one shape.
#[derive(Debug)]
pub(in crate::ops) struct Arrangement {
    pub(super) layout: Layout,
    /// Channels of the input, in all groups.
    pub(super) n_channels: usize,
    /// Entries of a channel of the input.
    pub(super) channel_len: usize,
    /// For the channels of one group.
    pub(super) offsets: Vec<usize>,
    pub(super) blocks: Vec<Block>,
}

/// A convolution over inputs of one shape.
pub(in crate::ops) struct Convolution<'a> {
    pub(in crate::ops) arrangement: &'a Arrangement,
    pub(in crate::ops) groups: &'a [Tiles],
}

/// What a convolution is of.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) x: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// What the results are added to, in their shape.
    pub(super) sums: Option<&'a [f32]>,
    pub(super) epilogue: &'a Epilogue,
}

/// A piece of the results: some rows of a block.
struct Piece<'a, 'b> {
    rows: RowTiles<'a>,
    laid_out: &'a [f32],
    bias: Option<&'a [f32]>,
    sums: Option<Sums<'a>>,
    block: &'b Block,
    panel: PanelMut<'a>,
}

/// A rectangle of what results are added to.
#[derive(Clone, Copy)]
struct Sums<'a> {
    values: &'a [f32],
    step: usize,
}

impl Arrangement {
    /// For the extents behind the channels.
    pub(in crate::ops) fn new(input: &[usize], windows: &Spatial<Window>, n_groups: usize, n_channels: usize) -> Self {
        let layout = Layout::new(input, windows);
        let offsets = layout.offsets(n_channels / n_groups);
        let blocks = layout.blocks();
        Self { layout, n_channels, channel_len: input.iter().product(), offsets, blocks }
    }
}

impl Convolution<'_> {
    /// Writes all results, `[n, rows of all groups, windows]`.
    pub(super) fn run(&self, data: Data<'_>, out: &mut [f32], context: &mut Context<'_>) {
        let n_rows = self.groups.len() * self.groups[0].view().n_rows();
        let out_len = n_rows * self.arrangement.layout.n_windows();
        let images = data.x.chunks_exact(self.arrangement.n_channels * self.arrangement.channel_len);
        for (idx, (x, out)) in images.zip(out.chunks_exact_mut(out_len)).enumerate() {
            let sums = data.sums.map(|sums| &sums[idx * out_len..][..out_len]);
            let data = Data { x, sums, ..data };
            if self.groups.len() == 1 {
                self.run_whole(&data, out, context);
            } else {
                self.run_groups(&data, out, context);
            }
        }
    }

    /// One group: the input is laid out by all threads, then they share the results.
    fn run_whole(&self, data: &Data<'_>, out: &mut [f32], context: &mut Context<'_>) {
        let (kernels, n_threads) = (context.kernels, context.pool.n_threads());
        let laid_out;
        let x = if self.arrangement.layout.is_input() {
            data.x
        } else {
            let len = self.arrangement.layout.channel_len();
            let mut channels = vec![0.0; self.arrangement.n_channels * len];
            let per_part = self.arrangement.n_channels.div_ceil(PIECES_PER_THREAD * n_threads);
            let mut parts: Vec<_> = data
                .x
                .chunks(per_part * self.arrangement.channel_len)
                .zip(channels.chunks_mut(per_part * len))
                .collect();
            context.pool.run(&mut parts, |(x, out)| self.lay_out(x, out));
            laid_out = channels;
            &laid_out
        };
        let rows = self.groups[0].view();
        let n_pieces = (PIECES_PER_THREAD * n_threads).div_ceil(self.arrangement.blocks.len());
        let cuts =
            if n_threads == 1 { vec![rows.n_rows()] } else { row_cuts(rows.n_rows(), n_pieces, STAGED_ROWS / 2) };
        let n_windows = self.arrangement.layout.n_windows();
        let (mut pieces, mut below, mut first) = (Vec::new(), PanelMut::new(out, n_windows), 0);
        for cut in cuts {
            let (panel, rest) = below.split_at_row(cut - first);
            let sums = data.sums.map(|sums| &sums[first * n_windows..cut * n_windows]);
            let bias = data.bias.map(|bias| &bias[first..cut]);
            self.cut(Data { x, bias, sums, epilogue: data.epilogue }, rows.rows(first..cut), panel, &mut pieces);
            (below, first) = (rest, cut);
        }
        context.pool.run(&mut pieces, |piece| self.compute(kernels, piece, data.epilogue));
    }

    /// Many groups: each is laid out and computed by one thread.
    fn run_groups(&self, data: &Data<'_>, out: &mut [f32], context: &mut Context<'_>) {
        let (kernels, n_groups) = (context.kernels, self.groups.len());
        let n_parts = (PIECES_PER_THREAD * context.pool.n_threads()).min(n_groups);
        let group_in = self.arrangement.n_channels / n_groups * self.arrangement.channel_len;
        let (n_rows, n_windows) = (self.groups[0].view().n_rows(), self.arrangement.layout.n_windows());
        let (mut parts, mut rest) = (Vec::new(), out);
        for part in 0..n_parts {
            let range = part_range(n_groups, 1, n_parts, part);
            let (out, behind) = std::mem::take(&mut rest).split_at_mut(range.len() * n_rows * n_windows);
            parts.push((range, out));
            rest = behind;
        }
        context.pool.run(&mut parts, |(range, out)| {
            let mut laid_out =
                vec![0.0; self.arrangement.n_channels / n_groups * self.arrangement.layout.channel_len()];
            for (group, out) in range.clone().zip(out.chunks_exact_mut(n_rows * n_windows)) {
                let x = &data.x[group * group_in..][..group_in];
                let x = if self.arrangement.layout.is_input() {
                    x
                } else {
                    self.lay_out(x, &mut laid_out);
                    &laid_out
                };
                let bias = data.bias.map(|bias| &bias[group * n_rows..][..n_rows]);
                let sums = data.sums.map(|sums| &sums[group * n_rows * n_windows..][..n_rows * n_windows]);
                let data = Data { x, bias, sums, epilogue: data.epilogue };
                let mut pieces = Vec::with_capacity(self.arrangement.blocks.len());
                self.cut(data, self.groups[group].view(), PanelMut::new(out, n_windows), &mut pieces);
                pieces.iter_mut().for_each(|piece| self.compute(kernels, piece, data.epilogue));
            }
        });
    }

    pub(super) fn lay_out(&self, x: &[f32], out: &mut [f32]) {
        for (channel, out) in x
            .chunks_exact(self.arrangement.channel_len)
            .zip(out.chunks_exact_mut(self.arrangement.layout.channel_len()))
        {
            self.arrangement.layout.fill(channel, out);
        }
    }

    /// Cuts a panel into the blocks of the layout.
    fn cut<'b>(&'b self, data: Data<'b>, rows: RowTiles<'b>, panel: PanelMut<'b>, pieces: &mut Vec<Piece<'b, 'b>>) {
        let (mut right, mut first) = (panel, 0);
        for block in &self.arrangement.blocks {
            let (panel, rest) = right.split_at_col(block.n_windows());
            let step = self.arrangement.layout.n_windows();
            let sums = data.sums.map(|sums| Sums { values: &sums[first..], step });
            pieces.push(Piece { rows, laid_out: data.x, bias: data.bias, sums, block, panel });
            (right, first) = (rest, first + block.n_windows());
        }
    }

    fn compute(&self, kernels: &dyn Kernels, piece: &mut Piece<'_, '_>, epilogue: &Epilogue) {
        let block = piece.block;
        let x = Columns { values: &piece.laid_out[block.base..], offsets: &self.arrangement.offsets };
        if block.n_rows == 1 || self.arrangement.layout.row_step() == block.row_len {
            for row in 0..piece.rows.n_rows() {
                let before = piece.panel.row_mut(row);
                begin(
                    before,
                    piece.bias.map_or(0.0, |bias| bias[row]),
                    piece.sums.map(|sums| &sums.values[row * sums.step..]),
                );
            }
            accumulate(kernels, &piece.rows, &x, &mut piece.panel);
            return epilogue.apply_rows(kernels, &mut piece.panel);
        }
        let mut staged = vec![0.0; STAGED_ROWS.min(piece.rows.n_rows()) * block.n_cols];
        for first in (0..piece.rows.n_rows()).step_by(STAGED_ROWS) {
            let rows = first..piece.rows.n_rows().min(first + STAGED_ROWS);
            let staged = &mut staged[..rows.len() * block.n_cols];
            for (row, staged) in rows.clone().zip(staged.chunks_exact_mut(block.n_cols)) {
                let bias = piece.bias.map_or(0.0, |bias| bias[row]);
                staged.fill(bias);
                if let Some(sums) = piece.sums {
                    let from = sums.values[row * sums.step..].chunks_exact(block.row_len);
                    for (to, from) in staged.chunks_mut(self.arrangement.layout.row_step()).zip(from) {
                        begin(&mut to[..block.row_len], bias, Some(from));
                    }
                }
            }
            accumulate(kernels, &piece.rows.rows(rows.clone()), &x, &mut PanelMut::new(staged, block.n_cols));
            epilogue.apply(kernels, staged);
            for (row, staged) in rows.zip(staged.chunks_exact(block.n_cols)) {
                let to = piece.panel.row_mut(row).chunks_exact_mut(block.row_len);
                for (to, from) in to.zip(staged.chunks(self.arrangement.layout.row_step())) {
                    to.copy_from_slice(&from[..block.row_len]);
                }
            }
        }
    }
}

/// What results add up from.
fn begin(row: &mut [f32], bias: f32, sums: Option<&[f32]>) {
    match sums {
        None => row.fill(bias),
        Some(sums) => row.iter_mut().zip(sums).for_each(|(row, sum)| *row = sum + bias),
    }
}

/// Adds the product in pieces that stay in the cache.
fn accumulate(kernels: &dyn Kernels, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>) {
    for first in (0..rows.n_cols()).step_by(INNER) {
        let inner = first..rows.n_cols().min(first + INNER);
        kernels.gemm(&rows.cols(inner.clone()), &Columns { offsets: &x.offsets[inner], ..*x }, out);
    }
}
