//! The life of a request: admission, governance, scheduling, supervision, fallback; pools, parity, routing, telemetry.
//!
//! [`Runtime`] is a handle (Send + Sync, cheap to clone) to a chain of language-model engines. A [`Request`] gets a place
//! in a bounded queue, passes the policy and a breaker, and is answered by a [`TokenStream`]; dropping the stream cancels
//! it wherever it is. `pipeline.rs` tells its way, `conductor.rs` what happens to it behind the queue, whatever the
//! engine does. Every request ends with exactly one [`Summary`].
//!
//! For tensor models [`supervised`] puts the same parts together around pools of instances ([`instance_pool`],
//! [`buffer_pool`]) on owner threads ([`confine`]); [`encoding`] queues and batches texts for one that encodes. [`lifecycle`] and [`routing`] decide which models are loaded and
//! which version answers; [`parity`] compares engines; [`telemetry`] and [`events`] are what can be seen of it all.
#![forbid(unsafe_code)]

mod admission;
mod bell;
pub mod breaker;
pub mod buffer_pool;
mod conductor;
pub mod confine;
pub mod encoding;
mod engine_thread;
mod error;
pub mod events;
mod governance;
mod guide;
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
    Deadlines, FinishReason, Phase, PrefixCache, Priority, Progress, Request, Summary, Timings, TokenEvent,
    TokenLogprob, Usage,
};
pub use runtime::{EngineHealth, Health, Runtime, RuntimeOptions, RuntimeParts};
pub use scheduler::SchedulerOptions;
pub use stream::{Canceller, Event, TokenStream};
pub use telemetry::{CorrelationId, TenantId};
