//! The shapes and constants of a model of the llama family, from GGUF metadata.

use crate::LlmError;
use ballast_gguf::{Gguf, Metadata};

/// Bounds far above any published model of this family; they keep a hostile header from asking for absurd work.
pub(crate) const N_LAYERS_MAX: u64 = 1_024;
pub(crate) const N_HEADS_MAX: u64 = 4_096;
const HEAD_DIM_MAX: u64 = 4_096;
pub(crate) const WIDTH_MAX: u64 = 1 << 20;
pub(crate) const VOCAB_SIZE_MAX: u64 = 1 << 22;
pub(crate) const CONTEXT_LEN_MAX: u64 = 1 << 24;

const ARCHITECTURES: &[&str] = &["llama"];

/// A llama-family model's hyperparameters: Llama 1-3, Mistral, `SmolLM2`.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Transformer layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub embed_dim: usize,
    /// Width of the feed-forward hidden layer.
    pub ffn_dim: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Entries of a head.
    pub head_dim: usize,
    /// Entries of a head that rope rotates.
    pub rope_dim: usize,
    /// Base of the rope frequencies.
    pub rope_freq_base: f32,
    /// Positions are divided by this before rope ("linear" scaling); 1 for none.
    pub rope_linear_factor: f32,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f32,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions the model can be run for.
    pub context_len: usize,
}

impl LlamaConfig {
    /// Reads the configuration of a file: its metadata and the size of its embedding.
    ///
    /// # Errors
    /// As [`LlamaConfig::from_metadata`], or if there is no embedding.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LlmError> {
        let name = "token_embd.weight";
        let rows = gguf.tensor(name).map(|tensor| tensor.shape.get(1).copied().unwrap_or(0));
        match rows {
            Some(vocab_size) => Self::from_metadata(gguf.metadata(), vocab_size),
            None => Self::from_metadata(gguf.metadata(), 1).and(Err(LlmError::TensorMissing { name: name.to_owned() })),
        }
    }

    /// Reads the configuration. `vocab_size` is the number of rows of the embedding tensor.
    ///
    /// # Errors
    /// If the architecture is another, a needed key is missing, of the wrong type or out of bounds, or the file asks
    /// for a feature that is not implemented (experts, rope scaling other than linear).
    pub fn from_metadata(metadata: &Metadata, vocab_size: u64) -> Result<Self, LlmError> {
        let arch = metadata.string("general.architecture")?.unwrap_or_default();
        if !ARCHITECTURES.contains(&arch) {
            return Err(LlmError::UnsupportedArchitecture { got: arch.to_owned(), supported: ARCHITECTURES });
        }
        let keys = Keys { metadata, arch };
        keys.refuse_experts()?;
        let embed_dim = keys.required("embedding_length", WIDTH_MAX)?;
        let n_heads = keys.required("attention.head_count", N_HEADS_MAX)?;
        let n_kv_heads = keys.or("attention.head_count_kv", N_HEADS_MAX, n_heads)?;
        keys.divides("attention.head_count_kv", n_kv_heads, n_heads)?;
        let head_dim = match metadata.u64(&keys.name("attention.key_length"))? {
            Some(_) => keys.required("attention.key_length", HEAD_DIM_MAX)?,
            None => {
                keys.divides("attention.head_count", n_heads, embed_dim)?;
                embed_dim / n_heads
            }
        };
        keys.equals("attention.value_length", keys.or("attention.value_length", HEAD_DIM_MAX, head_dim)?, head_dim)?;
        let rope_dim = keys.or("rope.dimension_count", head_dim as u64, head_dim)?;
        keys.even("rope.dimension_count", rope_dim)?;
        keys.bounded("vocab_size (rows of the embedding)", vocab_size, VOCAB_SIZE_MAX)?;
        Ok(Self {
            n_layers: keys.required("block_count", N_LAYERS_MAX)?,
            embed_dim,
            ffn_dim: keys.required("feed_forward_length", WIDTH_MAX)?,
            n_heads,
            n_kv_heads,
            head_dim,
            rope_dim,
            rope_freq_base: keys.f32_or("rope.freq_base", 10_000.0)?,
            rope_linear_factor: keys.rope_linear_factor()?,
            rms_norm_eps: keys.f32_or("attention.layer_norm_rms_epsilon", 1e-5)?,
            vocab_size: to_usize(vocab_size),
            context_len: keys.context_len()?,
        })
    }

    /// Query heads that share a KV head.
    #[must_use]
    pub fn n_group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Entries of one position's keys (or values) in one layer.
    #[must_use]
    pub fn kv_dim(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Entries of one position's queries.
    #[must_use]
    pub fn q_dim(&self) -> usize {
        self.n_heads * self.head_dim
    }
}

/// Metadata keys under the architecture's prefix.
pub(crate) struct Keys<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) arch: &'a str,
}

impl Keys<'_> {
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    pub(crate) fn required(&self, key: &str, max: u64) -> Result<usize, LlmError> {
        let name = self.name(key);
        let value = self.metadata.u64(&name)?.ok_or(LlmError::MetadataMissing { key: name })?;
        self.bounded(key, value, max)
    }

    pub(crate) fn or(&self, key: &str, max: u64, default: usize) -> Result<usize, LlmError> {
        match self.metadata.u64(&self.name(key))? {
            Some(value) => self.bounded(key, value, max),
            None => Ok(default),
        }
    }

    pub(crate) fn bounded(&self, key: &str, value: u64, max: u64) -> Result<usize, LlmError> {
        if (1..=max).contains(&value) {
            return Ok(to_usize(value));
        }
        Err(LlmError::MetadataOutOfRange { key: self.name(key), expected: format!("1 to {max}"), got: value })
    }

    pub(crate) fn f32_or(&self, key: &str, default: f32) -> Result<f32, LlmError> {
        let name = self.name(key);
        let value = self.metadata.f32(&name)?.unwrap_or(default);
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(LlmError::UnsupportedFeature { key: name, expected: "a finite number above 0", got: value.to_string() })
    }

    pub(crate) fn divides(&self, key: &str, value: usize, of: usize) -> Result<(), LlmError> {
        if of.is_multiple_of(value) {
            return Ok(());
        }
        let expected = format!("a divisor of {of}");
        Err(LlmError::MetadataOutOfRange { key: self.name(key), expected, got: value as u64 })
    }

    pub(crate) fn equals(&self, key: &str, value: usize, expected: usize) -> Result<(), LlmError> {
        if value == expected {
            return Ok(());
        }
        Err(LlmError::MetadataOutOfRange { key: self.name(key), expected: expected.to_string(), got: value as u64 })
    }

    fn even(&self, key: &str, value: usize) -> Result<(), LlmError> {
        if value.is_multiple_of(2) {
            return Ok(());
        }
        let expected = "an even number".to_owned();
        Err(LlmError::MetadataOutOfRange { key: self.name(key), expected, got: value as u64 })
    }

    pub(crate) fn refuse_experts(&self) -> Result<(), LlmError> {
        let key = self.name("expert_count");
        match self.metadata.u64(&key)? {
            None | Some(0) => Ok(()),
            Some(n) => Err(LlmError::UnsupportedFeature { key, expected: "no experts", got: n.to_string() }),
        }
    }

    /// A sliding window is honoured by not running past it: inside the window every position sees every other.
    fn context_len(&self) -> Result<usize, LlmError> {
        let trained = self.required("context_length", CONTEXT_LEN_MAX)?;
        let window = self.metadata.u64(&self.name("attention.sliding_window"))?.filter(|&n| n > 0);
        Ok(window.map_or(trained, |n| trained.min(to_usize(n))))
    }

    fn rope_linear_factor(&self) -> Result<f32, LlmError> {
        let key = self.name("rope.scaling.type");
        match self.metadata.string(&key)?.unwrap_or("none") {
            "none" => self.f32_or("rope.scale_linear", 1.0),
            "linear" => self.f32_or("rope.scaling.factor", 1.0),
            other => Err(LlmError::UnsupportedFeature { key, expected: "none or linear", got: other.to_owned() }),
        }
    }
}

/// Values are bounded far below `usize::MAX` on every supported target before they come here.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
