//! The engine as the runtime knows engines: prepares a model file, opens instances of it, says what it can do.
//!
//! Nothing is compiled yet: what is prepared is the author's file, checked, and `Prepared::artifact` is that file. The
//! key is complete all the same, so that a cache of repacked weights needs no other.

use crate::weights::Weights;
use crate::{EngineOptions, LlamaConfig, LlamaEngine, LlmError, MemoryPlan};
use ballast_artifacts::{CacheKey, KeyParts, Until, digest_files};
use ballast_backend::{
    CapabilityReport, Clock, ComputeUnits, DType, EngineError, InferenceEngine, Instance, ModelArtifact, ModelFmt,
    PrepareOptions, Prepared, Pulse, Quantization, Sha256,
};
use ballast_gguf::{Gguf, GgufError};
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The engine, and the version of what it makes of a model.
pub const ENGINE_VERSION: &str = "llm-cpu.1";

/// What a step may take before it counts as a violation, unless [`LlmCpu::with_step_sla`] says otherwise: the longest an
/// answer may take by default. A policy, not a measurement.
pub const STEP_SLA: Duration = Duration::from_secs(5);

/// Most files whose content is remembered as verified; past it the oldest is read again before it is opened.
const VERIFIED_MAX: usize = 64;

/// The CPU language-model engine. Shareable; an instance belongs to the thread that opens it.
pub struct LlmCpu {
    options: EngineOptions,
    clock: Arc<dyn Clock>,
    step_sla: Duration,
    verified: Mutex<VecDeque<Verified>>,
}

/// Files whose content was compared with a digest, as they were then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verified {
    sha256: Sha256,
    files: Vec<FileStamp>,
}

/// What changes when a file is written to or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    len: u64,
    modified: Option<SystemTime>,
    inode: Option<u64>,
}

impl fmt::Debug for LlmCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmCpu").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What was found out about a model.
struct Checked {
    gguf: Gguf,
    plan: MemoryPlan,
    sha256: Sha256,
}

impl LlmCpu {
    /// An engine that opens every model with `options`; deadlines are times on `clock`.
    #[must_use]
    pub fn new(options: EngineOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock, step_sla: STEP_SLA, verified: Mutex::default() }
    }

    /// The same with another time that a step may take before it counts as a violation.
    #[must_use]
    pub fn with_step_sla(self, step_sla: Duration) -> Self {
        Self { step_sla, ..self }
    }

    /// Reads and plans a model, and compares its content with its digest: the cheap checks first.
    fn check(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Checked, LlmError> {
        let pulse = Pulse::new();
        let clock = &*self.clock;
        let deadline = options.deadline.map(|time| clock.now().saturating_add(time));
        let until = Until { clock, deadline, pulse: &pulse };
        until.check()?;
        let (path, sha256) = gguf_file(artifact)?;
        check_options(options)?;
        let (gguf, stamps) = open_stamped(path)?;
        let config = LlamaConfig::from_gguf(&gguf)?;
        Weights::find(&gguf, &config)?;
        let plan = MemoryPlan::new(&gguf, &self.options)?;
        let plan_bytes = plan.total_bytes();
        if let Some(budget_bytes) = options.memory_budget_bytes.filter(|budget| plan_bytes > *budget) {
            return Err(LlmError::MemoryBudgetExceeded { budget_bytes, plan_bytes });
        }
        self.verify(&gguf, Verified { sha256, files: stamps }, &until)?;
        Ok(Checked { gguf, plan, sha256 })
    }

    /// Compares the model's content with its digest, unless it was and the files have not changed since.
    fn verify(&self, gguf: &Gguf, found: Verified, until: &Until<'_>) -> Result<(), LlmError> {
        if self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(&found) {
            return Ok(());
        }
        let got = digest_files(gguf.paths(), until)?.sha256;
        if got != found.sha256 {
            return Err(LlmError::DigestMismatch { expected: found.sha256, got });
        }
        // The files were the same before they were mapped and after they were read: what is mapped is what was read.
        for (path, before) in gguf.paths().zip(&found.files) {
            if FileStamp::of(path)? != *before {
                return Err(GgufError::FileChangedWhileMapped { path: path.to_owned() }.into());
            }
        }
        self.remember(found);
        Ok(())
    }

    fn remember(&self, found: Verified) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.truncate(VERIFIED_MAX - 1);
        verified.push_front(found);
    }

    fn try_open(&self, prepared: &Prepared) -> Result<Instance, LlmError> {
        let Checked { gguf, .. } = self.check(&prepared.artifact, &prepared.options)?;
        Ok(Instance::Generator(Box::new(LlamaEngine::open(Arc::new(gguf), &self.options)?)))
    }

    fn try_prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, LlmError> {
        let Checked { plan, sha256, .. } = self.check(artifact, options)?;
        let key = CacheKey::new(&KeyParts {
            sha256,
            engine_version: ENGINE_VERSION,
            backend: self.options.kernels.name(),
            // What is used, whatever was asked for: the result is the same.
            compute_units: ComputeUnits::CpuOnly,
            quantization: options.quantization,
            shapes: &options.shapes,
            build: &format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        })?;
        Ok(Prepared {
            cache_key: key.as_str().to_owned(),
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: None,
            sla_estimate: self.step_sla,
            memory_bytes: plan.total_bytes(),
        })
    }
}

impl InferenceEngine for LlmCpu {
    fn name(&self) -> &'static str {
        "llm-cpu"
    }

    /// Checks the file: that it is a model this engine runs, that it fits the budget, that its content has its digest.
    ///
    /// Every choice of compute units runs on the CPU. Weights are used as they are stored and no input has a shape to
    /// fix, so any other wish is refused. The deadline is looked at between the checks and while content is read.
    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        self.try_prepare(artifact, options).map_err(|error| EngineError::new(error.kind(), error))
    }

    /// Opens an instance of the file. Everything is checked as it was prepared, within the same time; content is read
    /// again only if the file's length, date or place on the disk is another than when it was compared.
    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        self.try_open(prepared).map_err(|error| EngineError::new(error.kind(), error))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: format!("cpu, {}, {} threads", self.options.kernels.name(), self.options.n_threads),
            // Activations are f32 or int8, keys and values f16.
            supported_dtypes: vec![DType::F32, DType::F16, DType::I8],
            max_batch_size: self.options.max_batch_sequences.max(1),
            compute_units_requested: prepared.options.compute_units,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

impl FileStamp {
    fn of(path: &Path) -> Result<Self, LlmError> {
        let io = |source: io::Error| GgufError::Io { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(io)?;
        #[cfg(unix)]
        let inode = Some(std::os::unix::fs::MetadataExt::ino(&metadata));
        #[cfg(not(unix))]
        let inode = None;
        Ok(Self { len: metadata.len(), modified: metadata.modified().ok(), inode })
    }
}

/// Opens a model, and says how its files were before. The names of the files of a model in several are in the first, so
/// that one is opened twice.
fn open_stamped(path: &Path) -> Result<(Gguf, Vec<FileStamp>), LlmError> {
    let stamps = vec![FileStamp::of(path)?];
    let gguf = Gguf::open(path)?;
    if gguf.paths().len() == 1 {
        return Ok((gguf, stamps));
    }
    let stamps = gguf.paths().map(FileStamp::of).collect::<Result<Vec<_>, _>>()?;
    Ok((Gguf::open(path)?, stamps))
}

/// Path and digest of the file that an artifact is.
fn gguf_file(artifact: &ModelArtifact) -> Result<(&Path, Sha256), LlmError> {
    match artifact {
        ModelArtifact::Authoring { path, format: ModelFmt::Gguf, sha256 } => Ok((path, *sha256)),
        ModelArtifact::Authoring { format, .. } => Err(LlmError::UnsupportedArtifact { got: format.as_str() }),
        ModelArtifact::Compiled { .. } => Err(LlmError::UnsupportedArtifact { got: "a compiled bundle" }),
    }
}

/// Refuses what would otherwise be ignored.
fn check_options(options: &PrepareOptions) -> Result<(), LlmError> {
    if options.quantization != Quantization::AsStored {
        let (option, got) = ("quantization", options.quantization.as_str().to_owned());
        return Err(LlmError::UnsupportedOption { option, expected: "as_stored", got });
    }
    match options.shapes.first() {
        Some((name, _)) => Err(LlmError::UnsupportedOption { option: "shapes", expected: "none", got: name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_testkit::VirtualClock;

    #[test]
    fn no_more_than_the_last_verified_files_are_remembered() {
        let engine = LlmCpu::new(EngineOptions::default(), Arc::new(VirtualClock::new()));
        let verified = |n: usize| Verified { sha256: Sha256([u8::try_from(n).unwrap(); 32]), files: Vec::new() };
        (0..VERIFIED_MAX + 9).for_each(|n| engine.remember(verified(n)));
        let remembered = engine.verified.lock().unwrap();
        assert_eq!(remembered.len(), VERIFIED_MAX);
        assert!(remembered.contains(&verified(VERIFIED_MAX + 8)) && !remembered.contains(&verified(8)));
    }
}
