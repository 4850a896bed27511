//! `ballast bench make-model`: a llama of a given shape with random weights, for measuring what is not to be had as a
//! file. It says nothing sensible, and costs what a real one of its shape and type costs.

use super::random::SplitMix;
use crate::failure::Failure;
use crate::options::{locate, open_gguf};
use crate::output;
use ballast::gguf::{Array, GgufError, Metadata, PlannedTensor, StreamWriter, TensorType, Value};
use clap::{Args as ClapArgs, ValueEnum};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

/// Positions: enough for the longest context that is measured, and some behind it.
const CONTEXT_LEN: u32 = 1 << 16;

/// Blocks that are made at a time.
const CHUNK_BLOCKS: u64 = 1 << 14;

const TOKENS_KEY: &str = "tokenizer.ggml.tokens";

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  ballast bench make-model --shape 1b --type Q4_0 --like default 1b-Q4_0.gguf")]
pub(super) struct Args {
    /// How large.
    #[arg(long, value_enum)]
    shape: Shape,
    /// How weights are stored: Q4_0, Q4_1, Q8_0 or F16.
    #[arg(long = "type", value_name = "TYPE", value_parser = weight_type)]
    weight_type: TensorType,
    /// The model whose tokenizer and chat template are taken.
    #[arg(long, value_name = "MODEL")]
    like: String,
    /// The same seed makes the same file.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The file to write.
    out: PathBuf,
}

/// Shapes of the llama family; each shares the embedding with the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// 2 layers of width 64, for tests.
    Tiny,
    /// 30 layers of width 576, as SmolLM2-135M.
    #[value(name = "135m")]
    M135,
    /// 28 layers of width 1024.
    #[value(name = "0.5b")]
    B0_5,
    /// 22 layers of width 2048, as TinyLlama.
    #[value(name = "1b")]
    B1,
    /// 28 layers of width 3072, as Llama 3.2 3B.
    #[value(name = "3b")]
    B3,
}

#[derive(Clone, Copy, Debug)]
struct Dims {
    n_layers: u32,
    embed: u32,
    ffn: u32,
    n_heads: u32,
    n_kv_heads: u32,
}

impl Shape {
    fn dims(self) -> Dims {
        let dims = |n_layers, embed, ffn, n_heads, n_kv_heads| Dims { n_layers, embed, ffn, n_heads, n_kv_heads };
        match self {
            Self::Tiny => dims(2, 64, 128, 4, 2),
            Self::M135 => dims(30, 576, 1536, 9, 3),
            Self::B0_5 => dims(28, 1024, 4096, 16, 4),
            Self::B1 => dims(22, 2048, 5632, 32, 4),
            Self::B3 => dims(28, 3072, 8192, 24, 8),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        let like = open_gguf(locate(&self.like)?.path())?;
        let metadata = self.metadata(like.metadata())?;
        let n_tokens = n_tokens(like.metadata()).ok_or_else(|| {
            Failure::failed(format!("{} has no vocabulary", self.like)).try_this("--like with a model that has one")
        })?;
        let plan = plan(self.shape.dims(), self.weight_type, n_tokens);
        let file = File::create(&self.out).map_err(|error| self.unwritten(&error.to_string()))?;
        let failure = |error: GgufError| self.unwritten(&error.to_string());
        let mut writer = StreamWriter::begin(BufWriter::new(file), &metadata, &plan).map_err(failure)?;
        let mut random = SplitMix::new(self.seed);
        for tensor in &plan {
            fill(tensor, &mut random, &mut writer).map_err(failure)?;
        }
        writer.finish().map_err(failure)?;
        let n_weights: u64 = plan.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum();
        output::note(&format!("{}: {n_weights} weights, {n_tokens} tokens", self.out.display()));
        Ok(())
    }

    fn unwritten(&self, why: &str) -> Failure {
        Failure::failed(format!("{} cannot be written", self.out.display())).because(why)
    }

    /// The hyperparameters of the shape and the tokenizer of the other model.
    fn metadata(&self, like: &Metadata) -> Result<Vec<(String, Value)>, Failure> {
        let Dims { n_layers, embed, ffn, n_heads, n_kv_heads } = self.shape.dims();
        let name = format!("random {} {}", self.shape.name(), self.weight_type);
        let mut entries: Vec<(String, Value)> = vec![
            ("general.architecture".to_owned(), "llama".into()),
            ("general.name".to_owned(), name.as_str().into()),
        ];
        let counts = [
            ("block_count", n_layers),
            ("context_length", CONTEXT_LEN),
            ("embedding_length", embed),
            ("feed_forward_length", ffn),
            ("attention.head_count", n_heads),
            ("attention.head_count_kv", n_kv_heads),
            ("rope.dimension_count", embed / n_heads),
            ("vocab_size", n_tokens(like).unwrap_or(0)),
        ];
        entries.extend(counts.map(|(key, count)| (format!("llama.{key}"), count.into())));
        let floats = [("attention.layer_norm_rms_epsilon", 1e-5_f32), ("rope.freq_base", 10_000.0)];
        entries.extend(floats.map(|(key, value)| (format!("llama.{key}"), value.into())));
        let tokenizer = like.iter().filter(|(key, _)| key.starts_with("tokenizer."));
        entries.extend(tokenizer.map(|(key, value)| (key.to_owned(), value.clone())));
        Ok(entries)
    }
}

fn n_tokens(metadata: &Metadata) -> Option<u32> {
    let Value::Array(Array::String(tokens)) = metadata.get(TOKENS_KEY)? else { return None };
    u32::try_from(tokens.len()).ok()
}

fn weight_type(text: &str) -> Result<TensorType, String> {
    let found = TensorType::from_name(text).filter(|&found| recipe(found, 1.0).is_some());
    found.ok_or_else(|| format!("expected Q4_0, Q4_1, Q8_0 or F16, got {text:?}"))
}

/// Names, shapes and types, in file order. Norms are F32.
fn plan(dims: Dims, weight_type: TensorType, n_tokens: u32) -> Vec<PlannedTensor> {
    let Dims { n_layers, embed, ffn, n_heads, n_kv_heads } = dims;
    let kv = embed / n_heads * n_kv_heads;
    let tensor = |name: String, shape: &[u32], tensor_type| PlannedTensor {
        name,
        shape: shape.iter().map(|&dim| u64::from(dim)).collect(),
        tensor_type,
    };
    let mut plan = vec![tensor("token_embd.weight".to_owned(), &[embed, n_tokens], weight_type)];
    for layer in 0..n_layers {
        let matrices = [
            ("attn_q", [embed, embed]),
            ("attn_k", [embed, kv]),
            ("attn_v", [embed, kv]),
            ("attn_output", [embed, embed]),
            ("ffn_gate", [embed, ffn]),
            ("ffn_up", [embed, ffn]),
            ("ffn_down", [ffn, embed]),
        ];
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        plan.extend(matrices.map(|(part, shape)| tensor(name(part), &shape, weight_type)));
        plan.extend(["attn_norm", "ffn_norm"].map(|part| tensor(name(part), &[embed], TensorType::F32)));
    }
    plan.push(tensor("output_norm.weight".to_owned(), &[embed], TensorType::F32));
    plan
}

/// How a block of random weights is made: fixed bytes at its beginning, random ones behind them, and what is done to
/// each of those.
#[derive(Clone, Debug)]
struct Recipe {
    head: Vec<u8>,
    n_random: usize,
    change: fn(&mut [u8], u16),
    scale: u16,
}

/// The recipe for weights of about this deviation; `None` for a type without one. The divisors are the deviations of
/// uniform quants of the formats.
#[expect(clippy::wildcard_enum_match_arm, reason = "types without a recipe are refused, those to come, too")]
fn recipe(weight_type: TensorType, deviation: f32) -> Option<Recipe> {
    let (scale, minus) = (half(deviation / 4.6), half(deviation * 7.5 / 4.6) | 0x8000);
    let keep: fn(&mut [u8], u16) = |_, _| {};
    let of = |head: Vec<u8>, n_random, change, scale| Some(Recipe { head, n_random, change, scale });
    match weight_type {
        TensorType::F32 => of(vec![], 4, |bytes, _| bytes.copy_from_slice(&1.0_f32.to_le_bytes()), 0),
        TensorType::F16 => of(vec![], 2, |bytes, scale| bytes[1] = bytes[1] & 0x83 | high_byte(scale), half(deviation)),
        TensorType::Q4_0 => of(scale.to_le_bytes().to_vec(), 16, keep, 0),
        TensorType::Q4_1 => of([scale.to_le_bytes(), minus.to_le_bytes()].concat(), 16, keep, 0),
        TensorType::Q8_0 => of(half(deviation / 73.0).to_le_bytes().to_vec(), 32, without_least, 0),
        _ => None,
    }
}

/// The exponent of a half-precision number, in its high byte: the sign and the mantissa stay random.
fn high_byte(scale: u16) -> u8 {
    scale.to_be_bytes()[0] & 0x7c
}

/// Quantisers never write -128.
fn without_least(bytes: &mut [u8], _: u16) {
    bytes.iter_mut().filter(|byte| **byte == 0x80).for_each(|byte| *byte = 0x81);
}

/// The bits of a positive normal half-precision number, the mantissa cut off.
fn half(value: f32) -> u16 {
    let bits = (value.to_bits() >> 13).saturating_sub((127 - 15) << 10);
    u16::try_from(bits).unwrap_or(u16::MAX)
}

/// Writes a tensor's blocks, some at a time.
fn fill(
    tensor: &PlannedTensor,
    random: &mut SplitMix,
    writer: &mut StreamWriter<BufWriter<File>>,
) -> Result<(), GgufError> {
    let n_elements: u64 = tensor.shape.iter().product();
    let n_cols = tensor.shape.first().copied().unwrap_or(1);
    let recipe = recipe(tensor.tensor_type, 1.0 / (n_cols as f32).sqrt()).expect("types without one were refused");
    let mut n_left = n_elements / tensor.tensor_type.block_len();
    let mut chunk = Vec::new();
    while n_left > 0 {
        let n_blocks = n_left.min(CHUNK_BLOCKS);
        chunk.clear();
        for _ in 0..n_blocks {
            chunk.extend_from_slice(&recipe.head);
            let start = chunk.len();
            chunk.resize(start + recipe.n_random, 0);
            random.fill(&mut chunk[start..]);
            (recipe.change)(&mut chunk[start..], recipe.scale);
        }
        writer.write(&chunk)?;
        n_left -= n_blocks;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Shape, TensorType, half, plan, recipe, weight_type};
    use clap::ValueEnum;

    #[test]
    fn shapes_have_the_weights_of_their_names() {
        let n_weights = |shape: Shape| {
            let plan = plan(shape.dims(), TensorType::Q8_0, 49_152);
            plan.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum::<u64>()
        };
        let expected = [(Shape::M135, 135e6), (Shape::B0_5, 0.5e9), (Shape::B1, 1.05e9), (Shape::B3, 3e9)];
        for (shape, about) in expected {
            let ratio = n_weights(shape) as f64 / about;
            assert!((0.9..1.1).contains(&ratio), "{shape:?}: {}", n_weights(shape));
        }
    }

    #[test]
    fn every_shape_is_whole_blocks_and_heads() {
        for &shape in Shape::value_variants() {
            let dims = shape.dims();
            assert_eq!((dims.embed % dims.n_heads, dims.n_heads % dims.n_kv_heads), (0, 0), "{shape:?}");
            for tensor in plan(dims, TensorType::Q4_0, 300) {
                assert!(tensor.n_bytes().is_ok(), "{tensor:?}");
            }
        }
    }

    #[test]
    fn recipes_make_whole_blocks() {
        for name in ["Q4_0", "Q4_1", "Q8_0", "F16"] {
            let found = weight_type(name).unwrap();
            let recipe = recipe(found, 0.02).unwrap();
            assert_eq!((recipe.head.len() + recipe.n_random) as u64, found.block_bytes(), "{name}");
        }
        for name in ["Q2_K", "q4_0", ""] {
            assert!(weight_type(name).is_err(), "{name}");
        }
    }

    #[test]
    fn halves_are_cut_to_size() {
        assert_eq!((half(1.0), half(0.5), half(1.5)), (0x3c00, 0x3800, 0x3e00));
        assert_eq!(half(0.0), 0);
    }
}
