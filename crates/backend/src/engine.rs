//! The trait by which every engine is created, and the trait of tensor-model instances.

use crate::{ComputeUnits, DType, EngineError, Generator, IoSchema, ModelArtifact, PrepareOptions, Pulse, TensorMap};
use std::fmt;
use std::time::Duration;

/// An engine: what turns models into instances that run. Shareable; instances are not.
pub trait InferenceEngine: Send + Sync {
    /// Short name for results, labels and logs, such as `llm-cpu`.
    fn name(&self) -> &'static str;

    /// Makes a model ready to be opened: checks it, compiles or repacks it, keeps the result in the compile cache.
    ///
    /// # Errors
    /// A model this engine cannot run, or whose digest is another, is `Invalid`; one over its memory budget `Denied`;
    /// a deadline that passes is `Cancelled`; a fault of disk or engine `Unavailable` or `Internal`.
    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError>;

    /// Opens an instance. Called on the thread that will own it.
    ///
    /// # Errors
    /// If the machine does not grant what the instance needs, or the prepared files are no longer intact.
    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError>;

    /// What the engine can do with a prepared model. What was not measured is `None`.
    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport;
}

/// A model made ready by [`InferenceEngine::prepare`].
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Everything the result depends on; the key in the compile cache.
    pub cache_key: String,
    /// What is opened: the compiled bundle, or the author's file where the engine runs that.
    pub artifact: ModelArtifact,
    /// What it was prepared with.
    pub options: PrepareOptions,
    /// Inputs and outputs; `None` for language models.
    pub io_schema: Option<IoSchema>,
    /// What one call may take before it counts as an SLA violation.
    pub sla_estimate: Duration,
    /// Bytes an opened instance takes, as planned.
    pub memory_bytes: u64,
}

/// An opened model. Stays on the thread that opened it.
pub enum Instance {
    /// A language model.
    Generator(Box<dyn Generator>),
    /// A tensor model.
    Predictor(Box<dyn Predictor>),
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generator(_) => "Generator",
            Self::Predictor(_) => "Predictor",
        })
    }
}

/// A tensor-model instance: named tensors in, named tensors out. Not `Send`: native handles often may not move.
///
/// ```compile_fail,E0277
/// fn moved_between_threads<T: Send>() {}
/// moved_between_threads::<Box<dyn ballast_backend::Predictor>>();
/// ```
pub trait Predictor {
    /// What the model takes and gives.
    fn io_schema(&self) -> &IoSchema;

    /// Runs the model once. `inputs` were checked against the schema. Writes every output of the schema to `outputs`,
    /// into tensors that are there already where type and shape agree.
    ///
    /// # Errors
    /// Inputs the model does not take are `Invalid`; a fault of the engine is `Internal`, a lost one `Unavailable`; a
    /// call that was interrupted through `pulse` is `Cancelled`.
    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, pulse: &Pulse) -> Result<(), EngineError>;

    /// Where the work of the last call ran, if the engine can tell.
    fn dispatch(&self) -> Option<Dispatch>;
}

/// Shares of the work by unit, each 0 to 1, together 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dispatch {
    /// Neural engine.
    pub ane: f32,
    /// GPU.
    pub gpu: f32,
    /// CPU.
    pub cpu: f32,
}

impl Dispatch {
    /// Everything on the CPU.
    pub const CPU: Self = Self { ane: 0.0, gpu: 0.0, cpu: 1.0 };
}

/// What an engine can do with a model.
#[derive(Clone, Debug, PartialEq)]
pub struct CapabilityReport {
    /// The device, in words.
    pub device_class: String,
    /// Element types the engine computes with.
    pub supported_dtypes: Vec<DType>,
    /// Most items, or sequences, in one call.
    pub max_batch_size: usize,
    /// Units that were asked for.
    pub compute_units_requested: ComputeUnits,
    /// Units that are used.
    pub compute_units_actual: ComputeUnits,
    /// Share of operations the neural engine can run, in percent; `None`: not measured.
    pub ane_op_coverage_pct: Option<f32>,
    /// 99th percentile of preparation; `None`: not measured.
    pub compile_p99: Option<Duration>,
    /// 99th percentile of one call; `None`: not measured.
    pub infer_p99: Option<Duration>,
}
