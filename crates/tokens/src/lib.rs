//! Between text and logits: tokenizers, chat templates, samplers, stop rules, detokenizer.
//!
//! The path of a request, from what a caller says to what it reads:
//!
//! - [`ChatTemplate`] and [`PromptFormat`]: messages to the text, and the tokens, that the model was trained on.
//! - [`Tokenizer`]: text to tokens. [`TokenizerDiagnostics`] says what was wrong with its file.
//! - [`Sampler`]: logits to the next token.
//! - [`Constraint`]: what an answer must look like. [`GrammarCompiler`] makes a [`Grammar`] of it, whose
//!   [`GrammarMatcher`] tells the sampler which tokens may come next.
//! - [`Detokenizer`]: tokens to text, whole characters only. [`StopMatcher`]: where the text ends.
//!
//! ```
//! use ballast_tokens::{EncodeOptions, ShowSpecial, Tokenizer, TokenizerOptions, TokenizerSource};
//!
//! // A file without tokens: bytes, because the caller allows it.
//! let options = TokenizerOptions { allow_fallback: true, ..TokenizerOptions::default() };
//! let (tokenizer, diagnostics) = Tokenizer::new(&TokenizerSource::default(), &options)?;
//! let tokens = tokenizer.encode("hé", EncodeOptions::default());
//! assert_eq!(tokens.len(), 3);
//! assert_eq!(tokenizer.decode_lossy(&tokens, ShowSpecial::No), "hé");
//! assert_eq!(diagnostics.mode.as_str(), "bytes");
//! # Ok::<(), ballast_tokens::TokenizerError>(())
//! ```
#![forbid(unsafe_code)]

mod constraint;
mod detokenizer;
mod diagnostics;
mod pretokenizer;
mod prompt;
mod sample;
mod stop;
mod template;
mod tokenizer;

pub use constraint::{
    CONSTRAINT_BYTES_MAX, Constraint, ConstraintError, GRAMMARS_KEPT_MAX, Grammar, GrammarCompiler, GrammarMatcher,
    MatchError,
};
pub use detokenizer::Detokenizer;
pub use diagnostics::{Finding, TokenizerDiagnostics, TokenizerMode};
pub use pretokenizer::PreTokenizer;
pub use prompt::{PromptError, PromptFormat};
pub use sample::{
    LOGIT_BIAS_ENTRIES_MAX, LOGPROBS_MAX, PENALTY_WINDOW_DEFAULT, PENALTY_WINDOW_MAX, Sampled, Sampler, SamplingError,
    SamplingParams, TEMPERATURE_MAX, TokenMask,
};
pub use stop::{STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, StopError, StopMatcher, StopOutcome};
pub use template::{
    ChatMessage, ChatTemplate, FUEL_BASE, FUEL_MAX, FUEL_PER_MESSAGE_PAIR, RECURSION_MAX, RenderOptions,
    TEMPLATE_OUTPUT_BYTES_MAX, TEMPLATE_SOURCE_BYTES_MAX, TemplateError, format_date,
};
pub use tokenizer::{
    EncodeOptions, FillTokens, ShowSpecial, Tokenizer, TokenizerError, TokenizerOptions, TokenizerSource,
};
