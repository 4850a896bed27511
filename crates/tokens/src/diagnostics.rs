//! What was found while a tokenizer was built: which mode it works in, and everything that was not as it should be.

use crate::pretokenizer::PreTokenizer;
use ballast_backend::ReasonCode;
use std::fmt;

/// How a tokenizer turns text into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenizerMode {
    /// Byte-level BPE with the file's vocabulary and merges.
    GgufBpe,
    /// A fallback: greedy longest match against the file's token table, without merges.
    GgufTokenTable,
    /// A fallback: each byte is the token of that number.
    Bytes,
}

impl TokenizerMode {
    /// The mode's stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TokenizerMode::GgufBpe => "gguf_bpe",
            TokenizerMode::GgufTokenTable => "gguf_token_table",
            TokenizerMode::Bytes => "bytes",
        }
    }
}

/// The report that comes with every tokenizer.
#[derive(Clone, Debug)]
pub struct TokenizerDiagnostics {
    /// How text becomes tokens.
    pub mode: TokenizerMode,
    /// The rule in use; none in bytes mode.
    pub pre_tokenizer: Option<PreTokenizer>,
    /// The name the file gives.
    pub pre_tokenizer_name: Option<String>,
    /// How many tokens there are.
    pub vocab_size: usize,
    /// How many merges are in use.
    pub n_merges: usize,
    /// Everything a caller may want to refuse or report. Empty for a complete tokenizer.
    pub findings: Vec<Finding>,
}

impl TokenizerDiagnostics {
    /// Whether a code was reported.
    #[must_use]
    pub fn has(&self, code: ReasonCode) -> bool {
        self.findings.iter().any(|finding| finding.code() == code)
    }
}

/// One finding, with the numbers that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The file has no tokens.
    TokensMissing,
    /// The file has tokens of a BPE model, and no merges.
    MergesMissing,
    /// Bytes occur in UTF-8 text for which the vocabulary has no token. They are lost in encoding.
    BytesWithoutToken {
        /// How many of the 243 byte values of UTF-8.
        n_bytes: usize,
    },
    /// The list of token types ends early; the tokens past it are taken as ordinary.
    TokenTypesShort {
        /// Entries in the list.
        n_types: usize,
        /// Tokens in the vocabulary.
        n_tokens: usize,
    },
    /// The list of scores ends early.
    ScoresShort {
        /// Entries in the list.
        n_scores: usize,
        /// Tokens in the vocabulary.
        n_tokens: usize,
    },
    /// The model has more tokens than the vocabulary names.
    VocabularySmallerThanModel {
        /// Tokens in the vocabulary.
        n_tokens: usize,
        /// Tokens the model computes logits for.
        model_vocab_size: usize,
    },
    /// Merges whose parts or result are not tokens. They are not applied.
    MergesOutsideVocabulary {
        /// How many.
        n_merges: usize,
    },
    /// The file gives a special token an id that no token has. It is taken as not given.
    SpecialTokenOutOfRange {
        /// The metadata key.
        key: &'static str,
        /// The id found.
        id: u32,
    },
    /// The file's pre-tokenizer is not known, and another is used.
    PreTokenizerUnknown {
        /// The name in the file, empty where there is none.
        name: String,
    },
    /// Text is matched against the token table.
    FellBackToTokenTable,
    /// Text is split into bytes.
    FellBackToBytes,
}

impl Finding {
    /// The stable word for this finding.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Finding::TokensMissing => ReasonCode::TokenizerGgufMetadataMissing,
            Finding::MergesMissing => ReasonCode::TokenizerMergesMissing,
            Finding::BytesWithoutToken { .. }
            | Finding::TokenTypesShort { .. }
            | Finding::ScoresShort { .. }
            | Finding::VocabularySmallerThanModel { .. }
            | Finding::MergesOutsideVocabulary { .. }
            | Finding::SpecialTokenOutOfRange { .. } => ReasonCode::TokenizerVocabPartial,
            Finding::PreTokenizerUnknown { .. } => ReasonCode::TokenizerPreTokenizerUnknown,
            Finding::FellBackToTokenTable => ReasonCode::TokenizerFallbackTokenTableOnly,
            Finding::FellBackToBytes => ReasonCode::TokenizerFallbackByteBpe,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::TokensMissing => f.write_str("the file has no tokens"),
            Finding::MergesMissing => f.write_str("the file has no merges"),
            Finding::BytesWithoutToken { n_bytes } => write!(f, "{n_bytes} of the 243 bytes of UTF-8 have no token"),
            Finding::TokenTypesShort { n_types, n_tokens } => write!(f, "{n_types} token types for {n_tokens} tokens"),
            Finding::ScoresShort { n_scores, n_tokens } => write!(f, "{n_scores} scores for {n_tokens} tokens"),
            Finding::VocabularySmallerThanModel { n_tokens, model_vocab_size } => {
                write!(f, "{n_tokens} tokens for a model of {model_vocab_size}")
            }
            Finding::MergesOutsideVocabulary { n_merges } => write!(f, "{n_merges} merges of unknown tokens"),
            Finding::SpecialTokenOutOfRange { key, id } => write!(f, "{key} is {id}, which is no token"),
            Finding::PreTokenizerUnknown { name } => {
                write!(f, "pre-tokenizer {name:?} is not known, using {}", PreTokenizer::Gpt2.name())
            }
            Finding::FellBackToTokenTable => f.write_str("text is matched against the token table"),
            Finding::FellBackToBytes => f.write_str("text is split into bytes"),
        }
    }
}
