//! Llama model files with random weights: real in every respect but what they say.

use crate::{SplitMix, tiny_metadata};
use ballast_gguf::{GgufError, TensorType, Writer};
use half::{bf16, f16};
use std::error::Error;
use std::path::Path;

/// What a file is to be. The defaults run in a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TinyLlama {
    /// Same seed, same file.
    pub seed: u64,
    /// How matrices are stored; norms are F32.
    pub weight_type: TensorType,
    /// Transformer layers.
    pub n_layers: u32,
    /// Width of the residual stream; a multiple of the weight type's block length.
    pub embed_dim: u32,
    /// Width of the feed-forward layer; a multiple of the weight type's block length.
    pub ffn_dim: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Positions.
    pub context_len: u32,
    /// Whether the embedding serves as output, too.
    pub tied: bool,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum TinyLlamaError {
    /// There is no recipe for this weight type.
    #[error("weight type: expected one of the types that are decoded, got {got}")]
    WeightType {
        /// The type asked for.
        got: TensorType,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
}

impl TinyLlama {
    /// A model of 2 layers with 4 query and 2 key heads, wide enough for the blocks of `weight_type`.
    #[must_use]
    pub fn new(weight_type: TensorType) -> Self {
        let embed_dim = if weight_type.block_len() > 64 { 256 } else { 64 };
        Self {
            seed: 1,
            weight_type,
            n_layers: 2,
            embed_dim,
            ffn_dim: 2 * embed_dim,
            n_heads: 4,
            n_kv_heads: 2,
            context_len: 256,
            tied: true,
        }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// If there is no recipe for the weight type, or the dimensions are not multiples of its blocks.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TinyLlamaError> {
        Ok(self.writer()?.to_bytes()?)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As [`TinyLlama::to_bytes`], or if the file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<(), TinyLlamaError> {
        Ok(self.writer()?.write_file(path)?)
    }

    fn writer(&self) -> Result<Writer<'static>, TinyLlamaError> {
        let mut writer = Writer::new();
        writer.metadata("general.architecture", "llama").metadata("general.name", "tiny");
        let vocab_size = tiny_metadata(&mut writer);
        self.hyperparameters(&mut writer, vocab_size);
        let mut random = SplitMix::new(self.seed);
        for (name, shape) in self.matrices(vocab_size) {
            let data = matrix(self.weight_type, shape, &mut random)?;
            writer.tensor(&name, &shape.map(u64::from), self.weight_type, data);
        }
        for name in self.norms() {
            let data = (0..self.embed_dim).flat_map(|_| (1.0 + 0.1 * random.next_f32()).to_le_bytes());
            writer.tensor(&name, &[self.embed_dim.into()], TensorType::F32, data.collect::<Vec<u8>>());
        }
        Ok(writer)
    }

    fn hyperparameters(&self, writer: &mut Writer<'_>, vocab_size: u32) {
        writer
            .metadata("llama.block_count", self.n_layers)
            .metadata("llama.context_length", self.context_len)
            .metadata("llama.embedding_length", self.embed_dim)
            .metadata("llama.feed_forward_length", self.ffn_dim)
            .metadata("llama.attention.head_count", self.n_heads)
            .metadata("llama.attention.head_count_kv", self.n_kv_heads)
            .metadata("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)
            .metadata("llama.rope.dimension_count", self.embed_dim / self.n_heads)
            .metadata("llama.rope.freq_base", 10_000.0_f32)
            .metadata("llama.vocab_size", vocab_size);
    }

    /// Names and shapes, the inner dimension first.
    fn matrices(&self, vocab_size: u32) -> Vec<(String, [u32; 2])> {
        let (embed, ffn) = (self.embed_dim, self.ffn_dim);
        let kv = embed / self.n_heads * self.n_kv_heads;
        let mut matrices = vec![("token_embd.weight".to_owned(), [embed, vocab_size])];
        for layer in 0..self.n_layers {
            let of_layer = [
                ("attn_q", [embed, embed]),
                ("attn_k", [embed, kv]),
                ("attn_v", [embed, kv]),
                ("attn_output", [embed, embed]),
                ("ffn_gate", [embed, ffn]),
                ("ffn_up", [embed, ffn]),
                ("ffn_down", [ffn, embed]),
            ];
            matrices.extend(of_layer.map(|(name, shape)| (format!("blk.{layer}.{name}.weight"), shape)));
        }
        if !self.tied {
            matrices.push(("output.weight".to_owned(), [embed, vocab_size]));
        }
        matrices
    }

    fn norms(&self) -> Vec<String> {
        let of_layer = |layer| ["attn_norm", "ffn_norm"].map(|name| format!("blk.{layer}.{name}.weight"));
        (0..self.n_layers).flat_map(of_layer).chain(["output_norm.weight".to_owned()]).collect()
    }
}

/// Random blocks whose values have about the deviation that keeps activations near 1.
pub(crate) fn matrix(
    weight_type: TensorType,
    [n_cols, n_rows]: [u32; 2],
    random: &mut SplitMix,
) -> Result<Vec<u8>, TinyLlamaError> {
    let deviation = 1.0 / f32::from(u16::try_from(n_cols).unwrap_or(u16::MAX)).sqrt();
    let n_blocks = u64::from(n_cols) * u64::from(n_rows) / weight_type.block_len();
    let mut data = Vec::new();
    for _ in 0..n_blocks {
        block(weight_type, deviation, random, &mut data)?;
    }
    Ok(data)
}

/// One block: random quants under scales chosen so that values are centred on 0. The divisors are the deviations of
/// the quants (of their products with random sub-scales for the K types), from the formats' definitions.
#[expect(clippy::wildcard_enum_match_arm, reason = "types without a recipe are refused, those to come, too")]
fn block(
    weight_type: TensorType,
    deviation: f32,
    random: &mut SplitMix,
    out: &mut Vec<u8>,
) -> Result<(), TinyLlamaError> {
    let uniform = 1.73 * deviation * random.next_f32();
    let half = |scale: f32| f16::from_f32(scale * deviation).to_le_bytes();
    let mut quants = |n: usize, out: &mut Vec<u8>| out.extend((0..n).map(|_| random.next_u8()));
    match weight_type {
        TensorType::F32 => out.extend(uniform.to_le_bytes()),
        TensorType::F16 => out.extend(f16::from_f32(uniform).to_le_bytes()),
        TensorType::BF16 => out.extend(bf16::from_f32(uniform).to_le_bytes()),
        TensorType::Q4_0 => {
            out.extend(half(1.0 / 4.6));
            quants(16, out);
        }
        TensorType::Q4_1 => {
            out.extend([half(1.0 / 4.6), half(-7.5 / 4.6)].concat());
            quants(16, out);
        }
        TensorType::Q5_0 => {
            out.extend(half(1.0 / 9.2));
            quants(20, out);
        }
        TensorType::Q5_1 => {
            out.extend([half(1.0 / 9.2), half(-15.5 / 9.2)].concat());
            quants(20, out);
        }
        TensorType::Q8_0 => {
            out.extend(half(1.0 / 73.0));
            signed_quants(32, random, out);
        }
        TensorType::Q4_K => {
            out.extend([half(1.0 / 260.0), half(7.5 / 260.0)].concat());
            quants(140, out);
        }
        TensorType::Q5_K => {
            out.extend([half(1.0 / 520.0), half(15.5 / 520.0)].concat());
            quants(172, out);
        }
        TensorType::Q6_K => {
            quants(192, out);
            signed_quants(16, random, out);
            out.extend(half(1.0 / 1370.0));
        }
        got => return Err(TinyLlamaError::WeightType { got }),
    }
    Ok(())
}

/// Signed bytes without -128, which quantisers never write.
fn signed_quants(n: usize, random: &mut SplitMix, out: &mut Vec<u8>) {
    out.extend((0..n).map(|_| random.next_u8()).map(|byte| if byte == 0x80 { 0x81 } else { byte }));
}

/// Runs an example of the documents on a small model's file, which is gone afterwards.
///
/// # Panics
/// If the example fails, or the file cannot be written.
pub fn with_tiny_model(example: impl FnOnce(&Path) -> Result<(), Box<dyn Error>>) {
    let dir = tempfile::tempdir().expect("there is room for a folder");
    let path = dir.path().join("tiny.gguf");
    TinyLlama::new(TensorType::F32).write_file(&path).expect("there is room for a file");
    if let Err(error) = example(&path) {
        panic!("the example fails: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_gguf::Gguf;

    const TYPES: &[TensorType] = &[
        TensorType::F32,
        TensorType::F16,
        TensorType::BF16,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q8_0,
        TensorType::Q4_K,
        TensorType::Q5_K,
        TensorType::Q6_K,
    ];

    #[test]
    fn files_of_every_decoded_type_are_well_formed() {
        for &weight_type in TYPES {
            let bytes = TinyLlama::new(weight_type).to_bytes().unwrap();
            let header = Gguf::parse(&bytes).unwrap();
            assert_eq!(header.tensors.len(), 1 + 2 * 9 + 1, "{weight_type}");
        }
    }

    #[test]
    fn same_seed_same_file() {
        let tiny = TinyLlama::new(TensorType::Q8_0);
        assert_eq!(tiny.to_bytes().unwrap(), tiny.to_bytes().unwrap());
        assert_ne!(tiny.to_bytes().unwrap(), TinyLlama { seed: 2, ..tiny }.to_bytes().unwrap());
    }

    #[test]
    fn other_types_are_refused() {
        let error = TinyLlama::new(TensorType::IQ4_XS).to_bytes().unwrap_err();
        assert!(matches!(error, TinyLlamaError::WeightType { got: TensorType::IQ4_XS }));
    }
}
