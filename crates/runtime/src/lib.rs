//! The life of a request: admission, batching, sampling, streaming, cancellation.
//!
//! [`Runtime`] is a handle (Send + Sync, cheap to clone) to one owner thread, which alone holds the engine and runs one
//! loop: plan, step, sample, emit. A [`Request`] is admitted into a bounded queue and answered by a [`TokenStream`];
//! dropping the stream cancels the request wherever it is: queued, in prefill, or between decode steps.
//!
//! Every request ends with exactly one [`Summary`], whatever happens to the engine.
#![forbid(unsafe_code)]

mod admission;
pub mod breaker;
pub mod buffer_pool;
mod conductor;
pub mod confine;
mod engine_thread;
mod error;
pub mod events;
mod governance;
pub mod instance_pool;
mod kv;
pub mod lifecycle;
mod owner;
pub mod parity;
mod pipeline;
mod replica;
mod request;
pub mod retry;
pub mod routing;
mod runtime;
mod scheduler;
mod sequence;
#[cfg(test)]
mod simulation;
mod stream;
pub mod supervised;
pub mod telemetry;
pub mod watchdog;

pub use admission::{Admission, AdmissionOptions, Admitted, NoPlace, QueuePermit};
pub use conductor::{Attempts, EngineState, SupervisionOptions};
pub use engine_thread::OpenEngine;
pub use error::RuntimeError;
pub use governance::{Approved, InputPolicy, Obligations, Verdict};
pub use replica::{EngineSource, EngineSpec};
pub use request::{
    Deadlines, FinishReason, Phase, PrefixCache, Priority, Request, Summary, Timings, TokenEvent, TokenLogprob, Usage,
};
pub use runtime::{EngineHealth, Health, Runtime, RuntimeOptions, RuntimeParts};
pub use scheduler::SchedulerOptions;
pub use stream::{Canceller, Event, TokenStream};
pub use telemetry::{CorrelationId, TenantId};
