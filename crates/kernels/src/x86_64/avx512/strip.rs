//! Formats of 32 weights, 16 weight rows at once: a strip has a row of weights in each lane, so that an activation is
//! broadcast to all of them and nothing is ever added across lanes.
//!
//! A block's int32 sum is exact. Over each `CHUNK` of blocks, scaled sums add up in eight totals by block number modulo
//! eight, which fold to one; the chunks' results add up in order. The rows beside a result do not matter.

use super::super::memory::{load_16, load_f32_16, padded, prefetch, store_f32_16};
use crate::tiles::{self, Columns32};
use crate::{Activations, PanelMut, WeightMatrix};
use std::arch::x86_64::*;

/// Weight rows of a strip.
const LANES: usize = 16;
/// Blocks of a strip that are unpacked at once, so that they stay in the first cache.
pub(super) const CHUNK: usize = 32;
/// Activation rows that share a load of weights.
const TILE_ROWS: usize = 4;

/// A block of each row of a strip.
pub(super) type Blocks<'a, const N: usize> = [&'a [u8; N]; LANES];

/// A block of each row of a strip, unpacked.
#[derive(Clone, Copy)]
struct Slice {
    /// Four unsigned bytes in each lane, eight times.
    quants: [__m512i; 8],
    scales: __m512,
    mins: __m512,
}

/// While block `idx` of the strip at `j` is worked on, its share of the next strip is fetched: sixteen short streams
/// are more than the CPU's own prefetching follows.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch_next<const N: usize>(w: &WeightMatrix<'_>, j: usize, idx: usize) {
    let start = (j + LANES) * w.row_bytes() + idx * LANES * N;
    if let Some(bytes) = w.bytes().get(start..start + LANES * N) {
        prefetch(bytes);
    }
}

/// Blocks of `N` bytes. Their quants are `2^ZERO_SHIFT` too great, or where that is 1 they have a minimum instead.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const N: usize, const ZERO_SHIFT: i32>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    unpack: impl Fn(&Blocks<'_, N>) -> [__m512i; 8],
) {
    let zero = _mm512_setzero_ps();
    let mut slices = [Slice { quants: [_mm512_setzero_si512(); 8], scales: zero, mins: zero }; CHUNK];
    let n_blocks = w.row_bytes() / N;
    let wide_end = x.n_rows() - x.n_rows() % TILE_ROWS;
    for j in (0..w.n_rows()).step_by(LANES) {
        let rows = tiles::strip_rows::<N, LANES>(w, j);
        for start in (0..n_blocks).step_by(CHUNK) {
            let range = start..n_blocks.min(start + CHUNK);
            for (slice, idx) in slices.iter_mut().zip(range.clone()) {
                prefetch_next::<N>(w, j, idx);
                *slice = Slice::new::<N, ZERO_SHIFT>(&tiles::blocks_at(&rows, idx), &unpack);
            }
            for i in (0..wide_end).step_by(TILE_ROWS) {
                let columns = tiles::columns_32(&tiles::rows_q8::<TILE_ROWS>(x, i), range.clone());
                add_chunk::<ZERO_SHIFT, TILE_ROWS>(&slices[..range.len()], &columns, start == 0, y, (i, j));
            }
            for i in wide_end..x.n_rows() {
                let columns = tiles::columns_32(&tiles::rows_q8::<1>(x, i), range.clone());
                add_chunk::<ZERO_SHIFT, 1>(&slices[..range.len()], &columns, start == 0, y, (i, j));
            }
        }
    }
}

/// Adds the products of some slices to the results from `(i, j)` on, or starts them where `first`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_chunk<const ZERO_SHIFT: i32, const ROWS: usize>(
    slices: &[Slice],
    x: &Columns32<'_, ROWS>,
    first: bool,
    y: &mut PanelMut<'_>,
    (i, j): (usize, usize),
) {
    let mut totals = [[_mm512_setzero_ps(); 8]; ROWS];
    for (idx, slice) in slices.iter().enumerate() {
        slice.accumulate::<ZERO_SHIFT, ROWS>(&mut totals, x, idx);
    }
    for (r, [a, b, c, d, e, f, g, h]) in totals.into_iter().enumerate() {
        let even = _mm512_add_ps(_mm512_add_ps(a, e), _mm512_add_ps(c, g));
        let odd = _mm512_add_ps(_mm512_add_ps(b, f), _mm512_add_ps(d, h));
        let before = if first { _mm512_setzero_ps() } else { load(y, i + r, j) };
        store(y, i + r, j, _mm512_add_ps(before, _mm512_add_ps(even, odd)));
    }
}

/// The results `(i, j..j + LANES)`, as far as there are.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(y: &mut PanelMut<'_>, i: usize, j: usize) -> __m512 {
    let row = &y.row_mut(i)[j..];
    load_f32_16(&padded(&row[..row.len().min(LANES)]))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(y: &mut PanelMut<'_>, i: usize, j: usize, total: __m512) {
    let mut results = [0.0; LANES];
    store_f32_16(&mut results, total);
    for (y, result) in y.row_mut(i)[j..].iter_mut().zip(results) {
        *y = result;
    }
}

impl Slice {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn new<const N: usize, const ZERO_SHIFT: i32>(
        blocks: &Blocks<'_, N>,
        unpack: impl Fn(&Blocks<'_, N>) -> [__m512i; 8],
    ) -> Self {
        // The f16 scale, and behind it the f16 minimum where there is one.
        let factors = dwords(blocks, 0);
        let mins = if ZERO_SHIFT == 0 { _mm512_srli_epi32::<16>(factors) } else { _mm512_setzero_si512() };
        Self {
            quants: unpack(blocks),
            scales: _mm512_cvtph_ps(_mm512_cvtepi32_epi16(factors)),
            mins: _mm512_cvtph_ps(_mm512_cvtepi32_epi16(mins)),
        }
    }

    /// Adds the products with block `idx` of some activation rows to the totals of its number modulo eight.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn accumulate<const ZERO_SHIFT: i32, const ROWS: usize>(
        &self,
        totals: &mut [[__m512; 8]; ROWS],
        x: &Columns32<'_, ROWS>,
        idx: usize,
    ) {
        let mut products = [_mm512_setzero_si512(); ROWS];
        if ZERO_SHIFT > 0 {
            for (r, products) in products.iter_mut().enumerate() {
                *products = _mm512_set1_epi32(-(x.sums[r][idx] << ZERO_SHIFT));
            }
        }
        for (part, quants) in self.quants.iter().enumerate() {
            for (r, products) in products.iter_mut().enumerate() {
                let [a, b, c, d] = x.quants[r][idx].as_chunks::<4>().0[part];
                let four = [a.cast_unsigned(), b.cast_unsigned(), c.cast_unsigned(), d.cast_unsigned()];
                *products = _mm512_dpbusd_epi32(*products, *quants, _mm512_set1_epi32(i32::from_le_bytes(four)));
            }
        }
        for (r, totals) in totals.iter_mut().enumerate() {
            let total = &mut totals[idx % 8];
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(products[r]), self.scales);
            *total = _mm512_fmadd_ps(scaled, _mm512_set1_ps(x.scales[r][idx]), *total);
            if ZERO_SHIFT == 0 {
                *total = _mm512_fmadd_ps(self.mins, _mm512_set1_ps(x.offsets[r][idx]), *total);
            }
        }
    }
}

/// Q4_0, 8 too great.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn q4_0(blocks: &Blocks<'_, 18>) -> [__m512i; 8] {
    nibbles(transpose(blocks, 2))
}

/// Q4_1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn q4_1(blocks: &Blocks<'_, 20>) -> [__m512i; 8] {
    nibbles(transpose(blocks, 4))
}

/// Q5_0, 16 too great.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn q5_0(blocks: &Blocks<'_, 22>) -> [__m512i; 8] {
    with_fifth_bits(nibbles(transpose(blocks, 6)), dwords(blocks, 2))
}

/// Q5_1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn q5_1(blocks: &Blocks<'_, 24>) -> [__m512i; 8] {
    with_fifth_bits(nibbles(transpose(blocks, 8)), dwords(blocks, 4))
}

/// Q8_0, 128 too great.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn q8_0(blocks: &Blocks<'_, 34>) -> [__m512i; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (transpose(blocks, 2), transpose(blocks, 18));
    let mut quants = [a, b, c, d, e, f, g, h];
    for quants in &mut quants {
        *quants = _mm512_xor_si512(*quants, _mm512_set1_epi8(-128));
    }
    quants
}

/// Low nibbles, then high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn nibbles(packed: [__m512i; 4]) -> [__m512i; 8] {
    let mut quants = [_mm512_setzero_si512(); 8];
    let mask = _mm512_set1_epi8(15);
    for (part, packed) in packed.into_iter().enumerate() {
        quants[part] = _mm512_and_si512(packed, mask);
        quants[part + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask);
    }
    quants
}

/// Sets bit 4 of each entry whose bit is set in its lane of `bits`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn with_fifth_bits(quants: [__m512i; 8], bits: __m512i) -> [__m512i; 8] {
    let mut out = quants;
    let sixteen = _mm512_set1_epi8(16);
    for (part, quants) in out.iter_mut().enumerate() {
        // The byte of `bits` that part's four bits are in, four times in each lane.
        let byte = 0x0101_0101 * [0, 0, 1, 1, 2, 2, 3, 3][part];
        let spread = _mm512_setr_epi32(
            byte,
            byte + 0x0404_0404,
            byte + 0x0808_0808,
            byte + 0x0c0c_0c0c,
            byte,
            byte + 0x0404_0404,
            byte + 0x0808_0808,
            byte + 0x0c0c_0c0c,
            byte,
            byte + 0x0404_0404,
            byte + 0x0808_0808,
            byte + 0x0c0c_0c0c,
            byte,
            byte + 0x0404_0404,
            byte + 0x0808_0808,
            byte + 0x0c0c_0c0c,
        );
        let one_each = i32::from_le_bytes(if part % 2 == 0 { [1, 2, 4, 8] } else { [16, 32, 64, 128] });
        let set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, spread), _mm512_set1_epi32(one_each));
        *quants = _mm512_mask_add_epi8(*quants, set, *quants, sixteen);
    }
    out
}

/// The 16 bytes at `offset` of each block, as four vectors of a 4-byte column each.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose<const N: usize>(blocks: &Blocks<'_, N>, offset: usize) -> [__m512i; 4] {
    // Part `i` has rows i, i + 4, i + 8 and i + 12; transposing 4 x 4 inside 128 bits leaves the rows in order.
    let mut parts = [_mm512_setzero_si512(); 4];
    for (i, part) in parts.iter_mut().enumerate() {
        *part = _mm512_castsi128_si512(load_16(field(blocks[i], offset)));
        *part = _mm512_inserti32x4::<1>(*part, load_16(field(blocks[i + 4], offset)));
        *part = _mm512_inserti32x4::<2>(*part, load_16(field(blocks[i + 8], offset)));
        *part = _mm512_inserti32x4::<3>(*part, load_16(field(blocks[i + 12], offset)));
    }
    let low = [_mm512_unpacklo_epi32(parts[0], parts[1]), _mm512_unpacklo_epi32(parts[2], parts[3])];
    let high = [_mm512_unpackhi_epi32(parts[0], parts[1]), _mm512_unpackhi_epi32(parts[2], parts[3])];
    [
        _mm512_unpacklo_epi64(low[0], low[1]),
        _mm512_unpackhi_epi64(low[0], low[1]),
        _mm512_unpacklo_epi64(high[0], high[1]),
        _mm512_unpackhi_epi64(high[0], high[1]),
    ]
}

/// The 4 bytes at `offset` of each block.
#[inline]
#[target_feature(enable = "avx512f")]
fn dwords<const N: usize>(blocks: &Blocks<'_, N>, offset: usize) -> __m512i {
    let at = |row: usize| i32::from_le_bytes(*field(blocks[row], offset));
    _mm512_setr_epi32(
        at(0),
        at(1),
        at(2),
        at(3),
        at(4),
        at(5),
        at(6),
        at(7),
        at(8),
        at(9),
        at(10),
        at(11),
        at(12),
        at(13),
        at(14),
        at(15),
    )
}

#[inline(always)]
fn field<const LEN: usize, const N: usize>(block: &[u8; N], offset: usize) -> &[u8; LEN] {
    block[offset..].first_chunk().expect("formats place their fields inside the block")
}
