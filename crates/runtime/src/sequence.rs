//! One request while it is being answered: tokens so far, sampler, detokenizer, stop strings, and the reader's channel.

use crate::admission::QueuePermit;
use crate::breaker::{Outcome, PassGuard};
use crate::conductor::{End, Job, Setback, StepBegun};
use crate::events;
use crate::governance::Approved;
use crate::guide::Guide;
use crate::request::{Deadlines, Phase};
use crate::scheduler::Work;
use crate::telemetry::{Event as TelemetryEvent, Ids, Telemetry};
use crate::{
    Canceller, CorrelationId, Event, FinishReason, Progress, RuntimeError, Summary, TenantId, Timings, TokenEvent,
    TokenLogprob, Usage,
};
use ballast_backend::{ErrorKind, GeneratorShape, ReasonCode, TokenId};
use ballast_tokens::{Detokenizer, MatchError, Sampled, Sampler, SamplingError};
use ballast_tokens::{ShowSpecial, StopMatcher, Tokenizer};
use compact_str::CompactString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Room a sequence needs in its channel before it may run: a token and the summary.
pub(crate) const EVENTS_PER_STEP: usize = 2;

/// Generated tokens that a sequence has room for from its beginning; a longer answer asks for more as it doubles.
const RESERVED_TOKENS_MAX: usize = 4096;

/// Who waits for the answer, since when, and what is given back when it ends.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The breaker's leave, until it is told what became of the request.
    pub(crate) pass: Option<PassGuard>,
    pub(crate) sender: mpsc::Sender<Event>,
    pub(crate) canceller: Canceller,
    pub(crate) submitted_at: Duration,
    /// What was made good before the request came here.
    pub(crate) degraded: Vec<ReasonCode>,
}

/// What all sequences of an engine have in common.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) shape: GeneratorShape,
    pub(crate) engine: &'static str,
    pub(crate) telemetry: Telemetry,
    /// Longest time a reader may keep its sequence waiting.
    pub(crate) slow_reader_max: Duration,
}

/// A request in flight. Owned by the owner thread.
#[derive(Debug)]
pub(crate) struct Sequence {
    tokens: Vec<TokenId>,
    n_prompt: usize,
    n_cached: usize,
    max_tokens: usize,
    ignore_eos: bool,
    wants_logprobs: bool,
    tells_progress: bool,
    around: Surroundings,
    sampler: Sampler,
    /// Which tokens may come next.
    guide: Guide,
    detokenizer: Detokenizer,
    /// `None` once the answer has ended.
    stop: Option<StopMatcher>,
    /// The place in the queue, until the request first runs. Dropped before the reader is told of an end, who may then
    /// count on the place.
    permit: Option<QueuePermit>,
    reader: Reader,
    correlation: CorrelationId,
    tenant: TenantId,
    deadlines: Deadlines,
    first_step_at: Option<Duration>,
    first_token_at: Option<Duration>,
    /// When the last token came, or its reader last let it go on.
    moved_at: Duration,
    paused_since: Option<Duration>,
    /// Tokens of the prompt that the reader knows to be read.
    n_read_told: Option<usize>,
    /// The last token, until its reader is told of it. The channel has room for it.
    untold: Option<TokenEvent>,
    /// How far it had come with that token.
    untold_progress: Option<Progress>,
}

impl Sequence {
    /// A sequence for a request, which may generate at most what the context leaves.
    ///
    /// # Errors
    /// If the sampling parameters or stop strings are bad.
    ///
    /// # Panics
    /// If the request has no correlation id: the pipeline gives it one.
    pub(crate) fn new(approved: Approved, around: Surroundings, reader: Reader) -> Result<Self, RuntimeError> {
        let (mut request, permit) = approved.into_parts();
        let mut sampler = Sampler::new(&request.sampling, request.fallback_seed, around.shape.vocab_size)?;
        sampler.accept_prompt(&request.prompt);
        let room = around.shape.context_len - request.prompt.len();
        let max_tokens = request.max_tokens.map_or(room, |n| n.min(room));
        request.prompt.reserve_exact(max_tokens.min(RESERVED_TOKENS_MAX));
        let show_special = if request.show_special { ShowSpecial::Yes } else { ShowSpecial::No };
        Ok(Self {
            n_prompt: request.prompt.len(),
            n_cached: 0,
            max_tokens,
            ignore_eos: request.ignore_eos,
            wants_logprobs: request.sampling.n_logprobs.is_some(),
            tells_progress: request.tells_progress,
            guide: Guide::new(request.constraint, request.thinking, &around.tokenizer, around.shape.vocab_size),
            detokenizer: Detokenizer::new(Arc::clone(&around.tokenizer), show_special),
            around,
            sampler,
            stop: Some(StopMatcher::new(&request.stop)?),
            correlation: request.correlation.expect("the pipeline names what it takes in"),
            deadlines: request.deadlines,
            tenant: request.tenant,
            moved_at: reader.submitted_at,
            permit,
            reader,
            first_step_at: None,
            first_token_at: None,
            paused_since: None,
            n_read_told: None,
            untold: None,
            untold_progress: None,
            tokens: request.prompt,
        })
    }

    /// The phase it is in and when that must be over.
    fn phase_end(&self) -> Option<(Duration, Phase)> {
        let since = |at: Duration, within: Option<Duration>, phase| Some((at.saturating_add(within?), phase));
        let submitted_at = self.reader.submitted_at;
        let total = since(submitted_at, self.deadlines.total, Phase::Total);
        let queue = self.first_step_at.is_none().then_some(self.deadlines.queue).flatten();
        let queue = since(submitted_at, queue, Phase::Queue);
        let token = match (self.first_token_at, self.paused_since) {
            (None, _) => since(submitted_at, self.deadlines.first_token, Phase::FirstToken),
            (Some(_), None) => since(self.moved_at, self.deadlines.inter_token, Phase::InterToken),
            (Some(_), Some(_)) => None,
        };
        [queue, token, total].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn push(&mut self, sampled: Sampled, now: Duration) {
        let Sampled { token, logprob, top } = sampled;
        self.note_token(now);
        self.tokens.push(token);
        self.untold_progress = self.tells_progress.then(|| self.progress(self.n_prompt, now));
        let Some(stop) = &mut self.stop else { return };
        let outcome = stop.push(self.detokenizer.push(token));
        let (text, matched) = (CompactString::from(outcome.text), outcome.matched);
        let logprob = self.wants_logprobs.then_some(TokenLogprob { chosen: logprob, top });
        self.untold = Some(TokenEvent { token, text, logprob });
        let is_ended = self.around.tokenizer.is_end_of_generation(token) && !self.ignore_eos;
        if matched.is_some() || is_ended || self.guide.is_done() {
            self.finish(End::plain(FinishReason::Stop), now);
        } else if self.n_generated() >= self.max_tokens {
            self.finish(End::plain(FinishReason::Length), now);
        }
    }

    fn note_token(&mut self, now: Duration) {
        let since_last = self.first_token_at.map(|_| now.saturating_sub(self.moved_at));
        if self.first_token_at.is_none() {
            self.first_token_at = Some(now);
            let ttft = now.saturating_sub(self.reader.submitted_at);
            self.emit(&events::FirstToken { ttft });
        }
        self.emit(&events::TokenGenerated { since_last });
        self.moved_at = now;
    }

    fn n_generated(&self) -> usize {
        self.tokens.len() - self.n_prompt
    }

    fn usage(&self) -> Usage {
        Usage { prompt_tokens: self.n_prompt, cached_tokens: self.n_cached, completion_tokens: self.n_generated() }
    }

    fn timings(&self, now: Duration) -> Timings {
        let since = |at: Duration| at.saturating_sub(self.reader.submitted_at);
        Timings {
            queue: since(self.first_step_at.unwrap_or(now)),
            time_to_first_token: self.first_token_at.map(since),
            total: since(now),
        }
    }

    /// Tells the breaker what became of the request. Where the engine never ran it, there is nothing to tell.
    fn settle(&mut self, end: &End, now: Duration) {
        let Some(pass) = self.reader.pass.take() else { return };
        let Some(first_step_at) = self.first_step_at else { return };
        let latency = self.first_token_at.unwrap_or(now).saturating_sub(first_step_at);
        let outcome = match end.finish_reason {
            FinishReason::Stop | FinishReason::Length => Outcome::Success { latency },
            FinishReason::Error if end.reason == Some(ReasonCode::EngineStalled) => Outcome::TimedOut,
            // What was asked for could not be kept to, which the engine does not know of.
            FinishReason::Error if end.reason.is_some_and(is_of_constraint) => Outcome::Failed(ErrorKind::Invalid),
            FinishReason::Error => Outcome::Failed(ErrorKind::Internal),
            // A reader's own limits and a shutdown say nothing about the engine; a token that did not come does.
            FinishReason::Cancelled => match end.overdue {
                Some(Phase::FirstToken | Phase::InterToken) => Outcome::TimedOut,
                Some(Phase::Queue | Phase::Total) | None => Outcome::Failed(ErrorKind::Cancelled),
            },
        };
        pass.record(outcome, now);
    }

    fn emit(&self, event: &impl TelemetryEvent) {
        self.around.telemetry.emit_for(Ids::new(&self.correlation, &self.tenant), event);
    }

    fn note_first_step(&mut self, n_cached: usize, now: Duration) {
        self.first_step_at = Some(now);
        self.n_cached = n_cached;
        if let Some(permit) = self.permit.take() {
            permit.serve(now);
        }
        let queue_time = now.saturating_sub(self.reader.submitted_at);
        self.emit(&events::RequestStarted { queue_time });
        self.emit(&events::KvLookup { hit_tokens: n_cached, miss_tokens: self.n_prompt - n_cached });
    }

    fn progress(&self, read_tokens: usize, now: Duration) -> Progress {
        Progress { read_tokens, usage: self.usage(), timings: self.timings(now) }
    }

    /// Tells how far it has come, where that takes no room from tokens and summary.
    fn send_progress(&self, progress: Progress) {
        if self.reader.sender.capacity() > EVENTS_PER_STEP {
            self.send(Event::Progress(progress));
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

impl Work for Sequence {
    fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn is_paused(&self) -> bool {
        self.reader.sender.capacity() < EVENTS_PER_STEP + usize::from(self.untold.is_some())
    }

    fn is_finished(&self) -> bool {
        self.stop.is_none()
    }
}

impl Job for Sequence {
    fn check(&mut self, now: Duration) {
        if self.is_finished() {
            return;
        }
        if self.reader.sender.is_closed() || self.reader.canceller.is_cancelled() {
            return self.finish(End::cancelled(ReasonCode::CancelledByCaller), now);
        }
        if !self.is_paused() {
            if self.paused_since.take().is_some() {
                self.moved_at = now;
            }
        } else if now.saturating_sub(*self.paused_since.get_or_insert(now)) >= self.around.slow_reader_max {
            return self.finish(End::cancelled(ReasonCode::BackpressureBufferFull), now);
        }
        if let Some((at, phase)) = self.phase_end()
            && now >= at
        {
            let overdue = Some(phase);
            self.finish(End { overdue, ..End::cancelled(ReasonCode::CancelledByTimeout) }, now);
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.is_finished() {
            return None;
        }
        let slow_reader = self.paused_since.map(|since| since.saturating_add(self.around.slow_reader_max));
        [self.phase_end().map(|(at, _)| at), slow_reader].into_iter().flatten().min()
    }

    fn note_step(&mut self, StepBegun { n_cached, start }: StepBegun, now: Duration) {
        if self.first_step_at.is_none() {
            self.note_first_step(n_cached, now);
        }
        // A prompt that is read again after a setback is told of where it goes beyond what was read before.
        if self.tells_progress && start < self.n_prompt && self.n_read_told.is_none_or(|told| told < start) {
            self.n_read_told = Some(start);
            self.send_progress(self.progress(start, now));
        }
    }

    fn note_setback(&mut self, setback: Setback) {
        let reason = match setback {
            Setback::Retried => {
                self.emit(&events::Retried);
                ReasonCode::Retried
            }
            Setback::KvEvicted => {
                self.emit(&events::Preempted);
                ReasonCode::KvEvicted
            }
        };
        if !self.reader.degraded.contains(&reason) {
            self.reader.degraded.push(reason);
        }
    }

    fn accept(&mut self, logits: &mut [f32], now: Duration) {
        match self.guide.choose(&mut self.sampler, logits) {
            Ok(sampled) => self.push(sampled, now),
            Err(error) => self.fail(&error, now),
        }
    }

    fn catch_up(&mut self) {
        if self.stop.is_some() {
            self.guide.prepare();
        }
        if let Some(progress) = self.untold_progress.take() {
            self.send_progress(progress);
        }
        if let Some(token) = self.untold.take() {
            self.send(Event::Token(token));
        }
    }

    fn finish(&mut self, end: End, now: Duration) {
        let Some(mut stop) = self.stop.take() else { return };
        self.catch_up();
        self.permit = None;
        self.settle(&end, now);
        let last = stop.push(self.detokenizer.finish());
        let (mut tail, matched) = (last.text.to_owned(), last.matched);
        if matched.is_none() {
            tail += &stop.finish();
        }
        let End { finish_reason, reason, overdue } = end;
        let summary = Summary {
            tail,
            finish_reason,
            stop_idx: matched,
            reason,
            overdue,
            degraded: std::mem::take(&mut self.reader.degraded),
            engine: self.around.engine,
            usage: self.usage(),
            timings: self.timings(now),
        };
        self.emit(&events::RequestEnded {
            finish_reason,
            reason,
            prompt_tokens: summary.usage.prompt_tokens,
            completion_tokens: summary.usage.completion_tokens,
            cached_tokens: summary.usage.cached_tokens,
            total: summary.timings.total,
        });
        self.send(Event::Done(summary));
    }
}

/// Why there is no next token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    #[error(transparent)]
    Grammar(#[from] MatchError),
    /// Each token that the grammar allows is impossible for the model, or was made so by a bias.
    #[error("no token that the grammar allows is possible")]
    AllowedAreImpossible,
}

/// Whether a reason speaks of what was asked for and not of the engine.
pub(crate) fn is_of_constraint(reason: ReasonCode) -> bool {
    matches!(reason, ReasonCode::ConstraintFailed | ReasonCode::ConstraintTooComplex)
}

impl Sequence {
    fn fail(&mut self, error: &NoToken, now: Duration) {
        let reason = match error {
            NoToken::Sampling(_) => ReasonCode::EngineFailed,
            NoToken::Grammar(error) => error.reason(),
            NoToken::AllowedAreImpossible => ReasonCode::ConstraintFailed,
        };
        tracing::error!(%error, %reason, "there is no next token");
        self.finish(End::error(reason), now);
    }
}

#[cfg(test)]
mod tests;

/// What the simulation audits.
#[cfg(test)]
impl Sequence {
    pub(crate) fn correlation(&self) -> &CorrelationId {
        &self.correlation
    }

    /// Whether the mask for its next token is there already.
    pub(crate) fn has_mask(&self) -> bool {
        self.guide.is_prepared()
    }

    /// Whether it holds a place in the queue.
    pub(crate) fn is_queued(&self) -> bool {
        self.permit.is_some()
    }

    /// Whether it holds the place of a breaker's probe.
    pub(crate) fn is_probe(&self) -> bool {
        self.reader.pass.as_ref().is_some_and(PassGuard::is_probe)
    }
}
