//! One query head over f16 keys and values.

use super::memory::{from_f16, load_f16_bits, load_f32, padded, store_f32};
use crate::{KvView, lanes};
use half::f16;
use std::arch::aarch64::*;

/// Columns of the result that are summed in registers over all positions.
const STRIP: usize = 32;

/// As many positions as there are scores.
#[target_feature(enable = "neon")]
pub(super) fn head(q: &[f32], kv: &KvView<'_>, scale: f32, scores: &mut [f32], out: &mut [f32]) {
    for (idx, scores) in scores.chunks_mut(kv.block_len).enumerate() {
        for (score, key) in scores.iter_mut().zip(kv.key_block(idx).chunks_exact(kv.head_dim)) {
            *score = scale * dot(q, key);
        }
    }
    lanes::softmax::<16>(scores);
    for (strip, out) in out.chunks_mut(STRIP).enumerate() {
        match <&mut [f32; STRIP]>::try_from(&mut *out) {
            Ok(out) => weigh(kv, scores, STRIP * strip, out),
            Err(_) => weigh_rest(kv, scores, STRIP * strip, out),
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn dot(q: &[f32], key: &[f16]) -> f32 {
    let mut totals = [vdupq_n_f32(0.0); 2];
    let (q, q_rest) = q.as_chunks::<8>();
    let (key, key_rest) = key.as_chunks::<8>();
    for (q, key) in q.iter().zip(key) {
        accumulate(&mut totals, q, key);
    }
    if !q_rest.is_empty() {
        accumulate(&mut totals, &padded(q_rest), &padded(key_rest));
    }
    vaddvq_f32(vaddq_f32(totals[0], totals[1]))
}

#[inline]
#[target_feature(enable = "neon")]
fn accumulate(totals: &mut [float32x4_t; 2], q: &[f32; 8], key: &[f16; 8]) {
    let (q, _) = q.as_chunks::<4>();
    let (key, _) = key.as_chunks::<4>();
    totals[0] = vfmaq_f32(totals[0], load_f32(&q[0]), load_f16(&key[0]));
    totals[1] = vfmaq_f32(totals[1], load_f32(&q[1]), load_f16(&key[1]));
}

/// Columns `start..start + STRIP` of the weighted sum of the values.
#[inline]
#[target_feature(enable = "neon")]
fn weigh(kv: &KvView<'_>, weights: &[f32], start: usize, out: &mut [f32; STRIP]) {
    let mut totals = [vdupq_n_f32(0.0); STRIP / 4];
    for (idx, weights) in weights.chunks(kv.block_len).enumerate() {
        for (weight, value) in weights.iter().zip(kv.value_block(idx).chunks_exact(kv.head_dim)) {
            let (value, _) = value[start..start + STRIP].as_chunks::<4>();
            for (total, value) in totals.iter_mut().zip(value) {
                *total = vfmaq_n_f32(*total, load_f16(value), *weight);
            }
        }
    }
    for (out, total) in out.as_chunks_mut::<4>().0.iter_mut().zip(totals) {
        store_f32(out, total);
    }
}

/// As [`weigh`] for the fewer columns that are left over.
#[inline]
#[target_feature(enable = "neon")]
fn weigh_rest(kv: &KvView<'_>, weights: &[f32], start: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (idx, weights) in weights.chunks(kv.block_len).enumerate() {
        for (weight, value) in weights.iter().zip(kv.value_block(idx).chunks_exact(kv.head_dim)) {
            for (out, value) in out.iter_mut().zip(&value[start..]) {
                *out = weight.mul_add(value.to_f32(), *out);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f16(values: &[f16; 4]) -> float32x4_t {
    from_f16(load_f16_bits(&values.map(|value| value.to_bits())))
}
