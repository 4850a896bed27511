//! What opening a model takes, computed before anything is allocated.

use crate::kv::KvCache;
use crate::scratch::Scratch;
use crate::{EngineOptions, LlamaConfig, LlmError};
use ballast_gguf::Gguf;

/// Bytes that an engine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights: the file's tensors, in the order that the kernels want.
    pub weights_bytes: u64,
    /// Of these, what is mapped from the compile cache: shared with other processes, and given back by the system when
    /// memory is short. 0 if the weights are packed in memory.
    pub mapped_bytes: u64,
    /// KV blocks. Reserved at once, touched as they are used.
    pub kv_bytes: u64,
    /// Buffers of the forward pass and the logits, at the largest step.
    pub scratch_bytes: u64,
}

impl MemoryPlan {
    /// The plan for opening `gguf` with `options`.
    ///
    /// # Errors
    /// If the file is not a model of this engine.
    pub fn new(gguf: &Gguf, options: &EngineOptions) -> Result<Self, LlmError> {
        let config = LlamaConfig::from_gguf(gguf)?;
        let shape = options.shape(&config);
        let n_threads = options.n_threads.get();
        let scratch = Scratch::bytes(&config, &shape, n_threads);
        let logits = shape.max_batch_sequences as u64 * config.vocab_size as u64 * 4;
        Ok(Self {
            weights_bytes: gguf.tensors().iter().map(|t| t.n_bytes).sum(),
            mapped_bytes: 0,
            kv_bytes: KvCache::bytes(&config, options.kv_shape(&shape)),
            scratch_bytes: scratch + logits,
        })
    }

    /// The same where the matrices are mapped from the compile cache.
    #[must_use]
    pub fn mapped(self, gguf: &Gguf) -> Self {
        let matrices = gguf.tensors().iter().filter(|tensor| tensor.shape.len() > 1);
        Self { mapped_bytes: matrices.map(|tensor| tensor.n_bytes).sum(), ..self }
    }

    /// All of it, mapped or not.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.kv_bytes + self.scratch_bytes
    }
}
