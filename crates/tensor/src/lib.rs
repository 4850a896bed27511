//! Tensor models on the CPU: ONNX graphs and Core ML packages, operator by operator.
//!
//! ```text
//! file --reader--> Model (graph in ONNX's vocabulary) --Plan--> operators in order --Executor--> outputs
//! ```
//!
//! Whatever the engine does not have is named when a model is planned; nothing is guessed. Between operators a run can
//! be interrupted, and each operator's share of the time can be noted.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::approx_constant,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::cloned_ref_to_slice_refs,
        clippy::excessive_precision,
        reason = "expected values are written as the standard's documents have them, and computed plainly"
    )
)]

mod array;
pub mod conformance;
mod engine;
mod error;
mod executor;
pub mod forecast;
mod graph;
mod mil;
mod onnx;
mod operator;
mod ops;
pub mod package;
mod passes;
mod pieces;
mod plan;
mod plans;
mod protobuf;
mod remembered;
mod run;
mod survey;
#[cfg(test)]
mod testing;

pub use engine::{ENGINE_VERSION, PREDICT_SLA, TensorCpu};
pub use error::GraphError;
pub use executor::{Executor, ExecutorOptions, Planned};
pub use forecast::{Forecast, Prediction, PredictionRule};
pub use graph::Model;
pub use onnx::ReadLimits;
pub use package::{Package, PackageLimits, PackageSurvey};
pub use run::{Rounding, RunLimits, TraceEntry, Tracing};
pub use survey::{ModelSurvey, OperatorUse};
