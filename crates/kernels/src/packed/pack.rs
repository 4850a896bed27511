//! Rows of blocks to strips.

use super::STRIP_ROWS;
use crate::blocks::{Block32, Block256};
use crate::{PackedMatrix, WeightMatrix, WeightType};

/// Writes `w` to `out` in strips.
///
/// # Panics
/// If `out` is not exactly as long as [`PackedMatrix::bytes_of`] says.
pub fn pack(w: &WeightMatrix<'_>, out: &mut [u8]) {
    let (weight_type, n_blocks) = (w.weight_type(), w.n_cols() / w.weight_type().block_len());
    let n_bytes = PackedMatrix::bytes_of(weight_type, w.n_rows(), w.n_cols());
    assert!(n_bytes == Some(out.len()), "room for {} bytes of {n_bytes:?}", out.len());
    if out.is_empty() {
        return;
    }
    let group_bytes = STRIP_ROWS * weight_type.block_bytes();
    for (strip, out) in out.chunks_exact_mut(n_blocks * group_bytes).enumerate() {
        let n_lanes = (w.n_rows() - STRIP_ROWS * strip).min(STRIP_ROWS);
        for lane in 0..n_lanes {
            let blocks = w.row(STRIP_ROWS * strip + lane).chunks_exact(weight_type.block_bytes());
            for (block, group) in blocks.zip(out.chunks_exact_mut(group_bytes)) {
                pack_block(weight_type, block, group, lane);
            }
        }
        for lane in n_lanes..STRIP_ROWS {
            let zero = vec![0; weight_type.block_bytes()];
            out.chunks_exact_mut(group_bytes).for_each(|group| pack_block(weight_type, &zero, group, lane));
        }
    }
}

/// Writes one block to its lane of a group.
fn pack_block(weight_type: WeightType, block: &[u8], group: &mut [u8], lane: usize) {
    let quants_32 = |zero: u8| Block32::unpack(weight_type, block).quants.map(|q| q.cast_unsigned().wrapping_add(zero));
    match weight_type {
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => {
            put(group, lane, block);
        }
        WeightType::Q4_0 => put_nibbles(put(group, lane, &block[..2]), lane, &quants_32(8)),
        WeightType::Q4_1 => {
            let rest = put(put(group, lane, &block[..2]), lane, &block[2..4]);
            put_nibbles(rest, lane, &quants_32(0));
        }
        WeightType::Q5_0 => put_five_bits(put(group, lane, &block[..2]), lane, &quants_32(16)),
        WeightType::Q5_1 => {
            let rest = put(put(group, lane, &block[..2]), lane, &block[2..4]);
            put_five_bits(rest, lane, &quants_32(0));
        }
        WeightType::Q8_0 => {
            let units = put(group, lane, &block[..2]);
            for (unit, four) in units.as_chunks_mut::<64>().0.iter_mut().zip(quants_32(128).as_chunks::<4>().0) {
                unit[4 * lane..][..4].copy_from_slice(four);
            }
        }
        WeightType::Q4_K | WeightType::Q5_K | WeightType::Q6_K => pack_block_256(weight_type, block, group, lane),
    }
}

fn pack_block_256(weight_type: WeightType, block: &[u8], group: &mut [u8], lane: usize) {
    let quants = Block256::unpack(weight_type, block).quants.map(i8::cast_unsigned);
    let slices = quants.as_chunks::<32>().0;
    if weight_type == WeightType::Q6_K {
        let mut rest = put(group, lane, &block[208..210]);
        for scale in &block[192..208] {
            rest = put(rest, lane, &[*scale]);
        }
        for (group, quants) in rest.as_chunks_mut::<384>().0.iter_mut().zip(slices) {
            put_six_bits(group, lane, &quants.map(|q| q.wrapping_add(32)));
        }
        return;
    }
    let mut rest = put(put(group, lane, &block[..2]), lane, &block[2..4]);
    for word in block[4..16].as_chunks::<4>().0 {
        rest = put(rest, lane, word);
    }
    if weight_type == WeightType::Q4_K {
        rest.as_chunks_mut::<256>().0.iter_mut().zip(slices).for_each(|(group, q)| put_nibbles(group, lane, q));
    } else {
        rest.as_chunks_mut::<320>().0.iter_mut().zip(slices).for_each(|(group, q)| put_five_bits(group, lane, q));
    }
}

/// Writes a field to its lane; returns what follows the field of all lanes.
fn put<'a>(group: &'a mut [u8], lane: usize, field: &[u8]) -> &'a mut [u8] {
    let (fields, rest) = group.split_at_mut(STRIP_ROWS * field.len());
    fields[lane * field.len()..][..field.len()].copy_from_slice(field);
    rest
}

/// Low nibbles of the quants, units 0 to 3 below units 4 to 7.
fn put_nibbles(group: &mut [u8], lane: usize, quants: &[u8; 32]) {
    let (low, high) = quants.split_at(16);
    let pairs = low.as_chunks::<4>().0.iter().zip(high.as_chunks::<4>().0);
    for (unit, (low, high)) in group.as_chunks_mut::<64>().0.iter_mut().zip(pairs) {
        let word = u32::from_le_bytes(*low) & 0x0f0f_0f0f | (u32::from_le_bytes(*high) & 0x0f0f_0f0f) << 4;
        unit[4 * lane..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

/// Fifth bits, one unit of them, then nibbles.
fn put_five_bits(group: &mut [u8], lane: usize, quants: &[u8; 32]) {
    let (fifth, nibbles) = group.split_at_mut(64);
    let mut word = 0;
    for (unit, four) in quants.as_chunks::<4>().0.iter().enumerate() {
        word |= (u32::from_le_bytes(*four) >> 4 & 0x0101_0101) << unit;
    }
    fifth[4 * lane..][..4].copy_from_slice(&word.to_le_bytes());
    put_nibbles(nibbles, lane, quants);
}

/// The two high bits, two units of them, then nibbles.
fn put_six_bits(group: &mut [u8], lane: usize, quants: &[u8; 32]) {
    let (high, nibbles) = group.split_at_mut(128);
    for (out, fours) in high.as_chunks_mut::<64>().0.iter_mut().zip(quants.as_chunks::<16>().0) {
        let mut word = 0;
        for (unit, four) in fours.as_chunks::<4>().0.iter().enumerate() {
            word |= (u32::from_le_bytes(*four) >> 4 & 0x0303_0303) << (2 * unit);
        }
        out[4 * lane..][..4].copy_from_slice(&word.to_le_bytes());
    }
    put_nibbles(nibbles, lane, quants);
}
