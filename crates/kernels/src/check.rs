//! The length checks that every set makes at entry. The bodies behind them rely on these facts.

use crate::{Activations, KvView, PanelMut, WeightMatrix};

/// `x` and `q` of equal length in whole blocks of `block_len`, a scale per block, a sum per `sum_len`.
#[track_caller]
pub(crate) fn quantize(x: &[f32], q: &[i8], d: &[f32], sum: &[i32], (block_len, sum_len): (usize, usize)) {
    let n = x.len();
    assert!(n.is_multiple_of(block_len), "{n} entries in blocks of {block_len}");
    assert!(q.len() == n, "room for {} quants of {n}", q.len());
    assert!(d.len() == n / block_len, "room for {} scales of {}", d.len(), n / block_len);
    assert!(sum.len() == n / sum_len, "room for {} sums of {}", sum.len(), n / sum_len);
}

/// Shapes that fit, activations in the form the weights want.
#[track_caller]
pub(crate) fn matmul(w: &WeightMatrix<'_>, x: &Activations, y: &PanelMut<'_>) {
    let wanted = w.weight_type().activation_format();
    assert!(x.format() == Some(wanted), "{:?} wants activations as {wanted:?}, got {:?}", w.weight_type(), x.format());
    assert!(x.n_cols() == w.n_cols(), "{} columns of activations, {} of weights", x.n_cols(), w.n_cols());
    assert!(y.n_rows() == x.n_rows(), "{} rows of results for {} of activations", y.n_rows(), x.n_rows());
    assert!(y.n_cols() == w.n_rows(), "{} columns of results for {} rows of weights", y.n_cols(), w.n_rows());
}

/// Three slices of one length.
#[track_caller]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], out: &[f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "{}, {}, {}", x.len(), weight.len(), out.len());
}

/// Two slices of one length.
#[track_caller]
pub(crate) fn same_len<A, B>(a: &[A], b: &[B]) {
    assert!(a.len() == b.len(), "{} entries against {}", a.len(), b.len());
}

/// Whole heads, and a rotation that fits in one.
#[track_caller]
pub(crate) fn rope(x: &[f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    assert!(head_dim > 0 && x.len().is_multiple_of(head_dim), "{} entries in heads of {head_dim}", x.len());
    assert!(cos.len() == sin.len(), "{} cosines, {} sines", cos.len(), sin.len());
    assert!(2 * cos.len() <= head_dim, "{} pairs in a head of {head_dim}", cos.len());
}

/// Whole query heads, room for results and scores, and a block table that reaches `n_positions` inside the storage.
#[track_caller]
pub(crate) fn attend(q: &[f32], kv: &KvView<'_>, n_positions: usize, scores: &[f32], out: &[f32]) {
    let head_dim = kv.head_dim;
    assert!(head_dim > 0 && q.len().is_multiple_of(head_dim), "{} entries in heads of {head_dim}", q.len());
    assert!(out.len() == q.len(), "room for {} results of {}", out.len(), q.len());
    assert!(n_positions > 0, "attention over no positions");
    assert!(scores.len() >= n_positions, "room for {} scores of {n_positions}", scores.len());
    assert!(kv.block_len > 0 && kv.kv_head < kv.n_kv_heads, "head {} of {}", kv.kv_head, kv.n_kv_heads);
    assert!(kv.keys.len() == kv.values.len(), "{} keys, {} values", kv.keys.len(), kv.values.len());
    let n_blocks = n_positions.div_ceil(kv.block_len);
    assert!(kv.blocks.len() >= n_blocks, "{} blocks for {n_positions} positions", kv.blocks.len());
}
