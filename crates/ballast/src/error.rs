//! Errors of the library.

use crate::convert::ConvertError;
use crate::tensor_model::TensorIoError;
use ballast_artifacts::CacheError;
use ballast_backend::{EngineError, ErrorKind, ReasonCode};
use ballast_gguf::GgufError;
use ballast_llm::LlmError;
use ballast_runtime::RuntimeError;
use ballast_runtime::encoding::EncodeError;
use ballast_runtime::lifecycle::LifecycleError;
use ballast_runtime::parity::ParityError;
use ballast_runtime::routing::RoutingError;
use ballast_runtime::supervised::{OpenError, PredictError};
use ballast_tensor::GraphError;
use ballast_tokens::{ConstraintError, PromptError, TokenizerError};
use ballast_worker::WorkerError;
use std::time::Duration;

/// What can go wrong between a file and an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The model.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// The place where packed weights are kept.
    #[error(transparent)]
    CompileCache(#[from] CacheError),
    /// The model's tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model's chat template, or a conversation it refuses.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// What an answer must look like cannot be enforced.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A request that is not admitted.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An engine's failure.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The worker process of an engine.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A model that is not given out.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// A route that leads nowhere.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// A folder that does not become a file.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A request for vectors that is not answered.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// An encoder's engine that does not start.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Files or a manifest around a tensor model.
    #[error(transparent)]
    TensorIo(#[from] TensorIoError),
    /// A tensor model that cannot be read or run.
    #[error(transparent)]
    Tensor(#[from] GraphError),
    /// A prediction that nobody answered.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// Two tensor models that cannot be compared.
    #[error(transparent)]
    Parity(#[from] ParityError),
    /// Embeddings are asked of a model that gives scores.
    #[error("model: expected one that gives embeddings, got a classifier; ask it to rank documents")]
    NotAnEmbedder,
    /// Documents are to be ranked by a model that cannot.
    #[error("model: expected a classifier with one label, which ranks documents, got a model of embeddings")]
    NotAReranker,
    /// A model of this name was declared before.
    #[error("model {model}: expected a name that is free")]
    NameTaken {
        /// The name.
        model: String,
    },
    /// As many names as there may be.
    #[error("model {model}: expected fewer than {names_max} names")]
    NamesFull {
        /// The name.
        model: String,
        /// The bound.
        names_max: usize,
    },
    /// A kernel set that this CPU does not have.
    #[error("kernels: expected one of {available:?}, got {got:?}")]
    KernelsUnavailable {
        /// The name asked for.
        got: String,
        /// What this CPU has.
        available: Vec<&'static str>,
    },
    /// A number far above what any machine can use.
    #[error("{option}: expected at most {max}, got {got}")]
    OptionTooLarge {
        /// The field of [`crate::LoadOptions`].
        option: &'static str,
        /// The bound.
        max: usize,
        /// What was asked for.
        got: usize,
    },
    /// The plan is larger than the budget.
    #[error("memory: expected at most {budget_bytes} bytes, the plan needs {needed_bytes}")]
    MemoryBudgetExceeded {
        /// What the model would take.
        needed_bytes: u64,
        /// What it may take.
        budget_bytes: u64,
    },
    /// Windows of a perplexity in which nothing is scored.
    #[error("context: expected at least {expected} tokens, got {got}")]
    WindowTooShort {
        /// The least in which a token is scored.
        expected: usize,
        /// Tokens of a window.
        got: usize,
    },
    /// A text too short to score.
    #[error("text: expected at least {expected} tokens, got {got}")]
    TextTooShort {
        /// The least that can be scored.
        expected: usize,
        /// Tokens of the text.
        got: usize,
    },
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Llm(error) => error.kind(),
            Self::CompileCache(error) => error.kind(),
            Self::Prompt(error) => error.kind(),
            Self::Constraint(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Worker(error) => error.kind(),
            Self::Convert(error) => error.kind(),
            Self::Encode(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::TensorIo(error) => error.kind(),
            Self::Tensor(error) => error.kind(),
            Self::Predict(error) => error.kind(),
            Self::Parity(error) => error.kind(),
            Self::Lifecycle(error) => error.kind(),
            Self::Routing(error) => error.kind(),
            Self::MemoryBudgetExceeded { .. } => ErrorKind::Denied,
            Self::NamesFull { .. } => ErrorKind::Overloaded,
            Self::Gguf(_)
            | Self::Tokenizer(_)
            | Self::NotAnEmbedder
            | Self::NotAReranker
            | Self::NameTaken { .. }
            | Self::KernelsUnavailable { .. }
            | Self::OptionTooLarge { .. }
            | Self::WindowTooShort { .. }
            | Self::TextTooShort { .. } => ErrorKind::Invalid,
        }
    }

    /// The reason code, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Runtime(error) => error.reason(),
            Self::CompileCache(error) => error.reason(),
            Self::Tokenizer(error) => error.reason(),
            Self::Engine(_) => Some(ReasonCode::EngineFailed),
            Self::Worker(error) => error.reason(),
            Self::Encode(error) => error.reason(),
            Self::Open(error) => error.reason(),
            Self::Predict(error) => error.reason(),
            Self::Lifecycle(error) => error.reason(),
            Self::Routing(error) => error.reason(),
            Self::MemoryBudgetExceeded { .. } => Some(ReasonCode::MemoryBudgetExceeded),
            Self::Gguf(_)
            | Self::Llm(_)
            | Self::Prompt(_)
            | Self::Convert(_)
            | Self::TensorIo(_)
            | Self::Tensor(_)
            | Self::Parity(_)
            | Self::NotAnEmbedder
            | Self::NotAReranker
            | Self::Constraint(_)
            | Self::NameTaken { .. }
            | Self::NamesFull { .. }
            | Self::KernelsUnavailable { .. }
            | Self::OptionTooLarge { .. }
            | Self::WindowTooShort { .. }
            | Self::TextTooShort { .. } => None,
        }
    }

    /// When asking again may help, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Runtime(error) => error.retry_after(),
            Self::Lifecycle(error) => error.retry_after(),
            Self::Encode(error) => error.retry_after(),
            Self::Predict(error) => error.retry_after,
            Self::Open(_)
            | Self::TensorIo(_)
            | Self::Tensor(_)
            | Self::Parity(_)
            | Self::Convert(_)
            | Self::NotAnEmbedder
            | Self::NotAReranker
            | Self::Gguf(_)
            | Self::Llm(_)
            | Self::CompileCache(_)
            | Self::Tokenizer(_)
            | Self::Prompt(_)
            | Self::Constraint(_)
            | Self::Engine(_)
            | Self::Worker(_)
            | Self::Routing(_)
            | Self::NameTaken { .. }
            | Self::NamesFull { .. }
            | Self::KernelsUnavailable { .. }
            | Self::OptionTooLarge { .. }
            | Self::MemoryBudgetExceeded { .. }
            | Self::WindowTooShort { .. }
            | Self::TextTooShort { .. } => None,
        }
    }
}
