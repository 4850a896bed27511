//! Why a model cannot be opened or a step cannot be run.

use ballast_artifacts::{CacheError, KeyError};
use ballast_backend::{ErrorKind, Interrupted, ReasonCode, Sha256};
use ballast_gguf::GgufError;
use ballast_kernels::ShapeError;
use std::io;

/// Errors of the engine.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// `general.architecture` names a model that this engine does not run.
    #[error("architecture: expected one of {supported:?}, got {got:?}")]
    UnsupportedArchitecture {
        /// What the file says.
        got: String,
        /// What this engine runs.
        supported: &'static [&'static str],
    },
    /// A feature of the architecture that this engine does not implement.
    #[error("{key}: expected {expected}, got {got}")]
    UnsupportedFeature {
        /// The metadata key.
        key: String,
        /// What would do.
        expected: &'static str,
        /// What the file says.
        got: String,
    },
    /// A metadata key that the architecture needs.
    #[error("{key}: expected a value, got none")]
    MetadataMissing {
        /// The metadata key.
        key: String,
    },
    /// A metadata value outside its bounds.
    #[error("{key}: expected {expected}, got {got}")]
    MetadataOutOfRange {
        /// The metadata key.
        key: String,
        /// The bound.
        expected: String,
        /// What the file says.
        got: u64,
    },
    /// A tensor that the architecture needs.
    #[error("tensor {name}: expected in the file, got none")]
    TensorMissing {
        /// The tensor.
        name: String,
    },
    /// A tensor that this engine does not know what to do with; ignoring it would give wrong answers.
    #[error("tensor {name}: expected none of that name in this architecture")]
    TensorUnexpected {
        /// The tensor.
        name: String,
    },
    /// A tensor of the wrong shape.
    #[error("tensor {name}: expected shape {expected:?}, got {got:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// The shape the metadata asks for, fastest dimension first.
        expected: Vec<u64>,
        /// The shape in the file.
        got: Vec<u64>,
    },
    /// A tensor type without kernels.
    #[error("tensor {name}: expected one of F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, got {got}")]
    TensorType {
        /// The tensor.
        name: String,
        /// The type in the file.
        got: String,
    },
    /// Bytes and shape of a tensor disagree.
    #[error("tensor {name}: {source}")]
    TensorBytes {
        /// The tensor.
        name: String,
        /// What disagrees.
        source: ShapeError,
    },
    /// Packed weights that the system does not grant memory for.
    #[error("weights: expected {bytes} bytes of memory, the system refuses them")]
    WeightsMemory {
        /// What was asked for.
        bytes: u64,
    },
    /// A KV cache that the system does not grant.
    #[error("kv cache: expected {bytes} bytes of memory, the system refuses them")]
    KvMemory {
        /// What was asked for.
        bytes: u64,
    },
    /// A model that this engine does not prepare.
    #[error("model: expected a gguf file as its author made it, got {got}")]
    UnsupportedArtifact {
        /// What was given.
        got: &'static str,
    },
    /// A way of preparing that this engine does not have.
    #[error("{option}: expected {expected}, got {got}")]
    UnsupportedOption {
        /// Which option.
        option: &'static str,
        /// What would do.
        expected: &'static str,
        /// What was asked for.
        got: String,
    },
    /// A model whose content is another than was asked for.
    #[error("model: expected the sha256 {expected}, got {got}")]
    DigestMismatch {
        /// What was asked for.
        expected: Sha256,
        /// Digest of the content.
        got: Sha256,
    },
    /// A plan over its budget.
    #[error("memory: expected at most {budget_bytes} bytes, planned {plan_bytes}")]
    MemoryBudgetExceeded {
        /// What may be taken.
        budget_bytes: u64,
        /// What opening would take.
        plan_bytes: u64,
    },
    /// The model's files cannot be read to their end, or not in time.
    #[error(transparent)]
    Artifact(#[from] CacheError),
    /// Packed weights that the disk does not take.
    #[error("compile cache: {source}")]
    BundleWrite {
        /// What the system said.
        source: io::Error,
    },
    /// Options that give no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The watcher asked for the end of a step.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A step that the engine's shape does not allow.
    #[error("step: expected {expected}, got {got}")]
    Step {
        /// The bound.
        expected: &'static str,
        /// What was asked.
        got: usize,
    },
}

impl LlmError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(GgufError::FileChangedWhileMapped { .. }) | Self::BundleWrite { .. } => ErrorKind::Unavailable,
            Self::KvMemory { .. } | Self::WeightsMemory { .. } | Self::MemoryBudgetExceeded { .. } => ErrorKind::Denied,
            Self::Artifact(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Interrupted(_) => ErrorKind::Cancelled,
            Self::Gguf(_)
            | Self::UnsupportedArchitecture { .. }
            | Self::UnsupportedFeature { .. }
            | Self::MetadataMissing { .. }
            | Self::MetadataOutOfRange { .. }
            | Self::TensorMissing { .. }
            | Self::TensorUnexpected { .. }
            | Self::TensorShape { .. }
            | Self::TensorType { .. }
            | Self::TensorBytes { .. }
            | Self::UnsupportedArtifact { .. }
            | Self::UnsupportedOption { .. }
            | Self::DigestMismatch { .. }
            | Self::Step { .. } => ErrorKind::Invalid,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::MemoryBudgetExceeded { .. } => Some(ReasonCode::MemoryBudgetExceeded),
            Self::Artifact(error) => error.reason(),
            Self::Gguf(_)
            | Self::UnsupportedArchitecture { .. }
            | Self::UnsupportedFeature { .. }
            | Self::MetadataMissing { .. }
            | Self::MetadataOutOfRange { .. }
            | Self::TensorMissing { .. }
            | Self::TensorUnexpected { .. }
            | Self::TensorShape { .. }
            | Self::TensorType { .. }
            | Self::TensorBytes { .. }
            | Self::KvMemory { .. }
            | Self::WeightsMemory { .. }
            | Self::UnsupportedArtifact { .. }
            | Self::UnsupportedOption { .. }
            | Self::DigestMismatch { .. }
            | Self::BundleWrite { .. }
            | Self::Key(_)
            | Self::Interrupted(_)
            | Self::Step { .. } => None,
        }
    }
}
