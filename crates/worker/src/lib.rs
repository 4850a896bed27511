//! Engines in a process of their own: the same executable entered again, so that a crash, a hang or a memory blow-up
//! of native code takes a worker and never the server.
//!
//! ```text
//!   parent: Worker::spawn ─► WorkerGenerator | WorkerPredictor          child: serve(open)
//!
//!   calls   Hello, Step, Predict, End ──────────────► engine thread     the child's standard input
//!           Welcome, Opening, Reply  ◄──────────────
//!   life    Ping, Interrupt ────────────────────────► watch thread      its end ends the worker at once
//!           Beat ◄──────────────────────────────────
//!   shared  tokens and block tables, tensors ───────► positioned reads and writes of a file without a name
//!           logits, tensors ◄───────────────────────
//! ```
//!
//! The sockets carry frames ([`FRAME_BYTES_MAX`]); what is large goes through the shared file, copied once on each
//! side. Each socket has one owner on each side, so neither needs a lock. The second socket and the file are handed
//! over on the first as descriptors: nothing has a name in a file system, so nothing is left when either process
//! dies. While a call lasts the parent asks for the engine's beats and passes new ones on to its caller's pulse: a hung
//! engine falls silent on both sides.
//!
//! A worker is no sandbox: it runs with the parent's rights and environment.
#![forbid(unsafe_code)]

mod error;
mod spec;

#[cfg(unix)]
mod batch;
#[cfg(unix)]
mod call;
#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod frame;
#[cfg(unix)]
mod handover;
#[cfg(unix)]
mod link;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod proxy;
#[cfg(unix)]
mod schema;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod shared;
#[cfg(unix)]
mod tensors;
#[cfg(unix)]
mod watch;
#[cfg(unix)]
mod wire;

#[cfg(not(unix))]
pub use elsewhere::{Worker, WorkerGenerator, WorkerPredictor, serve};
pub use error::{FRAME_BYTES_MAX, FrameError, HowEnded, LinkError, TEXT_BYTES_MAX, WorkerError};
#[cfg(unix)]
pub use proxy::{Worker, WorkerGenerator, WorkerPredictor};
#[cfg(unix)]
pub use serve::serve;
pub use spec::{MARKER, SharedPlace, WorkerCommand, WorkerLimits, WorkerSpec, is_worker};
