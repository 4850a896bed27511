//! The one place that names engines: which engine opens which file.

mod tensor_survey;

pub(crate) use tensor_survey::tensor_model_survey;

use crate::tensor_model::{Fallback, TensorLoadOptions};
use crate::{Error, Isolation, LoadOptions, LoadProgress, SystemClock, accelerator, onnx_runtime, worker};
use ballast_artifacts::Until;
use ballast_backend::{Clock, Generator, GeneratorShape, InferenceEngine, ModelArtifact, ModelFmt, Pulse, TensorMap};
use ballast_gguf::{Gguf, TensorInfo};
use ballast_llm::{
    CachedWeights, CompileCache, CompileCacheOptions, CompiledModel, EngineOptions, LlamaConfig, LlamaEngine,
    MemoryPlan, Preparation,
};
use ballast_runtime::supervised::{Link, LinkModel};
use ballast_tensor::{Executor, ExecutorOptions, Model, PackageLimits, ReadLimits, TensorCpu, TraceEntry, Tracing};
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

/// The engines that answer for a tensor model, in order: that for accelerators, where [`accelerator::is_in_front`] says
/// so, then ONNX Runtime, where it is asked for, then the CPU, which runs the same file.
///
/// # Errors
/// If the options ask for what this machine does not have.
pub(crate) fn tensor_chain(
    artifact: &ModelArtifact,
    format: ModelFmt,
    options: &TensorLoadOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Link>, Error> {
    let mut engines = Vec::new();
    if accelerator::is_in_front(options.compute_units, format) {
        engines.push(accelerator::engine(options, clock)?);
    }
    engines.extend(onnx_runtime::engine(options, format, clock)?);
    match options.fallback {
        Fallback::Never if !engines.is_empty() => {}
        Fallback::Never | Fallback::Cpu => engines.push(tensor_engine(options, clock)?),
    }
    let link = |engine| {
        let model = LinkModel::Artifact { artifact: artifact.clone(), options: options.prepare() };
        Link { engine, model, memory: None }
    };
    Ok(engines.into_iter().map(link).collect())
}

/// The CPU's engine for tensor models where the options want it to run, alone, without a chain around it.
///
/// # Errors
/// If the options ask for what this machine does not have.
pub fn tensor_engine(options: &TensorLoadOptions, clock: &Arc<dyn Clock>) -> Result<Arc<dyn InferenceEngine>, Error> {
    let cpu: Arc<dyn InferenceEngine> = Arc::new(tensor_cpu(options, clock)?);
    Ok(match options.isolation {
        Isolation::InProcess => cpu,
        Isolation::Process => Arc::new(worker::IsolatedTensors::new(cpu, worker::WorkerEngine::Cpu, options.clone())),
    })
}

/// What this machine has beside the CPU for tensor models, in words; or why nothing.
#[must_use]
pub fn accelerators() -> String {
    accelerator::inventory()
}

/// The CPU's engine for tensor models.
pub(crate) fn tensor_cpu(options: &TensorLoadOptions, clock: &Arc<dyn Clock>) -> Result<TensorCpu, Error> {
    Ok(TensorCpu::new(executor_options(options)?, Arc::clone(clock)))
}

/// Compute threads of an instance.
#[cfg(feature = "ort")]
pub(crate) fn tensor_threads(options: &TensorLoadOptions) -> Result<NonZeroUsize, Error> {
    Ok(executor_options(options)?.n_threads)
}

fn executor_options(options: &TensorLoadOptions) -> Result<ExecutorOptions, Error> {
    let load = LoadOptions { n_threads: options.n_threads, kernels: options.kernels.clone(), ..LoadOptions::default() };
    let EngineOptions { kernels, n_threads, .. } = engine_options(&load)?;
    Ok(ExecutorOptions { n_threads, kernels, rounding: options.rounding, ..ExecutorOptions::default() })
}

fn read_tensor_model(path: &Path, format: ModelFmt) -> Result<Model, Error> {
    if format == ModelFmt::Onnx {
        return Ok(Model::open_onnx(path, ReadLimits::default())?);
    }
    if format == ModelFmt::MlPackage {
        return Ok(Model::open_package(path, PackageLimits::default())?);
    }
    Err(crate::tensor_model::not_read(path, format.as_str()))
}

/// What a tensor model's file says of itself.
pub(crate) fn tensor_metadata(path: &Path, format: ModelFmt) -> Result<BTreeMap<String, String>, Error> {
    Ok(read_tensor_model(path, format)?.metadata().clone())
}

/// Runs a tensor model once on the CPU and notes what each operator took.
pub(crate) fn tensor_trace(
    artifact: &ModelArtifact,
    options: &TensorLoadOptions,
    inputs: TensorMap,
) -> Result<Vec<TraceEntry>, Error> {
    onnx_runtime::check_traced(options)?;
    let ModelArtifact::Authoring { path, format, .. } = artifact else {
        return Err(crate::tensor_model::not_read(artifact.path(), "a model that an engine prepared"));
    };
    let model = read_tensor_model(path, *format)?;
    let mut executor = Executor::new(&model, executor_options(options)?)?;
    // The first run has weights read and threads woken; the second is what is asked about.
    executor.run(inputs.clone(), &Pulse::new(), None)?;
    let mut tracing = Tracing { clock: Arc::new(SystemClock::start()), entries: Vec::new() };
    executor.run(inputs, &Pulse::new(), Some(&mut tracing))?;
    Ok(tracing.entries)
}
