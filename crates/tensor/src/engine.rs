//! The engine as the runtime knows engines: prepares a model, opens instances of it, says what it can do.
//!
//! Instances of one model share its operators and weights; each has threads of its own.

use crate::error::GraphError;
use crate::executor::{Executor, ExecutorOptions, Planned};
use crate::graph::Model;
use crate::onnx::ReadLimits;
use crate::package::PackageLimits;
use crate::plans::Plans;
use ballast_artifacts::{CacheKey, KeyParts, Until, digest_file};
use ballast_backend::{
    CapabilityReport, Clock, ComputeUnits, DType, Dim, Dispatch, EngineError, ErrorKind, InferenceEngine, Instance,
    IoSchema, ModelArtifact, ModelFmt, Predictor, PrepareOptions, Prepared, Pulse, Quantization, Sha256, TensorData,
    TensorMap, TensorSpec,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The engine, and the version of what it makes of a model.
pub const ENGINE_VERSION: &str = "tensor-cpu.1";

/// What a call may take before it counts as a violation, unless [`TensorCpu::with_sla`] says otherwise. A policy, not a
/// measurement.
pub const PREDICT_SLA: Duration = Duration::from_millis(50);

/// The CPU engine for tensor models. Shareable; an instance belongs to the thread that opens it.
pub struct TensorCpu {
    options: ExecutorOptions,
    clock: Arc<dyn Clock>,
    sla: Duration,
    plans: Plans<Opened>,
}

/// A model that instances share.
#[derive(Debug)]
struct Opened {
    planned: Arc<Planned>,
    schema: IoSchema,
}

impl fmt::Debug for TensorCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorCpu").field("options", &self.options).finish_non_exhaustive()
    }
}

impl TensorCpu {
    /// An engine that opens every model with `options`; deadlines are times on `clock`.
    #[must_use]
    pub fn new(options: ExecutorOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock, sla: PREDICT_SLA, plans: Plans::default() }
    }

    /// The same with another time that a call may take before it counts as a violation.
    #[must_use]
    pub fn with_sla(self, sla: Duration) -> Self {
        Self { sla, ..self }
    }

    fn try_prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        let (pulse, clock) = (Pulse::new(), &*self.clock);
        let deadline = options.deadline.map(|time| clock.now().saturating_add(time));
        let until = Until { clock, deadline, pulse: &pulse };
        let (path, format, sha256) = authored(artifact)?;
        check_options(options)?;
        let got = content_digest(path, format, &until)?;
        if got != sha256 {
            return Err(EngineFault::DigestMismatch { expected: sha256, got }.into());
        }
        let key = key(sha256, options)?;
        let opened = self.opened(&key, path, format, options)?;
        until.check().map_err(|error| EngineError::new(error.kind(), error))?;
        // What operators laid out anew is at most as much again as the file.
        let file_bytes = size_on_disk(path);
        let memory_bytes = (opened.planned.constant_bytes() as u64).saturating_add(file_bytes);
        if let Some(budget_bytes) = options.memory_budget_bytes.filter(|budget| memory_bytes > *budget) {
            return Err(EngineFault::MemoryBudgetExceeded { budget_bytes, memory_bytes }.into());
        }
        Ok(Prepared {
            cache_key: key,
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: Some(opened.schema.clone()),
            sla_estimate: self.sla,
            memory_bytes,
        })
    }

    /// The model of this key, planned now unless an instance has it open.
    fn opened(
        &self,
        key: &str,
        path: &Path,
        format: ModelFmt,
        options: &PrepareOptions,
    ) -> Result<Arc<Opened>, EngineError> {
        self.plans.get(key, || self.plan(path, format, options))
    }

    fn plan(&self, path: &Path, format: ModelFmt, options: &PrepareOptions) -> Result<Opened, EngineError> {
        let model = if format == ModelFmt::Onnx {
            Model::open_onnx(path, ReadLimits::default())?
        } else if format == ModelFmt::MlPackage {
            Model::open_package(path, PackageLimits::default())?
        } else {
            return Err(EngineFault::Format { got: format }.into());
        };
        let planned = Arc::new(Planned::new(&model, &self.options)?);
        let mut schema = planned.schema().cloned().ok_or(EngineFault::NotTensors)?;
        fix_shapes(&mut schema, &options.shapes)?;
        Ok(Opened { planned, schema })
    }
}

impl InferenceEngine for TensorCpu {
    fn name(&self) -> &'static str {
        "tensor-cpu"
    }

    /// Reads and plans the model: that every operator is there, that its content has its digest, that it fits the budget.
    ///
    /// Every choice of compute units runs on the CPU. Weights are used as they are stored, so any other wish is refused.
    /// The deadline is looked at between the checks and while content is read.
    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        self.try_prepare(artifact, options)
    }

    /// Opens an instance; if no other is open, the file is read again.
    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        let (path, format, _) = authored(&prepared.artifact)?;
        let opened = self.opened(&prepared.cache_key, path, format, &prepared.options)?;
        let executor = Executor::of(Arc::clone(&opened.planned), self.options);
        Ok(Instance::Predictor(Box::new(CpuPredictor { executor, opened })))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: format!("cpu, {}, {} threads", self.options.kernels.name(), self.options.n_threads),
            supported_dtypes: DType::EVERY.to_vec(),
            max_batch_size: prepared.io_schema.as_ref().map_or(1, |schema| self.items_max(schema)),
            compute_units_requested: prepared.options.compute_units,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

impl TensorCpu {
    /// How many items the inputs have room for: as many as are fixed, or as one tensor may have.
    fn items_max(&self, schema: &IoSchema) -> usize {
        let room = |spec: &TensorSpec| match spec.shape.split_first() {
            Some((Dim::Fixed(n), _)) => *n,
            Some((Dim::Any, rest)) => {
                let extent = |dim: &Dim| if let Dim::Fixed(n) = dim { *n } else { 1 };
                let item_bytes = rest.iter().map(extent).product::<usize>().saturating_mul(spec.dtype.size_bytes());
                self.options.limits.tensor_bytes_max / item_bytes.max(1)
            }
            None => 1,
        };
        schema.inputs.iter().map(room).min().unwrap_or(1)
    }
}

/// An opened model.
struct CpuPredictor {
    executor: Executor,
    opened: Arc<Opened>,
}

impl Predictor for CpuPredictor {
    fn io_schema(&self) -> &IoSchema {
        &self.opened.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError> {
        let mut computed = self.executor.run(inputs.clone(), pulse, None)?;
        for (name, tensor) in outputs.iter_mut() {
            let Some(new) = computed.remove(name) else { continue };
            if new.shape() != tensor.shape() || !copy_into(new.data(), tensor.data_mut()) {
                *tensor = new;
            }
        }
        outputs.extend(computed);
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        Some(Dispatch::CPU)
    }
}

/// Copies numbers into a buffer that is there already; false if it is of another type or length.
fn copy_into(from: &TensorData, to: &mut TensorData) -> bool {
    macro_rules! copy {
        ($($variant:ident),+) => {
            match (from, to) {
                $((TensorData::$variant(from), TensorData::$variant(to)) if from.len() == to.len() => {
                    to.clone_from_slice(from);
                    true
                })+
                _ => false,
            }
        };
    }
    copy!(F32, F64, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8, Bool, Str)
}

fn authored(artifact: &ModelArtifact) -> Result<(&Path, ModelFmt, Sha256), EngineFault> {
    match artifact {
        ModelArtifact::Authoring { path, format, sha256 } => Ok((path, *format, *sha256)),
        ModelArtifact::Compiled { .. } => Err(EngineFault::NotAuthored),
    }
}

fn check_options(options: &PrepareOptions) -> Result<(), EngineFault> {
    match options.quantization {
        Quantization::AsStored => Ok(()),
        got @ (Quantization::Fp32 | Quantization::Fp16 | Quantization::Int8 | Quantization::Palettized) => {
            Err(EngineFault::Quantization { got })
        }
    }
}

/// Fixes dimensions that the model leaves open.
fn fix_shapes(schema: &mut IoSchema, shapes: &[(String, Vec<usize>)]) -> Result<(), EngineFault> {
    for (name, shape) in shapes {
        let wrong = || EngineFault::Shape { name: name.clone(), got: shape.clone() };
        let spec = schema.inputs.iter_mut().find(|spec| spec.name == *name).ok_or_else(wrong)?;
        if !spec.fits(spec.dtype, shape) {
            return Err(wrong());
        }
        spec.shape = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
        spec.batch_capable = false;
    }
    Ok(())
}

fn key(sha256: Sha256, options: &PrepareOptions) -> Result<String, EngineError> {
    let parts = KeyParts {
        sha256,
        engine_version: ENGINE_VERSION,
        backend: "graph",
        compute_units: options.compute_units,
        quantization: options.quantization,
        shapes: &options.shapes,
        build: std::env::consts::ARCH,
    };
    let key = CacheKey::new(&parts).map_err(|error| EngineError::new(error.kind(), error))?;
    Ok(key.as_str().to_owned())
}

fn content_digest(path: &Path, format: ModelFmt, until: &Until<'_>) -> Result<Sha256, EngineError> {
    let digest = if format == ModelFmt::MlPackage && path.is_dir() {
        ballast_artifacts::digest_tree(path, until).map(|digest| digest.sha256)
    } else {
        digest_file(path, until).map(|digest| digest.sha256)
    };
    digest.map_err(|error| EngineError::new(error.kind(), error))
}

/// Bytes of the file, or of all files of a package; 0 where they cannot be told.
fn size_on_disk(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size_on_disk(&entry.path())).sum()
}

/// A model that this engine does not prepare.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineFault {
    #[error("expected a model as its author made it, got one that another engine prepared")]
    NotAuthored,
    #[error("expected an ONNX file or a Core ML package, got {}", got.as_str())]
    Format { got: ModelFmt },
    #[error("expected weights as they are stored, got {}", got.as_str())]
    Quantization { got: Quantization },
    #[error("expected inputs and outputs that are tensors whose number of dimensions is told")]
    NotTensors,
    #[error("input {name:?}: expected a shape that the model takes, got {got:?}")]
    Shape { name: String, got: Vec<usize> },
    #[error("expected content with the digest {expected}, got {got}")]
    DigestMismatch { expected: Sha256, got: Sha256 },
    #[error("expected at most {budget_bytes} bytes of memory, the model takes {memory_bytes}")]
    MemoryBudgetExceeded { budget_bytes: u64, memory_bytes: u64 },
}

impl From<EngineFault> for EngineError {
    fn from(fault: EngineFault) -> Self {
        let kind = match fault {
            EngineFault::NotAuthored
            | EngineFault::Format { .. }
            | EngineFault::Quantization { .. }
            | EngineFault::NotTensors
            | EngineFault::Shape { .. }
            | EngineFault::DigestMismatch { .. } => ErrorKind::Invalid,
            EngineFault::MemoryBudgetExceeded { .. } => ErrorKind::Denied,
        };
        Self::new(kind, fault)
    }
}

impl From<GraphError> for EngineError {
    fn from(error: GraphError) -> Self {
        Self::new(error.kind(), error)
    }
}
