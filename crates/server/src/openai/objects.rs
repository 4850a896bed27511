//! What the objects of this wire share: who answers, tokens in words, usage and times.

use crate::hex;
use crate::models::GeneratorUse;
use crate::params::GenerationParams;
use crate::progress::{PromptProgress, Times, ms, times_of};
use crate::state::Server;
use crate::{RandomSource, ServedModel};
use ballast_backend::TokenId;
use ballast_runtime::{FinishReason, Summary, TokenEvent, TokenLogprob};
use ballast_tokens::{ShowSpecial, Tokenizer};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What stands for a logarithm of zero: JSON has no infinity.
const LOGPROB_MIN: f32 = -9999.0;

/// Whose objects they are.
#[derive(Debug)]
pub(super) struct Answer {
    id: String,
    created: i64,
    model: String,
    fingerprint: String,
}

impl Answer {
    /// An answer that has no name yet; `kind` begins it.
    pub(super) fn new(server: &Server, model: &ServedModel, kind: &str, created: i64) -> Self {
        let mut id = format!("{kind}-");
        hex::push(&mut id, (server.options.random)().into(), 16);
        Self { id, created, model: model.id.clone(), fingerprint: model.fingerprint.clone() }
    }

    pub(super) fn object<C>(&self, object: &'static str, choices: Vec<C>) -> Object<'_, C> {
        Object {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: None,
            timings: None,
            prompt_progress: None,
            verbose: None,
        }
    }
}

/// An answer, or a piece of one. Fields that are `None` are left out.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a, C> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<C>,
    /// `Some(None)`: null, where the usage comes with a later piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<UsageWords>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timings: Option<TimingWords>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_progress: Option<PromptProgress>,
    #[serde(rename = "__verbose", skip_serializing_if = "Option::is_none")]
    pub(super) verbose: Option<&'a Value>,
}

/// Tokens of all answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct UsageWords {
    prompt_tokens: usize,
    prompt_tokens_details: PromptTokens,
    completion_tokens: usize,
    total_tokens: usize,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PromptTokens {
    cached_tokens: usize,
}

/// The times of an answer by llama.cpp's names, and once it has ended by ours.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TimingWords {
    #[serde(flatten)]
    times: Times,
    #[serde(flatten)]
    ours: Option<OurTimes>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct OurTimes {
    queue_ms: f64,
    time_to_first_token_ms: Option<f64>,
    total_ms: f64,
    prefill_tokens_per_second: Option<f64>,
    decode_tokens_per_second: Option<f64>,
}

impl From<Times> for TimingWords {
    fn from(times: Times) -> Self {
        Self { times, ours: None }
    }
}

/// A new name that is hard to guess; `kind` begins it.
pub(super) fn named(random: &RandomSource, kind: &str) -> String {
    format!("{kind}_{:016x}{:016x}", random(), random())
}

/// Tokens as text.
#[derive(Debug)]
pub(super) struct TokenWords {
    tokenizer: Arc<Tokenizer>,
    ignore_eos: bool,
}

impl TokenWords {
    pub(super) fn new(model: &GeneratorUse, generation: &GenerationParams) -> Self {
        Self { tokenizer: Arc::clone(model.runtime().tokenizer()), ignore_eos: generation.ignore_eos }
    }

    /// The log probabilities of a token that is part of the answer: the one that ends it is not.
    pub(super) fn logprob<'a>(&self, event: &'a TokenEvent) -> Option<&'a TokenLogprob> {
        let is_part = self.ignore_eos || !self.tokenizer.is_end_of_generation(event.token);
        event.logprob.as_ref().filter(|_| is_part)
    }

    /// The token's entry among the log probabilities of an answer, if it is part of it.
    pub(super) fn logprob_entry(&self, event: &TokenEvent) -> Option<Value> {
        let logprob = self.logprob(event)?;
        let mut entry = self.token(event.token, logprob.chosen);
        entry["top_logprobs"] = logprob.top.iter().map(|&(token, logprob)| self.token(token, logprob)).collect();
        Some(entry)
    }

    /// The token's text, which may be half a character.
    pub(super) fn bytes(&self, token: TokenId) -> &[u8] {
        self.tokenizer.token_bytes(token, ShowSpecial::Yes)
    }

    /// A prompt's text, its control tokens included.
    pub(super) fn prompt_text(&self, prompt: &[TokenId]) -> String {
        self.tokenizer.decode_lossy(prompt, ShowSpecial::Yes)
    }

    pub(super) fn text(&self, token: TokenId) -> String {
        String::from_utf8_lossy(self.bytes(token)).into_owned()
    }

    pub(super) fn token(&self, token: TokenId, logprob: f32) -> Value {
        json!({ "token": self.text(token), "logprob": finite(logprob), "bytes": self.bytes(token) })
    }
}

/// A logarithm that JSON can say.
pub(crate) fn finite(logprob: f32) -> f32 {
    logprob.max(LOGPROB_MIN)
}

/// Answers that ended otherwise are errors and have no finish reason on this wire.
pub(super) fn finish_reason(summary: &Summary) -> &'static str {
    match summary.finish_reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error => "stop",
    }
}

/// Tokens of all answers: `n_prompts` prompts, each read once however many answers it has.
pub(super) fn usage(summaries: &[&Summary], n_prompts: usize) -> UsageWords {
    let n_choices = (summaries.len() / n_prompts.max(1)).max(1);
    let prompts = || summaries.iter().step_by(n_choices).map(|summary| summary.usage);
    let prompt_tokens: usize = prompts().map(|usage| usage.prompt_tokens).sum();
    let cached_tokens: usize = prompts().map(|usage| usage.cached_tokens).sum();
    let completion_tokens: usize = summaries.iter().map(|summary| summary.usage.completion_tokens).sum();
    UsageWords {
        prompt_tokens,
        prompt_tokens_details: PromptTokens { cached_tokens },
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
    }
}

/// The times of an answer that has ended.
pub(super) fn timings(summary: &Summary) -> TimingWords {
    let Summary { timings, usage, .. } = summary;
    let ours = OurTimes {
        queue_ms: ms(timings.queue),
        time_to_first_token_ms: timings.time_to_first_token.map(ms),
        total_ms: ms(timings.total),
        prefill_tokens_per_second: timings.prefill_tokens_per_second(*usage),
        decode_tokens_per_second: timings.decode_tokens_per_second(*usage),
    };
    TimingWords { times: times_of(summary), ours: Some(ours) }
}
