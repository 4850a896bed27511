//! The operations of a forward pass over all compute threads: each splits its rows or columns and calls kernels.
//!
//! How work is split never changes a result: every kernel's output depends on its own row alone.

use crate::LlamaConfig;
use crate::kv::KvCache;
use crate::step::StepPlan;
use ballast_kernels::{ActivationFormat, Activations, Kernels, PanelMut, WeightMatrix};
use ballast_threads::{ComputePool, part_range};
use std::fmt;

/// Weight rows that stay together on one thread.
const ROW_GRANULE: usize = 16;

/// Row-wise work below this many entries is not worth waking a thread for.
const SPLIT_MIN_LEN: usize = 8 * 1024;

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

impl Compute {
    /// `out[row] = embedding[tokens[row]]`.
    pub(crate) fn embed(&mut self, embedding: &WeightMatrix<'_>, tokens: &[u32], out: &mut [f32]) {
        self.rows_mut(out, embedding.n_cols(), |row, out| {
            let bytes = embedding.row(tokens[row] as usize);
            ballast_kernels::dequantize(embedding.weight_type(), bytes, out);
        });
    }

    /// Normalises every row of `x`, as long as `weight`, into `out`.
    pub(crate) fn rms_norm(&mut self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let (kernels, width) = (self.kernels, weight.len());
        self.rows_mut(out, width, |row, out| kernels.rms_norm(&x[row * width..][..width], weight, eps, out));
    }

    /// `x += y`, rows of `width`.
    pub(crate) fn add(&mut self, x: &mut [f32], y: &[f32], width: usize) {
        let kernels = self.kernels;
        self.rows_mut(x, width, |row, x| kernels.add(x, &y[row * width..][..width]));
    }

    /// `gate = silu(gate) * up`, rows of `width`.
    pub(crate) fn silu_mul(&mut self, gate: &mut [f32], up: &[f32], width: usize) {
        let kernels = self.kernels;
        self.rows_mut(gate, width, |row, gate| kernels.silu_mul(gate, &up[row * width..][..width]));
    }

    /// Rotates the heads of every row of `x`; row `i` has its own angles in row `i` of `cos` and `sin`.
    pub(crate) fn rope(&mut self, x: &mut [f32], width: usize, head_dim: usize, cos: &[f32], sin: &[f32]) {
        let kernels = self.kernels;
        let n_pairs = cos.len() / (x.len() / width);
        self.rows_mut(x, width, |row, x| {
            let angles = row * n_pairs..(row + 1) * n_pairs;
            kernels.rope(x, head_dim, &cos[angles.clone()], &sin[angles]);
        });
    }

    /// `y = x w^T` for several weights over the same `x` (`[n_rows, n_cols]`), in one fork for each activation format
    /// among them. Each `y` is `[n_rows, w.n_rows()]`.
    pub(crate) fn linear<const N: usize>(
        &mut self,
        x: &[f32],
        n_cols: usize,
        activations: &mut Activations,
        mut products: [(WeightMatrix<'_>, &mut [f32]); N],
    ) {
        for format in [ActivationFormat::F32, ActivationFormat::Q8_32, ActivationFormat::Q8_256] {
            let mut parts: Vec<Vec<Product<'_>>> = Vec::new();
            for (w, y) in &mut products {
                if w.weight_type().activation_format() == format {
                    parts.resize_with(self.pool.n_threads(), Vec::new);
                    split_product(w, y, &mut parts);
                }
            }
            if parts.is_empty() {
                continue;
            }
            activations.fill(self.kernels, format, x, n_cols);
            let (kernels, activations) = (self.kernels, &*activations);
            self.pool.run(&mut parts, |products| {
                for product in products {
                    kernels.matmul(&product.w, activations, &mut product.y);
                }
            });
        }
    }

    /// Attention of every token of the step over its sequence's cache in `layer`. `q` and `out` are
    /// `[n_tokens, n_heads, head_dim]`; `scores` is `[n_threads, context_len]`.
    pub(crate) fn attend(&mut self, at: &AttendAt<'_>, q: &[f32], scores: &mut [f32], out: &mut [f32]) {
        let (config, plan) = (at.config, at.plan);
        let item_len = config.n_group() * config.head_dim;
        let scale = 1.0 / (config.head_dim as f32).sqrt();
        let n_threads = self.pool.n_threads();
        let scores_len = scores.len() / n_threads;
        let mut parts = Vec::with_capacity(n_threads);
        let mut rest = out;
        for (items, scores) in plan.attention_parts(config.n_kv_heads, n_threads).zip(scores.chunks_mut(scores_len)) {
            let (own, others) = rest.split_at_mut(items.len() * item_len);
            parts.push((items, scores, own));
            rest = others;
        }
        let kernels = self.kernels;
        self.pool.run(&mut parts, |(items, scores, out)| {
            for (item, out) in items.clone().zip(out.chunks_exact_mut(item_len)) {
                let (row, kv_head) = (item / config.n_kv_heads, item % config.n_kv_heads);
                let kv = at.kv.view(at.layer, plan.blocks(row), kv_head);
                let n_positions = plan.positions[row] + 1;
                kernels.attend(&q[item * item_len..][..item_len], &kv, n_positions, scale, scores, out);
            }
        });
    }

    /// Calls `f(row, data[row])` for every row of `width`, over all threads when there is enough of it.
    fn rows_mut(&mut self, data: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let n_rows = data.len() / width;
        if data.len() < SPLIT_MIN_LEN || n_rows == 1 {
            data.chunks_exact_mut(width).enumerate().for_each(|(row, data)| f(row, data));
            return;
        }
        let n_threads = self.pool.n_threads();
        let mut parts = Vec::with_capacity(n_threads);
        let mut rest = data;
        for idx in 0..n_threads {
            let rows = part_range(n_rows, 1, n_threads, idx);
            let (own, others) = rest.split_at_mut(rows.len() * width);
            parts.push((rows, own));
            rest = others;
        }
        self.pool.run(&mut parts, |(rows, data)| {
            rows.clone().zip(data.chunks_exact_mut(width)).for_each(|(row, data)| f(row, data));
        });
    }
}

/// Where attention reads: a layer of the cache, for the tokens of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttendAt<'a> {
    pub(crate) config: &'a LlamaConfig,
    pub(crate) kv: &'a KvCache,
    pub(crate) layer: usize,
    pub(crate) plan: &'a StepPlan,
}

/// A range of a weight's rows and the columns of `y` it fills.
struct Product<'a> {
    w: WeightMatrix<'a>,
    y: PanelMut<'a>,
}

/// Gives every thread its contiguous range of `w`'s rows and the panel of `y` that belongs to it.
fn split_product<'a>(w: &WeightMatrix<'a>, y: &'a mut [f32], parts: &mut [Vec<Product<'a>>]) {
    let n_parts = parts.len();
    let mut rest = PanelMut::new(y, w.n_rows());
    for (idx, part) in parts.iter_mut().enumerate() {
        let rows = part_range(w.n_rows(), ROW_GRANULE, n_parts, idx);
        let (own, others) = rest.split_at_col(rows.len());
        part.push(Product { w: w.rows(rows), y: own });
        rest = others;
    }
}
