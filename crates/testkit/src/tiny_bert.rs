//! BERT model files with random weights: real in every respect but what they say.

use crate::SplitMix;
use crate::tiny_llama::{TinyLlamaError, matrix};
use ballast_gguf::{Metadata, StringArray, TensorType, Value, Writer};
use ballast_tokens::WordPiece;
use std::path::Path;

/// What a file is to be. The defaults run in a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TinyBert {
    /// Same seed, same file.
    pub seed: u64,
    /// How matrices are stored; norms and biases are F32.
    pub weight_type: TensorType,
    /// Transformer layers.
    pub n_layers: u32,
    /// Width of a token's vector; a multiple of the weight type's block length.
    pub embed_dim: u32,
    /// Heads.
    pub n_heads: u32,
    /// Positions.
    pub context_len: u32,
    /// `pooling_type` as the format numbers it; `None`: the key is left out.
    pub pooling_type: Option<u32>,
    /// Labels of a classifier; 0: there is none.
    pub n_labels: u32,
}

/// Words of the vocabulary, besides the control tokens and the letters.
const WORDS: &[&str] = &["the", "cat", "sat", "on", "mat", "dog", "sea", "ship", "is", "a"];

impl TinyBert {
    /// A model of 2 layers with 4 heads, wide enough for the blocks of `weight_type`, that pools the mean.
    #[must_use]
    pub fn new(weight_type: TensorType) -> Self {
        let embed_dim = if weight_type.block_len() > 64 { 256 } else { 64 };
        Self {
            seed: 1,
            weight_type,
            n_layers: 2,
            embed_dim,
            n_heads: 4,
            context_len: 64,
            pooling_type: Some(1),
            n_labels: 0,
        }
    }

    /// The same with a classifier of one label.
    #[must_use]
    pub fn reranker(weight_type: TensorType) -> Self {
        Self { pooling_type: Some(4), n_labels: 1, ..Self::new(weight_type) }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// If there is no recipe for the weight type, or the dimensions are not multiples of its blocks.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TinyLlamaError> {
        Ok(self.writer(&[])?.to_bytes()?)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As [`TinyBert::to_bytes`], or if the file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<(), TinyLlamaError> {
        Ok(self.writer(&[])?.write_file(path)?)
    }

    /// The file, to be changed before it is written: with `instead` in place of its own metadata of those keys.
    ///
    /// # Errors
    /// As [`TinyBert::to_bytes`].
    pub fn writer(&self, instead: &[(&str, Value)]) -> Result<Writer<'static>, TinyLlamaError> {
        let mut writer = Writer::new();
        let tokens = vocabulary();
        let own = self.hyperparameters(&tokens);
        let own = own.into_iter().filter(|(key, _)| instead.iter().all(|(other, _)| other != key));
        for (key, value) in own.chain(instead.iter().cloned()) {
            writer.metadata(key, value);
        }
        let mut random = SplitMix::new(self.seed);
        let vocab_size = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        for (name, shape) in self.matrices(vocab_size) {
            let data = matrix(self.weight_type, shape, &mut random)?;
            writer.tensor(&name, &shape.map(u64::from), self.weight_type, data);
        }
        for (name, n_rows) in [("position_embd", self.context_len), ("token_types", 2)] {
            let shape = [self.embed_dim, n_rows];
            let data = matrix(TensorType::F32, shape, &mut random)?;
            writer.tensor(&format!("{name}.weight"), &shape.map(u64::from), TensorType::F32, data);
        }
        for (name, len, around) in self.vectors() {
            let data = (0..len).flat_map(|_| (around + 0.1 * random.next_f32()).to_le_bytes());
            writer.tensor(&name, &[len.into()], TensorType::F32, data.collect::<Vec<u8>>());
        }
        Ok(writer)
    }

    fn hyperparameters(&self, tokens: &[String]) -> Vec<(&'static str, Value)> {
        let types: Vec<i32> = tokens.iter().map(|token| if token.starts_with('[') { 3 } else { 1 }).collect();
        let tokens: Value = tokens.iter().map(String::as_bytes).collect::<StringArray>().into();
        let pooling_type = self.pooling_type.map(|pooling_type| ("bert.pooling_type", pooling_type.into()));
        let mut entries = vec![
            ("general.architecture", "bert".into()),
            ("general.name", "tiny bert".into()),
            ("bert.block_count", self.n_layers.into()),
            ("bert.context_length", self.context_len.into()),
            ("bert.embedding_length", self.embed_dim.into()),
            ("bert.feed_forward_length", (2 * self.embed_dim).into()),
            ("bert.attention.head_count", self.n_heads.into()),
            ("bert.attention.layer_norm_epsilon", 1e-12_f32.into()),
            ("bert.attention.causal", false.into()),
            ("tokenizer.ggml.model", "bert".into()),
            ("tokenizer.ggml.tokens", tokens),
            ("tokenizer.ggml.token_type", types.into()),
            ("tokenizer.ggml.token_type_count", 2_u32.into()),
        ];
        entries.extend(pooling_type);
        entries
    }

    /// Names and shapes, the inner dimension first.
    fn matrices(&self, vocab_size: u32) -> Vec<(String, [u32; 2])> {
        let (embed, ffn) = (self.embed_dim, 2 * self.embed_dim);
        let mut matrices = vec![("token_embd.weight".to_owned(), [embed, vocab_size])];
        for layer in 0..self.n_layers {
            let squares = ["attn_q", "attn_k", "attn_v", "attn_output"].map(|name| (name, [embed, embed]));
            let of_layer = squares.into_iter().chain([("ffn_up", [embed, ffn]), ("ffn_down", [ffn, embed])]);
            matrices.extend(of_layer.map(|(name, shape)| (format!("blk.{layer}.{name}.weight"), shape)));
        }
        if self.n_labels > 0 {
            matrices.push(("cls.weight".to_owned(), [embed, embed]));
            matrices.push(("cls.output.weight".to_owned(), [embed, self.n_labels]));
        }
        matrices
    }

    /// Names, lengths, and what the entries are near to.
    fn vectors(&self) -> Vec<(String, u32, f32)> {
        let (embed, ffn) = (self.embed_dim, 2 * self.embed_dim);
        let norm = |name: String| [(format!("{name}.weight"), embed, 1.0), (format!("{name}.bias"), embed, 0.0)];
        let mut vectors: Vec<_> = norm("token_embd_norm".to_owned()).into();
        for layer in 0..self.n_layers {
            let bias = |(name, len)| (format!("blk.{layer}.{name}.bias"), len, 0.0);
            let lens = [
                ("attn_q", embed),
                ("attn_k", embed),
                ("attn_v", embed),
                ("attn_output", embed),
                ("ffn_up", ffn),
                ("ffn_down", embed),
            ];
            vectors.extend(lens.map(bias));
            vectors.extend(
                ["attn_output_norm", "layer_output_norm"]
                    .into_iter()
                    .flat_map(|name| norm(format!("blk.{layer}.{name}"))),
            );
        }
        if self.n_labels > 0 {
            vectors.extend([("cls.bias".to_owned(), embed, 0.0), ("cls.output.bias".to_owned(), self.n_labels, 0.0)]);
        }
        vectors
    }
}

/// The vocabulary of these files.
///
/// # Panics
/// Never: it is well-formed.
#[must_use]
pub fn tiny_word_piece() -> WordPiece {
    let entries = TinyBert::new(TensorType::F32).hyperparameters(&vocabulary());
    let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let metadata = Metadata::new(entries).expect("keys are distinct");
    WordPiece::from_gguf(&metadata).expect("the vocabulary is whole")
}

/// Control tokens, words, letters that begin a word and letters that go on.
fn vocabulary() -> Vec<String> {
    let control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let words = WORDS.iter().filter(|word| word.len() > 1).map(|word| format!("\u{2581}{word}"));
    let letters = ('a'..='z').chain(['.', ',', '?', '!']);
    let first = letters.clone().map(|letter| format!("\u{2581}{letter}"));
    control.into_iter().chain(words).chain(first).chain(letters.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_gguf::Gguf;

    #[test]
    fn files_are_well_formed_and_the_same_for_the_same_seed() {
        for tiny in [TinyBert::new(TensorType::F32), TinyBert::reranker(TensorType::Q4_K)] {
            let bytes = tiny.to_bytes().unwrap();
            let header = Gguf::parse(&bytes).unwrap();
            assert_eq!(header.tensors.len(), 3 + 2 + 2 * 16 + if tiny.n_labels > 0 { 4 } else { 0 });
            assert_eq!(bytes, tiny.to_bytes().unwrap());
            assert_ne!(bytes, TinyBert { seed: 2, ..tiny }.to_bytes().unwrap());
        }
    }
}
