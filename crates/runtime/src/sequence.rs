//! One request while it is being answered: tokens so far, sampler, detokenizer, stop strings, and the reader's channel.

use crate::runtime::QueuePermit;
use crate::{Canceller, Event, FinishReason, Request, RuntimeError, Summary, Timings, TokenEvent, TokenLogprob, Usage};
use ballast_backend::{GeneratorShape, ReasonCode, TokenId};
use ballast_tokens::{Detokenizer, Sampled, Sampler, SamplingError, ShowSpecial, StopMatcher, Tokenizer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Room a sequence needs in its channel before it may run: a token and the summary.
const EVENTS_PER_STEP: usize = 2;

/// Who waits for the answer, and since when.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The place in the queue, until the request first runs. Dropped before `sender`: who learns of an end may count on
    /// the place.
    pub(crate) permit: Option<QueuePermit>,
    pub(crate) sender: mpsc::Sender<Event>,
    pub(crate) canceller: Canceller,
    pub(crate) submitted_at: Duration,
}

/// A request in flight. Owned by the owner thread.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) tokens: Vec<TokenId>,
    n_prompt: usize,
    max_tokens: usize,
    ignore_eos: bool,
    wants_logprobs: bool,
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    detokenizer: Detokenizer,
    /// `None` once the answer has ended.
    stop: Option<StopMatcher>,
    reader: Reader,
    deadline_at: Option<Duration>,
    first_step_at: Option<Duration>,
    first_token_at: Option<Duration>,
}

impl Sequence {
    /// A sequence for `request`, which may generate at most what the context leaves.
    ///
    /// # Errors
    /// If the sampling parameters or stop strings are bad.
    pub(crate) fn new(
        request: Request,
        tokenizer: &Arc<Tokenizer>,
        shape: &GeneratorShape,
        reader: Reader,
    ) -> Result<Self, RuntimeError> {
        let mut sampler = Sampler::new(&request.sampling, request.fallback_seed, shape.vocab_size)?;
        sampler.accept_prompt(&request.prompt);
        let room = shape.context_len - request.prompt.len();
        let show_special = if request.show_special { ShowSpecial::Yes } else { ShowSpecial::No };
        Ok(Self {
            n_prompt: request.prompt.len(),
            max_tokens: request.max_tokens.map_or(room, |n| n.min(room)),
            ignore_eos: request.ignore_eos,
            wants_logprobs: request.sampling.n_logprobs.is_some(),
            tokenizer: Arc::clone(tokenizer),
            sampler,
            detokenizer: Detokenizer::new(Arc::clone(tokenizer), show_special),
            stop: Some(StopMatcher::new(&request.stop)?),
            deadline_at: request.deadline.map(|deadline| reader.submitted_at.saturating_add(deadline)),
            reader,
            first_step_at: None,
            first_token_at: None,
            tokens: request.prompt,
        })
    }

    /// Whether the reader is too far behind for another step.
    pub(crate) fn is_paused(&self) -> bool {
        self.reader.sender.capacity() < EVENTS_PER_STEP
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.stop.is_none()
    }

    /// Ends the sequence if its reader has gone or has asked for the end, or if its deadline has passed.
    pub(crate) fn check(&mut self, now: Duration) {
        if self.reader.sender.is_closed() || self.reader.canceller.is_cancelled() {
            self.finish(FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller), now);
        } else if self.deadline_at.is_some_and(|deadline| now >= deadline) {
            self.finish(FinishReason::Cancelled, Some(ReasonCode::CancelledByTimeout), now);
        }
    }

    /// Notes that a step begins which runs some of its tokens.
    pub(crate) fn note_step(&mut self, now: Duration) {
        self.reader.permit = None;
        self.first_step_at.get_or_insert(now);
    }

    /// Chooses the next token from `logits` and sends it.
    pub(crate) fn accept(&mut self, logits: &mut [f32], now: Duration) {
        match self.sampler.sample(logits) {
            Ok(sampled) => self.push(sampled, now),
            Err(error) => self.fail(&error, now),
        }
    }

    fn fail(&mut self, error: &SamplingError, now: Duration) {
        tracing::error!(%error, "no token can be sampled from the engine's logits");
        self.finish(FinishReason::Error, Some(ReasonCode::EngineFailed), now);
    }

    fn push(&mut self, sampled: Sampled, now: Duration) {
        let Sampled { token, logprob, top } = sampled;
        self.first_token_at.get_or_insert(now);
        self.tokens.push(token);
        let Some(stop) = &mut self.stop else { return };
        let outcome = stop.push(self.detokenizer.push(token));
        let (text, matched) = (outcome.text.to_owned(), outcome.matched);
        let logprob = self.wants_logprobs.then_some(TokenLogprob { chosen: logprob, top });
        self.send(Event::Token(TokenEvent { token, text, logprob }));
        if matched.is_some() || (self.tokenizer.is_end_of_generation(token) && !self.ignore_eos) {
            self.finish(FinishReason::Stop, None, now);
        } else if self.n_generated() >= self.max_tokens {
            self.finish(FinishReason::Length, None, now);
        }
    }

    fn n_generated(&self) -> usize {
        self.tokens.len() - self.n_prompt
    }

    /// Sends the summary. The sequence does nothing more.
    pub(crate) fn finish(&mut self, finish_reason: FinishReason, reason: Option<ReasonCode>, now: Duration) {
        let Some(mut stop) = self.stop.take() else { return };
        self.reader.permit = None;
        let last = stop.push(self.detokenizer.finish());
        let (mut tail, matched) = (last.text.to_owned(), last.matched);
        if matched.is_none() {
            tail += &stop.finish();
        }
        let summary = Summary { tail, finish_reason, reason, usage: self.usage(), timings: self.timings(now) };
        tracing::debug!(
            finish_reason = finish_reason.as_str(),
            reason = reason.map(ReasonCode::as_str),
            prompt_tokens = summary.usage.prompt_tokens,
            completion_tokens = summary.usage.completion_tokens,
            total_ms = summary.timings.total.as_millis(),
            "request ended"
        );
        self.send(Event::Done(summary));
    }

    fn usage(&self) -> Usage {
        Usage { prompt_tokens: self.n_prompt, completion_tokens: self.n_generated() }
    }

    fn timings(&self, now: Duration) -> Timings {
        let since = |at: Duration| at.saturating_sub(self.reader.submitted_at);
        Timings {
            queue: since(self.first_step_at.unwrap_or(now)),
            time_to_first_token: self.first_token_at.map(since),
            total: since(now),
        }
    }

    /// There is room for what a step sends (`is_paused`), so the only failure is a reader that has gone; `check`
    /// sees that before the next step.
    fn send(&self, event: Event) {
        if self.reader.sender.try_send(event).is_err() {
            tracing::trace!("the reader has gone");
        }
    }
}
