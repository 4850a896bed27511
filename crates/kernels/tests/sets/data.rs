//! Deterministic inputs.

use ballast_kernels::WeightType;
use half::f16;

/// A sequence of random numbers (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize, magnitude: f32) -> Vec<f32> {
        (0..n).map(|_| self.unit() * magnitude).collect()
    }

    /// `n_blocks` blocks of random bytes whose f16 or f32 fields are at most about `magnitude`.
    pub(crate) fn blocks(&mut self, weight_type: WeightType, n_blocks: usize, magnitude: f32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..n_blocks {
            let mut block: Vec<u8> = (0..weight_type.block_bytes()).map(|_| self.bits().to_le_bytes()[0]).collect();
            let value = self.unit() * magnitude;
            if weight_type == WeightType::F32 {
                block.copy_from_slice(&value.to_le_bytes());
            } else if weight_type == WeightType::BF16 {
                block.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes());
            }
            for offset in f16_fields(weight_type) {
                let value = f16::from_f32(self.unit() * magnitude);
                block[*offset..offset + 2].copy_from_slice(&value.to_le_bytes());
            }
            bytes.extend(block);
        }
        bytes
    }
}

/// Where a block holds f16 factors: of the products first, then of the minima.
pub(crate) fn f16_fields(weight_type: WeightType) -> &'static [usize] {
    match weight_type {
        WeightType::F32 | WeightType::BF16 => &[],
        WeightType::F16 | WeightType::Q4_0 | WeightType::Q5_0 | WeightType::Q8_0 => &[0],
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4_K | WeightType::Q5_K => &[0, 2],
        WeightType::Q6_K => &[208],
    }
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
