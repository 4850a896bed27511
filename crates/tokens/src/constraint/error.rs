//! Why a constraint cannot be enforced, and why one could not be kept to the end.

use ballast_backend::{ErrorKind, ReasonCode, TokenId};

/// Why a constraint cannot be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// It is longer, deeper or larger than it may be.
    #[error("the {what}: expected at most {max} {unit}, got more")]
    TooLarge {
        /// Which part of it.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A keyword of a schema that is not enforced.
    #[error("schema keyword `{keyword}` at `{pointer}` is not supported")]
    Keyword {
        /// The keyword.
        keyword: String,
        /// Where its schema is, as a JSON pointer.
        pointer: String,
    },
    /// A keyword whose value is not one that is enforced.
    #[error("schema keyword `{keyword}` at `{pointer}`: expected {expected}")]
    Value {
        /// The keyword.
        keyword: String,
        /// Where its schema is, as a JSON pointer.
        pointer: String,
        /// What the value may be.
        expected: &'static str,
    },
    /// A part of a schema that is none.
    #[error("schema at `{pointer}`: expected an object or a boolean")]
    NotASchema {
        /// Where it is, as a JSON pointer.
        pointer: String,
    },
    /// A grammar is not well-formed.
    #[error("the grammar, line {line}: expected {expected}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// A grammar uses a rule that it does not have.
    #[error("the grammar, line {line}: there is no rule `{rule}`")]
    NoRule {
        /// The line, from 1.
        line: usize,
        /// The rule.
        rule: String,
    },
    /// A grammar asks for what is not done.
    #[error("the grammar: `{word}` is not supported")]
    Unsupported {
        /// What it asks for.
        word: &'static str,
    },
    /// The engine of grammars does not take it.
    #[error("the {what} cannot be enforced: {cause}")]
    Refused {
        /// The kind of constraint.
        what: &'static str,
        /// The engine's words.
        cause: String,
    },
    /// The vocabulary is one for which no grammar can be compiled.
    #[error("the model's vocabulary cannot be constrained: {cause}")]
    Vocabulary {
        /// The engine's words.
        cause: String,
    },
}

impl ConstraintError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. }
            | Self::Keyword { .. }
            | Self::Value { .. }
            | Self::NotASchema { .. }
            | Self::Syntax { .. }
            | Self::NoRule { .. }
            | Self::Unsupported { .. }
            | Self::Refused { .. } => ErrorKind::Invalid,
            Self::Vocabulary { .. } => ErrorKind::Internal,
        }
    }

    /// Where in a schema it lies, as a JSON pointer to the keyword, where that is known.
    #[must_use]
    pub fn pointer(&self) -> Option<String> {
        match self {
            Self::Keyword { keyword, pointer } | Self::Value { keyword, pointer, .. } => {
                Some(format!("{pointer}/{keyword}"))
            }
            Self::NotASchema { pointer } => Some(pointer.clone()),
            Self::TooLarge { .. }
            | Self::Syntax { .. }
            | Self::NoRule { .. }
            | Self::Unsupported { .. }
            | Self::Refused { .. }
            | Self::Vocabulary { .. } => None,
        }
    }
}

/// Why a sequence cannot go on under its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatchError {
    /// To tell which tokens may come next would take more work or memory than one token is worth.
    #[error("the grammar: expected less work for a token, {cause}")]
    TooComplex {
        /// Which bound was met.
        cause: String,
    },
    /// No token of the vocabulary may come next, and the answer may not end.
    #[error("the grammar: expected a token that may come next, got none")]
    NothingAllowed,
    /// A token that may not come next.
    #[error("the grammar: expected a token that may come next, got {token}")]
    NotAllowed {
        /// The token.
        token: TokenId,
    },
    /// The engine of grammars failed.
    #[error("the grammar: {cause}")]
    Failed {
        /// Its words.
        cause: String,
    },
}

impl MatchError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooComplex { .. } | Self::NothingAllowed => ErrorKind::Invalid,
            Self::NotAllowed { .. } | Self::Failed { .. } => ErrorKind::Internal,
        }
    }

    /// The stable word for the cause.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::TooComplex { .. } => ReasonCode::ConstraintTooComplex,
            Self::NothingAllowed | Self::NotAllowed { .. } | Self::Failed { .. } => ReasonCode::ConstraintFailed,
        }
    }
}
