//! Blocks to vectors of 256 bits. Layouts are those of `blocks`, which the tests hold against these.

use super::memory::{load_16, load_32, padded};
use crate::blocks::{f16_at, scales_and_mins};
use std::arch::x86_64::*;

/// The array of `N` bytes at `offset` of a block.
#[inline(always)]
fn at<const N: usize>(block: &[u8], offset: usize) -> &[u8; N] {
    block[offset..].first_chunk().expect("formats place their fields inside the block")
}

/// Q4_0 as signed bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q4_0(block: &[u8; 18]) -> __m256i {
    _mm256_sub_epi8(nibbles(at(block, 2)), _mm256_set1_epi8(8))
}

/// Q4_1 as unsigned bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q4_1(block: &[u8; 20]) -> __m256i {
    nibbles(at(block, 4))
}

/// Q5_0 as signed bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q5_0(block: &[u8; 22]) -> __m256i {
    let quants = _mm256_or_si256(nibbles(at(block, 6)), fifth_bits(*at(block, 2)));
    _mm256_sub_epi8(quants, _mm256_set1_epi8(16))
}

/// Q5_1 as unsigned bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q5_1(block: &[u8; 24]) -> __m256i {
    _mm256_or_si256(nibbles(at(block, 8)), fifth_bits(*at(block, 4)))
}

/// Q8_0 as signed bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q8_0(block: &[u8; 34]) -> __m256i {
    load_32(at(block, 2))
}

/// Low nibbles in the low half, high ones in the high half.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(packed: &[u8; 16]) -> __m256i {
    let packed = load_16(packed);
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// 16 in every byte whose bit is set, else 0.
#[inline]
#[target_feature(enable = "avx2")]
fn fifth_bits(bits: [u8; 4]) -> __m256i {
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bits)), spread);
    let one_each = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, one_each), one_each);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

/// A block of 256 as vectors: quants are unsigned, and what has to come off the product of the quants with the
/// activations is the product of `mins` with the activations' sums of 16.
#[derive(Clone, Copy)]
pub(super) struct Unpacked {
    /// 32 unsigned bytes each.
    pub(super) quants: [__m256i; 8],
    /// The int16 factor of each pair of products, for each vector of quants.
    pub(super) scales: [__m256i; 8],
    /// An int32 per group of 16.
    pub(super) mins: [__m256i; 2],
    /// Factor of the products.
    pub(super) scale: f32,
    /// Factor of `mins`; without use where a format's minima have the factor `scale`.
    pub(super) min: f32,
}

/// Q4_K.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q4_k(block: &[u8; 144]) -> Unpacked {
    with_mins(block, nibbles_of_64(at(block, 16)))
}

/// Q5_K.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q5_k(block: &[u8; 176]) -> Unpacked {
    let mut quants = nibbles_of_64(at(block, 48));
    let fifth = load_32(at(block, 16));
    let mut bit = _mm256_set1_epi8(1);
    for quants in &mut quants {
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
        *quants = _mm256_or_si256(*quants, _mm256_and_si256(set, _mm256_set1_epi8(16)));
        bit = _mm256_add_epi8(bit, bit);
    }
    with_mins(block, quants)
}

/// Q6_K: its quants are 32 too great, so 32 times each group's scale is the group's minimum, with the factor `scale`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn q6_k(block: &[u8; 210]) -> Unpacked {
    let mut quants = [_mm256_setzero_si256(); 8];
    let (low_mask, high_mask) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48));
    for half in 0..2 {
        let low = [load_32(at(block, 64 * half)), load_32(at(block, 64 * half + 32))];
        let high = load_32(at(block, 128 + 32 * half));
        let low = [low[0], low[1], _mm256_srli_epi16::<4>(low[0]), _mm256_srli_epi16::<4>(low[1])];
        let high = [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high), high, _mm256_srli_epi16::<2>(high)];
        for quarter in 0..4 {
            let (low, high) = (_mm256_and_si256(low[quarter], low_mask), _mm256_and_si256(high[quarter], high_mask));
            quants[4 * half + quarter] = _mm256_or_si256(low, high);
        }
    }
    let packed: &[u8; 16] = at(block, 192);
    let pair = |i: usize| {
        let [low, high] = [packed[2 * i], packed[2 * i + 1]].map(|scale| i16::from(scale.cast_signed()));
        _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low))
    };
    let vector = load_16(packed);
    let mins = [_mm256_cvtepi8_epi32(vector), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(vector))];
    Unpacked {
        quants,
        scales: [pair(0), pair(1), pair(2), pair(3), pair(4), pair(5), pair(6), pair(7)],
        mins: mins.map(|mins| _mm256_slli_epi32::<5>(mins)),
        scale: f16_at(block, 208),
        min: 0.0,
    }
}

/// Low nibbles of 32 bytes, then their high ones, four times.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles_of_64(packed: &[u8; 128]) -> [__m256i; 8] {
    let mut quants = [_mm256_setzero_si256(); 8];
    for (bytes, quants) in packed.as_chunks::<32>().0.iter().zip(quants.as_chunks_mut::<2>().0) {
        let (bytes, mask) = (load_32(bytes), _mm256_set1_epi8(15));
        *quants = [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)];
    }
    quants
}

#[inline]
#[target_feature(enable = "avx2")]
fn with_mins(block: &[u8], quants: [__m256i; 8]) -> Unpacked {
    let (scales, mins) = scales_and_mins(at(block, 4));
    let mins = load_16(&padded(&mins));
    let mins = _mm_unpacklo_epi8(mins, mins);
    Unpacked {
        quants,
        scales: scales.map(|scale| _mm256_set1_epi16(i16::from(scale))),
        mins: [_mm256_cvtepu8_epi32(mins), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(mins))],
        scale: f16_at(block, 0),
        min: f16_at(block, 2),
    }
}
