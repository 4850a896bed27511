//! A request from its reader's side: what may come, and what has.

use super::scenario::{Asked, Habit};
use super::story::{END, Story};
use super::woken::Woken;
use crate::conductor::FAILURES_OF_ONE_MAX;
use crate::{
    Canceller, Deadlines, Event, FinishReason, Phase, PrefixCache, Summary, TenantId, TokenEvent, TokenStream,
};
use ballast_backend::ReasonCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How late an end may come: readers and deadlines are looked at this often.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// A request that was taken.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) who: usize,
    pub(super) story: Story,
    /// Whose content it may find: its tenant's, everybody's, its own.
    pub(super) tag: u64,
    pub(super) habit: Habit,
    pub(super) is_poison: bool,
    pub(super) tenant: TenantId,
    pub(super) n_prompt: usize,
    pub(super) n_read: usize,
    pub(super) submitted_at: Duration,
    /// When its reader cancelled or left.
    pub(super) ended_by_reader_at: Option<Duration>,
    /// When it stopped reading.
    pub(super) stalled_at: Option<Duration>,
    pub(super) stream: Option<TokenStream>,
    pub(super) canceller: Canceller,
    pub(super) waker: Waker,
    /// Engines that failed under it, by engine of the chain.
    pub(super) n_faults: [u32; super::scenario::CHAIN_MAX],
    /// The same since its last token.
    pub(super) n_faults_in_a_row: [u32; super::scenario::CHAIN_MAX],
    /// An engine refused it when it ran alone.
    pub(super) is_refused: bool,
    deadlines: Deadlines,
    max_tokens: Option<usize>,
    ignore_eos: bool,
    prefix_cache: PrefixCache,
    last_token: Option<ballast_backend::TokenId>,
    last_token_at: Duration,
}

/// What the world around a request has done to it, as far as its end depends on that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    /// The engine that ended it.
    pub(super) engine_idx: usize,
    pub(super) context_len: usize,
    pub(super) attempts_max: u32,
    /// The engine is lost and cannot be replaced.
    pub(super) is_lost: bool,
    pub(super) is_draining: bool,
    pub(super) slow_reader_max: Duration,
    pub(super) queue_bound: Option<Duration>,
    /// How late the end of a phase may be.
    pub(super) tick: Duration,
}

impl Life {
    pub(super) fn new(who: usize, asked: &Asked, cap: Option<usize>, now: Duration, woken: &Arc<Woken>) -> Self {
        let request = &asked.request;
        let tenant = 1 + u64::from(request.tenant.as_str().as_bytes()[0]);
        let tag = match request.prefix_cache {
            PrefixCache::Tenant => tenant,
            PrefixCache::Shared => 1000,
            PrefixCache::Off => 1_000_000 + who as u64,
            PrefixCache::Part(part) => 2_000_000 + 1_000 * tenant + part,
        };
        Self {
            who,
            story: Story::new(&request.prompt),
            tag,
            habit: asked.habit,
            is_poison: asked.is_poison,
            tenant: request.tenant.clone(),
            n_prompt: request.prompt.len(),
            n_read: 0,
            submitted_at: now,
            ended_by_reader_at: None,
            stalled_at: None,
            stream: None,
            canceller: Canceller::default(),
            waker: woken.waker(who),
            n_faults: [0; super::scenario::CHAIN_MAX],
            n_faults_in_a_row: [0; super::scenario::CHAIN_MAX],
            is_refused: false,
            deadlines: request.deadlines,
            max_tokens: [request.max_tokens, cap].into_iter().flatten().min(),
            ignore_eos: request.ignore_eos,
            prefix_cache: request.prefix_cache,
            last_token: None,
            last_token_at: now,
        }
    }

    /// What its stream says next, if it says anything now.
    pub(super) fn poll(&mut self) -> Option<Event> {
        let mut context = Context::from_waker(&self.waker);
        match self.stream.as_mut()?.poll_recv(&mut context) {
            Poll::Pending => None,
            Poll::Ready(event) => Some(event.expect("a stream ends with its summary")),
        }
    }

    /// A token must be the next of the story, and nothing else.
    pub(super) fn check_token(&mut self, event: &TokenEvent, now: Duration) {
        let who = self.who;
        let (tokens, _) = self.story.until(self.n_prompt + self.n_read + 1);
        let expected = tokens[self.n_prompt + self.n_read];
        assert_eq!(event.token, expected, "request {who}: token {} is not the next", self.n_read);
        if expected != END {
            let letter = char::from(u8::try_from(expected.0).expect("letters are bytes"));
            assert!(event.text.chars().eq([letter]), "request {who}: the text is not the token's");
        }
        (self.n_read, self.last_token, self.last_token_at) = (self.n_read + 1, Some(expected), now);
    }

    /// The end must be one that this request may have.
    pub(super) fn check_end(&self, summary: &Summary, around: &Around) {
        let who = self.who;
        let told = (summary.finish_reason, summary.reason);
        let context = format!("request {who} ended with {told:?}, {:?}", summary.overdue);
        assert_eq!(summary.usage.completion_tokens, self.n_read, "{context}: tokens are miscounted");
        assert_eq!(summary.usage.prompt_tokens, self.n_prompt, "{context}: the prompt is miscounted");
        assert!(summary.usage.cached_tokens < self.n_prompt, "{context}: nothing was left to compute");
        assert!(summary.usage.cached_tokens == 0 || self.prefix_cache != PrefixCache::Off, "{context}: cached");
        assert_eq!(
            summary.degraded.contains(&ReasonCode::FallbackEngaged),
            around.engine_idx > 0,
            "{context}: the fallback is told wrong"
        );
        let n_faults = self.n_faults[around.engine_idx];
        let n_in_a_row = self.n_faults_in_a_row[around.engine_idx];
        assert!(n_in_a_row <= around.attempts_max + 1, "{context}: engines failed {n_in_a_row} times in a row");
        assert!(n_faults <= FAILURES_OF_ONE_MAX + 1, "{context}: engines failed {n_faults} times under it");
        // In a row as the owner counts them: a step that it did not hear of in time was no progress to it.
        let is_hopeless = n_faults > around.attempts_max;
        self.check_times(summary, around, &context);
        let room = around.context_len - self.n_prompt;
        let n_max = self.max_tokens.map_or(room, |max| max.min(room));
        assert!(self.n_read <= n_max, "{context}: {} tokens of {n_max}", self.n_read);
        let is_stopped = self.last_token == Some(END) && !self.ignore_eos;
        match told {
            (FinishReason::Stop, None) => assert!(is_stopped, "{context}: nothing stopped it"),
            (FinishReason::Length, None) => assert!(self.n_read == n_max && !is_stopped, "{context}: too early"),
            (FinishReason::Cancelled, Some(reason)) => self.check_cancelled(reason, summary, around, &context),
            (FinishReason::Error, Some(ReasonCode::EngineFailed)) => {
                assert!(is_hopeless || self.is_refused, "{context}: {n_faults} faults");
            }
            (FinishReason::Error, Some(ReasonCode::EngineCrashed | ReasonCode::EngineStalled)) => {
                assert!(is_hopeless || around.is_lost, "{context}: {n_faults} faults");
            }
            (finish_reason, reason) => panic!("request {who} ended with {finish_reason:?} and {reason:?}"),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is, it is wrong")]
    fn check_cancelled(&self, reason: ReasonCode, summary: &Summary, around: &Around, context: &str) {
        assert_eq!(summary.overdue.is_some(), reason == ReasonCode::CancelledByTimeout, "{context}: overdue");
        match reason {
            ReasonCode::CancelledByCaller => assert!(self.ended_by_reader_at.is_some(), "{context}: by nobody"),
            ReasonCode::CancelledByTimeout => {
                let since_token = (self.submitted_at + summary.timings.total).saturating_sub(self.last_token_at);
                let (bound, took) = match summary.overdue {
                    Some(Phase::Queue) => (self.deadlines.queue, summary.timings.total),
                    Some(Phase::FirstToken) => (self.deadlines.first_token, summary.timings.total),
                    Some(Phase::InterToken) => (self.deadlines.inter_token, since_token),
                    Some(Phase::Total) => (self.deadlines.total, summary.timings.total),
                    None => (None, Duration::ZERO),
                };
                let bound = bound.unwrap_or_else(|| panic!("{context}: it had no such deadline"));
                let is_late = self.habit != Habit::Prompt || self.stalled_at.is_some();
                let may_be_read_late = is_late && summary.overdue == Some(Phase::InterToken);
                assert!(may_be_read_late || took >= bound, "{context}: {took:?} of {bound:?}");
            }
            ReasonCode::BackpressureBufferFull => {
                let is_behind = matches!(self.habit, Habit::Slow(_)) || self.stalled_at.is_some();
                assert!(is_behind, "{context}: it was not behind");
                let ended_at = self.submitted_at + summary.timings.total;
                let is_early = self.stalled_at.is_some_and(|at| ended_at < at + around.slow_reader_max);
                assert!(!is_early, "{context}: cut too early");
            }
            ReasonCode::Draining => assert!(around.is_draining, "{context}: nothing is drained"),
            _ => panic!("{context}: that ends no request"),
        }
    }

    /// No phase may take longer than its deadline and a tick; what waits for a slow reader to ask again aside.
    fn check_times(&self, summary: &Summary, around: &Around, context: &str) {
        let timings = summary.timings;
        let is_prompt = matches!(self.habit, Habit::Prompt | Habit::CancelsAfter(_)) && self.stalled_at.is_none();
        if around.engine_idx > 0 && !is_prompt {
            return;
        }
        let within = |took: Duration, bound: Option<Duration>, phase: Phase| {
            let is_late = bound.is_some_and(|bound| took > bound + around.tick);
            assert!(!is_late, "{context}: {phase:?} took {took:?} of {bound:?}");
        };
        // What a later engine ran had its time in the queue before.
        let queue_deadline = self.deadlines.queue.filter(|_| around.engine_idx == 0);
        within(timings.queue, queue_deadline, Phase::Queue);
        within(timings.time_to_first_token.unwrap_or(timings.total), self.deadlines.first_token, Phase::FirstToken);
        within(timings.total, self.deadlines.total, Phase::Total);
        if is_prompt && self.n_read > 0 {
            let since_token = (self.submitted_at + timings.total).saturating_sub(self.last_token_at);
            within(since_token, self.deadlines.inter_token, Phase::InterToken);
        }
        within(timings.queue, around.queue_bound, Phase::Queue);
        if let (Some(ReasonCode::CancelledByCaller), Some(at)) = (summary.reason, self.ended_by_reader_at) {
            let took = (self.submitted_at + timings.total).saturating_sub(at);
            assert!(took <= around.tick, "{context}: {took:?} after it was cancelled");
        }
    }
}
