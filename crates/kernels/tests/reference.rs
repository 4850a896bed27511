//! Blocks and quants written by the gguf package (`make_fixtures.py`), bit for bit.

use ballast_kernels::{WeightType, available, dequantize};

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

#[test]
fn quantizes_activations_exactly() {
    let cases: [(usize, usize, &[u8]); 2] = [
        (32, 32, include_bytes!("fixtures/quantize_q8_32.bin")),
        (256, 16, include_bytes!("fixtures/quantize_q8_256.bin")),
    ];
    for (block_len, sum_len, fixture) in cases {
        let n = fixture.len() / (5 * block_len + 4) * block_len;
        let (x, rest) = fixture.split_at(4 * n);
        let (expected_q, expected_d) = rest.split_at(n);
        for set in available() {
            let (mut q, mut d, mut sums) = (vec![0; n], vec![0.0; n / block_len], vec![0; n / sum_len]);
            if block_len == 32 {
                set.quantize_q8_32(&floats(x), &mut q, &mut d, &mut sums);
            } else {
                set.quantize_q8_256(&floats(x), &mut q, &mut d, &mut sums);
            }
            let expected_sums = q.chunks(sum_len).map(|q| q.iter().map(|q| i32::from(*q)).sum::<i32>());
            assert!(q.iter().zip(expected_q).all(|(q, e)| *q == e.cast_signed()), "{} {block_len}", set.name());
            assert!(bits(&d) == bits(&floats(expected_d)), "{} {block_len}", set.name());
            assert!(expected_sums.eq(sums.iter().copied()), "{} {block_len}", set.name());
        }
    }
}
