//! The messages of the protocol. Each phase has its own type, so that only what may come can be read.

use crate::{TEXT_BYTES_MAX, WorkerError};
use ballast_backend::{DType, EngineError, ErrorKind};
use serde::{Deserialize, Serialize};
use std::error::Error;

/// Raised with every change of the messages or of what lies in shared memory.
pub(crate) const VERSION: u32 = 1;

/// The parent's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    /// Random; the child returns it, which shows that it understood what it was sent.
    pub(crate) token: u64,
    pub(crate) payload: String,
    pub(crate) shared_bytes_max: u64,
    pub(crate) memory_bytes_max: Option<u64>,
}

/// The child's first message, before it opens anything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) version: u32,
    pub(crate) token: u64,
}

/// The child's second message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Opening {
    Generator(Shape),
    Predictor(Schema),
    Failed(Failure),
}

/// What the parent may ask of an open instance.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// `n_words` words of shared memory hold `n_sequences` sequences (`batch.rs`).
    Step { call: u64, n_sequences: usize, n_words: usize },
    /// Shared memory holds these tensors back to back.
    Predict { call: u64, inputs: Vec<TensorHead> },
    /// End by yourself.
    End,
}

/// The answer to one request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) call: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Shared memory holds the rows of logits back to back.
    Stepped {
        n_rows: usize,
    },
    /// Shared memory holds these tensors back to back.
    Predicted {
        outputs: Vec<TensorHead>,
        dispatch: Option<Shares>,
    },
    Failed(Failure),
}

/// From the parent, on the socket of the child's watch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// How often has the engine beaten in this call?
    Ping { call: u64 },
    /// Nobody waits for this call any more.
    Interrupt { call: u64 },
}

/// The answer to a ping: beats since the call began; none if the engine is at another call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beat {
    pub(crate) call: u64,
    pub(crate) beats: u64,
}

/// [`ballast_backend::GeneratorShape`], not yet checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) vocab_size: usize,
    pub(crate) context_len: usize,
    pub(crate) block_len: usize,
    pub(crate) n_blocks: usize,
    pub(crate) max_batch_tokens: usize,
    pub(crate) max_batch_sequences: usize,
}

/// [`ballast_backend::IoSchema`], not yet checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Schema {
    pub(crate) inputs: Vec<Spec>,
    pub(crate) outputs: Vec<Spec>,
}

/// [`ballast_backend::TensorSpec`], not yet checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) dtype: Element,
    /// `None`: whatever the caller brings.
    pub(crate) dims: Vec<Option<usize>>,
    pub(crate) batch_capable: bool,
}

/// A tensor but for its elements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TensorHead {
    pub(crate) name: String,
    pub(crate) dtype: Element,
    pub(crate) shape: Vec<usize>,
}

/// [`ballast_backend::Dispatch`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Shares {
    pub(crate) ane: f32,
    pub(crate) gpu: f32,
    pub(crate) cpu: f32,
}

/// [`DType`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Str,
}

impl From<DType> for Element {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::F64 => Self::F64,
            DType::F16 => Self::F16,
            DType::Bf16 => Self::Bf16,
            DType::I64 => Self::I64,
            DType::I32 => Self::I32,
            DType::I16 => Self::I16,
            DType::I8 => Self::I8,
            DType::U64 => Self::U64,
            DType::U32 => Self::U32,
            DType::U16 => Self::U16,
            DType::U8 => Self::U8,
            DType::Bool => Self::Bool,
            DType::Str => Self::Str,
        }
    }
}

impl From<Element> for DType {
    fn from(element: Element) -> Self {
        match element {
            Element::F32 => Self::F32,
            Element::F64 => Self::F64,
            Element::F16 => Self::F16,
            Element::Bf16 => Self::Bf16,
            Element::I64 => Self::I64,
            Element::I32 => Self::I32,
            Element::I16 => Self::I16,
            Element::I8 => Self::I8,
            Element::U64 => Self::U64,
            Element::U32 => Self::U32,
            Element::U16 => Self::U16,
            Element::U8 => Self::U8,
            Element::Bool => Self::Bool,
            Element::Str => Self::Str,
        }
    }
}

/// An error on its way to the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
    /// The engine panicked, and the worker ends.
    pub(crate) crashed: bool,
}

/// [`ErrorKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Invalid,
    Denied,
    Overloaded,
    Unavailable,
    Cancelled,
    Internal,
}

impl From<ErrorKind> for Kind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Overloaded => Self::Overloaded,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<Kind> for ErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::Invalid,
            Kind::Denied => Self::Denied,
            Kind::Overloaded => Self::Overloaded,
            Kind::Unavailable => Self::Unavailable,
            Kind::Cancelled => Self::Cancelled,
            Kind::Internal => Self::Internal,
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, text: &str) -> Self {
        Self { kind: kind.into(), text: bounded(text), crashed: false }
    }

    /// An engine's error; the parent wraps its text again.
    pub(crate) fn of_engine(error: &EngineError) -> Self {
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self::new(error.kind(), &text)
    }

    pub(crate) fn of_panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
        Self { crashed: true, ..Self::new(ErrorKind::Internal, text.unwrap_or("no text")) }
    }

    /// The error the parent's caller is given; the text is bounded here, too, for a child may lie.
    pub(crate) fn into_error(self) -> WorkerError {
        let text = bounded(&self.text);
        if self.crashed { WorkerError::Panicked { text } } else { WorkerError::Engine { kind: self.kind.into(), text } }
    }
}

/// The beginning of a text, at most [`TEXT_BYTES_MAX`] bytes.
pub(crate) fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::Interrupted;

    #[test]
    fn kinds_cross_unchanged_and_texts_bounded() {
        for kind in [
            ErrorKind::Invalid,
            ErrorKind::Denied,
            ErrorKind::Overloaded,
            ErrorKind::Unavailable,
            ErrorKind::Cancelled,
            ErrorKind::Internal,
        ] {
            let sent = serde_json::to_vec(&Failure::of_engine(&EngineError::new(kind, Interrupted::Call))).unwrap();
            let error = serde_json::from_slice::<Failure>(&sent).unwrap().into_error();
            assert_eq!((error.kind(), error.to_string()), (kind, Interrupted::Call.to_string()));
        }
        let lie = Failure { kind: Kind::Denied, text: "é".repeat(TEXT_BYTES_MAX), crashed: false };
        assert_eq!(lie.into_error().to_string(), "é".repeat(TEXT_BYTES_MAX / 2));
    }

    #[test]
    fn what_a_panic_said_crosses() {
        for (payload, text) in [
            (Box::new("a str") as Box<dyn std::any::Any + Send>, "a str"),
            (Box::new("a String".to_owned()), "a String"),
            (Box::new(1), "no text"),
        ] {
            let error = Failure::of_panic(&*payload).into_error();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(matches!(error, WorkerError::Panicked { text: got } if got == text));
        }
    }
}
