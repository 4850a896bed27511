//! The vocabulary that all engines and the runtime share.
//!
//! - [`TokenId`], [`SequenceId`], [`BlockId`]: identifiers.
//! - [`ErrorKind`] and [`ReasonCode`]: how callers decide, and the stable words they are told.
//! - [`InferenceEngine`]: how models become instances; [`ModelArtifact`], [`PrepareOptions`], [`Prepared`].
//! - [`Generator`]: token batches to logits, for language models; [`Predictor`]: named tensors to named tensors, for
//!   everything else; [`Tensor`], [`TensorMap`], [`IoSchema`].
//! - [`EncoderShape`], [`Pooling`]: text encoders as tensor models.
//! - [`Pulse`]: the sign of life of an engine at work. [`Clock`]: where time comes from.
//!
//! It names no engine, no wire format and no file format, and depends on nothing.
#![forbid(unsafe_code)]

mod artifact;
mod clock;
mod encoder;
mod engine;
mod generator;
mod id;
mod kind;
mod pulse;
mod reason;
mod tensor;

pub use artifact::{
    CompiledMeta, ComputeUnits, ModelArtifact, ModelFmt, PrepareOptions, Quantization, Sha256, Sha256ParseError,
};
pub use clock::Clock;
pub use encoder::{
    EncoderShape, EncoderText, Pooling, encoder_inputs, encoder_output, encoder_output_name, encoder_texts,
};
pub use engine::{CapabilityReport, Dispatch, InferenceEngine, Instance, Predictor, Prepared};
pub use generator::{EngineError, Generator, GeneratorShape, LogitRows, Logits, SequenceStep};
pub use id::{BlockId, SequenceId, TokenId};
pub use kind::ErrorKind;
pub use pulse::{Interrupted, Pulse};
pub use reason::ReasonCode;
pub use tensor::{
    DType, Dim, IoSchema, RANK_MAX, Tensor, TensorData, TensorError, TensorMap, TensorSpec, element_count,
};
