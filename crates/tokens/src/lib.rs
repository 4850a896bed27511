//! Between text and logits: tokenizers, chat templates, samplers, stop rules, detokenizer.
//!
//! The path of a request, from what a caller says to what it reads:
//!
//! - [`ChatTemplate`] and [`PromptFormat`]: messages to the text, and the tokens, that the model was trained on.
//! - [`ToolFormat`] and [`ToolParser`]: how a model calls tools, read off its template, and calls taken out of its text.
//! - [`ThinkingFormat`] and [`ThinkingParser`]: what a model thinks before it answers, taken out of its text;
//!   [`ThinkingWatch`] ends it in time.
//! - [`Tokenizer`]: text to tokens. [`TokenizerDiagnostics`] says what was wrong with its file.
//! - [`WordPiece`]: text to the tokens of an encoder.
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

mod chat_message;
mod constraint;
mod detokenizer;
mod diagnostics;
mod named_template;
mod pretokenizer;
mod prompt;
mod sample;
mod stop;
mod template;
mod thinking;
mod tokenizer;
mod tool_format;
mod tool_parser;

pub use chat_message::{ArgumentsAs, ChatMessage, ToolCall, ToolSpec};
pub use constraint::{
    CONSTRAINT_BYTES_MAX, Constraint, ConstraintError, GBNF_DEPTH_MAX, GBNF_PARTS_MAX, GBNF_TIMES_MAX,
    GRAMMARS_KEPT_MAX, Grammar, GrammarCompiler, GrammarMatcher, LARK_BRACKETS_MAX, MatchError, SCHEMA_CHOICES_MAX,
    SCHEMA_DEPTH_MAX, SCHEMA_ITEMS_MAX, SCHEMA_LENGTH_MAX, SCHEMA_LEVELS_MAX, SCHEMA_NODES_MAX, SCHEMA_PLACES_MAX,
    SCHEMA_STEPS_MAX,
};
pub use detokenizer::Detokenizer;
pub use diagnostics::{Finding, TokenizerDiagnostics, TokenizerMode};
pub use named_template::{named_template, template_names};
pub use pretokenizer::PreTokenizer;
pub use prompt::{PromptError, PromptFormat};
pub use sample::{
    LOGIT_BIAS_ENTRIES_MAX, LOGPROBS_MAX, LogprobsOf, PENALTY_WINDOW_DEFAULT, PENALTY_WINDOW_MAX, Sampled, Sampler,
    SamplingError, SamplingParams, TEMPERATURE_MAX, TokenMask,
};
pub use stop::{STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, StopError, StopMatcher, StopOutcome};
pub use template::{
    ChatTemplate, FUEL_BASE, FUEL_MAX, FUEL_PER_MESSAGE_PAIR, RECURSION_MAX, RenderOptions, TEMPLATE_OUTPUT_BYTES_MAX,
    TEMPLATE_SOURCE_BYTES_MAX, TemplateError, format_date,
};
pub use thinking::{
    ThinkingEvent, ThinkingFormat, ThinkingParser, ThinkingPlan, ThinkingStart, ThinkingStep, ThinkingWatch,
};
pub use tokenizer::{
    EncodeOptions, FillTokens, FramedText, ShowSpecial, Tokenizer, TokenizerError, TokenizerOptions, TokenizerSource,
    WORD_CHARS_MAX, WordPiece,
};
pub use tool_format::{
    CallCount, CallNeed, GENERIC_INSTRUCTIONS, TOOL_CALLS_MAX, TOOL_NAME_BYTES_MAX, ToolFormat, ToolFormatError,
    ToolFormatOrigin, ToolGrammar,
};
pub use tool_parser::{Completeness, ToolEvent, ToolParser};
