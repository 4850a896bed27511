//! Blocks to vectors of 16 signed bytes. Layouts are those of `blocks`, which the tests hold against these.

use super::memory::load_u8;
use crate::blocks::{f16_at, scales_and_mins};
use std::arch::aarch64::*;

/// The array of `N` bytes at `offset` of a block.
#[inline(always)]
fn at<const N: usize>(block: &[u8], offset: usize) -> &[u8; N] {
    block[offset..].first_chunk().expect("formats place their fields inside the block")
}

/// Q4_0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q4_0(block: &[u8; 18]) -> [int8x16_t; 2] {
    less(nibbles(at(block, 2)), 8)
}

/// Q4_1.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q4_1(block: &[u8; 20]) -> [int8x16_t; 2] {
    less(nibbles(at(block, 4)), 0)
}

/// Q5_0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q5_0(block: &[u8; 22]) -> [int8x16_t; 2] {
    less(with_fifth_bits(nibbles(at(block, 6)), at(block, 2)), 16)
}

/// Q5_1.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q5_1(block: &[u8; 24]) -> [int8x16_t; 2] {
    less(with_fifth_bits(nibbles(at(block, 8)), at(block, 4)), 0)
}

/// Q8_0.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q8_0(block: &[u8; 34]) -> [int8x16_t; 2] {
    less([load_u8(at(block, 2)), load_u8(at(block, 18))], 0)
}

/// Signed, less `zero`.
#[inline]
#[target_feature(enable = "neon")]
fn less(quants: [uint8x16_t; 2], zero: i8) -> [int8x16_t; 2] {
    let [low, high] = quants;
    let zero = vdupq_n_s8(zero);
    [vsubq_s8(vreinterpretq_s8_u8(low), zero), vsubq_s8(vreinterpretq_s8_u8(high), zero)]
}

/// Low nibbles, then high ones.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles(packed: &[u8; 16]) -> [uint8x16_t; 2] {
    let packed = load_u8(packed);
    [vandq_u8(packed, vdupq_n_u8(15)), vshrq_n_u8::<4>(packed)]
}

/// Adds 16 where an entry's bit is set.
#[inline]
#[target_feature(enable = "neon")]
fn with_fifth_bits(quants: [uint8x16_t; 2], bits: &[u8; 4]) -> [uint8x16_t; 2] {
    let one_each = load_u8(&[1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
    let mut out = quants;
    for (half, quants) in out.iter_mut().enumerate() {
        let bytes = vcombine_u8(vdup_n_u8(bits[2 * half]), vdup_n_u8(bits[2 * half + 1]));
        let set = vtstq_u8(bytes, one_each);
        *quants = vorrq_u8(*quants, vandq_u8(set, vdupq_n_u8(16)));
    }
    out
}

/// A block of 256 as vectors, one per group of 16.
#[derive(Clone, Copy)]
pub(super) struct Unpacked {
    pub(super) quants: [int8x16_t; 16],
    pub(super) scales: [i32; 16],
    /// Zeros where the format has none.
    pub(super) mins: [i32; 16],
    /// Factor of the products.
    pub(super) scale: f32,
    /// Factor of `mins`.
    pub(super) min: f32,
}

/// Q4_K.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q4_k(block: &[u8; 144]) -> Unpacked {
    with_mins(block, nibbles_of_64(at(block, 16)))
}

/// Q5_K.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q5_k(block: &[u8; 176]) -> Unpacked {
    let mut quants = nibbles_of_64(at(block, 48));
    let fifth = [load_u8(at(block, 16)), load_u8(at(block, 32))];
    let mut bit = vdupq_n_u8(1);
    for quants in quants.as_chunks_mut::<2>().0 {
        for (quants, fifth) in quants.iter_mut().zip(fifth) {
            *quants = vorrq_u8(*quants, vandq_u8(vtstq_u8(fifth, bit), vdupq_n_u8(16)));
        }
        bit = vaddq_u8(bit, bit);
    }
    with_mins(block, quants)
}

/// Q6_K.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn q6_k(block: &[u8; 210]) -> Unpacked {
    let mut quants = [vdupq_n_s8(0); 16];
    let (low_mask, high_mask) = (vdupq_n_u8(15), vdupq_n_u8(48));
    for half in 0..2 {
        for lane in 0..2 {
            let low = [load_u8(at(block, 64 * half + 16 * lane)), load_u8(at(block, 64 * half + 32 + 16 * lane))];
            let high = load_u8(at(block, 128 + 32 * half + 16 * lane));
            let low = [low[0], low[1], vshrq_n_u8::<4>(low[0]), vshrq_n_u8::<4>(low[1])];
            let high = [vshlq_n_u8::<4>(high), vshlq_n_u8::<2>(high), high, vshrq_n_u8::<2>(high)];
            for quarter in 0..4 {
                let six = vorrq_u8(vandq_u8(low[quarter], low_mask), vandq_u8(high[quarter], high_mask));
                quants[8 * half + 2 * quarter + lane] = vsubq_s8(vreinterpretq_s8_u8(six), vdupq_n_s8(32));
            }
        }
    }
    let scales: &[u8; 16] = at(block, 192);
    let scales = scales.map(|scale| i32::from(scale.cast_signed()));
    Unpacked { quants, scales, mins: [0; 16], scale: f16_at(block, 208), min: 0.0 }
}

/// Low nibbles of 32 bytes, then their high ones, four times.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles_of_64(packed: &[u8; 128]) -> [uint8x16_t; 16] {
    let mut quants = [vdupq_n_u8(0); 16];
    for (bytes, quants) in packed.as_chunks::<32>().0.iter().zip(quants.as_chunks_mut::<4>().0) {
        let ([first_low, first_high], [second_low, second_high]) = (nibbles(at(bytes, 0)), nibbles(at(bytes, 16)));
        *quants = [first_low, second_low, first_high, second_high];
    }
    quants
}

#[inline]
#[target_feature(enable = "neon")]
fn with_mins(block: &[u8], quants: [uint8x16_t; 16]) -> Unpacked {
    let (scales, mins) = scales_and_mins(at(block, 4));
    let mut unpacked = Unpacked {
        quants: [vdupq_n_s8(0); 16],
        scales: twice(scales),
        mins: twice(mins),
        scale: f16_at(block, 0),
        min: f16_at(block, 2),
    };
    for (signed, unsigned) in unpacked.quants.iter_mut().zip(quants) {
        *signed = vreinterpretq_s8_u8(unsigned);
    }
    unpacked
}

/// Each value for both its groups of 16.
#[inline(always)]
fn twice(values: [u8; 8]) -> [i32; 16] {
    std::array::from_fn(|i| i32::from(values[i / 2]))
}
