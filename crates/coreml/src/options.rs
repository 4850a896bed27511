//! How the engine behaves.

use std::time::Duration;

/// How the engine behaves. What the caller may use of the machine is in `backend::PrepareOptions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreMlOptions {
    /// Longest time one prediction may take. Default 5 s.
    pub predict_timeout: Duration,
    /// Longest time compilation may take where the caller sets no deadline. Default 10 min.
    pub compile_timeout: Duration,
    /// Longest time a model may take to load: for the neural engine that can be minutes. Default 10 min.
    pub load_timeout: Duration,
    /// Most calls of one model that have not ended, those included that were given up at their time-out. Default 2.
    pub in_flight_max: usize,
    /// Which of Core ML's interfaces predicts.
    pub api: PredictApi,
    /// What Core ML is told about the use to come.
    pub hints: Hints,
    /// Function of a package with several; `None`: its default.
    pub function: Option<String>,
    /// Whether a model must answer once before it counts as opened.
    pub canary: Canary,
    /// When Core ML is asked which unit will run what.
    pub planning: Planning,
    /// What one prediction may take before it counts as an SLA violation. Default 20 ms.
    pub sla: Duration,
    /// Most bytes of compiled bundles in one compile cache. Default 64 GiB.
    pub cache_bytes_max: u64,
}

impl Default for CoreMlOptions {
    fn default() -> Self {
        Self {
            predict_timeout: Duration::from_secs(5),
            compile_timeout: Duration::from_secs(600),
            load_timeout: Duration::from_secs(600),
            in_flight_max: 2,
            api: PredictApi::default(),
            hints: Hints::default(),
            function: None,
            canary: Canary::default(),
            planning: Planning::default(),
            sla: Duration::from_millis(20),
            cache_bytes_max: 64 << 30,
        }
    }
}

/// Which of Core ML's interfaces predicts. Both keep the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PredictApi {
    /// The one with a completion handler where the system has it (macOS 14), else the blocking one.
    #[default]
    Async,
    /// The blocking one, on a thread of its own for each call; one call at a time.
    Blocking,
}

/// What Core ML is told about the use to come (macOS 15); older systems are told nothing. `None`: Core ML's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Whether loading may take longer for the sake of predictions.
    pub specialization: Option<Specialization>,
    /// How often shapes of inputs change.
    pub reshape: Option<ReshapeFrequency>,
}

/// Whether loading may take longer for the sake of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specialization {
    /// Core ML's balance.
    Balanced,
    /// Fast predictions.
    FastPrediction,
}

/// How often shapes of inputs change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReshapeFrequency {
    /// Often: Core ML prepares for the change.
    Frequent,
    /// Seldom: Core ML prepares for the shape it saw.
    Infrequent,
}

/// Whether a model must answer once before it counts as opened. A bad compilation for the neural engine can load without
/// an error and fail, or end the process, at the first prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    /// It must answer zeros.
    #[default]
    Zeros,
    /// It need not.
    Skip,
}

/// When Core ML is asked which unit will run what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planning {
    /// Whenever a model is opened; a failure is logged and is none of the model's.
    #[default]
    AtOpen,
    /// When [`crate::CoreMlEngine::compute_plan`] is called.
    OnRequest,
}
