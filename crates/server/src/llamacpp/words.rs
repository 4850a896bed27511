//! The objects that an answer is made of, in one piece and as events.

use super::error::error_body;
use super::request::CompletionRequest;
use super::settings::settings;
use super::slots::SlotId;
use crate::api_error::ApiError;
use crate::models::GeneratorUse;
use crate::openai::{PING, event, finite};
use crate::params::GenerationParams;
use crate::progress::{Reporter, times_of};
use crate::state::Server;
use crate::stream::{EVENT_STREAM, Frames};
use ballast_backend::TokenId;
use ballast_runtime::{FinishReason, Progress, Summary, TokenEvent};
use ballast_tokens::{LogprobsOf, ShowSpecial, Tokenizer};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What all objects of one request share, and what has not been sent yet.
pub(super) struct Words {
    server: Arc<Server>,
    model: String,
    generation: GenerationParams,
    settings: Value,
    response_fields: Vec<String>,
    returns_tokens: bool,
    tokenizer: Arc<Tokenizer>,
    context_len: usize,
    slot: Option<SlotId>,
    answers: Vec<Answer>,
    reporter: Reporter,
}

/// One answer in progress.
struct Answer {
    prompt: Vec<TokenId>,
    /// All tokens, the one that ends it too.
    tokens: Vec<TokenId>,
    /// Tokens that have not been sent.
    unsent: Vec<TokenId>,
    probabilities: Vec<Value>,
    has_new_line: bool,
}

impl Words {
    pub(super) fn new(
        server: &Arc<Server>,
        model: &GeneratorUse,
        request: &CompletionRequest,
        generation: GenerationParams,
        prompts: &[Vec<TokenId>],
    ) -> Self {
        let tokenizer = Arc::clone(model.format().tokenizer());
        let answer = |prompt: &Vec<TokenId>| Answer {
            prompt: prompt.clone(),
            tokens: Vec::new(),
            unsent: Vec::new(),
            probabilities: Vec::new(),
            has_new_line: false,
        };
        Self {
            server: Arc::clone(server),
            model: model.id.clone(),
            settings: settings(&generation, &tokenizer, request.is_streamed),
            reporter: Reporter::new(generation.telling, prompts.len()),
            generation,
            response_fields: request.response_fields.clone(),
            returns_tokens: request.returns_tokens || request.is_streamed,
            tokenizer,
            context_len: model.context_len(),
            slot: None,
            answers: prompts.iter().map(answer).collect(),
        }
    }

    /// What the answers leave is remembered as the slot's.
    pub(super) fn keeps(mut self, slot: Option<SlotId>) -> Self {
        self.slot = slot;
        self
    }

    /// Takes note of a token. The one that ends the answer is not part of it.
    pub(super) fn note(&mut self, idx: usize, event: &TokenEvent) {
        let answer = &mut self.answers[idx];
        answer.tokens.push(event.token);
        answer.has_new_line |= event.text.contains('\n');
        if self.tokenizer.is_end_of_generation(event.token) && !self.generation.ignore_eos {
            return;
        }
        if self.returns_tokens {
            answer.unsent.push(event.token);
        }
        if let Some(logprob) = &event.logprob {
            let (name, top) = match self.generation.sampling.logprobs_of {
                LogprobsOf::Model => ("logprob", "top_logprobs"),
                LogprobsOf::Draw => ("prob", "top_probs"),
            };
            let value = |logprob: f32| match self.generation.sampling.logprobs_of {
                LogprobsOf::Model => finite(logprob),
                LogprobsOf::Draw => logprob.exp().min(1.0),
            };
            let token = |token: TokenId, logprob: f32| {
                let bytes = self.tokenizer.token_bytes(token, ShowSpecial::Yes);
                let text = String::from_utf8_lossy(bytes);
                json!({ "id": token.0, "token": text, "bytes": bytes, name: value(logprob) })
            };
            let mut entry = token(event.token, logprob.chosen);
            entry[top] = logprob.top.iter().map(|&(id, logprob)| token(id, logprob)).collect();
            answer.probabilities.push(entry);
        }
    }

    /// What is new.
    fn part(&mut self, idx: usize, text: &str, is_last: bool) -> Value {
        let id_slot = self.slot.as_ref().map_or_else(|| json!(-1), |slot| json!(slot.idx));
        let answer = &mut self.answers[idx];
        let tokens: Vec<u32> = answer.unsent.drain(..).map(|token| token.0).collect();
        let mut object =
            json!({ "index": idx, "content": text, "tokens": tokens, "stop": is_last, "id_slot": id_slot });
        if !answer.probabilities.is_empty() {
            object["completion_probabilities"] = answer.probabilities.drain(..).collect();
        }
        self.reporter.add_to(idx, &mut object);
        object
    }

    /// What is new at the end, and how the answer came about.
    pub(super) fn last(&mut self, idx: usize, text: &str, summary: &Summary) -> Value {
        let mut object = self.part(idx, text, true);
        let word = summary.stop_idx.and_then(|idx| self.generation.stop.get(idx));
        let kind = match (summary.finish_reason, word) {
            (FinishReason::Length, _) => "limit",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, Some(_)) => "word",
            (FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error, None) => "eos",
        };
        let (usage, answer) = (summary.usage, &self.answers[idx]);
        let is_full = usage.prompt_tokens + usage.completion_tokens >= self.context_len;
        let told = [
            ("model", json!(self.model)),
            ("stop_type", json!(kind)),
            ("stopping_word", json!(word.map_or("", String::as_str))),
            ("tokens_predicted", json!(usage.completion_tokens)),
            ("tokens_evaluated", json!(usage.prompt_tokens)),
            ("tokens_cached", json!(usage.cached_tokens)),
            ("truncated", json!(is_full && summary.finish_reason == FinishReason::Length)),
            ("has_new_line", json!(answer.has_new_line || text.contains('\n'))),
            ("prompt", json!(self.tokenizer.decode_lossy(&answer.prompt, ShowSpecial::Yes))),
            ("generation_settings", self.settings.clone()),
            ("timings", json!(times_of(summary))),
        ];
        for (name, value) in told {
            object[name] = value;
        }
        self.keep(idx);
        if self.response_fields.is_empty() { object } else { chosen(&object, &self.response_fields) }
    }

    /// The last token was drawn and never computed with, so nothing of it is left.
    fn keep(&mut self, idx: usize) {
        let answer = &mut self.answers[idx];
        answer.tokens.pop();
        if let Some(slot) = &self.slot {
            self.server.slots.keep(slot, [answer.prompt.as_slice(), &answer.tokens].concat());
        }
    }
}

/// The fields that were asked for, by their paths with `/`; those that there are not are left out.
fn chosen(object: &Value, paths: &[String]) -> Value {
    let value = |path: &String| Some((path.clone(), object.pointer(&format!("/{path}"))?.clone()));
    Value::Object(paths.iter().filter_map(value).collect::<Map<_, _>>())
}

/// Answers as server-sent events; the last of each says that it is.
pub(super) struct Events(pub(super) Words);

impl Frames for Events {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some(PING);

    fn begin(&mut self) -> String {
        String::new()
    }

    fn token(&mut self, idx: usize, token: &TokenEvent) -> String {
        self.0.note(idx, token);
        if token.text.is_empty() { String::new() } else { event(&self.0.part(idx, &token.text, false)) }
    }

    fn progress(&mut self, idx: usize, progress: &Progress) -> String {
        let Some(told) = self.0.reporter.note(idx, progress) else { return String::new() };
        let mut object = self.0.part(idx, "", false);
        object["prompt_progress"] = json!(told);
        event(&object)
    }

    fn end(&mut self, idx: usize, summary: Summary) -> String {
        event(&self.0.last(idx, &summary.tail, &summary))
    }

    fn finish(&mut self) -> String {
        String::new()
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        event(&error_body(&cause.into()))
    }
}
