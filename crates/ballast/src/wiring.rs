//! The one place that names engines: which engine opens which file.

use crate::{Error, Isolation, LoadOptions, LoadProgress, SystemClock, worker};
use ballast_artifacts::Until;
use ballast_backend::{Generator, GeneratorShape, Pulse};
use ballast_gguf::{Gguf, TensorInfo};
use ballast_llm::{
    CachedWeights, CompileCache, CompileCacheOptions, CompiledModel, EngineOptions, LlamaConfig, LlamaEngine,
    MemoryPlan, Preparation,
};
use ballast_worker::WorkerError;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

/// Bounds of what can be asked of an engine, far above use: they keep plans from overflowing and a typing error from
/// being tried.
const N_THREADS_MAX: usize = 1 << 10;
const N_PARALLEL_MAX: usize = 1 << 12;
const BATCH_TOKENS_MAX: usize = 1 << 16;
const KV_LEN_MAX: usize = 1 << 28;

/// Opens the engine for a file, alone, without a runtime around it: for benchmarks and for looking at logits.
///
/// # Errors
/// If no engine runs the model, or the options ask for what this machine does not have.
pub fn open_generator(gguf: &Arc<Gguf>, options: &LoadOptions) -> Result<Box<dyn Generator>, Error> {
    let on_packed = options.progress.as_ref().map(LoadProgress::on_packed);
    let (cache, cached_weights) = (options.compile_cache.as_ref(), options.cached_weights);
    let preparation = Preparation { cache, cached_weights, sha256: None, on_packed };
    Ok(Box::new(LlamaEngine::open_prepared(gguf, &engine_options(options)?, &preparation)?))
}

/// Opens the place where packed weights are kept, for [`LoadOptions::compile_cache`].
///
/// # Errors
/// If the directory cannot be made, read or locked.
pub fn open_compile_cache(options: &CompileCacheOptions) -> Result<Arc<CompileCache>, Error> {
    Ok(Arc::new(CompileCache::open(options, Arc::new(SystemClock::start()))?))
}

/// Packs a model ahead and keeps it, so that its first start is as quick as any other. Says at once if it is there.
///
/// # Errors
/// If no engine runs the model, its file changes meanwhile, or the disk refuses.
pub fn compile(gguf: &Gguf, cache: &CompileCache, options: &LoadOptions) -> Result<CompiledModel, Error> {
    let (clock, pulse) = (SystemClock::start(), Pulse::new());
    let until = Until { clock: &clock, deadline: None, pulse: &pulse };
    let on_packed = options.progress.as_ref().map(LoadProgress::on_packed);
    Ok(cache.compile(gguf, engine_options(options)?.n_threads, &until, on_packed)?)
}

/// Opens the engine for the file at `path`, of which `gguf` is the content, where the options want it to run.
///
/// # Errors
/// As [`open_generator`] and [`open_isolated`]; or if a worker finds another model at `path` than `gguf`.
pub fn open_engine(path: &Path, gguf: &Arc<Gguf>, options: &LoadOptions) -> Result<Box<dyn Generator>, Error> {
    match options.isolation {
        Isolation::InProcess => open_generator(gguf, options),
        Isolation::Process => {
            let (planned, _) = model_plan(gguf, options)?;
            let engine = open_isolated(path, options)?;
            if *engine.shape() == planned {
                return Ok(engine);
            }
            let got = format!("{:?}", engine.shape());
            Err(WorkerError::Protocol { expected: "a worker with the model that was planned for", got }.into())
        }
    }
}

/// Opens the engine for the file at `path` in a worker process, which is this executable entered again through
/// [`crate::worker_main`].
///
/// # Errors
/// If no worker can be started, or for what [`open_generator`] fails for there.
pub fn open_isolated(path: &Path, options: &LoadOptions) -> Result<Box<dyn Generator>, Error> {
    worker::open(path, options)
}

/// The engine's options among those of loading.
///
/// # Errors
/// If the kernel set asked for is not to be had on this CPU, or a number is out of bounds.
pub(crate) fn engine_options(options: &LoadOptions) -> Result<EngineOptions, Error> {
    check_bounds(options)?;
    let defaults = EngineOptions::default();
    let kernels = match &options.kernels {
        None => defaults.kernels,
        Some(name) => ballast_llm::kernel_set(name)
            .ok_or_else(|| Error::KernelsUnavailable { got: name.clone(), available: ballast_llm::kernel_sets() })?,
    };
    Ok(EngineOptions {
        kernels,
        n_threads: options.n_threads.and_then(NonZeroUsize::new).unwrap_or(defaults.n_threads),
        context_len: options.context_len,
        kv_len: options.kv_len,
        cache_type: options.cache_type,
        max_batch_tokens: options.max_batch_tokens,
        max_batch_sequences: options.n_parallel,
    })
}

fn check_bounds(options: &LoadOptions) -> Result<(), Error> {
    let bounds = [
        ("n_threads", options.n_threads.unwrap_or(0), N_THREADS_MAX),
        ("n_parallel", options.n_parallel, N_PARALLEL_MAX),
        ("max_batch_tokens", options.max_batch_tokens, BATCH_TOKENS_MAX),
        ("kv_len", options.kv_len.unwrap_or(0), KV_LEN_MAX),
    ];
    match bounds.into_iter().find(|(_, got, max)| got > max) {
        Some((option, got, max)) => Err(Error::OptionTooLarge { option, max, got }),
        None => Ok(()),
    }
}

/// Every element of a tensor as f32, in file order.
///
/// # Errors
/// If the tensor's type has no kernels.
pub fn tensor_to_f32(gguf: &Gguf, tensor: &TensorInfo) -> Result<Vec<f32>, Error> {
    Ok(ballast_llm::tensor_to_f32(gguf, tensor)?)
}

/// What an engine for `gguf` would be able to do, and what it would take, opened with these options.
///
/// # Errors
/// If no engine runs the model, or the options ask for what this machine does not have.
pub fn model_plan(gguf: &Gguf, options: &LoadOptions) -> Result<(GeneratorShape, MemoryPlan), Error> {
    let engine_options = engine_options(options)?;
    let config = LlamaConfig::from_gguf(gguf)?;
    let plan = MemoryPlan::new(gguf, &engine_options)?;
    let held = || options.compile_cache.as_ref().is_some_and(|cache| cache.holds(gguf));
    let is_mapped = options.cached_weights == CachedWeights::Mapped && held();
    Ok((engine_options.shape(&config), if is_mapped { plan.mapped(gguf) } else { plan }))
}

/// How many weights are stored in each type.
#[must_use]
pub fn tensor_types(gguf: &Gguf) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for tensor in gguf.tensors() {
        *counts.entry(tensor.tensor_type.name()).or_default() += tensor.n_elements();
    }
    counts
}

/// Positions the model was trained for.
///
/// # Errors
/// If no engine runs the model.
pub fn trained_context_len(gguf: &Gguf) -> Result<usize, Error> {
    Ok(LlamaConfig::from_gguf(gguf)?.context_len)
}
