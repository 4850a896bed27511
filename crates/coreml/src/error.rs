//! What can go wrong, from Core ML and on the way to it.

use crate::LayoutError;
use ballast_artifacts::{CacheError, GetError, KeyError};
use ballast_backend::{DType, EngineError, ErrorKind, Interrupted, ReasonCode, Sha256, TensorError};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What was asked of Core ML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A package to be compiled.
    Compile,
    /// A compiled bundle to be loaded.
    Load,
    /// What a model takes and gives.
    Describe,
    /// Inputs to be wrapped.
    WrapInputs,
    /// One prediction.
    Predict,
    /// Several at once.
    PredictBatch,
    /// A state to be made or read.
    State,
    /// Which unit will run what.
    Plan,
}

impl Action {
    /// Words for messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Load => "load",
            Self::Describe => "describe",
            Self::WrapInputs => "wrap inputs",
            Self::Predict => "predict",
            Self::PredictBatch => "predict a batch",
            Self::State => "keep state",
            Self::Plan => "plan",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The domain of Core ML's own errors.
const CORE_ML_DOMAIN: &str = "com.apple.CoreML";

/// Why Core ML did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreMlError {
    /// This system has no Core ML.
    #[error("not on this platform: core ml needs an Apple system, this is {os}")]
    NotOnThisPlatform {
        /// What it is instead.
        os: &'static str,
    },
    /// The system is too old for what was asked.
    #[error("core ml: {what} needs macOS {macos_min} or later")]
    SystemTooOld {
        /// What was asked.
        what: &'static str,
        /// The first that has it.
        macos_min: &'static str,
    },
    /// The framework's own error.
    #[error("core ml: cannot {action}: {domain} {code}: {description}")]
    Framework {
        /// What was asked.
        action: Action,
        /// Domain of the code.
        domain: String,
        /// Its number.
        code: i64,
        /// The framework's words.
        description: String,
    },
    /// The framework's handler was given neither a result nor an error, or was never called.
    #[error("core ml: cannot {action}: no answer")]
    NoAnswer {
        /// What was asked.
        action: Action,
    },
    /// A handler of ours panicked.
    #[error("core ml: cannot {action}: a handler panicked: {message}")]
    HandlerPanicked {
        /// What was asked.
        action: Action,
        /// The panic's message, where it is text.
        message: String,
    },
    /// It took too long; the answer, if it ever comes, is dropped.
    #[error("core ml: cannot {action} within {timeout:?}")]
    TimedOut {
        /// What was asked.
        action: Action,
        /// The time it had.
        timeout: Duration,
    },
    /// The caller wants no answer any more.
    #[error("core ml: {0}")]
    Interrupted(#[from] Interrupted),
    /// Calls that were given up have not ended, and no more may be made.
    #[error("core ml: expected at most {in_flight_max} calls at once, got one more")]
    TooManyInFlight {
        /// The bound.
        in_flight_max: usize,
    },
    /// The system refused a thread.
    #[error("core ml: the system refused a thread")]
    ThreadRefused,
    /// Not a Core ML package or bundle.
    #[error("core ml: expected an mlpackage or an mlmodelc, got {got}")]
    Format {
        /// What it is.
        got: &'static str,
    },
    /// Weights cannot be stored in another way than the package has them.
    #[error("core ml: expected weights as stored, got a wish for {wanted}")]
    Quantization {
        /// What was wished for.
        wanted: &'static str,
    },
    /// Content with another digest than was said.
    #[error("core ml: expected content with the digest {expected}, got {got}")]
    Digest {
        /// What was said.
        expected: Sha256,
        /// What it has.
        got: Sha256,
    },
    /// More memory than the budget allows.
    #[error("core ml: expected at most {budget_bytes} bytes, got a model of {bytes}")]
    OverBudget {
        /// The budget.
        budget_bytes: u64,
        /// What the model needs, as far as can be told: the bytes of its compiled bundle.
        bytes: u64,
    },
    /// An input, output or state that is not an array of numbers.
    #[error("core ml: expected {name:?} to be an array, got a feature of type {feature_type}")]
    Feature {
        /// Its name.
        name: String,
        /// Core ML's number of its type.
        feature_type: i64,
    },
    /// Elements of a type that is not known here.
    #[error("core ml: {name:?} has elements of the unknown type {code:#x}")]
    ElementType {
        /// The array.
        name: String,
        /// Core ML's number of the type.
        code: i64,
    },
    /// Elements of a type that Core ML does not take.
    #[error("core ml: {name:?}: expected elements that core ml takes, got {dtype}")]
    ElementsNotTaken {
        /// The array.
        name: String,
        /// Their type.
        dtype: DType,
    },
    /// A shape that was to be fixed and is not one of the model's.
    #[error("core ml: expected a shape of the input {name:?}, got {shape:?}")]
    Shape {
        /// The input.
        name: String,
        /// What was wished for.
        shape: Vec<usize>,
    },
    /// A result that lacks an output.
    #[error("core ml: expected the output {name:?}, got none")]
    OutputMissing {
        /// Its name.
        name: String,
    },
    /// A result of another type than the model says.
    #[error("core ml: output {name:?}: expected elements of {expected}, got {got}")]
    OutputType {
        /// Its name.
        name: String,
        /// What the model says.
        expected: DType,
        /// What came.
        got: DType,
    },
    /// An array that lies about itself.
    #[error("core ml: {name:?}: {source}")]
    Layout {
        /// The array.
        name: String,
        /// How.
        source: LayoutError,
    },
    /// Inputs that the model does not take.
    #[error("core ml: {0}")]
    Tensor(#[from] TensorError),
    /// A path that cannot be handed over.
    #[error("core ml: expected a path in UTF-8, got {path:?}")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("core ml: cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The compile cache refused.
    #[error("core ml: {0}")]
    Cache(#[from] CacheError),
    /// Parts that give no key.
    #[error("core ml: {0}")]
    Key(#[from] KeyError),
}

impl CoreMlError {
    /// This system is not one with Core ML.
    pub(crate) fn not_here() -> Self {
        Self::NotOnThisPlatform { os: std::env::consts::OS }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotOnThisPlatform { .. } | Self::SystemTooOld { .. } | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Framework { action, domain, code, .. } => framework_kind(*action, domain, *code),
            Self::NoAnswer { .. }
            | Self::HandlerPanicked { .. }
            | Self::OutputMissing { .. }
            | Self::OutputType { .. }
            | Self::Layout { .. } => ErrorKind::Internal,
            Self::TimedOut { .. } | Self::Interrupted(_) => ErrorKind::Cancelled,
            Self::TooManyInFlight { .. } | Self::ThreadRefused => ErrorKind::Overloaded,
            Self::OverBudget { .. } => ErrorKind::Denied,
            Self::Format { .. }
            | Self::Quantization { .. }
            | Self::Digest { .. }
            | Self::Feature { .. }
            | Self::ElementType { .. }
            | Self::ElementsNotTaken { .. }
            | Self::Shape { .. }
            | Self::Tensor(_)
            | Self::Path { .. }
            | Self::Key(_) => ErrorKind::Invalid,
            Self::Cache(error) => error.kind(),
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::NotOnThisPlatform { .. } | Self::SystemTooOld { .. } => Some(ReasonCode::EngineUnavailable),
            Self::TimedOut { .. } => Some(ReasonCode::CancelledByTimeout),
            Self::Interrupted(_) => Some(ReasonCode::CancelledByCaller),
            Self::OverBudget { .. } => Some(ReasonCode::MemoryBudgetExceeded),
            Self::TooManyInFlight { .. } => Some(ReasonCode::EngineStalled),
            Self::Framework { action: Action::Compile | Action::Load, .. }
            | Self::Format { .. }
            | Self::Quantization { .. }
            | Self::Digest { .. }
            | Self::Feature { .. }
            | Self::ElementType { .. }
            | Self::Shape { .. } => Some(ReasonCode::ModelLoadFailed),
            Self::Framework { .. }
            | Self::NoAnswer { .. }
            | Self::HandlerPanicked { .. }
            | Self::ThreadRefused
            | Self::OutputMissing { .. }
            | Self::OutputType { .. }
            | Self::Layout { .. } => Some(ReasonCode::EngineFailed),
            Self::Cache(error) => error.reason(),
            Self::ElementsNotTaken { .. } | Self::Tensor(_) | Self::Path { .. } | Self::Io { .. } | Self::Key(_) => {
                None
            }
        }
    }

    /// The word under which it is counted, as the prior system has them.
    #[must_use]
    pub fn failure_mode(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "timeout",
            Self::OverBudget { .. } => "memory_pressure",
            Self::Framework { action: Action::Compile, .. }
            | Self::Format { .. }
            | Self::Quantization { .. }
            | Self::Digest { .. }
            | Self::Key(_)
            | Self::Cache(_) => "compile_error",
            Self::Framework { action: Action::Load, .. } | Self::Io { .. } | Self::Path { .. } => "load_error",
            Self::Feature { .. }
            | Self::ElementType { .. }
            | Self::ElementsNotTaken { .. }
            | Self::Shape { .. }
            | Self::OutputMissing { .. }
            | Self::OutputType { .. }
            | Self::Tensor(_) => "schema_mismatch",
            Self::Framework { .. }
            | Self::NoAnswer { .. }
            | Self::HandlerPanicked { .. }
            | Self::Interrupted(_)
            | Self::TooManyInFlight { .. }
            | Self::ThreadRefused
            | Self::Layout { .. } => "runtime_error",
            Self::NotOnThisPlatform { .. } | Self::SystemTooOld { .. } => "unknown",
        }
    }
}

/// Numbers of Core ML's header `MLModelError.h`: 1 is a wrong feature, 3 a file, 7 a parameter, 11 a cancellation.
fn framework_kind(action: Action, domain: &str, code: i64) -> ErrorKind {
    match (action, domain == CORE_ML_DOMAIN, code) {
        (_, true, 11) => ErrorKind::Cancelled,
        (_, true, 1 | 7) | (Action::Compile, ..) => ErrorKind::Invalid,
        (_, true, 3) | (Action::Load, ..) => ErrorKind::Unavailable,
        (
            Action::Describe
            | Action::WrapInputs
            | Action::Predict
            | Action::PredictBatch
            | Action::State
            | Action::Plan,
            ..,
        ) => ErrorKind::Internal,
    }
}

impl From<GetError<CoreMlError>> for CoreMlError {
    fn from(error: GetError<CoreMlError>) -> Self {
        match error {
            GetError::Build(error) => error,
            GetError::Cache(error) => Self::Cache(error),
        }
    }
}

impl From<CoreMlError> for EngineError {
    fn from(error: CoreMlError) -> Self {
        Self::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framework(action: Action, domain: &str, code: i64) -> CoreMlError {
        CoreMlError::Framework { action, domain: domain.to_owned(), code, description: String::new() }
    }

    #[test]
    fn errors_of_the_framework_are_told_apart() {
        let cases = [
            (Action::Predict, CORE_ML_DOMAIN, 0, ErrorKind::Internal),
            (Action::Predict, CORE_ML_DOMAIN, 1, ErrorKind::Invalid),
            (Action::Predict, CORE_ML_DOMAIN, 3, ErrorKind::Unavailable),
            (Action::Predict, CORE_ML_DOMAIN, 7, ErrorKind::Invalid),
            (Action::Predict, CORE_ML_DOMAIN, 11, ErrorKind::Cancelled),
            (Action::Predict, "NSCocoaErrorDomain", 11, ErrorKind::Internal),
            (Action::Compile, CORE_ML_DOMAIN, 0, ErrorKind::Invalid),
            (Action::Load, CORE_ML_DOMAIN, 0, ErrorKind::Unavailable),
            (Action::Load, "NSCocoaErrorDomain", 260, ErrorKind::Unavailable),
        ];
        for (action, domain, code, expected) in cases {
            assert_eq!(framework(action, domain, code).kind(), expected, "{action} {domain} {code}");
        }
    }

    #[test]
    fn failures_are_counted_under_the_words_of_the_prior_system() {
        assert_eq!(framework(Action::Compile, "", 0).failure_mode(), "compile_error");
        assert_eq!(framework(Action::Load, "", 0).failure_mode(), "load_error");
        assert_eq!(framework(Action::Predict, "", 0).failure_mode(), "runtime_error");
        let late = CoreMlError::TimedOut { action: Action::Predict, timeout: Duration::from_secs(5) };
        assert_eq!((late.failure_mode(), late.kind()), ("timeout", ErrorKind::Cancelled));
        assert_eq!(late.reason(), Some(ReasonCode::CancelledByTimeout));
        assert_eq!(CoreMlError::OverBudget { budget_bytes: 1, bytes: 2 }.failure_mode(), "memory_pressure");
        assert_eq!(CoreMlError::OutputMissing { name: "y".into() }.failure_mode(), "schema_mismatch");
    }
}
