//! What can go wrong with a library of another project and with what it says.

use ballast_backend::{EngineError, ErrorKind, Interrupted, ModelFmt, Quantization, Sha256};
use std::io;
use std::path::PathBuf;

/// Why ONNX Runtime is not there, does not take a model, or does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrtError {
    /// No file where the library is said to be.
    #[error("library of ONNX Runtime: expected a file at {}: {source}", path.display())]
    LibraryFile {
        /// The path asked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system does not load it.
    #[error("library of ONNX Runtime: expected one that the system loads, tried {}: {why}", tried.join(", "))]
    LibraryNotLoaded {
        /// Path or names, in the order in which they were tried.
        tried: Vec<String>,
        /// What the loader says of the last.
        why: String,
    },
    /// A library, but not this one.
    #[error("library of ONNX Runtime: expected a function OrtGetApiBase, {path} has none")]
    LibraryForeign {
        /// What was loaded.
        path: String,
    },
    /// A version before the oldest that is spoken to.
    #[error("library of ONNX Runtime: expected version {} or later, {path} is {got}", crate::LIBRARY_VERSION_MIN)]
    LibraryTooOld {
        /// What was loaded.
        path: String,
        /// The version it tells.
        got: String,
    },
    /// It was loaded, but does not start.
    #[error("library of ONNX Runtime: expected {path} to start: {why}")]
    LibraryBroken {
        /// What was loaded.
        path: String,
        /// What it says.
        why: String,
    },
    /// The process has another library already, and there can be one only.
    #[error("library of ONNX Runtime: this process has loaded {loaded}, expected the same again, got {asked}")]
    LibraryOther {
        /// What was loaded first.
        loaded: String,
        /// What is asked for now.
        asked: String,
    },
    /// A model that another engine prepared.
    #[error("expected a model as its author made it, got one that another engine prepared")]
    NotAuthored,
    /// A model in another format.
    #[error("expected an ONNX file, got {}", got.as_str())]
    Format {
        /// Its format.
        got: ModelFmt,
    },
    /// Weights are to be stored in another way.
    #[error("expected weights as they are stored, got {}", got.as_str())]
    Quantization {
        /// The way asked for.
        got: Quantization,
    },
    /// Content other than what was promised.
    #[error("expected content with the digest {expected}, got {got}")]
    DigestMismatch {
        /// What was promised.
        expected: Sha256,
        /// What there is.
        got: Sha256,
    },
    /// The model would take more than it may.
    #[error("expected at most {budget_bytes} bytes of memory, the model takes {memory_bytes}")]
    MemoryBudgetExceeded {
        /// What it may take.
        budget_bytes: u64,
        /// What it would take.
        memory_bytes: u64,
    },
    /// ONNX Runtime does not take the model.
    #[error("expected a model that ONNX Runtime runs: {why}")]
    Model {
        /// What it says.
        why: String,
    },
    /// An input or output that is no tensor of a type that we have.
    #[error("{port:?}: expected a tensor of a type that is known, got {got}")]
    Port {
        /// Its name.
        port: String,
        /// What it is.
        got: String,
    },
    /// A shape that the model does not take.
    #[error("input {name:?}: expected a shape that the model takes, got {got:?}")]
    Shape {
        /// The input.
        name: String,
        /// The shape asked for.
        got: Vec<usize>,
    },
    /// An input that cannot be handed over, such as a text with a zero byte.
    #[error("input {name:?}: expected a tensor that ONNX Runtime takes: {why}")]
    Input {
        /// The input.
        name: String,
        /// What it says.
        why: String,
    },
    /// An output that cannot be taken over.
    #[error("output {name:?}: expected a tensor: {why}")]
    Output {
        /// The output.
        name: String,
        /// What it is.
        why: String,
    },
    /// ONNX Runtime says that the inputs do not fit the model.
    #[error("expected inputs that the model takes: {why}")]
    Inputs {
        /// What it says.
        why: String,
    },
    /// ONNX Runtime fails.
    #[error("expected ONNX Runtime to run the model: {why}")]
    Run {
        /// What it says.
        why: String,
    },
    /// Nobody waits for the call any more.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The system refuses a thread.
    #[error("expected a thread to watch a session with: {source}")]
    Thread {
        /// What it says.
        source: io::Error,
    },
}

impl OrtError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LibraryFile { .. }
            | Self::LibraryNotLoaded { .. }
            | Self::LibraryForeign { .. }
            | Self::LibraryTooOld { .. }
            | Self::LibraryBroken { .. }
            | Self::LibraryOther { .. }
            | Self::Thread { .. } => ErrorKind::Unavailable,
            Self::NotAuthored
            | Self::Format { .. }
            | Self::Quantization { .. }
            | Self::DigestMismatch { .. }
            | Self::Model { .. }
            | Self::Port { .. }
            | Self::Shape { .. }
            | Self::Input { .. }
            | Self::Inputs { .. } => ErrorKind::Invalid,
            Self::MemoryBudgetExceeded { .. } => ErrorKind::Denied,
            Self::Output { .. } | Self::Run { .. } => ErrorKind::Internal,
            Self::Interrupted(_) => ErrorKind::Cancelled,
        }
    }
}

impl From<OrtError> for EngineError {
    fn from(error: OrtError) -> Self {
        Self::new(error.kind(), error)
    }
}
