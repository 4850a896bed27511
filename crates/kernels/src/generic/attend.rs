//! Attention, one query and one position after another.

use crate::kv::{Partial, Queries, SPAN, value_len};
use crate::{KvView, lanes};

pub(super) fn attend(queries: &Queries<'_>, kv: &KvView<'_>, span: usize, scores: &mut [f32], out: &mut Partial<'_>) {
    out.clear();
    let value_len = value_len(kv.head_dim);
    for idx in 0..queries.len() {
        let n_seen = queries.n_positions(idx, span);
        let q = queries.query(idx, kv.head_dim);
        let scores = &mut scores[..n_seen];
        for (t, score) in (span * SPAN..).zip(&mut *scores) {
            let dot = q.iter().enumerate().fold(0.0, |sum, (d, q)| q.mul_add(kv.key(t, d), sum));
            *score = dot * queries.scale;
        }
        if n_seen > 0 {
            (out.max[idx], out.sum[idx]) = lanes::weigh(scores);
        }
        let values = &mut out.values[idx * value_len..][..value_len];
        for (t, weight) in (span * SPAN..).zip(scores) {
            values.iter_mut().enumerate().for_each(|(d, value)| *value = weight.mul_add(kv.value(t, d), *value));
        }
    }
}
