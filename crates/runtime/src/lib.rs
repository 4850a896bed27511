//! The life of a request: admission, batching, sampling, streaming, cancellation.
//!
//! [`Runtime`] is a handle (Send + Sync, cheap to clone) to one owner thread, which alone holds the engine and runs one
//! loop: plan, step, sample, emit. A [`Request`] is admitted into a bounded queue and answered by a [`TokenStream`];
//! dropping the stream cancels the request wherever it is: queued, in prefill, or between decode steps.
//!
//! Every request ends with exactly one [`Summary`], whatever happens to the engine.
#![forbid(unsafe_code)]

mod admission;
mod blocks;
pub mod breaker;
pub mod buffer_pool;
pub mod confine;
mod error;
pub mod events;
mod governance;
pub mod instance_pool;
pub mod lifecycle;
mod owner;
pub mod parity;
mod request;
pub mod retry;
pub mod routing;
mod runtime;
mod scheduler;
mod sequence;
mod stream;
pub mod supervised;
pub mod telemetry;
pub mod watchdog;

pub use error::RuntimeError;
pub use request::{FinishReason, Request, Summary, Timings, TokenEvent, TokenLogprob, Usage};
pub use runtime::{Health, Runtime, RuntimeOptions};
pub use stream::{Canceller, Event, TokenStream};
