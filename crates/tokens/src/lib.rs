//! Between text and logits: tokenizers, chat templates, samplers, stop rules, detokenizer.
#![forbid(unsafe_code)]

mod detokenizer;
mod diagnostics;
mod pretokenizer;
mod prompt;
mod sample;
mod stop;
mod template;
mod tokenizer;

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
    ChatMessage, ChatTemplate, FUEL, RECURSION_MAX, RenderOptions, TEMPLATE_OUTPUT_BYTES_MAX,
    TEMPLATE_SOURCE_BYTES_MAX, TemplateError,
};
pub use tokenizer::{EncodeOptions, ShowSpecial, Tokenizer, TokenizerError, TokenizerOptions, TokenizerSource};
