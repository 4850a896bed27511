//! The block formats, unpacked one block at a time. This is the one place that spells the layouts out in plain code;
//! the vector sets read the same bytes their own way and are tested against it.

use crate::WeightType;
use half::{bf16, f16};

/// A block of 32 weights: entry `i` is `quants[i] * scale - min`.
#[derive(Clone, Debug)]
pub(crate) struct Block32 {
    pub(crate) quants: [i8; 32],
    pub(crate) scale: f32,
    /// What is taken off, so that formats without a minimum have plain 0 and keep the sign of a zero.
    pub(crate) min: f32,
}

/// A block of 256 weights: entry `i` is `quants[i] * (scale * scales[i / 16]) - min * mins[i / 16]`.
#[derive(Clone, Debug)]
pub(crate) struct Block256 {
    pub(crate) quants: [i8; 256],
    pub(crate) scales: [i8; 16],
    pub(crate) mins: [u8; 16],
    pub(crate) scale: f32,
    pub(crate) min: f32,
}

/// The f16 at `offset` of a block.
pub(crate) fn f16_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

/// The bf16 at `offset` of a block.
pub(crate) fn bf16_at(block: &[u8], offset: usize) -> f32 {
    bf16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

impl Block32 {
    /// Unpacks a block of one of the formats with 32 weights.
    pub(crate) fn unpack(weight_type: WeightType, block: &[u8]) -> Self {
        let scale = f16_at(block, 0);
        match weight_type {
            WeightType::Q4_0 => Self { quants: nibbles(&block[2..], &[], 8), scale, min: 0.0 },
            WeightType::Q4_1 => Self { quants: nibbles(&block[4..], &[], 0), scale, min: -f16_at(block, 2) },
            WeightType::Q5_0 => Self { quants: nibbles(&block[6..], &block[2..6], 16), scale, min: 0.0 },
            WeightType::Q5_1 => Self { quants: nibbles(&block[8..], &block[4..8], 0), scale, min: -f16_at(block, 2) },
            WeightType::Q8_0 => Self { quants: std::array::from_fn(|i| block[2 + i].cast_signed()), scale, min: 0.0 },
            WeightType::F32
            | WeightType::F16
            | WeightType::BF16
            | WeightType::Q4_K
            | WeightType::Q5_K
            | WeightType::Q6_K => unreachable!("{weight_type:?} has no blocks of 32"),
        }
    }
}

/// Low nibbles, then high ones, each with the bit of `fifth` at its own index as bit 4, less `zero`.
fn nibbles(packed: &[u8], fifth: &[u8], zero: i8) -> [i8; 32] {
    std::array::from_fn(|i| {
        let low = if i < 16 { packed[i] & 15 } else { packed[i - 16] >> 4 };
        let bit = fifth.get(i / 8).map_or(0, |byte| byte >> (i % 8) & 1);
        (low | bit << 4).cast_signed() - zero
    })
}

impl Block256 {
    /// Unpacks a block of one of the formats with 256 weights.
    pub(crate) fn unpack(weight_type: WeightType, block: &[u8]) -> Self {
        match weight_type {
            WeightType::Q4_K => Self::with_mins(block, |i| nibble_of_64(&block[16..], i)),
            WeightType::Q5_K => Self::with_mins(block, |i| {
                let bit = block[16 + i % 32] >> (i / 32) & 1;
                nibble_of_64(&block[48..], i) | bit << 4
            }),
            WeightType::Q6_K => Self {
                quants: std::array::from_fn(|i| six_bits(block, i).cast_signed() - 32),
                scales: std::array::from_fn(|i| block[192 + i].cast_signed()),
                mins: [0; 16],
                scale: f16_at(block, 208),
                min: 0.0,
            },
            WeightType::F32
            | WeightType::F16
            | WeightType::BF16
            | WeightType::Q4_0
            | WeightType::Q4_1
            | WeightType::Q5_0
            | WeightType::Q5_1
            | WeightType::Q8_0 => unreachable!("{weight_type:?} has no blocks of 256"),
        }
    }

    /// Q4_K and Q5_K: d, dmin, twelve bytes of 6-bit scales and minima, then the quants.
    fn with_mins(block: &[u8], quant: impl Fn(usize) -> u8) -> Self {
        let (scales, mins) = scales_and_mins(block[4..16].first_chunk().expect("twelve bytes"));
        Self {
            quants: std::array::from_fn(|i| quant(i).cast_signed()),
            scales: std::array::from_fn(|i| scales[i / 2].cast_signed()),
            mins: std::array::from_fn(|i| mins[i / 2]),
            scale: f16_at(block, 0),
            min: f16_at(block, 2),
        }
    }
}

/// Entry `i` of nibbles that come 64 at a time, low ones of 32 bytes and then their high ones.
fn nibble_of_64(packed: &[u8], i: usize) -> u8 {
    let byte = packed[i / 64 * 32 + i % 32];
    if i % 64 < 32 { byte & 15 } else { byte >> 4 }
}

/// Entry `i` of Q6_K: four bits from `block[0..128]`, two from `block[128..192]`, each half of 128 by itself.
fn six_bits(block: &[u8], i: usize) -> u8 {
    let (half, quarter, lane) = (i / 128, i % 128 / 32, i % 32);
    let byte = block[half * 64 + quarter % 2 * 32 + lane];
    let low = if quarter < 2 { byte & 15 } else { byte >> 4 };
    let high = block[128 + half * 32 + lane] >> (2 * quarter) & 3;
    low | high << 4
}

/// The eight 6-bit scales and the eight 6-bit minima of Q4_K and Q5_K.
pub(crate) fn scales_and_mins(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    // As three words: scales 0..4, minima 0..4, and the low nibbles of the last four of each; the two high bits of
    // the last four sit on top of the bytes of the first four.
    let word = |i: usize| u32::from_le_bytes([packed[i], packed[i + 1], packed[i + 2], packed[i + 3]]);
    let (first_scales, first_mins, low) = (word(0), word(4), word(8));
    let scales = [first_scales & 0x3f3f_3f3f, low & 0x0f0f_0f0f | first_scales >> 2 & 0x3030_3030];
    let mins = [first_mins & 0x3f3f_3f3f, low >> 4 & 0x0f0f_0f0f | first_mins >> 2 & 0x3030_3030];
    let bytes = |words: [u32; 2]| (u64::from(words[0]) | u64::from(words[1]) << 32).to_le_bytes();
    (bytes(scales), bytes(mins))
}

/// Writes the weights in `bytes` to `out` as f32, bit for bit as ggml's reference does.
///
/// # Panics
/// If `out` is not a whole number of blocks or `bytes` is not exactly those blocks.
pub fn dequantize(weight_type: WeightType, bytes: &[u8], out: &mut [f32]) {
    let (block_len, block_bytes) = (weight_type.block_len(), weight_type.block_bytes());
    assert!(out.len().is_multiple_of(block_len), "{} weights in blocks of {block_len}", out.len());
    let n_bytes = out.len() / block_len * block_bytes;
    assert!(bytes.len() == n_bytes, "{} bytes for {} weights of {weight_type:?}", bytes.len(), out.len());
    for (block, out) in bytes.chunks_exact(block_bytes).zip(out.chunks_exact_mut(block_len)) {
        dequantize_block(weight_type, block, out);
    }
}

fn dequantize_block(weight_type: WeightType, block: &[u8], out: &mut [f32]) {
    match weight_type {
        WeightType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        WeightType::F16 => out[0] = f16_at(block, 0),
        WeightType::BF16 => out[0] = bf16_at(block, 0),
        WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q5_0 | WeightType::Q5_1 | WeightType::Q8_0 => {
            let Block32 { quants, scale, min } = Block32::unpack(weight_type, block);
            for (out, q) in out.iter_mut().zip(quants) {
                *out = f32::from(q) * scale - min;
            }
        }
        WeightType::Q4_K | WeightType::Q5_K | WeightType::Q6_K => {
            let Block256 { quants, scales, mins, scale, min } = Block256::unpack(weight_type, block);
            for (i, (out, q)) in out.iter_mut().zip(quants).enumerate() {
                *out = scale * f32::from(scales[i / 16]) * f32::from(q) - min * f32::from(mins[i / 16]);
            }
        }
    }
}
