//! The objects that answers are made of, in one piece and in chunks.

use super::request::CompletionRequest;
use crate::api_error::ApiError;
use crate::generation::Whole;
use crate::models::GeneratorUse;
use crate::openai::error::error_body;
use crate::openai::event::{DONE, PING, event};
use crate::openai::objects::{Answer, Object, TokenWords, finish_reason, finite, timings, usage};
use crate::params::Telling;
use crate::progress::Reporter;
use crate::state::Server;
use crate::stream::{EVENT_STREAM, Frames};
use ballast_backend::TokenId;
use ballast_runtime::{Progress, Summary, TokenEvent};
use ballast_tokens::ShowSpecial;
use serde::Serialize;
use serde_json::{Map, Value, json};

const OBJECT: &str = "text_completion";

/// What all objects of one request share.
#[derive(Debug)]
pub(super) struct Wire {
    answer: Answer,
    words: TokenWords,
    n_prompts: usize,
    choices: Vec<Choice>,
    telling: Telling,
}

/// One answer.
#[derive(Debug, Default)]
struct Choice {
    /// What comes before the answer.
    echoed: String,
    /// `None`: nobody asked.
    logprobs: Option<Logprobs>,
}

/// Log probabilities of tokens that were not sent yet.
#[derive(Debug, Default)]
struct Logprobs {
    tokens: Vec<String>,
    chosen: Vec<f32>,
    top: Vec<Value>,
    offsets: Vec<usize>,
    /// Characters of the answer before the next token.
    n_chars: usize,
}

impl Logprobs {
    fn take(&mut self) -> Value {
        let Self { tokens, chosen, top, offsets, n_chars } = std::mem::take(self);
        self.n_chars = n_chars;
        json!({ "tokens": tokens, "token_logprobs": chosen, "top_logprobs": top, "text_offset": offsets })
    }
}

impl Wire {
    pub(super) fn new(
        server: &Server,
        model: &GeneratorUse,
        request: &CompletionRequest,
        prompts: &[Vec<TokenId>],
    ) -> Self {
        let tokenizer = model.runtime().tokenizer();
        let choice = |prompt: &Vec<TokenId>| Choice {
            echoed: if request.echo { tokenizer.decode_lossy(prompt, ShowSpecial::No) } else { String::new() },
            logprobs: request.generation.sampling.n_logprobs.map(|_| Logprobs::default()),
        };
        let n_choices = request.n_choices;
        Self {
            answer: Answer::new(server, model, "cmpl", (server.options.unix_time)()),
            words: TokenWords::new(model, &request.generation),
            n_prompts: prompts.len(),
            telling: request.generation.telling,
            choices: prompts.iter().flat_map(|prompt| (0..n_choices).map(move |_| choice(prompt))).collect(),
        }
    }

    /// Takes note of a token's log probabilities.
    pub(super) fn note(&mut self, idx: usize, event: &TokenEvent) {
        let Some(logprobs) = &mut self.choices[idx].logprobs else { return };
        let Some(logprob) = self.words.logprob(event) else { return };
        let text = self.words.text(event.token);
        logprobs.offsets.push(logprobs.n_chars);
        logprobs.n_chars += text.chars().count();
        logprobs.tokens.push(text);
        logprobs.chosen.push(finite(logprob.chosen));
        let top = logprob.top.iter().map(|&(token, logprob)| (self.words.text(token), json!(finite(logprob))));
        logprobs.top.push(Value::Object(top.collect::<Map<_, _>>()));
    }

    /// All answers in one piece.
    pub(super) fn completion(&mut self, answers: &[Whole]) -> Object<'_, ChoiceWords> {
        let choice = |(idx, Whole { text, summary, .. }): (usize, &Whole)| {
            let text = std::mem::take(&mut self.choices[idx].echoed) + text;
            self.choice(idx, text, Some(summary))
        };
        let choices = answers.iter().enumerate().map(choice).collect();
        let summaries: Vec<&Summary> = answers.iter().map(|answer| &answer.summary).collect();
        let mut object = self.answer.object(OBJECT, choices);
        object.usage = Some(Some(usage(&summaries, self.n_prompts)));
        object.timings = Some(timings(summaries[0]));
        object
    }

    fn choice(&mut self, index: usize, text: String, summary: Option<&Summary>) -> ChoiceWords {
        let logprobs = self.choices[index].logprobs.as_mut().map(Logprobs::take);
        ChoiceWords { index, text, logprobs, finish_reason: summary.map(finish_reason) }
    }
}

/// One choice, or a piece of it.
#[derive(Debug, Serialize)]
pub(super) struct ChoiceWords {
    index: usize,
    text: String,
    logprobs: Option<Value>,
    finish_reason: Option<&'static str>,
}

/// Answers as server-sent events.
pub(super) struct Chunks {
    wire: Wire,
    include_usage: bool,
    summaries: Vec<Option<Summary>>,
    reporter: Reporter,
}

impl Chunks {
    pub(super) fn new(wire: Wire, include_usage: bool) -> Self {
        let summaries = vec![None; wire.choices.len()];
        let reporter = Reporter::new(wire.telling, wire.choices.len());
        Self { wire, include_usage, summaries, reporter }
    }

    fn chunk(&mut self, idx: usize, text: &str, summary: Option<&Summary>) -> String {
        let choice = self.wire.choice(idx, text.to_owned(), summary);
        let mut object = self.wire.answer.object(OBJECT, vec![choice]);
        object.timings = match summary {
            Some(summary) => Some(timings(summary)),
            None => self.reporter.times(idx).map(Into::into),
        };
        object.usage = self.include_usage.then_some(None);
        event(&object)
    }
}

impl Frames for Chunks {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;
    const PING: Option<&'static str> = Some(PING);

    fn begin(&mut self) -> String {
        let n_choices = self.wire.choices.len();
        let echoed = |idx: usize| {
            let text = std::mem::take(&mut self.wire.choices[idx].echoed);
            if text.is_empty() { String::new() } else { self.chunk(idx, &text, None) }
        };
        (0..n_choices).map(echoed).collect()
    }

    fn token(&mut self, idx: usize, event: &TokenEvent) -> String {
        self.wire.note(idx, event);
        if event.text.is_empty() { String::new() } else { self.chunk(idx, &event.text, None) }
    }

    fn progress(&mut self, idx: usize, progress: &Progress) -> String {
        let Some(told) = self.reporter.note(idx, progress) else { return String::new() };
        let choice = self.wire.choice(idx, String::new(), None);
        let mut object = self.wire.answer.object(OBJECT, vec![choice]);
        object.timings = self.reporter.times(idx).map(Into::into);
        object.prompt_progress = Some(told);
        event(&object)
    }

    fn end(&mut self, idx: usize, summary: Summary) -> String {
        let text = self.chunk(idx, &summary.tail, Some(&summary));
        self.summaries[idx] = Some(summary);
        text
    }

    fn finish(&mut self) -> String {
        if !self.include_usage {
            return DONE.to_owned();
        }
        let summaries: Vec<&Summary> = self.summaries.iter().flatten().collect();
        let mut object = self.wire.answer.object(OBJECT, Vec::<ChoiceWords>::new());
        object.usage = Some(Some(usage(&summaries, self.wire.n_prompts)));
        object.timings = summaries.first().map(|summary| timings(summary));
        event(&object) + DONE
    }

    fn fail(&mut self, cause: &ApiError) -> String {
        event(&error_body(&cause.into()))
    }
}
