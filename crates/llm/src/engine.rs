//! An opened model: what the runtime drives through `backend::Generator`.

use crate::bundle::Table;
use crate::compile_cache::{CompileCache, Job, Writer};
use crate::compute::Compute;
use crate::forward::{Model, State, forward};
use crate::kv::{KvCache, KvShape};
use crate::packing::{CachedWeights, Mapped, Memory, OnPacked, PackedBytes, WeightsPlace};
use crate::rope::Rope;
use crate::scratch::Scratch;
use crate::step::StepPlan;
use crate::weights::Weights;
use crate::{LlamaConfig, LlmError};
use ballast_backend::{EngineError, Generator, GeneratorShape, Logits, Pulse, SequenceStep, Sha256};
use ballast_gguf::Gguf;
use ballast_kernels::{CacheType, Kernels};
use ballast_threads::ComputePool;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Positions in a KV block: small enough that a short sequence wastes little, long enough that attention runs over
/// contiguous rows.
const BLOCK_LEN: usize = 32;

/// How to open a model.
#[derive(Clone, Copy)]
pub struct EngineOptions {
    /// The kernel set to use.
    pub kernels: &'static dyn Kernels,
    /// Compute threads, the owner among them.
    pub n_threads: NonZeroUsize,
    /// Positions of one sequence; `None` or more than the model was trained for: as many as that.
    pub context_len: Option<usize>,
    /// Positions in the KV cache, all sequences together; `None`: as many as one full context. Fewer bound the
    /// context, too.
    pub kv_len: Option<usize>,
    /// Type of the KV cache's entries.
    pub cache_type: CacheType,
    /// Most tokens in one step.
    pub max_batch_tokens: usize,
    /// Most sequences in one step.
    pub max_batch_sequences: usize,
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("kernels", &self.kernels.name())
            .field("n_threads", &self.n_threads)
            .field("context_len", &self.context_len)
            .field("kv_len", &self.kv_len)
            .field("cache_type", &self.cache_type)
            .field("max_batch_tokens", &self.max_batch_tokens)
            .field("max_batch_sequences", &self.max_batch_sequences)
            .finish()
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            kernels: ballast_kernels::detect(),
            n_threads: ballast_threads::default_threads(),
            context_len: None,
            kv_len: None,
            cache_type: CacheType::default(),
            max_batch_tokens: 512,
            max_batch_sequences: 16,
        }
    }
}

impl EngineOptions {
    /// The shape of an engine for `config` opened with these options.
    #[must_use]
    pub fn shape(&self, config: &LlamaConfig) -> GeneratorShape {
        let context_len = self.context_len.map_or(config.context_len, |len| len.clamp(1, config.context_len));
        let kv_len = self.kv_len.unwrap_or(context_len).max(1);
        GeneratorShape {
            vocab_size: config.vocab_size,
            context_len: context_len.min(kv_len),
            block_len: BLOCK_LEN,
            n_blocks: kv_len.div_ceil(BLOCK_LEN),
            max_batch_tokens: self.max_batch_tokens.max(1),
            max_batch_sequences: self.max_batch_sequences.max(1),
        }
    }

    /// The KV cache of an engine of `shape`.
    pub(crate) fn kv_shape(&self, shape: &GeneratorShape) -> KvShape {
        KvShape { cache_type: self.cache_type, n_blocks: shape.n_blocks, block_len: shape.block_len }
    }
}

/// What is known and wanted when a model is opened, beside the engine's options.
#[derive(Clone, Copy, Default)]
pub struct Preparation<'a> {
    /// Where packed models are kept; `None`: nowhere.
    pub cache: Option<&'a Arc<CompileCache>>,
    /// What becomes of weights that are there.
    pub cached_weights: CachedWeights,
    /// Digest of the model's content, where the caller has made sure of it; `None`: as the cache remembers.
    pub sha256: Option<Sha256>,
    /// Told of the progress of packing.
    pub on_packed: Option<&'a OnPacked>,
}

impl fmt::Debug for Preparation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation").field("cache", &self.cache).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// A llama-family model ready to run on the CPU.
#[derive(Debug)]
pub struct LlamaEngine {
    model: Model,
    shape: GeneratorShape,
    plan: StepPlan,
    state: State,
    /// Puts the weights on the disk, while they are not; ends when the engine is dropped.
    writer: Option<Writer>,
}

impl LlamaEngine {
    /// Opens a model: finds, checks and packs its weights, reserves KV blocks, starts the compute threads. The file is
    /// not read after that.
    ///
    /// # Errors
    /// If the file is not a llama-family model with tensor types that have kernels.
    pub fn open(gguf: Arc<Gguf>, options: &EngineOptions) -> Result<Self, LlmError> {
        Self::open_prepared(&gguf, options, &Preparation::default())
    }

    /// As [`LlamaEngine::open`]; if the model was packed before and is in the compile cache, its weights are taken from
    /// there. Otherwise they are packed in memory, and put there by a thread of its own after the engine is ready.
    ///
    /// # Errors
    /// As [`LlamaEngine::open`]. What is wrong with the cache is logged and no error.
    pub fn open_prepared(
        gguf: &Arc<Gguf>,
        options: &EngineOptions,
        preparation: &Preparation<'_>,
    ) -> Result<Self, LlmError> {
        let config = LlamaConfig::from_gguf(gguf)?;
        let weights = Weights::find(gguf, &config)?;
        let rope = Rope::new(&config, weights.rope_factors.as_deref());
        let shape = options.shape(&config);
        let mut pool = ComputePool::new(options.n_threads);
        let sha256 = preparation.sha256.or_else(|| preparation.cache?.known_digest(gguf));
        let mapped = sha256.and_then(|sha256| preparation.cache?.find(sha256, &weights));
        let packed = match mapped {
            Some(mapped) => Self::cached(mapped, preparation.cached_weights, &mut pool)?,
            None => None,
        };
        let packed = match packed {
            Some(packed) => packed,
            None => PackedBytes::Owned(Arc::new(Memory::pack(gguf, &weights, &mut pool, preparation.on_packed)?)),
        };
        // If the file was cut while it was read, what was packed is not the model.
        gguf.check_intact()?;
        gguf.release();
        let mut engine = Self {
            state: State {
                kv: KvCache::new(&config, options.kv_shape(&shape))?,
                scratch: Scratch::default(),
                compute: Compute { kernels: options.kernels, pool },
            },
            model: Model { config, weights, packed, rope },
            plan: StepPlan::default(),
            shape,
            writer: None,
        };
        let place = engine.weights_place();
        tracing::debug!(kernels = options.kernels.name(), n_threads = options.n_threads, ?place, "opened a model");
        if let Some(cache) = preparation.cache {
            engine.keep(cache, gguf, sha256);
        }
        Ok(engine)
    }

    /// What the compile cache has, as it is wanted; `None` if its file was cut while it was read.
    fn cached(mapped: Mapped, wanted: CachedWeights, pool: &mut ComputePool) -> Result<Option<PackedBytes>, LlmError> {
        if wanted == CachedWeights::Mapped {
            return Ok(Some(PackedBytes::Mapped(Box::new(mapped))));
        }
        match Memory::copy(&mapped.bundle, pool) {
            Ok(memory) => Ok(Some(PackedBytes::Copied(memory))),
            Err(LlmError::Gguf(error)) => {
                tracing::warn!(%error, "compile cache: a bundle could not be read to its end");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to put packed weights into the compile cache; those that are mapped from there are there.
    pub(crate) fn keep(&mut self, cache: &Arc<CompileCache>, gguf: &Arc<Gguf>, sha256: Option<Sha256>) {
        if let PackedBytes::Owned(memory) = &self.model.packed {
            let (memory, table) = (Arc::clone(memory), Table::new(&self.model.weights));
            self.writer = Writer::start(cache, Job { gguf: Arc::clone(gguf), sha256, table, memory });
        }
    }

    /// Where the weights are.
    #[must_use]
    pub fn weights_place(&self) -> WeightsPlace {
        self.model.packed.place()
    }

    /// The model's hyperparameters.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.model.config
    }

    fn try_step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), LlmError> {
        self.plan.set(batch, &self.shape)?;
        let (plan, config) = (&self.plan, &self.model.config);
        let n_threads = self.state.compute.pool.n_threads();
        let logits = logits.reset(plan.logit_rows.len(), config.vocab_size);
        if plan.tokens.is_empty() {
            return Ok(());
        }
        self.state.scratch.attention.set(plan, config, n_threads);
        self.state.scratch.resize(config, plan.tokens.len(), n_threads);
        forward(&self.model, &mut self.state, plan, logits, pulse)?;
        Ok(self.model.packed.check()?)
    }
}

impl Generator for LlamaEngine {
    fn shape(&self) -> &GeneratorShape {
        &self.shape
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError> {
        self.try_step(batch, logits, pulse).map_err(|error| EngineError::new(error.kind(), error))
    }
}
