//! Loads and stores over arrays, and the instructions that have no stable intrinsic.

#![expect(unsafe_code, reason = "vector loads and stores take raw pointers; two instructions are written as assembly")]

use std::arch::aarch64::*;
use std::arch::asm;

/// 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_u8(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the array is the 16 bytes read.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// 16 int8.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_i8(values: &[i8; 16]) -> int8x16_t {
    // SAFETY: the array is the 16 bytes read.
    unsafe { vld1q_s8(values.as_ptr()) }
}

/// 4 int32.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_i32(values: &[i32; 4]) -> int32x4_t {
    // SAFETY: the array is the 16 bytes read.
    unsafe { vld1q_s32(values.as_ptr()) }
}

/// 4 f32.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f32(values: &[f32; 4]) -> float32x4_t {
    // SAFETY: the array is the 16 bytes read.
    unsafe { vld1q_f32(values.as_ptr()) }
}

/// The bits of 4 f16.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f16_bits(values: &[u16; 4]) -> uint16x4_t {
    // SAFETY: the array is the 8 bytes read.
    unsafe { vld1_u16(values.as_ptr()) }
}

/// Writes 4 f32.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_f32(out: &mut [f32; 4], values: float32x4_t) {
    // SAFETY: the array is the 16 bytes written.
    unsafe { vst1q_f32(out.as_mut_ptr(), values) }
}

/// Writes the bits of 4 f16.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_f16_bits(out: &mut [u16; 4], bits: uint16x4_t) {
    // SAFETY: the array is the 8 bytes written.
    unsafe { vst1_u16(out.as_mut_ptr(), bits) }
}

/// Adds four products of int8 to each int32.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot(mut total: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction touches its three registers alone, and the function's features include it.
    unsafe {
        asm!(
            "sdot {total:v}.4s, {a:v}.16b, {b:v}.16b",
            total = inout(vreg) total, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    total
}

/// The f32 of 4 f16, given as bits.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn from_f16(bits: uint16x4_t) -> float32x4_t {
    let values: float32x4_t;
    // SAFETY: the instruction touches its two registers alone and is part of Advanced SIMD.
    unsafe {
        asm!(
            "fcvtl {values:v}.4s, {bits:v}.4h",
            values = lateout(vreg) values, bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    values
}

/// 4 f32 rounded to f16, as bits; ties go to even.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn to_f16(values: float32x4_t) -> uint16x4_t {
    let bits: uint16x4_t;
    // SAFETY: the instruction touches its two registers alone and is part of Advanced SIMD.
    unsafe {
        asm!(
            "fcvtn {bits:v}.4h, {values:v}.4s",
            bits = lateout(vreg) bits, values = in(vreg) values,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    bits
}

/// `values` with zeros behind them up to `N`; at most `N` values.
#[inline(always)]
pub(super) fn padded<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
    let mut out = [T::default(); N];
    out[..values.len()].copy_from_slice(values);
    out
}
