//! Blocks and quants written by the gguf package (`make_fixtures.py`), bit for bit.

use ballast_kernels::{Block, WeightType, available, dequantize};
use half::f16;

const BLOCKS: [(WeightType, &[u8]); 11] = [
    (WeightType::F32, include_bytes!("fixtures/F32.bin")),
    (WeightType::F16, include_bytes!("fixtures/F16.bin")),
    (WeightType::BF16, include_bytes!("fixtures/BF16.bin")),
    (WeightType::Q4_0, include_bytes!("fixtures/Q4_0.bin")),
    (WeightType::Q4_1, include_bytes!("fixtures/Q4_1.bin")),
    (WeightType::Q5_0, include_bytes!("fixtures/Q5_0.bin")),
    (WeightType::Q5_1, include_bytes!("fixtures/Q5_1.bin")),
    (WeightType::Q8_0, include_bytes!("fixtures/Q8_0.bin")),
    (WeightType::Q4_K, include_bytes!("fixtures/Q4_K.bin")),
    (WeightType::Q5_K, include_bytes!("fixtures/Q5_K.bin")),
    (WeightType::Q6_K, include_bytes!("fixtures/Q6_K.bin")),
];

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn dequantizes_every_type_bit_for_bit() {
    for (weight_type, fixture) in BLOCKS {
        let (block_len, block_bytes) = (weight_type.block_len(), weight_type.block_bytes());
        let n_blocks = fixture.len() / (block_bytes + 4 * block_len);
        let (blocks, expected) = fixture.split_at(n_blocks * block_bytes);
        let mut got = vec![0.0; n_blocks * block_len];
        dequantize(weight_type, blocks, &mut got);
        assert!(n_blocks > 0 && bits(&got) == bits(&floats(expected)), "{weight_type:?}");
    }
}

/// The scale of ggml's blocks is rounded to f16; ours is not, so its rounding is what must agree.
#[test]
fn quantizes_activations_as_ggml_does() {
    let fixture: &[u8] = include_bytes!("fixtures/quantize_q8_32.bin");
    let n_blocks = fixture.len() / (5 * 32 + 4);
    let (x, rest) = fixture.split_at(4 * 32 * n_blocks);
    let (expected_q, expected_d) = rest.split_at(32 * n_blocks);
    for set in available() {
        let mut blocks = vec![Block::ZERO; n_blocks];
        set.quantize(&floats(x), 1, &mut blocks);
        let quants = blocks.iter().flat_map(|block| block.quants).flat_map(i32::to_le_bytes);
        assert!(quants.eq(expected_q.iter().copied()), "{}", set.name());
        let scales: Vec<f32> = blocks.iter().map(|block| f16::from_f32(block.scale).to_f32()).collect();
        assert!(bits(&scales) == bits(&floats(expected_d)), "{}", set.name());
    }
}
