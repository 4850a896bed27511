//! Activations to int8 with AVX2, for both sets. The scalar code of `generic` says what is computed.

use super::memory::{load_f32, store_i8, store_i32};
use std::arch::x86_64::*;

/// Blocks of 32; lengths were checked. Leaves `d` unrounded.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q8_32(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
    for ((x, q), (d, sum)) in blocks.zip(d.iter_mut().zip(sum)) {
        let scale = magnitude(x) / 127.0;
        let inverse = _mm256_set1_ps(finite_or_zero(1.0 / scale));
        let (x, _) = x.as_chunks::<8>();
        let mut rounded = [_mm256_setzero_si256(); 4];
        for (rounded, x) in rounded.iter_mut().zip(x) {
            *rounded = away_from_zero(_mm256_mul_ps(load_f32(x), inverse));
        }
        let [a, b, c, e] = rounded;
        store_i8(q, pack(rounded));
        *sum = sum_lanes(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, e)));
        *d = scale;
    }
}

/// Blocks of 256; lengths were checked.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q8_256(x: &[f32], q: &mut [i8], d: &mut [f32], sum: &mut [i32]) {
    let blocks = x.as_chunks::<256>().0.iter().zip(q.as_chunks_mut::<256>().0);
    for ((x, q), (d, sums)) in blocks.zip(d.iter_mut().zip(sum.as_chunks_mut::<16>().0)) {
        let magnitude = magnitude(x);
        let extreme = x.iter().copied().find(|x| x.abs() == magnitude).unwrap_or(0.0);
        let inverse = finite_or_zero(-127.0 / extreme);
        let halves = x.as_chunks::<128>().0.iter().zip(q.as_chunks_mut::<128>().0);
        for ((x, q), sums) in halves.zip(sums.as_chunks_mut::<8>().0) {
            half_of_256(x, _mm256_set1_ps(inverse), q, sums);
        }
        *d = finite_or_zero(1.0 / inverse);
    }
}

/// 128 entries and their eight sums of 16.
#[inline]
#[target_feature(enable = "avx2")]
fn half_of_256(x: &[f32; 128], inverse: __m256, q: &mut [i8; 128], sums: &mut [i32; 8]) {
    let mut quarters = [_mm256_setzero_si256(); 4];
    for ((x, q), fours) in x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0).zip(&mut quarters) {
        let mut rounded = [_mm256_setzero_si256(); 4];
        for (rounded, x) in rounded.iter_mut().zip(x.as_chunks::<8>().0) {
            // The conversion itself rounds to even.
            *rounded = _mm256_cvtps_epi32(zero_if_nan(_mm256_mul_ps(load_f32(x), inverse)));
        }
        let packed = pack(rounded);
        store_i8(q, packed);
        let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), packed);
        *fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    let [a, b, c, d] = quarters;
    let sixteens = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    store_i32(sums, _mm256_permutevar8x32_epi32(sixteens, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

/// The greatest magnitude; NaN counts for nothing.
#[inline]
#[target_feature(enable = "avx2")]
fn magnitude(x: &[f32]) -> f32 {
    let mut greatest = [_mm256_setzero_ps(); 4];
    for x in x.as_chunks::<32>().0 {
        for (greatest, x) in greatest.iter_mut().zip(x.as_chunks::<8>().0) {
            // Of a NaN and a number, max gives its second operand.
            *greatest = _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0), load_f32(x)), *greatest);
        }
    }
    let [a, b, c, d] = greatest;
    let eight = _mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d));
    let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// Rounds half away from zero: adds the greatest f32 below a half, with the sign of `x`, and cuts off.
#[inline]
#[target_feature(enable = "avx2")]
fn away_from_zero(x: __m256) -> __m256i {
    let sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0));
    let almost_half = _mm256_or_ps(_mm256_set1_ps(0.499_999_97), sign);
    _mm256_cvttps_epi32(zero_if_nan(_mm256_add_ps(x, almost_half)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn zero_if_nan(x: __m256) -> __m256 {
    _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x))
}

/// 32 int32 as int8, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn pack(values: [__m256i; 4]) -> __m256i {
    let [a, b, c, d] = values;
    // Packing works inside 128 bits and leaves the fours of each vector apart.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_lanes(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

#[inline(always)]
fn finite_or_zero(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}
