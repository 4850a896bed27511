//! Options that several verbs share: which model and how to load it, how to sample.

use crate::failure::Failure;
use crate::{environment, output, progress};
use ballast::gguf::Gguf;
use ballast::tensor_model::{ComputeUnits, Fallback, FileInput, PoolOptions, Rounding, StartMode, TensorEngine};
use ballast::tokens::{SamplingParams, TokenizerOptions, named_template, template_names};
use ballast::{
    BudgetMode, COMPILE_CACHE_BYTES_MAX, CacheType, CachedWeights, CompileCache, CompileCacheOptions, Deadlines,
    Encoder, EncoderLoadOptions, Engine, Generate, Isolation, LoadOptions, MemoryBudget, ReasonCode, TensorLoadOptions,
    TokenId, wiring,
};
use ballast_store::{Located, ModelName};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Which model.
#[derive(Args, Debug)]
pub(crate) struct ModelArg {
    /// A path, an alias (`default`), `hf:user/repo[:QUANT]`, or a name in Ollama's store.
    pub(crate) model: String,
}

impl ModelArg {
    /// The model's files on this machine.
    pub(crate) fn locate(&self) -> Result<Located, Failure> {
        locate(&self.model)
    }
}

/// Finds a model on this machine.
pub(crate) fn locate(name: &str) -> Result<Located, Failure> {
    let name = parse_name(name)?;
    Ok(environment::store(true).resolve(&name)?)
}

/// Opens a model file to look into it.
pub(crate) fn open_gguf(path: &Path) -> Result<Gguf, Failure> {
    Ok(Gguf::open(path).map_err(ballast::Error::from)?)
}

/// Reads a model's name.
pub(crate) fn parse_name(name: &str) -> Result<ModelName, Failure> {
    ModelName::parse(name).map_err(|error| Failure::usage(error.to_string()))
}

/// How to load a model.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// Positions of one sequence, 0 for as many as the model was trained for.
    #[arg(short = 'c', long, value_name = "TOKENS", default_value_t = 8192, help_heading = "Loading")]
    ctx_size: usize,
    /// Positions in the KV cache, all sequences together [default: one context].
    #[arg(long, value_name = "TOKENS", help_heading = "Loading")]
    kv_size: Option<usize>,
    /// Type of the KV cache's entries: q8_0 takes 8.5 bits where the others take 16; each changes answers a little.
    #[arg(long, value_name = "TYPE", default_value = CacheType::F16.name(), value_parser = cache_type(), help_heading = "Loading")]
    cache_type: CacheType,
    /// Compute threads [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N", value_parser = positive, help_heading = "Loading")]
    threads: Option<usize>,
    /// Kernel set [default: the best this CPU has; `ballast info` lists them].
    #[arg(long, value_name = "NAME", help_heading = "Loading")]
    kernels: Option<String>,
    /// Most sequences generated at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive, help_heading = "Loading")]
    parallel: usize,
    /// Most tokens in one step of the engine.
    #[arg(short = 'b', long, value_name = "TOKENS", default_value_t = 512, value_parser = positive, help_heading = "Loading")]
    batch_size: usize,
    /// What to do about a model larger than the memory budget.
    #[arg(long, value_enum, default_value_t = MemoryMode::BestEffort, help_heading = "Loading")]
    memory_mode: MemoryMode,
    /// Memory budget in bytes, or with K, M, G [default: what the machine and the cgroup leave].
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Loading")]
    memory_budget: Option<u64>,
    /// Where the engine runs: a crash of a process of its own leaves this one alone.
    #[arg(long, value_enum, default_value_t = EnginePlace::InProcess, help_heading = "Loading")]
    isolation: EnginePlace,
    /// Kernel set of a second engine that answers where the first fails.
    #[arg(long, value_name = "NAME", help_heading = "Loading")]
    fallback_kernels: Option<String>,
    #[command(flatten)]
    compile_cache: CompileCacheArgs,
    /// Use packed weights where they lie in the compile cache instead of reading them to memory: starts sooner, shares
    /// them between processes, cannot use large pages.
    #[arg(long, conflicts_with = "off", help_heading = "Loading")]
    map_weights: bool,
    /// Load a model whose pre-tokenizer is not known, using gpt-2's; answers may be wrong.
    #[arg(long, help_heading = "Loading")]
    allow_unknown_pretokenizer: bool,
    /// Load a model without a vocabulary, splitting text into bytes; answers may be wrong.
    #[arg(long, help_heading = "Loading")]
    allow_tokenizer_fallback: bool,
    /// A chat template to use instead of the model's.
    #[arg(long, value_name = "FILE", help_heading = "Loading")]
    chat_template_file: Option<PathBuf>,
    /// The text of a chat template to use instead of the model's, or the name of a known one, such as chatml.
    #[arg(long, value_name = "TEXT", conflicts_with = "chat_template_file", help_heading = "Loading")]
    chat_template: Option<String>,
}

/// Where packed models are kept.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompileCacheArgs {
    /// Where packed weights are kept for the next start [default: with the user's caches].
    #[arg(long = "compile-cache", value_name = "DIR", help_heading = "Loading")]
    dir: Option<PathBuf>,
    /// Pack weights in memory at every start.
    #[arg(long = "no-compile-cache", conflicts_with_all = ["dir", "bytes_max"], help_heading = "Loading")]
    off: bool,
    /// Most bytes of packed weights kept, or with K, M, G; those used longest ago make room [default: 64G].
    #[arg(long = "compile-cache-size", value_name = "BYTES", value_parser = bytes, help_heading = "Loading")]
    bytes_max: Option<u64>,
}

impl CompileCacheArgs {
    /// The library's options; `None` if nothing is to be kept, or there is no place for it.
    pub(crate) fn options(&self) -> Option<CompileCacheOptions> {
        if self.off {
            return None;
        }
        let dir = self.dir.clone().or_else(environment::compile_cache_dir)?;
        Some(CompileCacheOptions { dir, bytes_max: self.bytes_max.unwrap_or(COMPILE_CACHE_BYTES_MAX) })
    }

    /// The cache, opened. One that cannot be used costs the speed of the start, and is told.
    fn open(&self) -> Option<Arc<CompileCache>> {
        match wiring::open_compile_cache(&self.options()?) {
            Ok(cache) => Some(cache),
            Err(error) => {
                output::note(&format!("note: packed weights are not kept: {error}"));
                None
            }
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MemoryMode {
    /// Check nothing.
    None,
    /// Shrink the context until it fits, and say so.
    BestEffort,
    /// Refuse.
    Strict,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EnginePlace {
    /// In this process.
    InProcess,
    /// In a process of its own.
    Process,
}

/// Options of loading, as they stand behind `--`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct LoadLine {
    #[command(flatten)]
    load: LoadArgs,
}

/// A chat template: what is one word can only be the name of one.
fn template(text: &str) -> Result<String, Failure> {
    match named_template(text) {
        Some(source) => Ok(source.to_owned()),
        None if text.contains(|c: char| c.is_whitespace() || c == '{') => Ok(text.to_owned()),
        None => {
            let known: Vec<&str> = template_names().collect();
            let what = format!("--chat-template: there is no template of the name {text:?}");
            Err(Failure::usage(what).because(format!("known are {}", known.join(", "))))
        }
    }
}

impl LoadArgs {
    /// Reads options that are handed on to another process.
    pub(crate) fn parse(args: &[String]) -> Result<Self, Failure> {
        let line = LoadLine::try_parse_from(args).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(line.load)
    }

    /// Type of the KV cache's entries.
    pub(crate) fn cache_type(&self) -> CacheType {
        self.cache_type
    }

    /// The library's options.
    pub(crate) fn options(&self) -> Result<LoadOptions, Failure> {
        let chat_template = match &self.chat_template_file {
            None => self.chat_template.as_deref().map(template).transpose()?,
            Some(path) => Some(read_text(path)?),
        };
        let mode = match self.memory_mode {
            MemoryMode::None => BudgetMode::None,
            MemoryMode::BestEffort => BudgetMode::BestEffort,
            MemoryMode::Strict => BudgetMode::Strict,
        };
        let isolation = match self.isolation {
            EnginePlace::InProcess => Isolation::InProcess,
            EnginePlace::Process => Isolation::Process,
        };
        Ok(LoadOptions {
            context_len: (self.ctx_size > 0).then_some(self.ctx_size),
            kv_len: self.kv_size,
            cache_type: self.cache_type,
            n_parallel: self.parallel,
            max_batch_tokens: self.batch_size,
            n_threads: self.threads,
            kernels: self.kernels.clone(),
            fallback_kernels: self.fallback_kernels.clone(),
            memory: MemoryBudget { mode, bytes: self.memory_budget },
            compile_cache: self.compile_cache.open(),
            cached_weights: self.cached_weights(),
            progress: Some(progress::packing(|_, _| ())),
            isolation,
            tokenizer: self.tokenizer_options(),
            chat_template,
            ..LoadOptions::default()
        })
    }

    /// The environment may ask for it beside `--no-compile-cache`, which leaves nothing to map.
    fn cached_weights(&self) -> CachedWeights {
        let is_mapped = self.map_weights || environment::map_weights();
        if is_mapped { CachedWeights::Mapped } else { CachedWeights::Copied }
    }

    pub(crate) fn tokenizer_options(&self) -> TokenizerOptions {
        TokenizerOptions {
            allow_unknown_pretokenizer: self.allow_unknown_pretokenizer,
            allow_fallback: self.allow_tokenizer_fallback,
        }
    }

    /// Finds and loads a model, and tells what the person should know about it.
    pub(crate) fn load(&self, model: &str) -> Result<Engine, Failure> {
        let located = locate(model)?;
        let engine = Engine::load(located.path(), &self.options()?)?;
        tell_findings(&engine);
        Ok(engine)
    }

    /// Loads an encoder with those of these options that it has.
    pub(crate) fn load_encoder(&self, path: &Path) -> Result<Encoder, Failure> {
        let options = self.options()?;
        let defaults = EncoderLoadOptions::default();
        let encoder_options = EncoderLoadOptions {
            n_threads: options.n_threads,
            kernels: options.kernels,
            memory: options.memory,
            telemetry: options.telemetry,
            ..defaults
        };
        let encoder = Encoder::open(path, &encoder_options)?;
        for finding in &encoder.report().findings {
            output::note(&format!("note: {}: {}", finding.code, finding.detail));
        }
        Ok(encoder)
    }
}

/// Tells what the person should know about a model that was loaded.
pub(crate) fn tell_findings(engine: &Engine) {
    // A vocabulary without tokens for bytes that hardly occur is common and shown by `ballast show`.
    let findings = engine.report().findings.iter().filter(|f| f.code != ReasonCode::TokenizerVocabPartial);
    for finding in findings {
        output::note(&format!("note: {}: {}", finding.code, finding.detail));
    }
}

/// Reads a file that the person named.
pub(crate) fn read_text(path: &PathBuf) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("{} cannot be read", path.display())).because(error.to_string()))
}

/// How to open a tensor model.
#[derive(Args, Clone, Debug)]
pub(crate) struct TensorArgs {
    /// How files become inputs and outputs answers [default: MODEL.ballast.json, if there is one].
    #[arg(long, value_name = "FILE", help_heading = "Loading")]
    manifest: Option<PathBuf>,
    /// Which engine answers on the CPU [default: cpu, or onnxruntime where its library is named].
    #[arg(long, value_enum, help_heading = "Loading")]
    engine: Option<EngineArg>,
    /// The library of ONNX Runtime [default: beside this program, else where the system looks].
    #[arg(long, value_name = "PATH", help_heading = "Loading")]
    ort_library: Option<PathBuf>,
    /// Units of the machine that may be used [default: as the manifest says, else whatever is best].
    #[arg(long, value_enum, help_heading = "Loading")]
    compute_units: Option<UnitsArg>,
    /// Open no other engine where the one for those units cannot be had.
    #[arg(long, help_heading = "Loading")]
    no_fallback: bool,
    /// Fix an input's shape where the model leaves it open, such as x=1,3,224,224; may be given several times.
    #[arg(long, value_name = "NAME=DIMS", value_parser = input_shape, help_heading = "Loading")]
    shape: Vec<(String, Vec<usize>)>,
    /// Compute threads of an instance [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N", value_parser = positive, help_heading = "Loading")]
    threads: Option<usize>,
    /// Instances of the model.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive, help_heading = "Loading")]
    instances: usize,
    /// Kernel set [default: the best this CPU has; `ballast info` lists them].
    #[arg(long, value_name = "NAME", help_heading = "Loading")]
    kernels: Option<String>,
    /// Round floats to 16 bits between operators, about as accelerators compute.
    #[arg(long, help_heading = "Loading")]
    f16_rounding: bool,
    /// Seconds until an answer.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "Loading")]
    timeout: Duration,
    /// Refuse a model that takes more bytes than this, or with K, M, G.
    #[arg(long, value_name = "BYTES", value_parser = bytes, help_heading = "Loading")]
    memory_budget: Option<u64>,
    /// Where the engine runs: a crash of a process of its own leaves this one alone.
    #[arg(long, value_enum, default_value_t = EnginePlace::InProcess, help_heading = "Loading")]
    isolation: EnginePlace,
}

/// Where engines for accelerators keep what they compiled: a cache of its own within that of packed models.
pub(crate) fn tensor_cache_dir() -> Option<PathBuf> {
    environment::compile_cache_dir().map(|dir| dir.join("coreml"))
}

/// Engines for ONNX models on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineArg {
    /// Ours.
    Cpu,
    /// ONNX Runtime, with ours behind it; in builds with the feature ort.
    #[value(name = "onnxruntime")]
    OnnxRuntime,
}

/// The library's engine. Whoever names ONNX Runtime's library alone wants it to answer.
fn tensor_engine(engine: Option<EngineArg>, library: Option<&PathBuf>) -> TensorEngine {
    match (engine, library) {
        (Some(EngineArg::Cpu), _) | (None, None) => TensorEngine::Cpu,
        (Some(EngineArg::OnnxRuntime), _) | (None, Some(_)) => TensorEngine::OnnxRuntime { library: library.cloned() },
    }
}

/// Units of the machine.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnitsArg {
    /// Whatever is best.
    All,
    /// The CPU alone.
    CpuOnly,
    /// CPU and GPU.
    CpuGpu,
    /// CPU and neural engine.
    CpuAne,
}

impl TensorArgs {
    /// The library's options.
    pub(crate) fn options(&self) -> TensorLoadOptions {
        let defaults = TensorLoadOptions::default();
        let compute_units = self.compute_units.map(|units| match units {
            UnitsArg::All => ComputeUnits::All,
            UnitsArg::CpuOnly => ComputeUnits::CpuOnly,
            UnitsArg::CpuGpu => ComputeUnits::CpuAndGpu,
            UnitsArg::CpuAne => ComputeUnits::CpuAndNe,
        });
        let isolation = match self.isolation {
            EnginePlace::InProcess => Isolation::InProcess,
            EnginePlace::Process => Isolation::Process,
        };
        let mode = if self.memory_budget.is_some() { BudgetMode::Strict } else { BudgetMode::default() };
        TensorLoadOptions {
            manifest: self.manifest.clone(),
            engine: tensor_engine(self.engine, self.ort_library.as_ref()),
            compute_units,
            fallback: if self.no_fallback { Fallback::Never } else { Fallback::Cpu },
            // Whoever runs a command waits for the engine asked for.
            start: StartMode::Wait,
            compile_cache_dir: tensor_cache_dir(),
            shapes: self.shape.clone(),
            n_threads: self.threads,
            kernels: self.kernels.clone(),
            rounding: if self.f16_rounding { Rounding::ToF16 } else { Rounding::AsTyped },
            deadline: self.timeout,
            memory: MemoryBudget { mode, bytes: self.memory_budget },
            isolation,
            pool: PoolOptions { n_instances: self.instances, ..defaults.pool },
            ..defaults
        }
    }
}

fn input_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, dims)| {
        let dims: Option<Vec<usize>> = dims.split(',').map(|dim| dim.parse().ok()).collect();
        Some((name.to_owned(), dims?))
    });
    parsed.ok_or_else(|| format!("expected NAME=DIMS such as x=1,3,224,224, got {text:?}"))
}

/// A file, and the input that it is for.
pub(crate) fn input_file(text: &str) -> Result<FileInput, String> {
    // A name that holds `=` would be taken apart wrongly only if a file is called so.
    let given = |name: &str, path: &str| (Some(name.to_owned()), PathBuf::from(path));
    let whole = PathBuf::from(text);
    Ok(match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() && !whole.exists() => given(name, path),
        Some(_) | None => (None, whole),
    })
}

/// How to sample and when to stop.
#[derive(Args, Debug)]
pub(crate) struct SamplingArgs {
    /// Most tokens to generate [default: until the model ends or the context is full].
    #[arg(short = 'n', long, value_name = "N", value_parser = positive, help_heading = "Sampling")]
    max_tokens: Option<usize>,
    /// 0 takes the most likely token; higher is more varied.
    #[arg(long, visible_alias = "temp", value_name = "T", default_value_t = 0.8, help_heading = "Sampling")]
    temperature: f32,
    /// Sample among the K most likely tokens only, 0 for all.
    #[arg(long, value_name = "K", default_value_t = 40, help_heading = "Sampling")]
    top_k: usize,
    /// Sample among the most likely tokens that together have this probability.
    #[arg(long, value_name = "P", default_value_t = 0.95, help_heading = "Sampling")]
    top_p: f32,
    /// Leave out tokens less likely than this share of the most likely one.
    #[arg(long, value_name = "P", default_value_t = 0.05, help_heading = "Sampling")]
    min_p: f32,
    /// Divide the logits of tokens that have occurred by this, 1 for off.
    #[arg(long, visible_alias = "repeat-penalty", value_name = "R", default_value_t = 1.0, help_heading = "Sampling")]
    repetition_penalty: f32,
    /// Subtract this for every time a token has occurred.
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true, help_heading = "Sampling")]
    frequency_penalty: f32,
    /// Subtract this from tokens that have occurred.
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true, help_heading = "Sampling")]
    presence_penalty: f32,
    /// Add to a token's logit; may be given several times.
    #[arg(long, value_name = "ID=BIAS", value_parser = logit_bias, help_heading = "Sampling")]
    logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same answer, whatever else runs.
    #[arg(short = 's', long, value_name = "N", help_heading = "Sampling")]
    seed: Option<u64>,
    /// Text that ends the answer; may be given several times.
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    stop: Vec<String>,
    /// Go on after the model's end token.
    #[arg(long, help_heading = "Sampling")]
    ignore_eos: bool,
    /// End the answer after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Sampling")]
    timeout: Option<Duration>,
    /// Give the logprobs of this many tokens at each position, with --json.
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    logprobs: Option<usize>,
}

impl SamplingArgs {
    /// A generation with these settings and an empty prompt.
    pub(crate) fn generate(&self) -> Generate {
        let sampling = SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed,
            n_logprobs: self.logprobs,
            ..SamplingParams::default()
        };
        Generate {
            sampling,
            stop: self.stop.clone(),
            max_tokens: self.max_tokens,
            ignore_eos: self.ignore_eos,
            deadlines: self.timeout.map(Deadlines::total).unwrap_or_default(),
            ..Generate::default()
        }
    }
}

/// Reads one of the names of types, and shows them all.
pub(crate) fn cache_type() -> impl TypedValueParser<Value = CacheType> {
    PossibleValuesParser::new(CacheType::ALL.map(CacheType::name))
        .map(|name| CacheType::by_name(&name).expect("one of the names"))
}

/// A number above 0.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("expected a whole number above 0, got {text:?}"))
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let duration = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| !d.is_zero());
    duration.ok_or_else(|| format!("expected seconds above 0, got {text:?}"))
}

pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| format!("expected bytes such as 500M or 4G, got {text:?}"))
}

fn logit_bias(text: &str) -> Result<(TokenId, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, bias)| Some((TokenId(id.parse().ok()?), bias.parse().ok()?)));
    parsed.ok_or_else(|| format!("expected ID=BIAS such as 42=-1.5, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::{CompileCacheArgs, TensorArgs, bytes, input_file, input_shape, logit_bias, seconds};
    use ballast::tensor_model::TensorEngine;
    use ballast::{COMPILE_CACHE_BYTES_MAX, CompileCacheOptions, TokenId};
    use clap::Parser;
    use std::path::PathBuf;
    use std::time::Duration;

    #[derive(Debug, Parser)]
    struct TensorLine {
        #[command(flatten)]
        load: TensorArgs,
    }

    #[test]
    fn onnx_runtime_answers_where_it_or_its_library_is_named() {
        let theirs = |library: Option<&str>| TensorEngine::OnnxRuntime { library: library.map(PathBuf::from) };
        let cases: [(&[&str], TensorEngine); 5] = [
            (&[], TensorEngine::Cpu),
            (&["--engine", "cpu"], TensorEngine::Cpu),
            (&["--engine", "onnxruntime"], theirs(None)),
            (&["--ort-library", "a.so"], theirs(Some("a.so"))),
            (&["--engine", "cpu", "--ort-library", "a.so"], TensorEngine::Cpu),
        ];
        for (words, expected) in cases {
            let line = TensorLine::try_parse_from(["ballast"].iter().chain(words)).unwrap();
            assert_eq!(line.load.options().engine, expected, "{words:?}");
        }
    }

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        cache: CompileCacheArgs,
    }

    fn cache_options(args: &[&str]) -> Option<CompileCacheOptions> {
        Line::try_parse_from([&["ballast"], args].concat()).unwrap().cache.options()
    }

    #[test]
    fn the_compile_cache_is_where_and_as_large_as_asked_or_off() {
        let (dir, bytes_max) = (PathBuf::from("somewhere"), COMPILE_CACHE_BYTES_MAX);
        let args = ["--compile-cache", "somewhere"];
        assert_eq!(cache_options(&args), Some(CompileCacheOptions { dir: dir.clone(), bytes_max }));
        let sized = [&args[..], &["--compile-cache-size", "2K"]].concat();
        assert_eq!(cache_options(&sized), Some(CompileCacheOptions { dir, bytes_max: 2048 }));
        assert_eq!(cache_options(&["--no-compile-cache"]), None);
        assert!(Line::try_parse_from(["ballast", "--no-compile-cache", "--compile-cache", "x"]).is_err());
    }

    #[test]
    fn sizes_take_binary_suffixes() {
        assert_eq!(bytes("10"), Ok(10));
        assert_eq!(bytes("2k"), Ok(2048));
        assert_eq!(bytes("3G"), Ok(3 << 30));
        for bad in ["", "G", "-1", "1.5G", "99999999999999999999", "18446744073709551615G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e300", "x"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn inputs_and_shapes_may_have_names() {
        assert_eq!(input_file("x=a.npy"), Ok((Some("x".to_owned()), PathBuf::from("a.npy"))));
        for plain in ["a.npy", "=a.npy", "a="] {
            assert_eq!(input_file(plain), Ok((None, PathBuf::from(plain))));
        }
        assert_eq!(input_shape("input:0=1,3"), Ok(("input:0".to_owned(), vec![1, 3])));
        for bad in ["x", "x=", "x=1,-1", "x=1;2"] {
            assert!(input_shape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn biases_name_a_token() {
        assert_eq!(logit_bias("42=-1.5"), Ok((TokenId(42), -1.5)));
        assert!(logit_bias("42").is_err());
    }
}
