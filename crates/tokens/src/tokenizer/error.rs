//! Why a tokenizer cannot be made.

use crate::pretokenizer::PreTokenizer;
use ballast_backend::{ErrorKind, ReasonCode, TokenId};
use ballast_gguf::GgufError;

/// The tokenizer models that are implemented, as `tokenizer.ggml.model` names them.
pub(crate) const SUPPORTED_MODELS: &[&str] = &["gpt2"];

/// Why a tokenizer cannot be made from a file's metadata.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata value is not of the type that its key has.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A token or a merge is not text.
    #[error("{key}[{idx}] is not UTF-8")]
    TextNotUtf8 {
        /// The metadata key.
        key: &'static str,
        /// The entry.
        idx: usize,
    },
    /// A key that every tokenizer needs is not in the file.
    #[error("{}: the file has no {key}", ReasonCode::TokenizerGgufMetadataMissing)]
    MetadataMissing {
        /// The metadata key.
        key: &'static str,
    },
    /// The file's kind of tokenizer is not implemented.
    #[error("tokenizer model {model:?} is not supported, expected one of {}", SUPPORTED_MODELS.join(", "))]
    ModelUnsupported {
        /// The name in the file.
        model: String,
    },
    /// An encoder's vocabulary was expected.
    #[error("tokenizer model {model:?}: expected \"bert\"")]
    WordPieceExpected {
        /// The name in the file.
        model: String,
    },
    /// The file's pre-tokenizer is not implemented.
    #[error(
        "{}: pre-tokenizer {name:?} is not known, expected a name of one of the rules {}",
        ReasonCode::TokenizerPreTokenizerUnknown,
        PreTokenizer::NAMES.join(", ")
    )]
    PreTokenizerUnknown {
        /// The name in the file, empty where there is none.
        name: String,
    },
    /// Two tokens have the same text, so that text has no one encoding.
    #[error("tokens {first} and {second} have the same text")]
    DuplicateToken {
        /// The first.
        first: TokenId,
        /// The second.
        second: TokenId,
    },
    /// More tokens than any model has.
    #[error("{n_tokens} tokens, expected at most {n_tokens_max}")]
    TooManyTokens {
        /// Tokens in the file.
        n_tokens: usize,
        /// The bound.
        n_tokens_max: usize,
    },
    /// The tokens' texts together do not fit 4 GiB.
    #[error("the tokens have {n_bytes} bytes of text, expected fewer than 2^32")]
    TokensTooLong {
        /// Bytes of text.
        n_bytes: usize,
    },
    /// The file asks for a token around every prompt and does not say which.
    #[error("the file sets {flag} and has no usable {key}")]
    SpecialTokenMissing {
        /// The key that asks for the token.
        flag: &'static str,
        /// The key that would name it.
        key: &'static str,
    },
}

impl TokenizerError {
    /// How a caller decides what to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    /// The stable word for the cause, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            TokenizerError::MetadataMissing { .. } => Some(ReasonCode::TokenizerGgufMetadataMissing),
            TokenizerError::PreTokenizerUnknown { .. } => Some(ReasonCode::TokenizerPreTokenizerUnknown),
            TokenizerError::Metadata(_)
            | TokenizerError::TextNotUtf8 { .. }
            | TokenizerError::ModelUnsupported { .. }
            | TokenizerError::WordPieceExpected { .. }
            | TokenizerError::DuplicateToken { .. }
            | TokenizerError::TooManyTokens { .. }
            | TokenizerError::TokensTooLong { .. }
            | TokenizerError::SpecialTokenMissing { .. } => None,
        }
    }
}
