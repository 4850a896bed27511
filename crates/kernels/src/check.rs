//! The length checks that every set makes at entry. The bodies behind them rely on these facts.

use crate::kv::{QUERIES_MAX, SPAN, value_len};
use crate::{Activations, Block, Columns, KvView, PackedMatrix, PanelMut, Partial, Queries, RowTiles};

/// Rows of whole blocks, and room for exactly those.
#[track_caller]
pub(crate) fn quantize(x: &[f32], n_rows: usize, out: &[Block]) {
    assert!(x.len() == 32 * out.len(), "room for {} blocks of {} entries", out.len(), x.len());
    assert!(n_rows > 0 && out.len().is_multiple_of(n_rows), "{} blocks in {n_rows} rows", out.len());
}

/// Shapes that fit, activations in the form the weights want.
#[track_caller]
pub(crate) fn matmul(w: &PackedMatrix<'_>, x: &Activations, y: &PanelMut<'_>) {
    let wanted = w.weight_type().activation_format();
    assert!(x.format() == Some(wanted), "{:?} wants activations as {wanted:?}, got {:?}", w.weight_type(), x.format());
    assert!(x.n_cols() == w.n_cols(), "{} columns of activations, {} of weights", x.n_cols(), w.n_cols());
    assert!(y.n_rows() == x.n_rows(), "{} rows of results for {} of activations", y.n_rows(), x.n_rows());
    assert!(y.n_cols() == w.n_rows(), "{} columns of results for {} rows of weights", y.n_cols(), w.n_rows());
}

/// As many rows of results as of the first matrix, as many of the second as columns of the first, all inside its values.
#[track_caller]
pub(crate) fn gemm(rows: &RowTiles<'_>, x: &Columns<'_>, out: &PanelMut<'_>) {
    assert!(out.n_rows() == rows.n_rows(), "{} rows of results for {}", out.n_rows(), rows.n_rows());
    assert!(x.offsets.len() == rows.n_cols(), "{} offsets for {} columns", x.offsets.len(), rows.n_cols());
    let last = x.values.len().checked_sub(out.n_cols());
    let greatest = x.offsets.iter().copied().fold(0, usize::max);
    let is_inside = x.offsets.is_empty() || last.is_some_and(|last| greatest <= last);
    assert!(is_inside, "{} columns from some offset are not in {} values", out.n_cols(), x.values.len());
}

/// Three slices of one length.
#[track_caller]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], out: &[f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "{}, {}, {}", x.len(), weight.len(), out.len());
}

/// Four slices of one length.
#[track_caller]
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], out: &[f32]) {
    rms_norm(x, weight, out);
    assert!(x.len() == bias.len(), "{} entries, {} of the bias", x.len(), bias.len());
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

/// Some queries but not too many, a span that someone sees, room for scores, and a block table that reaches the last
/// position inside the storage.
#[track_caller]
pub(crate) fn attend(queries: &Queries<'_>, kv: &KvView<'_>, span: usize, scores: &[f32], out: &Partial<'_>) {
    let (n_queries, head_dim) = (queries.len(), kv.head_dim);
    assert!(head_dim > 0 && (1..=QUERIES_MAX).contains(&n_queries), "{n_queries} queries of {head_dim}");
    let q_len = (queries.n_rows - 1) * queries.stride + queries.n_group * head_dim;
    assert!(queries.q.len() >= q_len, "{} entries of queries, not {q_len}", queries.q.len());
    assert!(span < queries.n_spans(), "span {span} of {}", queries.n_spans());
    assert!(scores.len() >= n_queries * SPAN, "room for {} scores", scores.len());
    let fits = out.sum.len() == n_queries && out.values.len() == n_queries * value_len(head_dim);
    assert!(fits, "results of {} queries, {} entries", out.sum.len(), out.values.len());
    let whole = kv.block_len > 0 && kv.block_len.is_multiple_of(16) && SPAN.is_multiple_of(kv.block_len);
    assert!(whole && kv.kv_head < kv.n_kv_heads, "blocks of {}, head {}", kv.block_len, kv.kv_head);
    let n_keys = kv.keys.len() / kv.cache_type.key_block_bytes(kv.block_len, head_dim);
    let n_values = kv.values.len() / kv.cache_type.value_block_bytes(kv.block_len, head_dim);
    assert!(n_keys == n_values, "{n_keys} blocks of keys, {n_values} of values");
    let n_blocks = (queries.position + queries.n_rows).div_ceil(kv.block_len);
    assert!(kv.blocks.len() >= n_blocks, "{} blocks, not {n_blocks}", kv.blocks.len());
}

/// As many queries of as many entries.
#[track_caller]
pub(crate) fn join(whole: &Partial<'_>, span: &Partial<'_>) {
    let same = whole.max.len() == span.max.len() && whole.sum.len() == span.sum.len();
    assert!(same && whole.values.len() == span.values.len(), "{} queries, {}", whole.max.len(), span.max.len());
    assert!(!whole.max.is_empty(), "results of no query");
}
