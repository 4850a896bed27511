//! Why two outputs cannot be compared.

use ballast_backend::{DType, EngineError, ErrorKind, TensorError};

/// Outputs, inputs or settings that give no comparison.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// An output that one side has and the other has not.
    #[error("output {name:?}: expected from both engines, got it from one")]
    OutputMissing {
        /// The output.
        name: String,
    },
    /// Outputs of different element types.
    #[error("output {name:?}: expected {reference}, got {candidate}")]
    DTypeMismatch {
        /// The output.
        name: String,
        /// Type on the reference's side.
        reference: DType,
        /// Type on the other.
        candidate: DType,
    },
    /// Outputs of different shapes.
    #[error("output {name:?}: expected the shape {reference:?}, got {candidate:?}")]
    ShapeMismatch {
        /// The output.
        name: String,
        /// Shape on the reference's side.
        reference: Vec<usize>,
        /// Shape on the other.
        candidate: Vec<usize>,
    },
    /// Nothing was compared, so nothing can be said.
    #[error("parity: expected elements to compare, got none")]
    NothingCompared,
    /// A tolerance that no difference can be measured by.
    #[error("tolerance {name}: expected {expected}, got {got}")]
    Tolerance {
        /// Which.
        name: &'static str,
        /// What would do.
        expected: &'static str,
        /// What was given.
        got: f64,
    },
    /// A number of samples out of bounds.
    #[error("samples: expected 1 to {max}, got {got}")]
    Samples {
        /// The bound.
        max: usize,
        /// How many.
        got: usize,
    },
    /// Inputs that would have too many elements.
    #[error("input {name:?}: expected at most {max} elements in all inputs together")]
    InputTooLarge {
        /// The input with which they are too many.
        name: String,
        /// The bound.
        max: usize,
    },
    /// A distribution of inputs that has no values.
    #[error("input {name:?}: expected {expected}")]
    InputRange {
        /// The input.
        name: String,
        /// What would do.
        expected: &'static str,
    },
    /// Inputs that one of the models does not take, or tensors that contradict themselves.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// One of the engines failed.
    #[error("{engine}: {source}")]
    Engine {
        /// Its name.
        engine: String,
        /// What it said.
        source: EngineError,
    },
}

impl ParityError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutputMissing { .. }
            | Self::DTypeMismatch { .. }
            | Self::ShapeMismatch { .. }
            | Self::NothingCompared
            | Self::Tolerance { .. }
            | Self::Samples { .. }
            | Self::InputTooLarge { .. }
            | Self::InputRange { .. }
            | Self::Tensor(_) => ErrorKind::Invalid,
            Self::Engine { source, .. } => source.kind(),
        }
    }
}
