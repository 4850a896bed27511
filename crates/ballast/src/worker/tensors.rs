//! Tensor models in worker processes: what a worker is told of one, and the engine whose instances are workers.

use super::{Job, path_of};
use crate::tensor_model::manifest::DeclaredSpec;
use crate::tensor_model::{Canary, TensorEngine, TensorLoadOptions};
use crate::wiring::tensor_cpu;
use crate::{Error, SystemClock, onnx_runtime};
use ballast_backend::{
    CapabilityReport, Clock, CompiledMeta, ComputeUnits, DType, Dim, EngineError, ErrorKind, InferenceEngine, Instance,
    IoSchema, ModelArtifact, ModelFmt, PrepareOptions, Prepared, TensorSpec,
};
use ballast_tensor::Rounding;
use ballast_worker::WorkerLimits;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A job that no worker can do.
#[derive(Debug, thiserror::Error)]
enum JobFault {
    #[error("expected a model as the worker's engine takes it, got {got}")]
    Artifact { got: &'static str },
    #[error("expected a digest, got {got:?}")]
    Digest { got: String },
    #[error("expected the code of compute units, got {got}")]
    Units { got: u8 },
    #[error("expected the name of a type of elements, got {got:?}")]
    Elements { got: String },
    #[cfg(not(feature = "coreml"))]
    #[error("expected a build with Core ML, got one without the feature coreml")]
    NoCoreMl,
}

impl From<JobFault> for EngineError {
    fn from(fault: JobFault) -> Self {
        Self::new(ErrorKind::Invalid, fault)
    }
}

/// Which engine opens a tensor model in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WorkerEngine {
    /// The CPU's, from the file.
    Cpu,
    /// Core ML, from the bundle that the parent had compiled.
    CoreMl,
    /// ONNX Runtime, from the file.
    OnnxRuntime,
}

/// Which tensor model, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TensorPayload {
    engine: WorkerEngine,
    model: TensorPayloadModel,
    shapes: Vec<(String, Vec<usize>)>,
    compute_units: u8,
    n_threads: Option<usize>,
    kernels: Option<String>,
    rounds_to_f16: bool,
    deadline: Duration,
    open_max: Duration,
    skips_canary: bool,
    sla: Option<Duration>,
    /// ONNX Runtime's library, where one was named.
    library: Option<Vec<u8>>,
}

/// The model as its engine takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TensorPayloadModel {
    Authored {
        path: Vec<u8>,
        is_package: bool,
        /// Its digest, in hexadecimal.
        sha256: String,
    },
    Compiled {
        path: Vec<u8>,
        cache_key: String,
        platform: String,
        engine_version: String,
        backend: String,
        /// What it gives, as far as the parent knows.
        outputs: Vec<DeclaredSpec>,
    },
}

impl TensorPayloadModel {
    fn new(prepared: &Prepared) -> Self {
        match &prepared.artifact {
            ModelArtifact::Authoring { path, format, sha256 } => Self::Authored {
                path: path.as_os_str().as_encoded_bytes().to_vec(),
                is_package: *format == ModelFmt::MlPackage,
                sha256: sha256.to_string(),
            },
            ModelArtifact::Compiled { path, meta } => Self::Compiled {
                path: path.as_os_str().as_encoded_bytes().to_vec(),
                cache_key: prepared.cache_key.clone(),
                platform: meta.platform.clone(),
                engine_version: meta.engine_version.clone(),
                backend: meta.backend.clone(),
                outputs: prepared.io_schema.iter().flat_map(|schema| &schema.outputs).map(DeclaredSpec::of).collect(),
            },
        }
    }
}

impl TensorPayload {
    fn new(engine: WorkerEngine, prepared: &Prepared, options: &TensorLoadOptions) -> Self {
        Self {
            engine,
            model: TensorPayloadModel::new(prepared),
            shapes: prepared.options.shapes.clone(),
            compute_units: prepared.options.compute_units.code(),
            n_threads: options.n_threads,
            kernels: options.kernels.clone(),
            rounds_to_f16: options.rounding == Rounding::ToF16,
            deadline: options.deadline,
            open_max: options.open_max,
            skips_canary: options.canary == Canary::Skip,
            sla: options.breaker.sla,
            library: match &options.engine {
                TensorEngine::Cpu => None,
                TensorEngine::OnnxRuntime { library } => {
                    library.as_ref().map(|path| path.as_os_str().as_encoded_bytes().to_vec())
                }
            },
        }
    }

    fn options(&self) -> Result<TensorLoadOptions, JobFault> {
        let units = ComputeUnits::from_code(self.compute_units);
        let library = || self.library.clone().map(path_of);
        let mut options = TensorLoadOptions {
            engine: match self.engine {
                WorkerEngine::Cpu | WorkerEngine::CoreMl => TensorEngine::Cpu,
                WorkerEngine::OnnxRuntime => TensorEngine::OnnxRuntime { library: library() },
            },
            compute_units: Some(units.ok_or(JobFault::Units { got: self.compute_units })?),
            shapes: self.shapes.clone(),
            n_threads: self.n_threads,
            kernels: self.kernels.clone(),
            rounding: if self.rounds_to_f16 { Rounding::ToF16 } else { Rounding::AsTyped },
            deadline: self.deadline,
            open_max: self.open_max,
            canary: if self.skips_canary { Canary::Skip } else { Canary::MustAnswer },
            ..TensorLoadOptions::default()
        };
        options.breaker.sla = self.sla;
        Ok(options)
    }

    pub(super) fn open(self) -> Result<Instance, Error> {
        let options = self.options().map_err(EngineError::from)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        Ok(match (self.engine, self.model) {
            (
                WorkerEngine::Cpu | WorkerEngine::OnnxRuntime,
                TensorPayloadModel::Authored { path, is_package, sha256 },
            ) => {
                let sha256 = sha256.parse().map_err(|_| EngineError::from(JobFault::Digest { got: sha256.clone() }))?;
                let format = if is_package { ModelFmt::MlPackage } else { ModelFmt::Onnx };
                let artifact = ModelArtifact::Authoring { path: path_of(path), format, sha256 };
                let engine: Arc<dyn InferenceEngine> = match options.engine {
                    TensorEngine::Cpu => Arc::new(tensor_cpu(&options, &clock)?),
                    TensorEngine::OnnxRuntime { .. } => onnx_runtime::in_this_process(&options, &clock)?,
                };
                let prepared = engine.prepare(&artifact, &options.prepare())?;
                engine.open(&prepared)?
            }
            (
                WorkerEngine::CoreMl,
                TensorPayloadModel::Compiled { path, cache_key, platform, engine_version, backend, outputs },
            ) => {
                let meta = CompiledMeta { platform, engine_version, backend };
                let outputs = outputs.iter().map(spec_of).collect::<Result<_, _>>().map_err(EngineError::from)?;
                let prepared = Prepared {
                    cache_key,
                    artifact: ModelArtifact::Compiled { path: path_of(path), meta },
                    options: options.prepare(),
                    io_schema: Some(IoSchema { inputs: Vec::new(), outputs }),
                    sla_estimate: Duration::ZERO,
                    memory_bytes: 0,
                };
                open_core_ml(&prepared, &options, &clock)?
            }
            (WorkerEngine::Cpu | WorkerEngine::OnnxRuntime, TensorPayloadModel::Compiled { .. }) => {
                return Err(EngineError::from(JobFault::Artifact { got: "one that an engine compiled" }).into());
            }
            (WorkerEngine::CoreMl, TensorPayloadModel::Authored { .. }) => {
                return Err(EngineError::from(JobFault::Artifact { got: "one as its author made it" }).into());
            }
        })
    }
}

#[cfg(feature = "coreml")]
fn open_core_ml(
    prepared: &Prepared,
    options: &TensorLoadOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Instance, EngineError> {
    crate::accelerator::core_ml(options, clock).open(prepared)
}

#[cfg(not(feature = "coreml"))]
fn open_core_ml(
    _prepared: &Prepared,
    _options: &TensorLoadOptions,
    _clock: &Arc<dyn Clock>,
) -> Result<Instance, EngineError> {
    Err(JobFault::NoCoreMl.into())
}

/// An output as the parent described it.
fn spec_of(declared: &DeclaredSpec) -> Result<TensorSpec, JobFault> {
    let known = DType::EVERY.into_iter().find(|dtype| dtype.as_str() == declared.dtype);
    Ok(TensorSpec {
        name: declared.name.clone(),
        dtype: known.ok_or_else(|| JobFault::Elements { got: declared.dtype.clone() })?,
        shape: declared.shape.iter().map(|dim| dim.map_or(Dim::Any, Dim::Fixed)).collect(),
        batch_capable: false,
    })
}

/// An engine whose instances run in workers. What can be said of a model without running it is said here.
pub(crate) struct IsolatedTensors {
    engine: Arc<dyn InferenceEngine>,
    /// The same engine, by the name that a worker knows it by.
    kind: WorkerEngine,
    options: TensorLoadOptions,
}

impl IsolatedTensors {
    pub(crate) fn new(engine: Arc<dyn InferenceEngine>, kind: WorkerEngine, options: TensorLoadOptions) -> Self {
        Self { engine, kind, options }
    }
}

impl InferenceEngine for IsolatedTensors {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        self.engine.prepare(artifact, options)
    }

    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        let job = Job::Tensor(TensorPayload::new(self.kind, prepared, &self.options));
        let limits = WorkerLimits { open_max: self.options.open_max, ..WorkerLimits::default() };
        let opened = job.spawn(limits).and_then(|worker| Ok(worker.into_predictor()?));
        let predictor = opened.map_err(|error| EngineError::new(error.kind(), error))?;
        Ok(Instance::Predictor(Box::new(predictor)))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        self.engine.capabilities(prepared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::Sha256;

    fn prepared(artifact: ModelArtifact) -> Prepared {
        let spec = |shape: &[Dim]| TensorSpec {
            name: "y".to_owned(),
            dtype: DType::F16,
            shape: shape.to_vec(),
            batch_capable: false,
        };
        let outputs = vec![spec(&[Dim::Any, Dim::Fixed(3)])];
        let options = PrepareOptions {
            compute_units: ComputeUnits::CpuAndNe,
            shapes: vec![("x".to_owned(), vec![2, 3])],
            ..PrepareOptions::default()
        };
        Prepared {
            cache_key: "key".to_owned(),
            artifact,
            options,
            io_schema: Some(IoSchema { inputs: Vec::new(), outputs }),
            sla_estimate: Duration::ZERO,
            memory_bytes: 0,
        }
    }

    fn carried(engine: WorkerEngine, prepared: &Prepared, options: &TensorLoadOptions) -> TensorPayload {
        let text = serde_json::to_string(&Job::Tensor(TensorPayload::new(engine, prepared, options))).unwrap();
        let Job::Tensor(payload) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        payload
    }

    #[test]
    fn a_worker_is_told_units_shapes_canary_and_times() {
        let meta = CompiledMeta { platform: "p".into(), engine_version: "e".into(), backend: "mlmodelc".into() };
        let prepared = prepared(ModelArtifact::Compiled { path: "bundle".into(), meta });
        let mut options = TensorLoadOptions {
            deadline: Duration::from_millis(1500),
            open_max: Duration::from_secs(77),
            canary: Canary::Skip,
            rounding: Rounding::ToF16,
            n_threads: Some(3),
            kernels: Some("generic".to_owned()),
            ..TensorLoadOptions::default()
        };
        options.breaker.sla = Some(Duration::from_millis(9));
        let payload = carried(WorkerEngine::CoreMl, &prepared, &options);
        assert_eq!(payload, TensorPayload::new(WorkerEngine::CoreMl, &prepared, &options));
        let told = payload.options().unwrap();
        assert_eq!((told.compute_units, &told.shapes), (Some(ComputeUnits::CpuAndNe), &prepared.options.shapes));
        assert_eq!((told.deadline, told.open_max, told.canary), (options.deadline, options.open_max, Canary::Skip));
        assert_eq!((told.rounding, told.n_threads, told.breaker.sla), (Rounding::ToF16, Some(3), options.breaker.sla));
        assert_eq!(told.kernels, options.kernels);
        let TensorPayloadModel::Compiled { outputs, cache_key, .. } = payload.model else { panic!() };
        let outputs: Vec<TensorSpec> = outputs.iter().map(|spec| spec_of(spec).unwrap()).collect();
        assert_eq!((outputs, cache_key.as_str()), (prepared.io_schema.unwrap().outputs, "key"));
    }

    #[test]
    fn a_job_that_is_none_is_refused() {
        let authored = ModelArtifact::Authoring { path: "m".into(), format: ModelFmt::Onnx, sha256: Sha256([7; 32]) };
        let authored = carried(WorkerEngine::CoreMl, &prepared(authored), &TensorLoadOptions::default());
        let mut cases = vec![authored.clone()];
        cases.push(TensorPayload { engine: WorkerEngine::Cpu, compute_units: 4, ..authored.clone() });
        let model = TensorPayloadModel::Authored { path: b"m".to_vec(), is_package: false, sha256: "7".to_owned() };
        cases.push(TensorPayload { engine: WorkerEngine::Cpu, model, ..authored });
        for payload in cases {
            let error = payload.clone().open().map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{payload:?}: {error}");
        }
    }
}
