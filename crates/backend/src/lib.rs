//! The vocabulary that all engines and the runtime share.
//!
//! - [`TokenId`], [`SequenceId`], [`BlockId`]: identifiers.
//! - [`ErrorKind`] and [`ReasonCode`]: how callers decide, and the stable words they are told.
//! - [`Generator`]: token batches to logits, the one trait a language-model engine implements.
//! - [`Clock`]: where time comes from.
//!
//! It names no engine, no wire format and no file format, and depends on nothing.
#![forbid(unsafe_code)]

mod clock;
mod generator;
mod id;
mod kind;
mod reason;

pub use clock::Clock;
pub use generator::{EngineError, Generator, GeneratorShape, LogitRows, Logits, SequenceStep};
pub use id::{BlockId, SequenceId, TokenId};
pub use kind::ErrorKind;
pub use reason::ReasonCode;
