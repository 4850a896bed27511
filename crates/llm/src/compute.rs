//! The operations of a forward pass over all compute threads: each splits its rows or columns and calls kernels.
//!
//! How work is split never changes a result: every kernel's output depends on its own row alone.

use crate::LlamaConfig;
use crate::attention::{AttentionPlan, Unit};
use crate::inputs::{Formats, Inputs, InputsMut};
use crate::kv::KvCache;
use crate::scratch::attend_len;
use crate::step::StepPlan;
use ballast_kernels::{Kernels, PackedMatrix, PanelMut, Partial, QUERIES_MAX, Queries, SPAN, STRIP_ROWS, TILE_ROWS};
use ballast_threads::{ComputePool, part_range};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Range;

/// What each thread gets, without an allocation for so many threads.
pub(crate) type Parts<T> = SmallVec<[T; 16]>;

/// Kernels and the threads that run them.
pub(crate) struct Compute {
    pub(crate) kernels: &'static dyn Kernels,
    pub(crate) pool: ComputePool,
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compute").field("kernels", &self.kernels.name()).field("pool", &self.pool).finish()
    }
}

/// A row-wise operation's rows and where its results go.
pub(crate) struct RowPart<'a, const N: usize> {
    pub(crate) rows: Range<usize>,
    pub(crate) data: [&'a mut [f32]; N],
    pub(crate) inputs: InputsMut<'a>,
}

impl Compute {
    /// `out[row] = embedding[tokens[row]]`.
    pub(crate) fn embed(&mut self, embedding: &PackedMatrix<'_>, tokens: &[u32], out: &mut [f32]) {
        let width = embedding.n_cols();
        self.row_wise([(out, width)], None, |part| {
            let [out] = &mut part.data;
            for (out, token) in out.chunks_exact_mut(width).zip(&tokens[part.rows.clone()]) {
                embedding.dequantize_row(*token as usize, out);
            }
        });
    }

    /// Adds `added`, if any, to the rows of `x`, normalises them into `normed` and makes inputs of that.
    pub(crate) fn norm(
        &mut self,
        x: &mut [f32],
        added: Option<&[f32]>,
        norm: &Norm<'_>,
        normed: &mut [f32],
        inputs: (&mut Inputs, Formats),
    ) {
        let (kernels, width) = (self.kernels, norm.weight.len());
        let n_rows = x.len() / width;
        let inputs = inputs.0.reset(inputs.1, n_rows, width);
        self.row_wise([(x, width), (normed, width)], Some(inputs), |part| {
            let [x, normed] = &mut part.data;
            for (idx, tile) in part.inputs.tiles().enumerate() {
                for row in tile.clone() {
                    let x = &mut x[row * width..][..width];
                    if let Some(added) = added {
                        kernels.add(x, &added[(part.rows.start + row) * width..][..width]);
                    }
                    kernels.rms_norm(x, norm.weight, norm.eps, &mut normed[row * width..][..width]);
                }
                part.inputs.fill_tile(kernels, idx, &normed[tile.start * width..tile.end * width]);
            }
        });
    }

    /// `gate = silu(gate) * up`, rows of `width`, and makes inputs of that.
    pub(crate) fn silu_mul(&mut self, gate: &mut [f32], up: &[f32], width: usize, inputs: (&mut Inputs, Formats)) {
        let kernels = self.kernels;
        let inputs = inputs.0.reset(inputs.1, gate.len() / width, width);
        self.row_wise([(gate, width)], Some(inputs), |part| {
            let [gate] = &mut part.data;
            for (idx, tile) in part.inputs.tiles().enumerate() {
                let (own, of) = (tile.start * width..tile.end * width, part.rows.start * width);
                kernels.silu_mul(&mut gate[own.clone()], &up[of + own.start..of + own.end]);
                part.inputs.fill_tile(kernels, idx, &gate[own]);
            }
        });
    }

    /// Rotates the heads of every row of `q` and of `k`; row `i` has its own angles in row `i` of `cos` and `sin`.
    pub(crate) fn rope(&mut self, config: &LlamaConfig, [q, k]: [&mut [f32]; 2], cos: &[f32], sin: &[f32]) {
        let kernels = self.kernels;
        let (q_dim, kv_dim, n_pairs) = (config.q_dim(), config.kv_dim(), config.rope_dim / 2);
        self.row_wise([(q, q_dim), (k, kv_dim)], None, |part| {
            let [q, k] = &mut part.data;
            let rows = q.chunks_exact_mut(q_dim).zip(k.chunks_exact_mut(kv_dim));
            for (row, (q, k)) in part.rows.clone().zip(rows) {
                let (cos, sin) = (&cos[row * n_pairs..][..n_pairs], &sin[row * n_pairs..][..n_pairs]);
                kernels.rope(q, config.head_dim, cos, sin);
                kernels.rope(k, config.head_dim, cos, sin);
            }
        });
    }

    /// `y = x w^T` for several weights over the same inputs, in one fork. Each `y` is `[n_rows, w.n_rows()]`.
    pub(crate) fn products<const N: usize>(&mut self, inputs: &Inputs, products: [(PackedMatrix<'_>, &mut [f32]); N]) {
        let n_threads = self.pool.n_threads();
        let mut rests = products.map(|(w, y)| (w, Some(PanelMut::new(y, w.n_rows()))));
        let mut parts: Parts<[Product<'_>; N]> = SmallVec::new();
        for idx in 0..n_threads {
            parts.push(rests.each_mut().map(|(w, rest)| {
                let rows = part_range(w.n_rows(), STRIP_ROWS, n_threads, idx);
                let (y, others) = rest.take().expect("there is always a rest").split_at_col(rows.len());
                *rest = Some(others);
                Product { w: w.rows(rows), y }
            }));
        }
        let kernels = self.kernels;
        self.pool.run(&mut parts, |products| {
            for Product { w, y } in products {
                kernels.matmul(w, inputs.activations(w.weight_type().activation_format()), y);
            }
        });
    }

    /// Attention of every unit of the step to its partial result; `scratch` is `[n_threads, attend_len]`.
    pub(crate) fn attend(&mut self, at: &AttendAt<'_>, q: &[f32], scratch: &mut [f32], partials: &mut [f32]) {
        let (kernels, n_threads) = (self.kernels, self.pool.n_threads());
        let units = &at.attention.units;
        let mut parts: Parts<_> = SmallVec::new();
        let mut rest = partials;
        for (range, scratch) in at.attention.parts(at.plan, n_threads).zip(scratch.chunks_mut(attend_len(at.config))) {
            let len = units[range.clone()].iter().map(|unit| unit.data.len()).sum();
            let (own, others) = rest.split_at_mut(len);
            rest = others;
            parts.push((&units[range], scratch, own));
        }
        self.pool.run(&mut parts, |(units, scratch, partials)| {
            let mut rest = &mut **partials;
            for unit in *units {
                let (own, others) = rest.split_at_mut(unit.data.len());
                rest = others;
                attend_unit(kernels, at, unit, q, scratch, own);
            }
        });
    }

    /// Joins the partial results to rows of `out`, `[n_rows, n_heads, head_dim]`, and makes inputs of them.
    pub(crate) fn gather(
        &mut self,
        at: &AttendAt<'_>,
        partials: &mut [f32],
        out: &mut [f32],
        inputs: (&mut Inputs, Formats),
    ) {
        let (kernels, config) = (self.kernels, at.config);
        let width = config.q_dim();
        self.join_spans(at, partials, out);
        let inputs = inputs.0.reset(inputs.1, out.len() / width, width);
        self.row_wise([(out, width)], Some(inputs), |part| {
            let [out] = &mut part.data;
            for (idx, tile) in part.inputs.tiles().enumerate() {
                part.inputs.fill_tile(kernels, idx, &out[tile.start * width..tile.end * width]);
            }
        });
    }

    fn join_spans(&mut self, at: &AttendAt<'_>, partials: &mut [f32], out: &mut [f32]) {
        let (kernels, config, n_threads) = (self.kernels, at.config, self.pool.n_threads());
        let AttentionPlan { units, tiles, .. } = at.attention;
        // Few rows are not worth waking a thread for.
        let n_parts = if at.plan.tokens.len() > TILE_ROWS { n_threads } else { 1 };
        let mut parts: Parts<_> = SmallVec::new();
        let (mut rest, mut rest_out) = (partials, out);
        for idx in 0..n_parts {
            let tiles = &tiles[part_range(tiles.len(), 1, n_parts, idx)];
            let n_rows: usize = tiles.iter().map(|(rows, _)| rows.len()).sum();
            let of_tile =
                |units_of: &Range<usize>| units[units_of.clone()].iter().map(|unit| unit.data.len()).sum::<usize>();
            let len = tiles.iter().map(|(_, units_of)| of_tile(units_of)).sum();
            let (own, others) = rest.split_at_mut(len);
            let (own_out, others_out) = rest_out.split_at_mut(n_rows * config.q_dim());
            (rest, rest_out) = (others, others_out);
            parts.push((tiles, own, own_out));
        }
        self.pool.run(&mut parts, |(tiles, partials, out)| {
            let (mut rest, mut rest_out) = (&mut **partials, &mut **out);
            for (rows, units_of) in *tiles {
                let (out, others) = rest_out.split_at_mut(rows.len() * config.q_dim());
                rest_out = others;
                rest = join_tile(kernels, config, &units[units_of.clone()], rest, out);
            }
        });
    }

    /// Calls `f` with every part of some rows, whole tiles, over all threads when there is more than one tile. Each
    /// `data` is so many rows of its width.
    pub(crate) fn row_wise<const N: usize>(
        &mut self,
        data: [(&mut [f32], usize); N],
        inputs: Option<InputsMut<'_>>,
        f: impl Fn(&mut RowPart<'_, N>) + Sync,
    ) {
        let n_rows = data[0].0.len() / data[0].1;
        let n_parts = if n_rows <= TILE_ROWS { 1 } else { self.pool.n_threads() };
        let mut parts: Parts<RowPart<'_, N>> = SmallVec::new();
        let mut rests = data.map(|(data, width)| (Some(data), width));
        let mut rest_inputs = inputs.unwrap_or_else(|| InputsMut::none(n_rows));
        for idx in 0..n_parts {
            let rows = part_range(n_rows, TILE_ROWS, n_parts, idx);
            let data = rests.each_mut().map(|(rest, width)| {
                let (own, others) = rest.take().expect("there is always a rest").split_at_mut(rows.len() * *width);
                *rest = Some(others);
                own
            });
            let (inputs, others) = rest_inputs.split_at_row(rows.len());
            rest_inputs = others;
            parts.push(RowPart { rows, data, inputs });
        }
        self.pool.run(&mut parts, f);
    }
}

/// A norm's weight and the term that keeps it finite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) eps: f32,
}

/// Where attention reads: a layer of the cache, for the tokens of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttendAt<'a> {
    pub(crate) config: &'a LlamaConfig,
    pub(crate) kv: &'a KvCache,
    pub(crate) layer: usize,
    pub(crate) plan: &'a StepPlan,
    pub(crate) attention: &'a AttentionPlan,
}

/// A range of a weight's rows and the columns of `y` it fills.
struct Product<'a> {
    w: PackedMatrix<'a>,
    y: PanelMut<'a>,
}

/// Attention of one unit over its spans, in order, to its partial result.
fn attend_unit(kernels: &dyn Kernels, at: &AttendAt<'_>, unit: &Unit, q: &[f32], scratch: &mut [f32], out: &mut [f32]) {
    let config = at.config;
    let kv = at.kv.view(at.layer, at.plan.blocks(unit.rows.start), unit.kv_head);
    let queries = Queries {
        q: &q[unit.rows.start * config.q_dim() + unit.heads.start * config.head_dim..],
        stride: config.q_dim(),
        n_rows: unit.rows.len(),
        n_group: unit.heads.len(),
        position: at.plan.positions[unit.rows.start],
        scale: 1.0 / (config.head_dim as f32).sqrt(),
    };
    let (scores, rest) = scratch.split_at_mut(QUERIES_MAX * SPAN);
    let part = &mut rest[..out.len()];
    let (n_queries, head_dim) = (queries.len(), config.head_dim);
    let mut whole = Partial::over(out, n_queries, head_dim);
    kernels.attend(&queries, &kv, unit.spans.start, scores, &mut whole);
    for span in unit.spans.clone().skip(1) {
        let mut part = Partial::over(part, n_queries, head_dim);
        kernels.attend(&queries, &kv, span, scores, &mut part);
        kernels.join(&mut whole, &part);
    }
}

/// Joins the units of some rows, whose partial results are the first of `partials`, and writes the rows; returns the
/// partial results that are left.
fn join_tile<'a>(
    kernels: &dyn Kernels,
    config: &LlamaConfig,
    units: &[Unit],
    mut partials: &'a mut [f32],
    out: &mut [f32],
) -> &'a mut [f32] {
    for units in units.chunk_by(|a, b| a.heads == b.heads) {
        let (n_heads, len) = (units[0].heads.len(), units[0].data.len());
        let n_queries = units[0].rows.len() * n_heads;
        let (own, others) = partials.split_at_mut(len * units.len());
        partials = others;
        let (first, later) = own.split_at_mut(len);
        let mut whole = Partial::over(first, n_queries, config.head_dim);
        for part in later.chunks_exact_mut(len) {
            kernels.join(&mut whole, &Partial::over(part, n_queries, config.head_dim));
        }
        for idx in 0..n_queries {
            let at = idx / n_heads * config.q_dim() + (units[0].heads.start + idx % n_heads) * config.head_dim;
            whole.write(idx, &mut out[at..][..config.head_dim]);
        }
    }
    partials
}
