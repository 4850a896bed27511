//! Strips back to numbers, in plain code: what `generic` multiplies with, and rows of an embedding.

use super::STRIP_ROWS;
use crate::WeightType;
use crate::blocks::scales_and_mins;
use half::{bf16, f16};

/// 32 columns of a strip: column `4 * u + b` of row `lane` is `quants[u][4 * lane + b] - zero` times the row's scale
/// for its half of the columns, plus the row's minimum.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) quants: [[u8; 64]; 8],
    /// Of columns 0 to 15, and of columns 16 to 31.
    pub(crate) scales: [[f32; STRIP_ROWS]; 2],
    /// What is added to each entry; 0 where the format has no minima.
    pub(crate) mins: [f32; STRIP_ROWS],
}

impl Slice {
    pub(crate) const ZERO: Self = Self { quants: [[0; 64]; 8], scales: [[0.0; 16]; 2], mins: [0.0; 16] };
}

impl WeightType {
    /// What quants are too great by in a packed matrix.
    pub(crate) const fn zero(self) -> u8 {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 0,
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6_K => 32,
            Self::Q8_0 => 128,
            Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K => 0,
        }
    }

    /// Whether entries have a minimum added.
    pub(crate) const fn has_mins(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K)
    }
}

/// Slice `idx` of a strip of a quantised format.
pub(crate) fn unpack(weight_type: WeightType, strip: &[u8], idx: usize) -> Slice {
    let mut slice = Slice::ZERO;
    for lane in 0..STRIP_ROWS {
        let of = lane_of(weight_type, strip, idx, lane);
        for (unit, four) in slice.quants.iter_mut().zip(of.quants.as_chunks::<4>().0) {
            unit[4 * lane..][..4].copy_from_slice(four);
        }
        (slice.scales[0][lane], slice.scales[1][lane], slice.mins[lane]) = (of.scales[0], of.scales[1], of.min);
    }
    slice
}

/// Row `lane` of a strip as f32.
pub(super) fn dequantize_lane(weight_type: WeightType, strip: &[u8], lane: usize, out: &mut [f32]) {
    if weight_type.block_len() == 1 {
        let columns = strip.chunks_exact(STRIP_ROWS * weight_type.block_bytes());
        out.iter_mut().zip(columns).for_each(|(out, column)| *out = column_lane(weight_type, column, lane));
        return;
    }
    for (idx, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let of = lane_of(weight_type, strip, idx, lane);
        for (i, (out, quant)) in out.iter_mut().zip(of.quants).enumerate() {
            *out = f32::from(i16::from(quant) - i16::from(weight_type.zero())) * of.scales[i / 16];
            if weight_type.has_mins() {
                *out += of.min;
            }
        }
    }
}

/// One row of a slice.
struct Lane {
    quants: [u8; 32],
    scales: [f32; 2],
    min: f32,
}

fn lane_of(weight_type: WeightType, strip: &[u8], idx: usize, lane: usize) -> Lane {
    let (per_group, group_bytes) = (weight_type.block_len() / 32, STRIP_ROWS * weight_type.block_bytes());
    let group = &strip[idx / per_group * group_bytes..][..group_bytes];
    let in_group = idx % per_group;
    let (scale, min) = (f16_at(group, 0, lane), || f16_at(group, 32, lane));
    let plain = |quants, min| Lane { quants, scales: [scale; 2], min };
    match weight_type {
        WeightType::Q4_0 => plain(nibbles(&group[32..], lane), 0.0),
        WeightType::Q4_1 => plain(nibbles(&group[64..], lane), min()),
        WeightType::Q5_0 => plain(five_bits(&group[32..], lane), 0.0),
        WeightType::Q5_1 => plain(five_bits(&group[64..], lane), min()),
        WeightType::Q8_0 => plain(std::array::from_fn(|i| group[32 + 64 * (i / 4) + 4 * lane + i % 4]), 0.0),
        WeightType::Q4_K | WeightType::Q5_K => {
            let (scales, mins) = lane_scales(&group[64..256], lane);
            let quants = if weight_type == WeightType::Q4_K {
                nibbles(&group[256 + in_group * 256..], lane)
            } else {
                five_bits(&group[256 + in_group * 320..], lane)
            };
            let min = -(min() * f32::from(mins[in_group]));
            Lane { quants, scales: [scale * f32::from(scales[in_group]); 2], min }
        }
        WeightType::Q6_K => {
            let factor = |half: usize| f32::from(group[32 + 16 * (2 * in_group + half) + lane].cast_signed());
            let quants = six_bits(&group[288 + in_group * 384..], lane);
            Lane { quants, scales: [scale * factor(0), scale * factor(1)], min: 0.0 }
        }
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => unreachable!("{weight_type:?} has no quants"),
    }
}

/// Lane `lane` of one column of a format without blocks.
pub(crate) fn column_lane(weight_type: WeightType, column: &[u8], lane: usize) -> f32 {
    let two = || [column[2 * lane], column[2 * lane + 1]];
    match weight_type {
        WeightType::F16 => f16::from_le_bytes(two()).to_f32(),
        WeightType::BF16 => bf16::from_le_bytes(two()).to_f32(),
        WeightType::F32 => f32::from_le_bytes(*column[4 * lane..].first_chunk().expect("a column has sixteen lanes")),
        WeightType::Q4_0
        | WeightType::Q4_1
        | WeightType::Q5_0
        | WeightType::Q5_1
        | WeightType::Q8_0
        | WeightType::Q4_K
        | WeightType::Q5_K
        | WeightType::Q6_K => unreachable!("{weight_type:?} has blocks"),
    }
}

fn f16_at(group: &[u8], offset: usize, lane: usize) -> f32 {
    f16::from_le_bytes([group[offset + 2 * lane], group[offset + 2 * lane + 1]]).to_f32()
}

/// A lane's scales and minima out of three words.
fn lane_scales(words: &[u8], lane: usize) -> ([u8; 8], [u8; 8]) {
    let mut packed = [0; 12];
    for (word, out) in packed.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        out.copy_from_slice(&words[64 * word + 4 * lane..][..4]);
    }
    scales_and_mins(&packed)
}

/// The byte of a lane's column `i`, of four units that the columns share modulo 16.
fn byte_at(units: &[u8], i: usize, lane: usize) -> u8 {
    units[i % 16 / 4 * 64 + 4 * lane + i % 4]
}

fn nibbles(units: &[u8], lane: usize) -> [u8; 32] {
    std::array::from_fn(|i| {
        let byte = byte_at(units, i, lane);
        if i < 16 { byte & 15 } else { byte >> 4 }
    })
}

fn five_bits(units: &[u8], lane: usize) -> [u8; 32] {
    let low = nibbles(&units[64..], lane);
    std::array::from_fn(|i| low[i] | (units[4 * lane + i % 4] >> (i / 4) & 1) << 4)
}

fn six_bits(units: &[u8], lane: usize) -> [u8; 32] {
    let low = nibbles(&units[128..], lane);
    std::array::from_fn(|i| low[i] | (units[i / 16 * 64 + 4 * lane + i % 4] >> (2 * (i % 16 / 4)) & 3) << 4)
}
