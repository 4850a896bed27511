//! The engine as the runtime knows engines: prepares a model file, opens instances of it, says what it can do.
//!
//! What is prepared is the author's file, checked, and `Prepared::artifact` is that file. Its packed weights are kept in
//! the compile cache, if there is one, under `Prepared::cache_key`.

use crate::compile_cache::{content_digest, key, stamps};
use crate::weights::Weights;
use crate::{CompileCache, EngineOptions, LlamaConfig, LlamaEngine, LlmError, MemoryPlan, Preparation};
use ballast_artifacts::{FileStamp, Until};
use ballast_backend::{
    CapabilityReport, Clock, ComputeUnits, DType, EngineError, InferenceEngine, Instance, ModelArtifact, ModelFmt,
    PrepareOptions, Prepared, Pulse, Quantization, Sha256,
};
use ballast_gguf::Gguf;
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

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
    cache: Option<Arc<CompileCache>>,
    verified: Mutex<VecDeque<Verified>>,
}

/// Files whose content was compared with a digest, as they were then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verified {
    sha256: Sha256,
    files: Vec<FileStamp>,
}

impl fmt::Debug for LlmCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmCpu").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What was found out about a model, before its content was looked at.
struct Checked {
    gguf: Arc<Gguf>,
    plan: MemoryPlan,
    sha256: Sha256,
}

impl LlmCpu {
    /// An engine that opens every model with `options`; deadlines are times on `clock`.
    #[must_use]
    pub fn new(options: EngineOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock, step_sla: STEP_SLA, cache: None, verified: Mutex::default() }
    }

    /// The same with another time that a step may take before it counts as a violation.
    #[must_use]
    pub fn with_step_sla(self, step_sla: Duration) -> Self {
        Self { step_sla, ..self }
    }

    /// The same with a place where packed models are kept.
    #[must_use]
    pub fn with_compile_cache(self, cache: Arc<CompileCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// Reads and plans a model: all checks but that of its content.
    fn check(
        &self,
        artifact: &ModelArtifact,
        options: &PrepareOptions,
        until: &Until<'_>,
    ) -> Result<Checked, LlmError> {
        until.check()?;
        let (path, sha256) = gguf_file(artifact)?;
        check_options(options)?;
        let gguf = Arc::new(Gguf::open(path)?);
        let config = LlamaConfig::from_gguf(&gguf)?;
        Weights::find(&gguf, &config)?;
        let plan = MemoryPlan::new(&gguf, &self.options)?;
        let plan_bytes = plan.total_bytes();
        if let Some(budget_bytes) = options.memory_budget_bytes.filter(|budget| plan_bytes > *budget) {
            return Err(LlmError::MemoryBudgetExceeded { budget_bytes, plan_bytes });
        }
        Ok(Checked { gguf, plan, sha256 })
    }

    /// Whether the model's content was compared with this digest before, and its files have not changed since.
    fn is_verified(&self, gguf: &Gguf, sha256: Sha256) -> Result<bool, LlmError> {
        let found = Verified { sha256, files: stamps(gguf)? };
        if self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(&found) {
            return Ok(true);
        }
        Ok(self.cache.as_ref().is_some_and(|cache| cache.known_digest(gguf) == Some(sha256)))
    }

    /// Compares the model's content with its digest. What is read is what is mapped, whatever its name leads to by now.
    fn verify(&self, gguf: &Gguf, sha256: Sha256, until: &Until<'_>) -> Result<(), LlmError> {
        let files = stamps(gguf)?;
        let got = match &self.cache {
            Some(cache) => cache.digest(gguf, until)?,
            None => content_digest(gguf, until)?,
        };
        if got != sha256 {
            return Err(LlmError::DigestMismatch { expected: sha256, got });
        }
        self.remember(Verified { sha256, files });
        Ok(())
    }

    fn remember(&self, found: Verified) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.truncate(VERIFIED_MAX - 1);
        verified.push_front(found);
    }

    /// Does `work` within the time that the options leave.
    fn within<T>(
        &self,
        options: &PrepareOptions,
        work: impl FnOnce(&Until<'_>) -> Result<T, LlmError>,
    ) -> Result<T, LlmError> {
        let (pulse, clock) = (Pulse::new(), &*self.clock);
        let deadline = options.deadline.map(|time| clock.now().saturating_add(time));
        work(&Until { clock, deadline, pulse: &pulse })
    }

    fn try_open(&self, prepared: &Prepared, until: &Until<'_>) -> Result<Instance, LlmError> {
        let Checked { gguf, sha256, .. } = self.check(&prepared.artifact, &prepared.options, until)?;
        if self.is_verified(&gguf, sha256)? {
            let preparation =
                Preparation { cache: self.cache.as_ref(), sha256: Some(sha256), ..Preparation::default() };
            let engine = LlamaEngine::open_prepared(&gguf, &self.options, &preparation)?;
            return Ok(Instance::Generator(Box::new(engine)));
        }
        // The content is read while it is packed. Only a model that has its digest is given out, or kept.
        let mut engine = thread::scope(|scope| {
            let verified = scope.spawn(|| self.verify(&gguf, sha256, until));
            let engine = LlamaEngine::open(Arc::clone(&gguf), &self.options);
            verified.join().expect("reading does not panic")?;
            engine
        })?;
        if let Some(cache) = &self.cache {
            engine.keep(cache, &gguf, Some(sha256));
        }
        Ok(Instance::Generator(Box::new(engine)))
    }

    fn try_prepare(
        &self,
        artifact: &ModelArtifact,
        options: &PrepareOptions,
        until: &Until<'_>,
    ) -> Result<Prepared, LlmError> {
        let Checked { gguf, plan, sha256 } = self.check(artifact, options, until)?;
        if !self.is_verified(&gguf, sha256)? {
            self.verify(&gguf, sha256, until)?;
        }
        Ok(Prepared {
            cache_key: key(sha256)?.as_str().to_owned(),
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
        self.within(options, |until| self.try_prepare(artifact, options, until))
            .map_err(|error| EngineError::new(error.kind(), error))
    }

    /// Opens an instance of the file. Everything is checked as it was prepared, within the same time; content is read
    /// again only if the file's length, date or place on the disk is another than when it was compared; then it is read
    /// while it is packed, and what has another digest is refused before it is used.
    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        self.within(&prepared.options, |until| self.try_open(prepared, until))
            .map_err(|error| EngineError::new(error.kind(), error))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: format!("cpu, {}, {} threads", self.options.kernels.name(), self.options.n_threads),
            // Activations are f32 or int8; keys and values are f16 unless another type is asked for.
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

/// Path and digest of the file that an artifact is.
pub(crate) fn gguf_file(artifact: &ModelArtifact) -> Result<(&Path, Sha256), LlmError> {
    match artifact {
        ModelArtifact::Authoring { path, format: ModelFmt::Gguf, sha256 } => Ok((path, *sha256)),
        ModelArtifact::Authoring { format, .. } => Err(LlmError::UnsupportedArtifact { got: format.as_str() }),
        ModelArtifact::Compiled { .. } => Err(LlmError::UnsupportedArtifact { got: "a compiled bundle" }),
    }
}

/// Refuses what would otherwise be ignored.
pub(crate) fn check_options(options: &PrepareOptions) -> Result<(), LlmError> {
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
