//! Loads and stores over arrays, so that no kernel body needs a pointer.

#![expect(unsafe_code, reason = "vector loads and stores take raw pointers")]

use std::arch::x86_64::*;

/// 16 bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load_16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array is the 16 bytes read; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array is the 32 bytes read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// 32 int8.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_i8(values: &[i8; 32]) -> __m256i {
    // SAFETY: the array is the 32 bytes read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// 8 int32.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_i32(values: &[i32; 8]) -> __m256i {
    // SAFETY: the array is the 32 bytes read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// 8 f32.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_f32(values: &[f32; 8]) -> __m256 {
    // SAFETY: the array is the 32 bytes read; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// Writes 8 f32.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn store_f32(out: &mut [f32; 8], values: __m256) {
    // SAFETY: the array is the 32 bytes written; the store needs no alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
}

/// Writes 32 int8.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn store_i8(out: &mut [i8; 32], values: __m256i) {
    // SAFETY: the array is the 32 bytes written; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
}

/// Writes 8 int32.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn store_i32(out: &mut [i32; 8], values: __m256i) {
    // SAFETY: the array is the 32 bytes written; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
}

/// Writes 16 bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store_16(out: &mut [u16; 8], values: __m128i) {
    // SAFETY: the array is the 16 bytes written; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), values) }
}

/// Writes 32 bytes.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn store_32(out: &mut [u16; 16], values: __m256i) {
    // SAFETY: the array is the 32 bytes written; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_64(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is the 64 bytes read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// 16 f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_f32_16(values: &[f32; 16]) -> __m512 {
    // SAFETY: the array is the 64 bytes read; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Writes 16 f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_f32_16(out: &mut [f32; 16], values: __m512) {
    // SAFETY: the array is the 64 bytes written; the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
}

/// The first 8 f32, or as many as there are and zeros behind.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn load_f32_up_to_8(values: &[f32]) -> __m256 {
    // SAFETY: the mask has a bit for no lane past the slice, and lanes without one are not read.
    unsafe { _mm256_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()) }
}

/// The first 8 int32, or as many as there are and zeros behind.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn load_i32_up_to_8(values: &[i32]) -> __m256i {
    // SAFETY: the mask has a bit for no lane past the slice, and lanes without one are not read.
    unsafe { _mm256_maskz_loadu_epi32(first_lanes(values.len()), values.as_ptr()) }
}

/// A bit for each of the first `n` of 8 lanes.
#[inline(always)]
fn first_lanes(n: usize) -> __mmask8 {
    0xff_u8.checked_shr(8_u32.saturating_sub(u32::try_from(n).unwrap_or(8))).unwrap_or(0)
}

/// Asks for the cache lines of `bytes`.
#[inline]
#[target_feature(enable = "sse")]
pub(super) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
    }
}

/// `values` with zeros behind them up to `N`; at most `N` values.
#[inline(always)]
pub(super) fn padded<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
    let mut out = [T::default(); N];
    out[..values.len()].copy_from_slice(values);
    out
}
