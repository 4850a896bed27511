//! What can go wrong between people's files and tensors.

use ballast_backend::{ErrorKind, TensorError};
use std::io;
use std::path::PathBuf;

/// Bytes that are no array of NumPy's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// Not the format, or a part of it that tensors do not have.
    #[error("expected {expected}, got {got}")]
    Malformed {
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Elements that are no tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// A file, a manifest or an answer of a tensor model that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorIoError {
    /// A file that cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is too long to read.
    #[error("{}: expected at most {bytes_max} bytes, got more", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// The bound.
        bytes_max: u64,
    },
    /// A file with other content than its kind has.
    #[error("{}: expected {expected}, got {got}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: String,
        /// What it holds.
        got: String,
    },
    /// A manifest that is not the form of one.
    #[error("manifest {}: {source}", path.display())]
    ManifestForm {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A manifest that says what cannot be.
    #[error("manifest, {part}: expected {expected}, got {got}")]
    Manifest {
        /// Which part.
        part: String,
        /// What it should say.
        expected: String,
        /// What it says.
        got: String,
    },
    /// An input that cannot be made.
    #[error("input {name:?}: expected {expected}, got {got}")]
    Input {
        /// Its name.
        name: String,
        /// What was expected.
        expected: String,
        /// What there is.
        got: String,
    },
    /// A file that nothing says how to make a tensor of.
    #[error("input {name:?}: nothing says how {} becomes {takes}; declare it in a manifest: {declare}", path.display())]
    Undeclared {
        /// The input.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the model takes, in words.
        takes: String,
        /// What to write.
        declare: String,
    },
    /// An output that cannot be read as the manifest says.
    #[error("output {name:?}: expected {expected}, got {got}")]
    Output {
        /// Its name.
        name: String,
        /// What the manifest makes of it.
        expected: String,
        /// What there is.
        got: String,
    },
    /// A model file of no known kind.
    #[error("{}: expected an ONNX model or a Core ML package, got {got}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What it seems to be.
        got: String,
    },
}

impl TensorIoError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } => ErrorKind::Unavailable,
            Self::TooLong { .. }
            | Self::Malformed { .. }
            | Self::ManifestForm { .. }
            | Self::Manifest { .. }
            | Self::Input { .. }
            | Self::Undeclared { .. }
            | Self::Output { .. }
            | Self::Format { .. } => ErrorKind::Invalid,
        }
    }

    pub(crate) fn manifest(part: impl Into<String>, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Manifest { part: part.into(), expected: expected.into(), got: got.to_string() }
    }

    pub(crate) fn input(name: &str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Input { name: name.to_owned(), expected: expected.into(), got: got.to_string() }
    }

    pub(crate) fn output(name: &str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Output { name: name.to_owned(), expected: expected.into(), got: got.to_string() }
    }
}
