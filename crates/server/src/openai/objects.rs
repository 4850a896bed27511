//! What the objects of this wire share: who answers, tokens in words, usage and times.

use crate::hex;
use crate::models::GeneratorUse;
use crate::params::GenerationParams;
use crate::progress::{ms, times_of};
use crate::state::Server;
use crate::{RandomSource, ServedModel};
use ballast_backend::TokenId;
use ballast_runtime::{FinishReason, Summary, TokenEvent, TokenLogprob};
use ballast_tokens::{ShowSpecial, Tokenizer};
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

    pub(super) fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
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
pub(super) fn usage(summaries: &[&Summary], n_prompts: usize) -> Value {
    let n_choices = (summaries.len() / n_prompts.max(1)).max(1);
    let prompts = || summaries.iter().step_by(n_choices).map(|summary| summary.usage);
    let prompt_tokens: usize = prompts().map(|usage| usage.prompt_tokens).sum();
    let cached_tokens: usize = prompts().map(|usage| usage.cached_tokens).sum();
    let completion_tokens: usize = summaries.iter().map(|summary| summary.usage.completion_tokens).sum();
    json!({
        "prompt_tokens": prompt_tokens,
        "prompt_tokens_details": { "cached_tokens": cached_tokens },
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}

/// The times of an answer by our names, and by llama.cpp's.
pub(super) fn timings(summary: &Summary) -> Value {
    let mut told = times_of(summary);
    let Summary { timings, usage, .. } = summary;
    let ours = json!({
        "queue_ms": ms(timings.queue),
        "time_to_first_token_ms": timings.time_to_first_token.map(ms),
        "total_ms": ms(timings.total),
        "prefill_tokens_per_second": timings.prefill_tokens_per_second(*usage),
        "decode_tokens_per_second": timings.decode_tokens_per_second(*usage),
    });
    for (name, value) in ours.as_object().into_iter().flatten() {
        told[name] = value.clone();
    }
    told
}
