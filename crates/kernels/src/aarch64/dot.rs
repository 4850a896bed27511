//! Exact dot products of weights and int8 activations by the instructions of each set.

#![expect(unsafe_code, reason = "intrinsics and instructions without stable ones, whose features callers vouch for")]

use std::arch::aarch64::*;
use std::arch::asm;

/// How four lanes of [`crate::isa::Isa::dot`] are computed.
pub(crate) trait Dot: Copy {
    /// Four lanes of [`crate::isa::Isa::dot`].
    ///
    /// # Safety
    /// The CPU must have Advanced SIMD and the instructions that the type names.
    unsafe fn four<const ZERO: i32, const N: usize>(w: &[uint8x16_t; N], x: &[i32; N], neg_sum: i32) -> int32x4_t;
}

/// By multiplication to int16: Advanced SIMD alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Widening {}

/// By `sdot`, of the extension `dotprod`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sdot {}

/// By `usdot`, of the extension `i8mm`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usdot {}

impl Dot for Widening {
    #[inline(always)]
    unsafe fn four<const ZERO: i32, const N: usize>(w: &[uint8x16_t; N], x: &[i32; N], neg_sum: i32) -> int32x4_t {
        // SAFETY: the caller vouches for Advanced SIMD, and an array is the bytes loaded.
        unsafe {
            let mut words = [vdupq_n_s8(0); N];
            for (idx, x) in x.as_chunks::<4>().0.iter().enumerate() {
                let x = vreinterpretq_s8_s32(vld1q_s32(x.as_ptr()));
                words[4 * idx] = broadcast::<0>(x);
                words[4 * idx + 1] = broadcast::<1>(x);
                words[4 * idx + 2] = broadcast::<2>(x);
                words[4 * idx + 3] = broadcast::<3>(x);
            }
            let [low, high] = match ZERO {
                128 => pairs::<ZERO, N, 2>(w, &words),
                32 => pairs::<ZERO, N, 4>(w, &words),
                _ => pairs::<ZERO, N, N>(w, &words),
            };
            vaddq_s32(vpaddq_s32(low, high), start::<ZERO, 128>(neg_sum))
        }
    }
}

/// Sums of the products in pairs of bytes: of the low eight bytes, and of the high ones. `GROUP` products are added up
/// as int16, which holds two of up to 128 * 127, four of up to 63 * 127, and eight of up to 31 * 127.
#[inline]
#[target_feature(enable = "neon")]
fn pairs<const ZERO: i32, const N: usize, const GROUP: usize>(
    w: &[uint8x16_t; N],
    x: &[int8x16_t; N],
) -> [int32x4_t; 2] {
    const { assert!(N.is_multiple_of(GROUP) && GROUP <= 8, "there are whole groups that int16 holds") };
    let mut sums = [vdupq_n_s32(0); 2];
    for group in 0..N / GROUP {
        let first = group * GROUP;
        let weights = signed::<ZERO>(w[first]);
        let mut low = vmull_s8(vget_low_s8(weights), vget_low_s8(x[first]));
        let mut high = vmull_high_s8(weights, x[first]);
        for n in first + 1..first + GROUP {
            let weights = signed::<ZERO>(w[n]);
            low = vmlal_s8(low, vget_low_s8(weights), vget_low_s8(x[n]));
            high = vmlal_high_s8(high, weights, x[n]);
        }
        sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
    }
    sums
}

impl Dot for Sdot {
    #[inline(always)]
    unsafe fn four<const ZERO: i32, const N: usize>(w: &[uint8x16_t; N], x: &[i32; N], neg_sum: i32) -> int32x4_t {
        // SAFETY: the caller vouches for the instruction.
        unsafe {
            let mut sum = start::<ZERO, 128>(neg_sum);
            for (idx, x) in x.as_chunks::<4>().0.iter().enumerate() {
                let x = vreinterpretq_s8_s32(vld1q_s32(x.as_ptr()));
                sum = sdot::<0>(sum, signed::<ZERO>(w[4 * idx]), x);
                sum = sdot::<1>(sum, signed::<ZERO>(w[4 * idx + 1]), x);
                sum = sdot::<2>(sum, signed::<ZERO>(w[4 * idx + 2]), x);
                sum = sdot::<3>(sum, signed::<ZERO>(w[4 * idx + 3]), x);
            }
            sum
        }
    }
}

impl Dot for Usdot {
    #[inline(always)]
    unsafe fn four<const ZERO: i32, const N: usize>(w: &[uint8x16_t; N], x: &[i32; N], neg_sum: i32) -> int32x4_t {
        // SAFETY: the caller vouches for the instruction.
        unsafe {
            let mut sum = start::<ZERO, 0>(neg_sum);
            for (idx, x) in x.as_chunks::<4>().0.iter().enumerate() {
                let x = vreinterpretq_s8_s32(vld1q_s32(x.as_ptr()));
                sum = usdot::<0>(sum, w[4 * idx], x);
                sum = usdot::<1>(sum, w[4 * idx + 1], x);
                sum = usdot::<2>(sum, w[4 * idx + 2], x);
                sum = usdot::<3>(sum, w[4 * idx + 3], x);
            }
            sum
        }
    }
}

/// What makes up for weights that are `ZERO` too great; nothing where `ZERO` is `SIGNED`, as [`signed`] takes care of it.
#[inline]
#[target_feature(enable = "neon")]
fn start<const ZERO: i32, const SIGNED: i32>(neg_sum: i32) -> int32x4_t {
    if ZERO == SIGNED || ZERO == 0 { vdupq_n_s32(0) } else { vdupq_n_s32(neg_sum << ZERO.trailing_zeros()) }
}

/// Weights as signed bytes, without the 128 that they are too great where that is `ZERO`.
#[inline]
#[target_feature(enable = "neon")]
fn signed<const ZERO: i32>(weights: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(if ZERO == 128 { veorq_u8(weights, vdupq_n_u8(128)) } else { weights })
}

/// Word `WORD` of `x` in each lane.
///
/// Spelled out because the compiler, where it knows that both halves are alike, takes the high halves of weights out
/// before it multiplies them.
#[inline]
#[target_feature(enable = "neon")]
fn broadcast<const WORD: i32>(x: int8x16_t) -> int8x16_t {
    let out: int8x16_t;
    // SAFETY: the instruction touches its two registers alone and is part of Advanced SIMD.
    unsafe {
        asm!(
            "dup {out:v}.4s, {x:v}.s[{word}]",
            out = lateout(vreg) out, x = in(vreg) x, word = const WORD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// Adds to each lane the products of its four weights with word `WORD` of `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const WORD: i32>(mut sum: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction touches its three registers alone, and the function's features include it.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{word}]",
            sum = inout(vreg) sum, weights = in(vreg) weights, x = in(vreg) x, word = const WORD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// As [`sdot`] for unsigned weights.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usdot<const WORD: i32>(mut sum: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction touches its three registers alone, and the function's features include it.
    unsafe {
        asm!(
            "usdot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{word}]",
            sum = inout(vreg) sum, weights = in(vreg) weights, x = in(vreg) x, word = const WORD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
