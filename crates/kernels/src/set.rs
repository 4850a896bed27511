//! What every kernel set can do.

use crate::activations::Block;
use crate::{Activations, Columns, KvView, PackedMatrix, PanelMut, Partial, Pointwise, Queries, RowTiles};

/// The operations of one instruction set. Lengths are checked by each method with `assert!` at entry.
///
/// Every result is a function of its own row and inputs alone: `y[i][j]` of a product depends on row `i` of the
/// activations and row `j` of the weights, whatever else is in the call. That is what makes answers independent of
/// batch mates, chunk sizes and the number of threads. Every sum has one order and every rounding is IEEE's, so that
/// all sets, on all machines, give the same bits.
pub trait Kernels: Send + Sync + 'static {
    /// The set's name, as in `x86_64-avx2`.
    fn name(&self) -> &'static str;

    /// Quantises rows, `[n_rows, n_cols]`, to blocks, `[n_cols / 32, n_rows]`: `scale = amax / 127`,
    /// `q = round(x * (1 / scale))`, half away from zero, as ggml's reference Q8_0 but with the scale in f32. Where
    /// `1 / scale` is not finite the quants are 0.
    fn quantize(&self, x: &[f32], n_rows: usize, out: &mut [Block]);

    /// `y[i][j] = dot(x.row(i), w.row(j))` for every activation row `i` and weight row `j`.
    ///
    /// `y` is `[x.n_rows(), w.n_rows()]`; `x` must hold the format that `w.weight_type().activation_format()` names.
    /// Plain weights add up column by column with one rounding each. Quantised ones add up slice by slice: the exact
    /// integer dot product of 32 columns (Q6_K: 16) times the activations' scale, times the weights' scale and added
    /// with one rounding, then the minimum times the activations' sum, likewise.
    fn matmul(&self, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>);

    /// `out[i][j] += sum of rows[i][k] * x.values[x.offsets[k] + j]` for every row `i` and column `j` of `out`, in the
    /// order of `k` and with one rounding each: sums may be cut into several calls. Offsets may repeat and overlap.
    fn gemm(&self, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>);

    /// `x = f(x)` for every entry.
    fn pointwise(&self, f: Pointwise, x: &mut [f32]);

    /// `out = x / rms(x) * weight`, with `rms(x) = sqrt(mean(x^2) + eps)`. All of one length. (arXiv:1910.07467)
    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);

    /// `out = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, with `var(x) = mean((x - mean(x))^2)`. All of one
    /// length. (arXiv:1607.06450)
    fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);

    /// `x = x * (1 + erf(x / sqrt(2))) / 2`, within 1e-6 of the greater of 1 and `|x|`. (arXiv:1606.08415)
    fn gelu(&self, x: &mut [f32]);

    /// `x += y`.
    fn add(&self, x: &mut [f32], y: &[f32]);

    /// `gate = silu(gate) * up`, `silu(v) = v / (1 + exp(-v))`. (arXiv:2002.05202)
    fn silu_mul(&self, gate: &mut [f32], up: &[f32]);

    /// Rotates pairs `(2i, 2i + 1)` of every head of `x` (`[n_heads, head_dim]`) by the angle whose cosine and sine
    /// are `cos[i]`, `sin[i]`; entries from `2 * cos.len()` on are left alone. (arXiv:2104.09864)
    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]);

    /// Attention of some queries, at most [`crate::QUERIES_MAX`], over the positions of span `span` that each sees, to
    /// `out`: `[n_queries]` and `[n_queries, value_len]`. `scores` is scratch, `[n_queries, SPAN]`.
    ///
    /// A score adds up over the head's entries in order and is scaled then; a weighted value adds up over positions in
    /// order. Keys and values of every [`crate::CacheType`] are f32 before they meet anything, as [`KvView::key`] and
    /// [`KvView::value`] give them.
    fn attend(&self, queries: &Queries<'_>, kv: &KvView<'_>, span: usize, scores: &mut [f32], out: &mut Partial<'_>);

    /// Joins what the span behind came to onto `whole`, for the same queries.
    fn join(&self, whole: &mut Partial<'_>, span: &Partial<'_>);
}
