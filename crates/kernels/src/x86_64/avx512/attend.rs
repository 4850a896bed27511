//! One query head over f16 keys and values.

use super::super::memory::{load_32, load_f32_16, padded, store_f32_16};
use super::dot::sum_lanes;
use crate::{KvView, lanes};
use half::f16;
use std::arch::x86_64::*;

/// Columns of the result that are summed in registers over all positions.
const STRIP: usize = 64;

/// As many positions as there are scores.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn head(q: &[f32], kv: &KvView<'_>, scale: f32, scores: &mut [f32], out: &mut [f32]) {
    for (idx, scores) in scores.chunks_mut(kv.block_len).enumerate() {
        for (score, key) in scores.iter_mut().zip(kv.key_block(idx).chunks_exact(kv.head_dim)) {
            *score = scale * dot(q, key);
        }
    }
    lanes::softmax::<32>(scores);
    for (strip, out) in out.chunks_mut(STRIP).enumerate() {
        match <&mut [f32; STRIP]>::try_from(&mut *out) {
            Ok(out) => weigh(kv, scores, STRIP * strip, out),
            Err(_) => weigh_rest(kv, scores, STRIP * strip, out),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot(q: &[f32], key: &[f16]) -> f32 {
    let mut totals = [_mm512_setzero_ps(); 2];
    let (q, q_rest) = q.as_chunks::<32>();
    let (key, key_rest) = key.as_chunks::<32>();
    for (q, key) in q.iter().zip(key) {
        accumulate(&mut totals, q, key);
    }
    if !q_rest.is_empty() {
        accumulate(&mut totals, &padded(q_rest), &padded(key_rest));
    }
    sum_lanes(_mm512_add_ps(totals[0], totals[1]))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn accumulate(totals: &mut [__m512; 2], q: &[f32; 32], key: &[f16; 32]) {
    let (q, _) = q.as_chunks::<16>();
    let (key, _) = key.as_chunks::<16>();
    totals[0] = _mm512_fmadd_ps(load_f32_16(&q[0]), load_f16(&key[0]), totals[0]);
    totals[1] = _mm512_fmadd_ps(load_f32_16(&q[1]), load_f16(&key[1]), totals[1]);
}

/// Columns `start..start + STRIP` of the weighted sum of the values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh(kv: &KvView<'_>, weights: &[f32], start: usize, out: &mut [f32; STRIP]) {
    let mut totals = [_mm512_setzero_ps(); STRIP / 16];
    for (idx, weights) in weights.chunks(kv.block_len).enumerate() {
        for (weight, value) in weights.iter().zip(kv.value_block(idx).chunks_exact(kv.head_dim)) {
            let (value, _) = value[start..start + STRIP].as_chunks::<16>();
            for (total, value) in totals.iter_mut().zip(value) {
                *total = _mm512_fmadd_ps(_mm512_set1_ps(*weight), load_f16(value), *total);
            }
        }
    }
    for (out, total) in out.as_chunks_mut::<16>().0.iter_mut().zip(totals) {
        store_f32_16(out, total);
    }
}

/// As [`weigh`] for the fewer columns that are left over.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn load_f16(values: &[f16; 16]) -> __m512 {
    let bits = values.map(|value| value.to_bits().to_le_bytes());
    _mm512_cvtph_ps(load_32(bits.as_flattened().first_chunk().expect("16 values are 32 bytes")))
}
