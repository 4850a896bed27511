//! The operations on f32, one entry after another.

use crate::KvView;

pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares: f32 = x.iter().map(|x| x * x).sum();
    let inverse = 1.0 / (squares / x.len() as f32 + eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * inverse * weight;
    }
}

pub(super) fn rope(x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    for head in x.chunks_exact_mut(head_dim) {
        for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            let [even, odd] = *pair;
            *pair = [even * cos - odd * sin, even * sin + odd * cos];
        }
    }
}

pub(super) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in &mut *x {
        *x = (*x - max).exp();
        sum += *x;
    }
    let inverse = 1.0 / sum;
    for x in x {
        *x *= inverse;
    }
}

/// One query head over as many positions as there are scores.
pub(super) fn attend_head(q: &[f32], kv: &KvView<'_>, scale: f32, scores: &mut [f32], out: &mut [f32]) {
    for (idx, scores) in scores.chunks_mut(kv.block_len).enumerate() {
        for (score, key) in scores.iter_mut().zip(kv.key_block(idx).chunks_exact(kv.head_dim)) {
            *score = scale * q.iter().zip(key).map(|(q, k)| q * k.to_f32()).sum::<f32>();
        }
    }
    softmax(scores);
    out.fill(0.0);
    for (idx, weights) in scores.chunks(kv.block_len).enumerate() {
        for (weight, value) in weights.iter().zip(kv.value_block(idx).chunks_exact(kv.head_dim)) {
            for (out, v) in out.iter_mut().zip(value) {
                *out += weight * v.to_f32();
            }
        }
    }
}
