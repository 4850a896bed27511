//! The f32 operations of `lanes`, compiled for 256 bits, and conversions to f16.

use super::super::memory::{load_f32, padded, store_16, store_f32};
use super::super::quantize;
use crate::lanes;
use half::f16;
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn quantize_q8_32(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    quantize::q8_32(x, q, d, sum);
    let (chunks, rest) = d.as_chunks_mut::<8>();
    for d in chunks {
        *d = through_f16(d);
    }
    let rounded = through_f16(&padded(rest));
    rest.copy_from_slice(&rounded[..rest.len()]);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn through_f16(x: &[f32; 8]) -> [f32; 8] {
    let mut out = [0.0; 8];
    store_f32(&mut out, _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load_f32(x))));
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn quantize_q8_256(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    quantize::q8_256(x, q, d, sum);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    lanes::rms_norm::<16>(x, weight, eps, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    lanes::add(x, y);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    lanes::silu_mul(gate, up);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rope(x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    lanes::rope(x, head_dim, cos, sin);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn softmax(x: &mut [f32]) {
    lanes::softmax::<16>(x);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_f16(x: &[f32], out: &mut [f16]) {
    for (x, out) in x.chunks(8).zip(out.chunks_mut(8)) {
        let mut bits = [0; 8];
        store_16(&mut bits, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load_f32(&padded(x))));
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = f16::from_bits(bits);
        }
    }
}
