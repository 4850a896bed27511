//! What kind of failure a call of an engine ended with.

use ballast_backend::{ErrorKind, ReasonCode};

/// What the engine was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Making a model ready.
    Compile,
    /// Opening it.
    Load,
    /// Answering a call.
    Run,
}

/// The kinds of failure that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureMode {
    /// The model could not be made ready.
    CompileError,
    /// The model could not be opened.
    LoadError,
    /// The inputs are not what the model takes.
    SchemaMismatch,
    /// It took too long.
    Timeout,
    /// There was not enough memory.
    MemoryPressure,
    /// The engine failed.
    RuntimeError,
    /// Something else.
    Unknown,
}

impl FailureMode {
    /// Every mode, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::CompileError,
        Self::LoadError,
        Self::SchemaMismatch,
        Self::Timeout,
        Self::MemoryPressure,
        Self::RuntimeError,
        Self::Unknown,
    ];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CompileError => "compile_error",
            Self::LoadError => "load_error",
            Self::SchemaMismatch => "schema_mismatch",
            Self::Timeout => "timeout",
            Self::MemoryPressure => "memory_pressure",
            Self::RuntimeError => "runtime_error",
            Self::Unknown => "unknown",
        }
    }

    /// The mode of an error: its reason decides, where that says what went wrong, and else its kind and the stage.
    #[must_use]
    pub fn of(stage: Stage, kind: ErrorKind, reason: Option<ReasonCode>) -> Self {
        reason.and_then(Self::of_reason).unwrap_or_else(|| Self::of_kind(stage, kind))
    }

    fn of_kind(stage: Stage, kind: ErrorKind) -> Self {
        match (kind, stage) {
            (ErrorKind::Invalid, Stage::Run) => Self::SchemaMismatch,
            // Engines deny what is over its memory budget, and nothing else.
            (ErrorKind::Denied, _) => Self::MemoryPressure,
            (ErrorKind::Cancelled, _) => Self::Timeout,
            (ErrorKind::Overloaded, _) => Self::Unknown,
            (ErrorKind::Invalid | ErrorKind::Unavailable | ErrorKind::Internal, Stage::Compile) => Self::CompileError,
            (ErrorKind::Invalid | ErrorKind::Unavailable | ErrorKind::Internal, Stage::Load) => Self::LoadError,
            (ErrorKind::Unavailable | ErrorKind::Internal, Stage::Run) => Self::RuntimeError,
        }
    }

    /// `None`: the reason does not say what went wrong in an engine. The last arm is for codes that do not exist yet;
    /// the lint against wildcards lists any that is missing above it.
    fn of_reason(reason: ReasonCode) -> Option<Self> {
        match reason {
            ReasonCode::TokenizerGgufMetadataMissing
            | ReasonCode::TokenizerVocabPartial
            | ReasonCode::TokenizerMergesMissing
            | ReasonCode::TokenizerPreTokenizerUnknown
            | ReasonCode::ModelNotFound
            | ReasonCode::ModelLoadFailed => Some(Self::LoadError),
            ReasonCode::ContextLengthExceeded => Some(Self::SchemaMismatch),
            ReasonCode::CancelledByTimeout | ReasonCode::EngineStalled | ReasonCode::PoolExhausted => {
                Some(Self::Timeout)
            }
            ReasonCode::MemoryBudgetExceeded | ReasonCode::MemoryBudgetSoftLimit => Some(Self::MemoryPressure),
            ReasonCode::EngineCrashed | ReasonCode::EngineUnavailable | ReasonCode::CircuitOpen => {
                Some(Self::RuntimeError)
            }
            // The engine answered with an error: what kind of error it was says more.
            ReasonCode::EngineFailed => None,
            ReasonCode::ParityExceeded => Some(Self::RuntimeError),
            ReasonCode::CancelledByCaller
            | ReasonCode::BackpressureBufferFull
            | ReasonCode::BackpressureQueueFull
            | ReasonCode::Draining
            | ReasonCode::RateLimited
            | ReasonCode::PolicyBlocked
            | ReasonCode::ConstraintTooComplex
            | ReasonCode::ConstraintFailed => Some(Self::Unknown),
            ReasonCode::TokenizerFallbackByteBpe
            | ReasonCode::TokenizerFallbackTokenTableOnly
            | ReasonCode::ContextTruncated
            | ReasonCode::KvEvicted
            | ReasonCode::FallbackEngaged
            | ReasonCode::Retried
            | ReasonCode::SlaViolated => None,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modes_have_the_seven_names_of_the_prior_system() {
        let names = FailureMode::ALL.map(FailureMode::as_str);
        let expected = [
            "compile_error",
            "load_error",
            "schema_mismatch",
            "timeout",
            "memory_pressure",
            "runtime_error",
            "unknown",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_reason_decides_and_else_kind_and_stage() {
        use ErrorKind::*;
        let cases = [
            (Stage::Compile, Internal, None, FailureMode::CompileError),
            (Stage::Compile, Invalid, None, FailureMode::CompileError),
            (Stage::Load, Unavailable, None, FailureMode::LoadError),
            (Stage::Run, Invalid, None, FailureMode::SchemaMismatch),
            (Stage::Run, Internal, None, FailureMode::RuntimeError),
            (Stage::Run, Internal, Some(ReasonCode::EngineFailed), FailureMode::RuntimeError),
            (Stage::Run, Invalid, Some(ReasonCode::EngineFailed), FailureMode::SchemaMismatch),
            (Stage::Run, Unavailable, Some(ReasonCode::EngineStalled), FailureMode::Timeout),
            (Stage::Run, Cancelled, Some(ReasonCode::CancelledByTimeout), FailureMode::Timeout),
            (Stage::Run, Cancelled, Some(ReasonCode::CancelledByCaller), FailureMode::Unknown),
            (Stage::Compile, Cancelled, None, FailureMode::Timeout),
            (Stage::Load, Denied, Some(ReasonCode::MemoryBudgetExceeded), FailureMode::MemoryPressure),
            (Stage::Load, Denied, None, FailureMode::MemoryPressure),
            (Stage::Run, Overloaded, None, FailureMode::Unknown),
        ];
        for (stage, kind, reason, expected) in cases {
            assert_eq!(FailureMode::of(stage, kind, reason), expected, "{stage:?} {kind:?} {reason:?}");
        }
    }
}
