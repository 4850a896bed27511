//! Why a folder does not become a file.

use ballast_backend::ErrorKind;
use ballast_gguf::GgufError;
use ballast_llm::LlmError;
use safetensors::SafeTensorError;
use std::io;

/// Why a model is not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A part of the folder cannot be read.
    #[error("{part}: {source}")]
    Read {
        /// Its name in the folder.
        part: String,
        /// What the system said.
        source: io::Error,
    },
    /// A part of the folder is longer than any of its kind.
    #[error("{part}: expected at most {bytes_max} bytes, got {got}")]
    TooLong {
        /// Its name in the folder.
        part: String,
        /// The bound.
        bytes_max: u64,
        /// Its length.
        got: u64,
    },
    /// A part of the folder is not JSON, or not of the form that it has.
    #[error("{part}: {source}")]
    Json {
        /// Its name in the folder.
        part: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A part of the folder is not text.
    #[error("{part}: expected UTF-8")]
    NotText {
        /// Its name in the folder.
        part: String,
    },
    /// A model that is split into several files.
    #[error("model.safetensors: expected one file, got a model in several")]
    Sharded,
    /// A setting that this converter, or the engine that runs the result, does not know.
    #[error("{part}: {key}: expected {expected}, got {got}")]
    Unsupported {
        /// Its name in the folder.
        part: &'static str,
        /// The key.
        key: &'static str,
        /// What would do.
        expected: &'static str,
        /// What is there.
        got: String,
    },
    /// The tensors are not well-formed.
    #[error("model.safetensors: {source}")]
    Safetensors {
        /// What is wrong.
        source: SafeTensorError,
    },
    /// A tensor that no encoder of this family has.
    #[error("tensor {name}: expected none of that name in a BERT encoder")]
    TensorUnknown {
        /// The tensor.
        name: String,
    },
    /// Two tensors with the same meaning.
    #[error("tensor {name}: expected one of that meaning, got two")]
    TensorTwice {
        /// The second.
        name: String,
    },
    /// A tensor of a type that is not converted.
    #[error("tensor {name}: expected F32, F16 or BF16, got {got}")]
    TensorType {
        /// The tensor.
        name: String,
        /// The type.
        got: String,
    },
    /// The vocabulary does not fit the model.
    #[error("vocabulary: expected {expected}, got {got}")]
    Vocabulary {
        /// What would do.
        expected: &'static str,
        /// What is there.
        got: String,
    },
    /// The tensors are not those that the configuration asks for.
    #[error(transparent)]
    Model(#[from] LlmError),
    /// The result is not well-formed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The result cannot be written.
    #[error("the file cannot be written: {source}")]
    Write {
        /// What the system said.
        source: io::Error,
    },
}

impl ConvertError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { .. } => ErrorKind::Unavailable,
            Self::Model(error) => error.kind(),
            Self::Read { .. }
            | Self::TooLong { .. }
            | Self::Json { .. }
            | Self::NotText { .. }
            | Self::Sharded
            | Self::Unsupported { .. }
            | Self::Safetensors { .. }
            | Self::TensorUnknown { .. }
            | Self::TensorTwice { .. }
            | Self::TensorType { .. }
            | Self::Vocabulary { .. }
            | Self::Gguf(_) => ErrorKind::Invalid,
        }
    }
}
