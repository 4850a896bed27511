//! Tensor models on the CPU: ONNX graphs and Core ML packages, operator by operator.
//!
//! ```text
//! file --reader--> Model (graph in ONNX's vocabulary) --Plan--> operators in order --Executor--> outputs
//! ```
//!
//! Whatever the engine does not have is named when a model is planned; nothing is guessed. Between operators a run can
//! be interrupted, and each operator's share of the time can be noted.
#![forbid(unsafe_code)]

mod array;
pub mod conformance;
mod engine;
mod error;
mod executor;
mod graph;
mod onnx;
mod operator;
mod ops;
mod plan;
mod protobuf;
mod run;

pub use engine::{ENGINE_VERSION, PREDICT_SLA, TensorCpu};
pub use error::GraphError;
pub use executor::{Executor, ExecutorOptions, Planned};
pub use graph::Model;
pub use onnx::ReadLimits;
pub use run::{Rounding, RunLimits, TraceEntry, Tracing};
