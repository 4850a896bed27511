//! From a file to a running engine: read, plan, check the budget, open, start.

use crate::wiring::{engine_options, model_plan, open_engine, tensor_types};
use crate::{BudgetMode, Error, Finding, LoadReport, MemoryBudget, SystemClock, machine::Machine};
use ballast_backend::{Clock, EngineError, Pulse, ReasonCode};
use ballast_gguf::Gguf;
use ballast_llm::{CacheType, CachedWeights, CompileCache, EngineOptions, MemoryPlan, OnPacked};
use ballast_runtime::telemetry::{FailureMode, Stage, Telemetry, TracingLogger};
use ballast_runtime::{EngineSource, EngineSpec, Runtime, RuntimeError, RuntimeOptions, RuntimeParts, events};
use ballast_tokens::{ChatTemplate, PromptError, PromptFormat, Tokenizer, TokenizerOptions};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Positions of a sequence unless asked for otherwise: enough for a conversation, affordable on any machine.
const CONTEXT_LEN_DEFAULT: usize = 8_192;

/// What the engines are called in answers, metrics and logs.
const ENGINE: &str = "llm-cpu";
const FALLBACK_ENGINE: &str = "llm-cpu-fallback";

/// A best-effort budget does not shrink the context below this.
const CONTEXT_LEN_MIN: usize = 512;

/// Where an engine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// In this process.
    #[default]
    InProcess,
    /// In a worker process of the same executable, so that a crash of native code ends the worker only. The
    /// executable's main function must begin with [`crate::worker_main`].
    Process,
}

/// How to load a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Positions of one sequence; `None`: as trained. More than trained is cut to that.
    pub context_len: Option<usize>,
    /// Positions in the KV cache, all sequences together; `None`: one context.
    pub kv_len: Option<usize>,
    /// Type of the KV cache's entries. Another than f16 gives other answers.
    pub cache_type: CacheType,
    /// Most sequences generated at a time.
    pub n_parallel: usize,
    /// Most tokens in one step of the engine.
    pub max_batch_tokens: usize,
    /// Compute threads; `None`: the CPUs this process may use.
    pub n_threads: Option<usize>,
    /// Kernel set by name; `None`: the best this CPU has.
    pub kernels: Option<String>,
    /// What the model may take.
    pub memory: MemoryBudget,
    /// Where the engine runs.
    pub isolation: Isolation,
    /// How the tokenizer deals with files that are not as they should be.
    pub tokenizer: TokenizerOptions,
    /// A chat template to use instead of the file's.
    pub chat_template: Option<String>,
    /// Kernel set of a second engine that answers where the first fails; `None`: there is no second. It has
    /// a KV cache of its own, and shares the weights if both map them from the compile cache.
    pub fallback_kernels: Option<String>,
    /// Where packed weights are kept, so that the next start finds them; `None`: nowhere, each start packs them in memory.
    pub compile_cache: Option<Arc<CompileCache>>,
    /// What becomes of weights that are found there.
    pub cached_weights: CachedWeights,
    /// Told of the progress of packing; not of a worker's.
    pub progress: Option<LoadProgress>,
    /// The runtime's bounds.
    pub runtime: RuntimeOptions,
    /// Where events go.
    pub telemetry: Telemetry,
}

/// A function that is told how many bytes of how many are packed. Called from compute threads: it should be quick.
#[derive(Clone)]
pub struct LoadProgress(Arc<OnPacked>);

impl LoadProgress {
    /// Progress told to `on_packed`.
    #[must_use]
    pub fn new(on_packed: Arc<OnPacked>) -> Self {
        Self(on_packed)
    }

    pub(crate) fn on_packed(&self) -> &OnPacked {
        &*self.0
    }
}

impl fmt::Debug for LoadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadProgress").finish_non_exhaustive()
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        let engine = EngineOptions::default();
        Self {
            context_len: Some(CONTEXT_LEN_DEFAULT),
            kv_len: None,
            cache_type: engine.cache_type,
            n_parallel: engine.max_batch_sequences,
            max_batch_tokens: engine.max_batch_tokens,
            n_threads: None,
            kernels: None,
            memory: MemoryBudget::default(),
            isolation: Isolation::default(),
            tokenizer: TokenizerOptions::default(),
            chat_template: None,
            fallback_kernels: None,
            compile_cache: None,
            cached_weights: CachedWeights::default(),
            progress: None,
            runtime: RuntimeOptions::default(),
            telemetry: Telemetry { metrics: Some(Arc::default()), logger: Some(Arc::new(TracingLogger)) },
        }
    }
}

/// What loading makes.
pub(crate) struct Loaded {
    pub(crate) runtime: Runtime,
    pub(crate) format: PromptFormat,
    pub(crate) report: LoadReport,
}

/// Loads the model at `path` and starts its engine, and tells of it.
///
/// # Errors
/// If the file is not a model that can be run, or it does not fit the budget.
pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, Error> {
    let (clock, telemetry) = (SystemClock::start(), &options.telemetry);
    telemetry.emit(&events::ModelLoadStarted { engine: ENGINE });
    let loaded = load_timed(path, options, clock);
    let bytes = loaded.as_ref().map_or(0, |loaded| loaded.report.plan.total_bytes());
    let failure = |error: &Error| FailureMode::of(Stage::Load, error.kind(), error.reason());
    let outcome = loaded.as_ref().map(drop).map_err(failure);
    telemetry.emit(&events::ModelLoadEnded { engine: ENGINE, duration: clock.now(), bytes, outcome });
    loaded
}

fn load_timed(path: &Path, options: &LoadOptions, clock: SystemClock) -> Result<Loaded, Error> {
    let gguf = Arc::new(Gguf::open(path)?);
    let (options, plan, mut findings) = fit(&gguf, options)?;
    let (tokenizer, diagnostics) = Tokenizer::from_gguf(gguf.metadata(), &options.tokenizer)?;
    findings.extend(diagnostics.findings.iter().map(|f| Finding { code: f.code(), detail: f.to_string() }));
    let template = chat_template(&gguf, &tokenizer, &options)?;
    let chain = chain(path, &gguf, &options)?;
    let (shape, _) = model_plan(&gguf, &options)?;
    let engine_options = engine_options(&options)?;
    let model_name = model_name(&gguf, path)?;
    let tokenizer = Arc::new(tokenizer);
    let parts = RuntimeParts {
        tokenizer: Arc::clone(&tokenizer),
        clock: Arc::new(clock),
        options: options.runtime.clone(),
        policy: None,
        telemetry: options.telemetry.clone(),
    };
    let engines: Vec<&'static str> = chain.iter().map(|spec| spec.name).collect();
    let runtime = Runtime::supervise(chain, parts).map_err(opening_failed)?;
    let types = tensor_types(&gguf);
    let report = LoadReport {
        model_name,
        architecture: gguf.metadata().string("general.architecture")?.unwrap_or_default().to_owned(),
        n_parameters: types.values().sum(),
        quantization: types.into_iter().max_by_key(|(_, n)| *n).map_or("", |(name, _)| name),
        file_bytes: gguf.file_bytes(),
        shape,
        plan,
        kernels: engine_options.kernels.name(),
        n_threads: engine_options.n_threads.get(),
        load_time: clock.now(),
        findings,
    };
    tell(&report, &options.telemetry);
    for engine in engines {
        options.telemetry.emit(&events::EngineCreated { engine });
    }
    Ok(Loaded { runtime, format: PromptFormat::new(tokenizer, template), report })
}

/// Says in the log what was loaded, and what a caller should know about it.
fn tell(report: &LoadReport, telemetry: &Telemetry) {
    tracing::info!(
        model = report.model_name,
        kernels = report.kernels,
        n_threads = report.n_threads,
        planned_bytes = report.plan.total_bytes(),
        load_ms = report.load_time.as_millis(),
        "model loaded"
    );
    for finding in &report.findings {
        tracing::warn!(code = finding.code.as_str(), detail = finding.detail, "model loaded with a finding");
        if finding.code == ReasonCode::MemoryBudgetSoftLimit {
            telemetry.emit(&events::MemoryBudget { reason: finding.code });
        }
    }
}

/// The engines that answer, in order; each is opened again when it is lost.
fn chain(path: &Path, gguf: &Arc<Gguf>, options: &LoadOptions) -> Result<Vec<EngineSpec>, Error> {
    let first = spec(ENGINE, path, gguf, options.clone());
    let Some(kernels) = &options.fallback_kernels else { return Ok(vec![first]) };
    let options = LoadOptions { kernels: Some(kernels.clone()), ..options.clone() };
    engine_options(&options)?;
    Ok(vec![first, spec(FALLBACK_ENGINE, path, gguf, options)])
}

/// An engine's error as it was before the runtime carried it.
fn opening_failed(error: RuntimeError) -> Error {
    if let RuntimeError::Engine(error) = error {
        return error.downcast::<Error>().unwrap_or_else(Error::from);
    }
    error.into()
}

fn spec(name: &'static str, path: &Path, gguf: &Arc<Gguf>, options: LoadOptions) -> EngineSpec {
    let (path, gguf) = (path.to_owned(), Arc::clone(gguf));
    let open =
        move |_: &Pulse| open_engine(&path, &gguf, &options).map_err(|error| EngineError::new(error.kind(), error));
    EngineSpec { name, source: EngineSource::Reopened(Arc::new(open)) }
}

/// Plans the memory and, under a best-effort budget, shrinks the context until it fits. Tells of a refusal under a strict
/// one; what is found beside that is told of the load that follows.
fn fit(gguf: &Gguf, options: &LoadOptions) -> Result<(LoadOptions, MemoryPlan, Vec<Finding>), Error> {
    let mut options = options.clone();
    let (shape, mut plan) = model_plan(gguf, &options)?;
    let Some(limit) = options.memory.bytes.or_else(|| Machine::read().memory_bytes()) else {
        return Ok((options, plan, Vec::new()));
    };
    let mut findings = Vec::new();
    if options.memory.mode == BudgetMode::BestEffort && plan.total_bytes() > limit {
        let planned = shape.context_len;
        let mut context_len = planned;
        while plan.total_bytes() > limit && context_len > CONTEXT_LEN_MIN {
            context_len = (context_len / 2).max(CONTEXT_LEN_MIN);
            (options.context_len, options.kv_len) = (Some(context_len), None);
            plan = model_plan(gguf, &options)?.1;
        }
        if context_len < planned {
            let detail = format!("the context was cut from {planned} to {context_len} tokens to fit {limit} bytes");
            findings.push(Finding { code: ReasonCode::MemoryBudgetSoftLimit, detail });
        }
    }
    let checked = options.memory.check(&plan, limit);
    if let Some(reason) = checked.as_ref().err().and_then(Error::reason) {
        options.telemetry.emit(&events::MemoryBudget { reason });
    }
    findings.extend(checked?);
    Ok((options, plan, findings))
}

/// The most bytes that loading `gguf` with these options takes. A second engine has weights of its own, unless both
/// map them from the compile cache.
///
/// # Errors
/// As [`load`], as far as it can be told from the file's header.
pub(crate) fn planned_bytes(gguf: &Gguf, options: &LoadOptions) -> Result<u64, Error> {
    let (_, plan, _) = fit(gguf, options)?;
    let second = options.fallback_kernels.as_ref().map_or(0, |_| plan.total_bytes().saturating_sub(plan.mapped_bytes));
    Ok(plan.total_bytes().saturating_add(second))
}

/// The template asked for, or the file's, with the model's special tokens.
fn chat_template(gguf: &Gguf, tokenizer: &Tokenizer, options: &LoadOptions) -> Result<Option<ChatTemplate>, Error> {
    let from_file = gguf.metadata().string("tokenizer.chat_template")?;
    let Some(source) = options.chat_template.as_deref().or(from_file) else { return Ok(None) };
    let text = |token: Option<_>| token.map_or("", |id| tokenizer.token_text(id));
    let template = ChatTemplate::new(source, text(tokenizer.bos()), text(tokenizer.eos()));
    Ok(Some(template.map_err(PromptError::from)?))
}

fn model_name(gguf: &Gguf, path: &Path) -> Result<String, Error> {
    let name = gguf.metadata().string("general.name")?.filter(|name| !name.is_empty());
    let file_name = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(name.map_or_else(file_name, str::to_owned))
}
