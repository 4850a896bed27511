//! Attention, one query and one position after another.

use crate::kv::{Partial, Queries, SPAN, value_len};
use crate::{KvView, lanes};

pub(super) fn attend(queries: &Queries<'_>, kv: &KvView<'_>, span: usize, scores: &mut [f32], out: &mut Partial<'_>) {
    out.clear();
    let (block_len, value_len) = (kv.block_len, value_len(kv.head_dim));
    for idx in 0..queries.len() {
        let n_seen = queries.n_positions(idx, span);
        let q = queries.query(idx, kv.head_dim);
        let scores = &mut scores[..n_seen];
        for (t, score) in (span * SPAN..).zip(&mut *scores) {
            let keys = kv.key_block(t / block_len).chunks_exact(block_len);
            let dot = q.iter().zip(keys).fold(0.0, |sum, (q, keys)| q.mul_add(keys[t % block_len].to_f32(), sum));
            *score = dot * queries.scale;
        }
        if n_seen > 0 {
            (out.max[idx], out.sum[idx]) = lanes::weigh(scores);
        }
        let values = &mut out.values[idx * value_len..][..value_len];
        for (t, weight) in (span * SPAN..).zip(scores) {
            let row = &kv.value_block(t / block_len)[t % block_len * value_len..][..value_len];
            values.iter_mut().zip(row).for_each(|(value, v)| *value = weight.mul_add(v.to_f32(), *value));
        }
    }
}
