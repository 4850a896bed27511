//! The life of a request: admission, batching, sampling, streaming, cancellation.
//!
//! [`Runtime`] is a handle (Send + Sync, cheap to clone) to one owner thread, which alone holds the engine and runs one
//! loop: plan, step, sample, emit. A [`Request`] is admitted into a bounded queue and answered by a [`TokenStream`];
//! dropping the stream cancels the request wherever it is: queued, in prefill, or between decode steps.
//!
//! Every request ends with exactly one [`Summary`], whatever happens to the engine.
#![forbid(unsafe_code)]

mod blocks;
mod error;
mod owner;
mod request;
mod runtime;
mod scheduler;
mod sequence;
mod stream;

pub use error::RuntimeError;
pub use request::{FinishReason, Request, Summary, Timings, TokenEvent, TokenLogprob, Usage};
pub use runtime::{Health, Runtime, RuntimeOptions};
pub use stream::{Canceller, Event, TokenStream};
