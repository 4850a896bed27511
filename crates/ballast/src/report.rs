//! What loading a model found out.

use ballast_backend::{GeneratorShape, ReasonCode};
use ballast_llm::MemoryPlan;
use std::time::Duration;

/// Something a caller should know about a model that was loaded all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable word for it.
    pub code: ReasonCode,
    /// The figures behind it.
    pub detail: String,
}

/// The facts of a loaded model.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// `general.name`, or the file's name.
    pub model_name: String,
    /// `general.architecture`.
    pub architecture: String,
    /// Number of weights.
    pub n_parameters: u64,
    /// The type that most weights are stored in: `Q4_1`.
    pub quantization: &'static str,
    /// Bytes of the model's files.
    pub file_bytes: u64,
    /// What the engine can do.
    pub shape: GeneratorShape,
    /// Bytes planned.
    pub plan: MemoryPlan,
    /// The kernel set in use.
    pub kernels: &'static str,
    /// Compute threads.
    pub n_threads: usize,
    /// Time from the call until the model was ready.
    pub load_time: Duration,
    /// Degradations and warnings; empty for a model that is as it should be.
    pub findings: Vec<Finding>,
}
