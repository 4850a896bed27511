//! Advanced SIMD with one of three kinds of dot products: a vector is four registers of 128 bits.

#![expect(unsafe_code, reason = "intrinsics, whose features the value of the set proves, and loads and stores")]

use super::dot::{Dot, Sdot, Usdot, Widening};
use crate::Kernels;
use crate::isa::Isa;
use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;
use std::marker::PhantomData;

/// A set. Only its `detect` makes one, so that having it proves that the CPU has Advanced SIMD and the instructions
/// that `D` names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon<D> {
    _proof: PhantomData<D>,
}

/// Advanced SIMD alone.
pub(crate) type NeonBase = Neon<Widening>;
/// With the extension `dotprod`.
pub(crate) type NeonDotprod = Neon<Sdot>;
/// With the extension `i8mm`.
pub(crate) type NeonI8mm = Neon<Usdot>;

impl NeonBase {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: NeonBase = Neon { _proof: PhantomData };
        is_aarch64_feature_detected!("neon").then_some(&SET as &dyn Kernels)
    }
}

impl NeonDotprod {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: NeonDotprod = Neon { _proof: PhantomData };
        let present = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
        present.then_some(&SET as &dyn Kernels)
    }
}

impl NeonI8mm {
    /// The set, if this CPU has it.
    pub(crate) fn detect() -> Option<&'static dyn Kernels> {
        static SET: NeonI8mm = Neon { _proof: PhantomData };
        let present = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("i8mm");
        present.then_some(&SET as &dyn Kernels)
    }
}

crate::entry::kernel_set!(NeonBase, "aarch64-neon", "neon");
crate::entry::kernel_set!(NeonDotprod, "aarch64-neon-dotprod", "neon,dotprod");
crate::entry::kernel_set!(NeonI8mm, "aarch64-neon-i8mm", "neon,i8mm");

// SAFETY of every block: `self` proves the features that the intrinsics need, and arrays are as long as what is loaded
// from them or stored to them, neither of which needs alignment.
impl<D: Dot> Isa for Neon<D> {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];
    type B = [uint8x16_t; 4];

    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> [float32x4_t; 4] {
        // SAFETY: see the impl.
        [unsafe { vdupq_n_f32(value) }; 4]
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [float32x4_t; 4] {
        let [a, b, c, d] = quarters(values);
        // SAFETY: see the impl.
        unsafe { [vld1q_f32(a), vld1q_f32(b), vld1q_f32(c), vld1q_f32(d)] }
    }

    #[inline(always)]
    fn load_pair(self, low: &[f32; 8], high: &[f32; 8]) -> [float32x4_t; 4] {
        // SAFETY: see the impl.
        unsafe {
            [
                vld1q_f32(low.as_ptr()),
                vld1q_f32(low[4..].as_ptr()),
                vld1q_f32(high.as_ptr()),
                vld1q_f32(high[4..].as_ptr()),
            ]
        }
    }

    #[inline(always)]
    fn max_magnitude(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        let mut out = a;
        for quarter in 0..4 {
            // Of a NaN and a number, the number.
            // SAFETY: see the impl.
            out[quarter] = unsafe { vmaxnmq_f32(vabsq_f32(b[quarter]), a[quarter]) };
        }
        out
    }

    #[inline(always)]
    fn round(self, values: [float32x4_t; 4]) -> [int32x4_t; 4] {
        // SAFETY: see the impl.
        unsafe {
            let (sign, almost_half) = (vdupq_n_u32(1 << 31), vdupq_n_f32(0.499_999_97));
            let mut out = [vdupq_n_s32(0); 4];
            for quarter in 0..4 {
                // The conversion cuts off, and makes NaN 0.
                let almost_half = vbslq_f32(sign, values[quarter], almost_half);
                out[quarter] = vcvtq_s32_f32(vaddq_f32(values[quarter], almost_half));
            }
            out
        }
    }

    #[inline(always)]
    fn store_i8(self, values: [int32x4_t; 4], out: &mut [u8; 16]) {
        // SAFETY: see the impl.
        unsafe {
            let low = vcombine_s16(vmovn_s32(values[0]), vmovn_s32(values[1]));
            let high = vcombine_s16(vmovn_s32(values[2]), vmovn_s32(values[3]));
            let bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
            vst1q_u8(out.as_mut_ptr(), vreinterpretq_u8_s8(bytes));
        }
    }

    #[inline(always)]
    fn sum(self, values: [int32x4_t; 4]) -> i32 {
        // SAFETY: see the impl.
        unsafe { vaddvq_s32(vaddq_s32(vaddq_s32(values[0], values[1]), vaddq_s32(values[2], values[3]))) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 64]) -> [float32x4_t; 4] {
        let [a, b, c, d] = self.load_bytes(bytes);
        // SAFETY: see the impl.
        unsafe { [vreinterpretq_f32_u8(a), vreinterpretq_f32_u8(b), vreinterpretq_f32_u8(c), vreinterpretq_f32_u8(d)] }
    }

    #[inline(always)]
    fn store(self, values: [float32x4_t; 4], out: &mut [f32; 16]) {
        for (quarter, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // SAFETY: see the impl.
            unsafe { vst1q_f32(out.as_mut_ptr(), values[quarter]) }
        }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 32]) -> [float32x4_t; 4] {
        // SAFETY: see the impl.
        unsafe {
            let [low, high] = halves(bytes);
            let (low, high) = (vreinterpretq_f16_u16(low), vreinterpretq_f16_u16(high));
            [
                vcvt_f32_f16(vget_low_f16(low)),
                vcvt_high_f32_f16(low),
                vcvt_f32_f16(vget_low_f16(high)),
                vcvt_high_f32_f16(high),
            ]
        }
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 32]) -> [float32x4_t; 4] {
        // SAFETY: see the impl.
        unsafe {
            let [low, high] = halves(bytes);
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(low))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(low)),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(high))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(high)),
            ]
        }
    }

    #[inline(always)]
    fn mul(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        let mut products = a;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            products[quarter] = unsafe { vmulq_f32(a[quarter], b[quarter]) };
        }
        products
    }

    #[inline(always)]
    fn fma(self, a: [float32x4_t; 4], b: [float32x4_t; 4], c: [float32x4_t; 4]) -> [float32x4_t; 4] {
        let mut sums = c;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            sums[quarter] = unsafe { vfmaq_f32(c[quarter], a[quarter], b[quarter]) };
        }
        sums
    }

    #[inline(always)]
    fn load_i32(self, bytes: &[u8; 64]) -> [int32x4_t; 4] {
        let [a, b, c, d] = self.load_bytes(bytes);
        // SAFETY: see the impl.
        unsafe { [vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b), vreinterpretq_s32_u8(c), vreinterpretq_s32_u8(d)] }
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; 16]) -> [int32x4_t; 4] {
        // SAFETY: see the impl.
        unsafe {
            let bytes = vld1q_s8(bytes.as_ptr().cast());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)]
        }
    }

    #[inline(always)]
    fn bits(self, values: [int32x4_t; 4], shift: u32, mask: i32) -> [int32x4_t; 4] {
        let mut out = values;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            out[quarter] = unsafe {
                let shifted = vshlq_u32(vreinterpretq_u32_s32(values[quarter]), vdupq_n_s32(-shift.cast_signed()));
                vandq_s32(vreinterpretq_s32_u32(shifted), vdupq_n_s32(mask))
            };
        }
        out
    }

    #[inline(always)]
    fn or_shifted(self, a: [int32x4_t; 4], b: [int32x4_t; 4], shift: u32) -> [int32x4_t; 4] {
        let mut out = a;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            out[quarter] = unsafe { vorrq_s32(a[quarter], vshlq_s32(b[quarter], vdupq_n_s32(shift.cast_signed()))) };
        }
        out
    }

    #[inline(always)]
    fn to_f32(self, values: [int32x4_t; 4]) -> [float32x4_t; 4] {
        let mut out = self.splat(0.0);
        for quarter in 0..4 {
            // SAFETY: see the impl.
            out[quarter] = unsafe { vcvtq_f32_s32(values[quarter]) };
        }
        out
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 64]) -> [uint8x16_t; 4] {
        let [a, b, c, d] = quarters(bytes);
        // SAFETY: see the impl.
        unsafe { [vld1q_u8(a), vld1q_u8(b), vld1q_u8(c), vld1q_u8(d)] }
    }

    #[inline(always)]
    fn byte_bits(self, values: [uint8x16_t; 4], shift: u32, mask: u8) -> [uint8x16_t; 4] {
        let mut out = values;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            out[quarter] = unsafe {
                let shifted = vshlq_u8(values[quarter], vdupq_n_s8(-count(shift)));
                vandq_u8(shifted, vdupq_n_u8(mask))
            };
        }
        out
    }

    #[inline(always)]
    fn byte_bits_left(self, values: [uint8x16_t; 4], shift: u32, mask: u8) -> [uint8x16_t; 4] {
        let mut out = values;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            out[quarter] = unsafe {
                let shifted = vshlq_u8(values[quarter], vdupq_n_s8(count(shift)));
                vandq_u8(shifted, vdupq_n_u8(mask))
            };
        }
        out
    }

    #[inline(always)]
    fn or_bytes(self, a: [uint8x16_t; 4], b: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        let mut out = a;
        for quarter in 0..4 {
            // SAFETY: see the impl.
            out[quarter] = unsafe { vorrq_u8(a[quarter], b[quarter]) };
        }
        out
    }

    #[inline(always)]
    fn dot<const ZERO: i32, const N: usize>(self, w: &[[uint8x16_t; 4]; N], x: &[i32; N], neg_sum: i32) -> Self::I {
        const { assert!(N.is_multiple_of(4), "words are taken four at a time") };
        // SAFETY: `self` proves what `D` names.
        unsafe {
            [
                D::four::<ZERO, N>(&column::<N, 0>(w), x, neg_sum),
                D::four::<ZERO, N>(&column::<N, 1>(w), x, neg_sum),
                D::four::<ZERO, N>(&column::<N, 2>(w), x, neg_sum),
                D::four::<ZERO, N>(&column::<N, 3>(w), x, neg_sum),
            ]
        }
    }
}

/// A shift below 8 as the instructions want it; a constant becomes part of the instruction.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "shifts of bytes are below 8")]
fn count(shift: u32) -> i8 {
    shift as i8
}

/// Register `QUARTER` of each vector.
#[inline(always)]
fn column<const N: usize, const QUARTER: usize>(vectors: &[[uint8x16_t; 4]; N]) -> [uint8x16_t; N] {
    let mut out = [vectors[0][QUARTER]; N];
    for n in 1..N {
        out[n] = vectors[n][QUARTER];
    }
    out
}

/// Where the four quarters of an array begin.
#[inline(always)]
fn quarters<T, const LEN: usize>(values: &[T; LEN]) -> [*const T; 4] {
    let step = const { LEN / 4 };
    [values.as_ptr(), values[step..].as_ptr(), values[2 * step..].as_ptr(), values[3 * step..].as_ptr()]
}

/// Sixteen 16-bit numbers, little-endian.
///
/// # Safety
/// The CPU must have Advanced SIMD.
#[inline(always)]
unsafe fn halves(bytes: &[u8; 32]) -> [uint16x8_t; 2] {
    // SAFETY: the array is the 32 bytes loaded.
    unsafe { [vreinterpretq_u16_u8(vld1q_u8(bytes.as_ptr())), vreinterpretq_u16_u8(vld1q_u8(bytes[16..].as_ptr()))] }
}
