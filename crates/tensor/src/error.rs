//! What can go wrong with tensor models.

use ballast_backend::{ErrorKind, Interrupted, TensorError};
use std::path::PathBuf;

/// Why an operator cannot be made or does not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpError {
    /// An input of another kind, type or value.
    #[error("input {idx}: expected {expected}, got {got}")]
    Input { idx: usize, expected: String, got: String },
    /// Shapes that do not go together.
    #[error("expected {expected}, got the shape {got:?}")]
    Shape { expected: String, got: Vec<usize> },
    /// An attribute that is missing or is something else.
    #[error("attribute {name:?}: expected {expected}, got {got}")]
    Attribute { name: String, expected: String, got: String },
    /// Something that the standard has and this engine does not.
    #[error("{what} is not supported")]
    Unsupported { what: String },
    /// More than may be allocated.
    #[error("expected a tensor of at most {bytes_max} bytes, got the shape {shape:?}")]
    TooLarge { bytes_max: usize, shape: Vec<usize> },
    /// More than all tensors of a run may take together.
    #[error("expected at most {bytes_max} bytes of all tensors together, got {bytes}")]
    TooMuch { bytes_max: usize, bytes: usize },
    /// Nobody waits any more.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A fault in a graph within the operator.
    #[error("{0}")]
    Within(Box<GraphError>),
}

impl OpError {
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    pub(crate) fn input(idx: usize, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Input { idx, expected: expected.into(), got: got.into() }
    }

    pub(crate) fn shape(expected: impl Into<String>, got: &[usize]) -> Self {
        Self::Shape { expected: expected.into(), got: got.to_vec() }
    }
}

/// A model that cannot be read or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Bytes that are not the format.
    #[error("{what}: expected {expected}, got {got}")]
    Malformed {
        /// Which part.
        what: String,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// More of something than is read.
    #[error("{what}: expected at most {max}, got {got}")]
    TooMany {
        /// What there is too much of.
        what: String,
        /// The bound.
        max: u64,
        /// What there is.
        got: u64,
    },
    /// Operators or features that the engine does not have, all of them.
    #[error("the model needs what this engine does not have: {}", what.join("; "))]
    Unsupported {
        /// Each by name.
        what: Vec<String>,
    },
    /// A node that does not compute.
    #[error("node {node:?} ({op}): {fault}")]
    Node {
        /// Its name, or that of its first output.
        node: String,
        /// Its operator.
        op: String,
        /// In words.
        fault: String,
        /// Why, for whoever decides what to do.
        interrupted: Option<Interrupted>,
    },
    /// Inputs that the model does not take.
    #[error(transparent)]
    Inputs(#[from] TensorError),
    /// A file that cannot be read.
    #[error("{}: {fault}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// In words.
        fault: String,
    },
}

impl GraphError {
    pub(crate) fn malformed(what: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Malformed { what: what.into(), expected: expected.into(), got: got.into() }
    }

    /// How a caller decides what to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed { .. }
            | Self::TooMany { .. }
            | Self::Unsupported { .. }
            | Self::Inputs(_)
            | Self::Node { interrupted: None, .. } => ErrorKind::Invalid,
            Self::Node { interrupted: Some(_), .. } => ErrorKind::Cancelled,
            Self::File { .. } => ErrorKind::Unavailable,
        }
    }
}
