//! A handle that never leaves its thread: the owner thread, and the clients that reach it.
//!
//! Native handles often may not move between threads, nor be used by two. An owner thread opens them, keeps the only
//! ones in a private registry, and lends one at a time to a closure. The rest of the world holds a [`ModelRef`], which
//! is a number, and a [`ModelClient`]: a bounded queue with deadlines, cancellation and an end.
//!
//! Every job has exactly one outcome: its result, or a [`ConfineError`]. A caller learns of its deadline on time even
//! while the owner thread is stuck, because a timer thread, one for each client, tells it: so waiting needs no timer of
//! an async runtime, works with any clock, and is late by at most [`ConfineOptions::tick`].
//!
//! ```
//! # use ballast_runtime::confine::{ConfineOptions, ModelClient};
//! # use std::{convert::Infallible, rc::Rc, sync::Arc, time::Duration};
//! # struct Still;
//! # impl ballast_backend::Clock for Still { fn now(&self) -> Duration { Duration::ZERO } }
//! // `Rc` is neither `Send` nor `Sync`; the client is both.
//! let client = ModelClient::<Rc<str>>::start(&ConfineOptions::default(), Arc::new(Still))?;
//! let deadline = Duration::from_secs(5);
//! let model = client.load_blocking(deadline, |_pulse| Ok::<_, Infallible>(Rc::from("handle"))).unwrap();
//! assert_eq!(client.with_blocking(model, deadline, |handle, _pulse| handle.len())?, 6);
//! client.unload(model)?;
//! # Ok::<(), ballast_runtime::confine::ConfineError>(())
//! ```
//!
//! A handle cannot leave its closure, neither borrowed nor, where it is not `Send`, cloned:
//!
//! ```compile_fail
//! # use ballast_runtime::confine::{ModelClient, ModelRef};
//! # use std::{rc::Rc, time::Duration};
//! fn leak(client: &ModelClient<Rc<str>>, model: ModelRef) {
//!     let handle = client.with_blocking(model, Duration::MAX, |handle, _pulse| &*handle);
//! }
//! ```
//!
//! ```compile_fail,E0277
//! # use ballast_runtime::confine::{ModelClient, ModelRef};
//! # use std::{rc::Rc, time::Duration};
//! fn leak(client: &ModelClient<Rc<str>>, model: ModelRef) {
//!     let handle = client.with_blocking(model, Duration::MAX, |handle, _pulse| Rc::clone(handle));
//! }
//! ```
//!
//! Nor can it be made elsewhere and brought in:
//!
//! ```compile_fail,E0277
//! # use ballast_runtime::confine::ModelClient;
//! # use std::{convert::Infallible, rc::Rc, time::Duration};
//! fn smuggle(client: &ModelClient<Rc<str>>) {
//!     let handle: Rc<str> = Rc::from("made on this thread");
//!     let _ = client.load_blocking(Duration::MAX, move |_pulse| Ok::<_, Infallible>(handle));
//! }
//! ```

mod client;
mod desk;
mod ends;
mod error;
mod jobs;
mod model;
mod options;
mod parts;
mod slot;
mod sync;
mod work;

#[cfg(test)]
mod tests;

pub use client::{ModelClient, ModelLease, Pending};
pub use error::{ConfineError, JobPhase, LoadError};
pub use model::ModelRef;
pub use options::{Call, ConfineOptions, ConfineStats, Rank, THREADS_MAX};
pub(crate) use slot::Slot;

/// What crosses threads does, whatever the handle is.
const _: fn() = || {
    fn crosses<T: Send + Sync>() {}
    type Confined = std::rc::Rc<std::cell::Cell<u8>>;
    crosses::<ModelRef>();
    crosses::<ModelClient<Confined>>();
    crosses::<ModelLease<Confined>>();
    crosses::<Pending<Confined, u8>>();
    crosses::<ConfineError>();
};
