//! The encoder as the runtime knows engines: a tensor model that is prepared, opened and run.

use super::EncoderConfig;
use super::batch::Batch;
use super::forward::{Model, Scratch, forward};
use super::pooling::{classify, pool};
use super::weights::Weights;
use crate::compile_cache::{content_digest, stamps};
use crate::compute::Compute;
use crate::llm_cpu::{check_options, gguf_file};
use crate::packing::{Memory, OnPacked};
use crate::{LlmError, MemoryPlan};
use ballast_artifacts::{FileStamp, Until};
use ballast_backend::{
    CapabilityReport, Clock, ComputeUnits, DType, Dispatch, EncoderShape, EngineError, ErrorKind, InferenceEngine,
    Instance, IoSchema, ModelArtifact, ModelFmt, Pooling, Predictor, PrepareOptions, Prepared, Pulse, Sha256,
    TensorMap, encoder_output, encoder_texts,
};
use ballast_gguf::Gguf;
use ballast_kernels::Kernels;
use ballast_threads::ComputePool;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The engine, and the version of what it makes of a model.
pub const ENCODER_VERSION: &str = "encoder-cpu.1";

/// How to open an encoder.
#[derive(Clone, Copy)]
pub struct EncoderOptions {
    /// The kernel set to use.
    pub kernels: &'static dyn Kernels,
    /// Compute threads, the owner among them.
    pub n_threads: NonZeroUsize,
    /// How token vectors become one; `None`: as the file says.
    pub pooling: Option<Pooling>,
    /// Most tokens of one call, all texts together; at least as many as one text may have are taken.
    pub max_batch_tokens: usize,
    /// Most texts of one call.
    pub max_batch_texts: usize,
}

impl fmt::Debug for EncoderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncoderOptions")
            .field("kernels", &self.kernels.name())
            .field("n_threads", &self.n_threads)
            .field("pooling", &self.pooling)
            .field("max_batch_tokens", &self.max_batch_tokens)
            .field("max_batch_texts", &self.max_batch_texts)
            .finish()
    }
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self {
            kernels: ballast_kernels::detect(),
            n_threads: ballast_threads::default_threads(),
            pooling: None,
            max_batch_tokens: 2048,
            max_batch_texts: 64,
        }
    }
}

impl EncoderOptions {
    /// The shape of an engine for `config` opened with these options.
    ///
    /// # Errors
    /// If the model has no classifier and one is asked for.
    pub fn shape(&self, config: &EncoderConfig) -> Result<EncoderShape, LlmError> {
        let pooling = self.pooling.unwrap_or(config.pooling);
        config.check_pooling(pooling)?;
        Ok(EncoderShape {
            vocab_size: config.vocab_size,
            context_len: config.context_len,
            pooling,
            width: config.width(pooling),
            max_batch_tokens: self.max_batch_tokens.max(config.context_len),
            max_batch_texts: self.max_batch_texts.max(1),
        })
    }

    /// What opening `gguf` takes, computed before anything is allocated.
    ///
    /// # Errors
    /// If the file is not a model of this engine.
    pub fn plan(&self, gguf: &Gguf) -> Result<MemoryPlan, LlmError> {
        let config = EncoderConfig::from_gguf(gguf)?;
        let shape = self.shape(&config)?;
        let most = (shape.max_batch_tokens, shape.max_batch_texts);
        // Vectors that are looked up are held as f32, whatever the file has.
        let n_rows = (config.context_len + config.n_token_types) as u64;
        let tables = n_rows.saturating_mul(config.embed_dim as u64).saturating_mul(4);
        let weights: u64 = gguf.tensors().iter().map(|tensor| tensor.n_bytes).sum();
        Ok(MemoryPlan {
            weights_bytes: weights.saturating_add(tables),
            mapped_bytes: 0,
            kv_bytes: 0,
            scratch_bytes: Scratch::bytes(&config, most, self.n_threads.get()),
        })
    }
}

/// An encoder ready to run on the CPU.
#[derive(Debug)]
pub struct EncoderEngine {
    model: Model,
    packed: Memory,
    shape: EncoderShape,
    schema: IoSchema,
    batch: Batch,
    scratch: Scratch,
    compute: Compute,
}

impl EncoderEngine {
    /// Opens a model: finds, checks and packs its weights, starts the compute threads. The file is not read after that.
    /// `on_packed` is told of the progress.
    ///
    /// # Errors
    /// If the file is not an encoder of the BERT family with tensor types that have kernels.
    pub fn open(gguf: &Gguf, options: &EncoderOptions, on_packed: Option<&OnPacked>) -> Result<Self, LlmError> {
        let config = EncoderConfig::from_gguf(gguf)?;
        let shape = options.shape(&config)?;
        let weights = Weights::find(gguf, &config)?;
        let mut pool = ComputePool::new(options.n_threads);
        let packed = Memory::pack_matrices(gguf, (weights.n_bytes, weights.matrices()), &mut pool, on_packed)?;
        // If the file was cut while it was read, what was packed is not the model.
        gguf.check_intact()?;
        gguf.release();
        tracing::debug!(kernels = options.kernels.name(), n_threads = options.n_threads, "opened an encoder");
        Ok(Self {
            schema: shape.io_schema(),
            model: Model { config, weights },
            packed,
            shape,
            batch: Batch::default(),
            scratch: Scratch::default(),
            compute: Compute { kernels: options.kernels, pool },
        })
    }

    /// What it can do.
    #[must_use]
    pub fn shape(&self) -> &EncoderShape {
        &self.shape
    }

    /// Turns texts into vectors: each text is its tokens, and how many of them are of the first type. `out` gets rows of
    /// [`EncoderShape::width`], as many for each text as [`EncoderShape::n_vectors`] says, not normalised.
    ///
    /// # Errors
    /// If the texts do not fit the shape, or the watcher asked for the end.
    pub fn encode(&mut self, texts: &[(&[i32], usize)], out: &mut Vec<f32>, pulse: &Pulse) -> Result<(), LlmError> {
        let Self { model, packed, shape, batch, scratch, compute, .. } = self;
        let config = &model.config;
        batch.set(texts, shape, config)?;
        let n_vectors: usize = batch.texts.iter().map(|rows| shape.n_vectors(rows.len())).sum();
        out.clear();
        out.resize(n_vectors * shape.width, 0.0);
        if batch.texts.is_empty() {
            return Ok(());
        }
        forward(model, packed.bytes(), (compute, scratch), batch, pulse)?;
        match (&model.weights.classifier, shape.pooling) {
            (Some(classifier), Pooling::Rank) => {
                let mut first = vec![0.0; n_vectors * config.embed_dim];
                pool(config, batch, Pooling::Cls, &scratch.h, &mut first);
                classify(compute, (classifier, packed.bytes()), &mut scratch.inputs, first, out);
            }
            (_, pooling) => pool(config, batch, pooling, &scratch.h, out),
        }
        Ok(())
    }
}

/// Tensors that are no texts.
#[derive(Debug, thiserror::Error)]
#[error("expected as many tokens as the lengths say")]
struct NoTexts;

impl Predictor for EncoderEngine {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError> {
        let texts = encoder_texts(inputs).ok_or_else(|| EngineError::new(ErrorKind::Invalid, NoTexts))?;
        let mut vectors = Vec::new();
        self.encode(&texts, &mut vectors, pulse).map_err(|error| EngineError::new(error.kind(), error))?;
        let width = self.shape.width;
        let place = encoder_output(outputs, vectors.len() / width, width)
            .map_err(|error| EngineError::new(ErrorKind::Internal, error))?;
        *place = vectors;
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        Some(Dispatch::CPU)
    }
}

/// Opens encoders for a supervised engine. Shareable; an instance belongs to the thread that opens it.
pub struct EncoderCpu {
    options: EncoderOptions,
    clock: Arc<dyn Clock>,
    step_sla: Duration,
    /// The last file whose content was compared with a digest, as it was then.
    verified: Mutex<Option<(Sha256, Vec<FileStamp>)>>,
}

impl fmt::Debug for EncoderCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncoderCpu").field("options", &self.options).finish_non_exhaustive()
    }
}

impl EncoderCpu {
    /// An engine that opens every model with `options`; deadlines are times on `clock`. A call that takes longer than
    /// `step_sla` counts as a violation.
    #[must_use]
    pub fn new(options: EncoderOptions, clock: Arc<dyn Clock>, step_sla: Duration) -> Self {
        Self { options, clock, step_sla, verified: Mutex::default() }
    }

    /// The model at `path` as an artifact: its content is read to its end, once.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn artifact(&self, path: &Path) -> Result<ModelArtifact, LlmError> {
        let gguf = Gguf::open(path)?;
        let (pulse, clock) = (Pulse::new(), &*self.clock);
        let sha256 = self.digest(&gguf, &Until { clock, deadline: None, pulse: &pulse })?;
        Ok(ModelArtifact::Authoring { path: path.to_owned(), format: ModelFmt::Gguf, sha256 })
    }

    /// Digest of a file's content, which is read if the file is another than was read last.
    fn digest(&self, gguf: &Gguf, until: &Until<'_>) -> Result<Sha256, LlmError> {
        let files = stamps(gguf)?;
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((sha256, _)) = known.filter(|(_, known)| *known == files) {
            return Ok(sha256);
        }
        let sha256 = content_digest(gguf, until)?;
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some((sha256, files));
        Ok(sha256)
    }

    /// Reads and plans a model, and compares its content with its digest.
    fn check(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<(Gguf, MemoryPlan), LlmError> {
        let (pulse, clock) = (Pulse::new(), &*self.clock);
        let deadline = options.deadline.map(|time| clock.now().saturating_add(time));
        let until = Until { clock, deadline, pulse: &pulse };
        until.check()?;
        let (path, expected) = gguf_file(artifact)?;
        check_options(options)?;
        let gguf = Gguf::open(path)?;
        Weights::find(&gguf, &EncoderConfig::from_gguf(&gguf)?)?;
        let plan = self.options.plan(&gguf)?;
        let plan_bytes = plan.total_bytes();
        if let Some(budget_bytes) = options.memory_budget_bytes.filter(|budget| plan_bytes > *budget) {
            return Err(LlmError::MemoryBudgetExceeded { budget_bytes, plan_bytes });
        }
        let got = self.digest(&gguf, &until)?;
        if got != expected {
            return Err(LlmError::DigestMismatch { expected, got });
        }
        Ok((gguf, plan))
    }
}

impl InferenceEngine for EncoderCpu {
    fn name(&self) -> &'static str {
        "encoder-cpu"
    }

    /// Checks the file: that it is a model this engine runs, that it fits the budget, that its content has its digest.
    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        let prepared = self.check(artifact, options).and_then(|(gguf, plan)| {
            let (_, sha256) = gguf_file(artifact)?;
            let shape = self.options.shape(&EncoderConfig::from_gguf(&gguf)?)?;
            Ok(Prepared {
                cache_key: format!("{ENCODER_VERSION}.{sha256}"),
                artifact: artifact.clone(),
                options: options.clone(),
                io_schema: Some(shape.io_schema()),
                sla_estimate: self.step_sla,
                memory_bytes: plan.total_bytes(),
            })
        });
        prepared.map_err(|error| EngineError::new(error.kind(), error))
    }

    /// Opens an instance of the file, checked as it was prepared; content is read again only if the file changed.
    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        let opened = self
            .check(&prepared.artifact, &prepared.options)
            .and_then(|(gguf, _)| EncoderEngine::open(&gguf, &self.options, None));
        match opened {
            Ok(engine) => Ok(Instance::Predictor(Box::new(engine))),
            Err(error) => Err(EngineError::new(error.kind(), error)),
        }
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: format!("cpu, {}, {} threads", self.options.kernels.name(), self.options.n_threads),
            supported_dtypes: vec![DType::F32, DType::F16, DType::I8],
            max_batch_size: self.options.max_batch_texts.max(1),
            compute_units_requested: prepared.options.compute_units,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}
