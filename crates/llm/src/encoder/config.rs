//! The shapes and constants of an encoder, from GGUF metadata.

use super::weights::Weights;
use crate::LlmError;
use crate::config::{CONTEXT_LEN_MAX, Keys, N_HEADS_MAX, N_LAYERS_MAX, VOCAB_SIZE_MAX, WIDTH_MAX};
use ballast_backend::Pooling;
use ballast_gguf::{Gguf, Metadata};

const ARCHITECTURES: &[&str] = &["bert"];

/// Token types of published models: two, or one where the model does not tell texts apart.
const N_TOKEN_TYPES_MAX: u64 = 1_024;
/// Labels of a classifier.
const N_LABELS_MAX: usize = 1 << 16;

/// A BERT-family encoder's hyperparameters.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Transformer layers.
    pub n_layers: usize,
    /// Width of a token's vector.
    pub embed_dim: usize,
    /// Width of the feed-forward hidden layer.
    pub ffn_dim: usize,
    /// Heads.
    pub n_heads: usize,
    /// Entries of a head.
    pub head_dim: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f32,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions the model has embeddings for.
    pub context_len: usize,
    /// Token types it tells apart.
    pub n_token_types: usize,
    /// How the file wants token vectors to become one.
    pub pooling: Pooling,
    /// Labels of its classifier; 0: it has none.
    pub n_labels: usize,
}

impl EncoderConfig {
    /// Whether a file says that it is a model of this family.
    #[must_use]
    pub fn is_in(metadata: &Metadata) -> bool {
        matches!(metadata.string("general.architecture"), Ok(Some(arch)) if ARCHITECTURES.contains(&arch))
    }

    /// Reads the configuration of a file.
    ///
    /// A file that names no pooling wants the mean, as the libraries of the field assume, or its classifier if it has
    /// one.
    ///
    /// # Errors
    /// If the architecture is another, a needed key is missing, of the wrong type or out of bounds, or the file asks
    /// for what is not implemented: causal attention, experts, an unknown pooling, a classifier that is not there.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let metadata = gguf.metadata();
        let arch = metadata.string("general.architecture")?.unwrap_or_default();
        if !ARCHITECTURES.contains(&arch) {
            return Err(LlmError::UnsupportedArchitecture { got: arch.to_owned(), supported: ARCHITECTURES });
        }
        let keys = Keys { metadata, arch };
        keys.refuse_experts()?;
        refuse_causal(&keys)?;
        let embed_dim = keys.required("embedding_length", WIDTH_MAX)?;
        let n_heads = keys.required("attention.head_count", N_HEADS_MAX)?;
        keys.divides("attention.head_count", n_heads, embed_dim)?;
        keys.equals("attention.head_count_kv", keys.or("attention.head_count_kv", N_HEADS_MAX, n_heads)?, n_heads)?;
        let rows = |name: &str| gguf.tensor(name).and_then(|tensor| tensor.shape.get(1).copied());
        let vocab_size = rows("token_embd.weight")
            .ok_or_else(|| LlmError::TensorMissing { name: "token_embd.weight".to_owned() })?;
        let n_labels = n_labels(gguf)?;
        Ok(Self {
            n_layers: keys.required("block_count", N_LAYERS_MAX)?,
            embed_dim,
            ffn_dim: keys.required("feed_forward_length", WIDTH_MAX)?,
            n_heads,
            head_dim: embed_dim / n_heads,
            layer_norm_eps: keys.f32_or("attention.layer_norm_epsilon", 1e-12)?,
            vocab_size: keys.bounded("vocab_size (rows of the embedding)", vocab_size, VOCAB_SIZE_MAX)?,
            context_len: keys.required("context_length", CONTEXT_LEN_MAX)?,
            n_token_types: match rows("token_types.weight") {
                Some(n) => keys.bounded("token_type_count (rows of token_types)", n, N_TOKEN_TYPES_MAX)?,
                None => 0,
            },
            pooling: pooling(&keys, n_labels)?,
            n_labels,
        })
    }

    /// Reads the configuration of a file, and checks that it has every tensor that the configuration asks for.
    ///
    /// # Errors
    /// As [`EncoderConfig::from_gguf`], or if a tensor is missing, has another shape or a type without kernels, or the
    /// file has one that nothing would use.
    pub fn check(gguf: &Gguf) -> Result<Self, LlmError> {
        let config = Self::from_gguf(gguf)?;
        Weights::find(gguf, &config)?;
        Ok(config)
    }

    /// Entries of a pooled vector.
    #[must_use]
    pub fn width(&self, pooling: Pooling) -> usize {
        match pooling {
            Pooling::None | Pooling::Mean | Pooling::Cls | Pooling::Last => self.embed_dim,
            Pooling::Rank => self.n_labels,
        }
    }

    /// Whether the model has what a pooling needs.
    ///
    /// # Errors
    /// If there is no classifier and one is asked for.
    pub(crate) fn check_pooling(&self, pooling: Pooling) -> Result<(), LlmError> {
        if pooling == Pooling::Rank && self.n_labels == 0 {
            let (option, got) = ("pooling", pooling.as_str().to_owned());
            return Err(LlmError::UnsupportedOption { option, expected: "one without a classifier", got });
        }
        Ok(())
    }
}

fn refuse_causal(keys: &Keys<'_>) -> Result<(), LlmError> {
    let key = keys.name("attention.causal");
    match keys.metadata.bool(&key)? {
        Some(true) => Err(LlmError::UnsupportedFeature { key, expected: "false", got: "true".to_owned() }),
        Some(false) | None => Ok(()),
    }
}

fn n_labels(gguf: &Gguf) -> Result<usize, LlmError> {
    let Some(tensor) = gguf.tensor("cls.output.weight") else { return Ok(0) };
    // A single row may be stored as a vector.
    let n_rows = tensor.shape.get(1).copied().unwrap_or(1);
    usize::try_from(n_rows).ok().filter(|n| (1..=N_LABELS_MAX).contains(n)).ok_or_else(|| {
        LlmError::MetadataOutOfRange {
            key: "cls.output.weight (rows)".to_owned(),
            expected: format!("1 to {N_LABELS_MAX}"),
            got: n_rows,
        }
    })
}

/// The numbers are those of the format.
fn pooling(keys: &Keys<'_>, n_labels: usize) -> Result<Pooling, LlmError> {
    let key = keys.name("pooling_type");
    let rank = |key| match n_labels {
        0 => Err(LlmError::UnsupportedFeature { key, expected: "a classifier for it", got: "none".to_owned() }),
        _ => Ok(Pooling::Rank),
    };
    match keys.metadata.u32(&key)? {
        None if n_labels > 0 => Ok(Pooling::Rank),
        None | Some(1) => Ok(Pooling::Mean),
        Some(0) => Ok(Pooling::None),
        Some(2) => Ok(Pooling::Cls),
        Some(3) => Ok(Pooling::Last),
        Some(4) => rank(key),
        Some(got) => Err(LlmError::UnsupportedFeature { key, expected: "0 to 4", got: got.to_string() }),
    }
}
