//! What every kernel set can do.

use crate::{Activations, KvView, PanelMut, WeightMatrix};
use half::f16;

/// The operations of one instruction set. Lengths are checked by each method with `assert!` at entry.
///
/// Every result is a function of its own row and inputs alone: `y[i][j]` of a product depends on row `i` of the
/// activations and row `j` of the weights, whatever else is in the call. That is what makes answers independent of
/// batch mates, chunk sizes and the number of threads. Different sets may differ by rounding.
pub trait Kernels: Send + Sync + 'static {
    /// The set's name, as in `x86_64-avx2`.
    fn name(&self) -> &'static str;

    /// Quantises one row to blocks of 32 as ggml's reference Q8_0 does: `scale = amax / 127`,
    /// `q = round(x * (1 / scale))`, half away from zero; `d` is `scale` rounded to f16 and back; `sum` is the integer
    /// sum of the block's `q`. Where `1 / scale` is not finite the quants are 0.
    ///
    /// `x` and `q` have `n` entries, a multiple of 32; `d` and `sum` have `n / 32`.
    fn quantize_q8_32(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]);

    /// Quantises one row to blocks of 256 as ggml's Q8_K does (`d` in f32, the extreme of greatest magnitude maps to
    /// -127 with its sign folded into `d`, ties go to even); `sum` has one integer sum per group of 16. Where
    /// `-127 / extreme` is not finite the quants and `d` are 0.
    ///
    /// `x` and `q` have `n` entries, a multiple of 256; `d` has `n / 256`, `sum` has `n / 16`.
    fn quantize_q8_256(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]);

    /// `y[i][j] = dot(x.row(i), w.row(j))` for every activation row `i` and weight row `j`.
    ///
    /// `y` is `[x.n_rows(), w.n_rows()]`; `x` must hold the format that `w.weight_type().activation_format()` names.
    fn matmul(&self, w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>);

    /// `out = x / rms(x) * weight`, with `rms(x) = sqrt(mean(x^2) + eps)`. All of one length. (arXiv:1910.07467)
    fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);

    /// `x += y`.
    fn add(&self, x: &mut [f32], y: &[f32]);

    /// `gate = silu(gate) * up`, `silu(v) = v / (1 + exp(-v))`. (arXiv:2002.05202)
    fn silu_mul(&self, gate: &mut [f32], up: &[f32]);

    /// Rotates pairs `(2i, 2i + 1)` of every head of `x` (`[n_heads, head_dim]`) by the angle whose cosine and sine
    /// are `cos[i]`, `sin[i]`; entries from `2 * cos.len()` on are left alone. (arXiv:2104.09864)
    fn rope(&self, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]);

    /// Rounds to f16, ties to even.
    fn store_f16(&self, x: &[f32], out: &mut [f16]);

    /// Softmax in place, stable: `exp(x - max) / sum`.
    fn softmax(&self, x: &mut [f32]);

    /// Attention of the query heads that share one KV head, over the first `n_positions` of `kv`.
    ///
    /// `q` and `out` are `[n_group, head_dim]`; `scores` is scratch of at least `n_positions`.
    /// `out[g] = sum_t softmax_t(scale * q[g] . k[t]) * v[t]`, positions taken in order.
    #[expect(clippy::too_many_arguments, reason = "the operands of the formula, each of another kind")]
    fn attend(&self, q: &[f32], kv: &KvView<'_>, n_positions: usize, scale: f32, scores: &mut [f32], out: &mut [f32]);
}
