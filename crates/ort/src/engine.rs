//! The engine as the runtime knows engines: prepares a model, opens sessions of it, says what it can do.
//!
//! Every instance is a session of its own, with its own threads and its own copy of the weights.

use crate::OrtError;
use crate::library::Library;
use crate::schema::{fix_shapes, schema};
use crate::values::{lent, take_over};
use crate::watch::Watch;
use ballast_artifacts::{CacheKey, KeyParts, Until, digest_file};
use ballast_backend::{
    CapabilityReport, Clock, ComputeUnits, DType, Dim, Dispatch, EngineError, InferenceEngine, Instance, IoSchema,
    ModelArtifact, ModelFmt, Predictor, PrepareOptions, Prepared, Pulse, Quantization, Sha256, TensorMap,
};
use ort::ErrorCode;
use ort::session::{RunOptions, Session};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The engine, and the version of how it uses ONNX Runtime.
pub const ENGINE_VERSION: &str = "onnxruntime.1";

/// What a call may take before it counts as a violation, unless [`OrtEngine::with_sla`] says otherwise. A policy, not a
/// measurement.
pub const PREDICT_SLA: Duration = Duration::from_millis(50);

/// How sessions are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrtOptions {
    /// The library; `None`: as [`Library::load`] finds it.
    pub library: Option<PathBuf>,
    /// Threads of a session, with the one that calls it. One by default.
    pub n_threads: NonZeroUsize,
}

impl Default for OrtOptions {
    fn default() -> Self {
        Self { library: None, n_threads: NonZeroUsize::MIN }
    }
}

/// ONNX Runtime on the CPU. Shareable; an instance belongs to the thread that opens it.
pub struct OrtEngine {
    library: Library,
    n_threads: NonZeroUsize,
    clock: Arc<dyn Clock>,
    sla: Duration,
}

impl std::fmt::Debug for OrtEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { library, n_threads, .. } = self;
        f.debug_struct("OrtEngine").field("library", library).field("n_threads", n_threads).finish_non_exhaustive()
    }
}

impl OrtEngine {
    /// Loads the library; deadlines are times on `clock`.
    ///
    /// # Errors
    /// As [`Library::load`].
    pub fn new(options: OrtOptions, clock: Arc<dyn Clock>) -> Result<Self, OrtError> {
        let OrtOptions { library, n_threads } = options;
        Ok(Self { library: Library::load(library.as_deref())?, n_threads, clock, sla: PREDICT_SLA })
    }

    /// The same with another time that a call may take before it counts as a violation.
    #[must_use]
    pub fn with_sla(self, sla: Duration) -> Self {
        Self { sla, ..self }
    }

    /// The library that runs models.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    fn try_prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        let (pulse, clock) = (Pulse::new(), &*self.clock);
        let deadline = options.deadline.map(|time| clock.now().saturating_add(time));
        let until = Until { clock, deadline, pulse: &pulse };
        let (path, sha256) = authored(artifact)?;
        check_quantization(options.quantization)?;
        let digest = digest_file(path, &until).map_err(|error| EngineError::new(error.kind(), error))?;
        if digest.sha256 != sha256 {
            return Err(OrtError::DigestMismatch { expected: sha256, got: digest.sha256 }.into());
        }
        // Told before weights are read. Sessions keep them once as they are stored and at most once more as kernels
        // read them; ONNX Runtime itself does not say.
        let memory_bytes = std::fs::metadata(path).map_or(0, |file| file.len()).saturating_mul(2);
        if let Some(budget_bytes) = options.memory_budget_bytes.filter(|budget| memory_bytes > *budget) {
            return Err(OrtError::MemoryBudgetExceeded { budget_bytes, memory_bytes }.into());
        }
        let io_schema = self.session(path, options)?.1;
        until.check().map_err(|error| EngineError::new(error.kind(), error))?;
        Ok(Prepared {
            cache_key: self.key(sha256, options)?,
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: Some(io_schema),
            sla_estimate: self.sla,
            memory_bytes,
        })
    }

    fn key(&self, sha256: Sha256, options: &PrepareOptions) -> Result<String, EngineError> {
        let parts = KeyParts {
            sha256,
            engine_version: ENGINE_VERSION,
            backend: "onnxruntime",
            compute_units: options.compute_units,
            quantization: options.quantization,
            shapes: &options.shapes,
            build: self.library.version(),
        };
        let key = CacheKey::new(&parts).map_err(|error| EngineError::new(error.kind(), error))?;
        Ok(key.as_str().to_owned())
    }

    /// A session of the model, and what it takes and gives.
    fn session(&self, path: &Path, options: &PrepareOptions) -> Result<(Session, IoSchema), OrtError> {
        let session = self.opened(path).map_err(|error| OrtError::Model { why: error.to_string() })?;
        let mut schema = schema(&session)?;
        fix_shapes(&mut schema, &options.shapes)?;
        Ok((session, schema))
    }

    fn opened(&self, path: &Path) -> ort::Result<Session> {
        let builder = Session::builder(self.library.environment())?;
        builder.with_intra_threads(self.n_threads.get())?.with_inter_threads(1)?.commit_from_file(path)
    }
}

impl InferenceEngine for OrtEngine {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    /// Has ONNX Runtime load the model once: that it takes it, that its content has its digest, that it fits the budget.
    ///
    /// Every choice of compute units runs on the CPU. Weights are used as they are stored, so any other wish is refused.
    /// The deadline is looked at between the checks and while content is read, not while ONNX Runtime loads.
    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        self.try_prepare(artifact, options)
    }

    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        let (path, _) = authored(&prepared.artifact)?;
        let (session, schema) = self.session(path, &prepared.options)?;
        Ok(Instance::Predictor(Box::new(OrtPredictor { session, schema, options: None, watch: Watch::start()? })))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        let schema = prepared.io_schema.as_ref();
        let items = |schema: &IoSchema| {
            let first = |spec: &ballast_backend::TensorSpec| match spec.shape.first() {
                Some(Dim::Fixed(n)) => Some(*n),
                Some(Dim::Any) => None,
                None => Some(1),
            };
            schema.inputs.iter().filter_map(first).min().unwrap_or(usize::MAX)
        };
        CapabilityReport {
            device_class: format!("cpu, ONNX Runtime, {} threads", self.n_threads),
            supported_dtypes: DType::EVERY.to_vec(),
            max_batch_size: schema.map_or(1, items),
            compute_units_requested: prepared.options.compute_units,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

fn authored(artifact: &ModelArtifact) -> Result<(&Path, Sha256), OrtError> {
    match artifact {
        ModelArtifact::Authoring { path, format: ModelFmt::Onnx, sha256 } => Ok((path, *sha256)),
        ModelArtifact::Authoring { format, .. } => Err(OrtError::Format { got: *format }),
        ModelArtifact::Compiled { .. } => Err(OrtError::NotAuthored),
    }
}

fn check_quantization(quantization: Quantization) -> Result<(), OrtError> {
    match quantization {
        Quantization::AsStored => Ok(()),
        got @ (Quantization::Fp32 | Quantization::Fp16 | Quantization::Int8 | Quantization::Palettized) => {
            Err(OrtError::Quantization { got })
        }
    }
}

/// An opened model.
struct OrtPredictor {
    session: Session,
    schema: IoSchema,
    /// Those of the last call, if it was not told to end: the order stays on them.
    options: Option<Arc<RunOptions>>,
    watch: Watch,
}

impl OrtPredictor {
    fn run(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), OrtError> {
        pulse.beat()?;
        // ONNX Runtime finds an input that is not there only at the operator that reads it.
        if let Some(spec) = self.schema.inputs.iter().find(|spec| !inputs.contains_key(&spec.name)) {
            return Err(OrtError::Inputs { why: format!("there is none for {:?}", spec.name) });
        }
        let given = inputs.iter().map(|(name, tensor)| Ok((name.as_str(), lent(name, tensor)?)));
        let given = given.collect::<Result<Vec<_>, OrtError>>()?;
        let options = match self.options.take() {
            Some(options) => options,
            None => Arc::new(RunOptions::new().map_err(|error| OrtError::Run { why: error.to_string() })?),
        };
        let Self { session, watch, .. } = self;
        let (computed, interrupted) = watch.during(pulse, &options, || session.run_with_options(given, &*options));
        match (computed, interrupted) {
            (Ok(computed), _) => computed.iter().try_for_each(|(name, value)| take_over(name, &value, outputs))?,
            (Err(_), Some(interrupted)) => return Err(interrupted.into()),
            (Err(error), None) if error.code() == ErrorCode::InvalidArgument => {
                return Err(OrtError::Inputs { why: error.to_string() });
            }
            (Err(error), None) => return Err(OrtError::Run { why: error.to_string() }),
        }
        if interrupted.is_none() {
            self.options = Some(options);
        }
        Ok(())
    }
}

impl Predictor for OrtPredictor {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError> {
        Ok(self.run(inputs, outputs, pulse)?)
    }

    fn dispatch(&self) -> Option<Dispatch> {
        Some(Dispatch::CPU)
    }
}
