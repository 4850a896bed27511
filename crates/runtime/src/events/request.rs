//! The steps of a request's life.

use crate::FinishReason;
use crate::telemetry::{DegradeReason, Event, Fields, Level, Metrics, Span, StopReason, Timing};
use ballast_backend::{ErrorKind, ReasonCode};
use std::time::Duration;

/// A request got a place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct RequestAdmitted;

impl Event for RequestAdmitted {
    const NAME: &'static str = "request_admitted";
    const MESSAGE: &'static str = "a request was admitted";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.admitted.add(1);
    }
}

/// A request was refused.
#[derive(Clone, Copy, Debug)]
pub struct RequestRefused {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// The reason code, where there is one.
    pub reason: Option<ReasonCode>,
}

impl Event for RequestRefused {
    const NAME: &'static str = "request_refused";
    const MESSAGE: &'static str = "a request was refused";

    fn level(&self) -> Level {
        Level::Warn
    }

    fn count(&self, metrics: &Metrics) {
        metrics.refusals.add(self.kind, self.reason);
    }

    fn fields(&self) -> Fields {
        let reason = self.reason.map(ReasonCode::as_str);
        Fields::of([("kind", kind_word(self.kind).into()), ("reason", reason.into())])
    }
}

/// The kind of an error as a word.
pub(crate) fn kind_word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Denied => "denied",
        ErrorKind::Overloaded => "overloaded",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Internal => "internal",
    }
}

/// The first step that runs tokens of a request begins.
#[derive(Clone, Copy, Debug)]
pub struct RequestStarted {
    /// Time since submission.
    pub queue_time: Duration,
}

impl Event for RequestStarted {
    const NAME: &'static str = "request_started";
    const MESSAGE: &'static str = "a request left the queue";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.started.add(1);
        metrics.record(Timing::Queue, self.queue_time);
    }

    fn fields(&self) -> Fields {
        Fields::of([("queue_ms", self.queue_time.into())])
    }

    fn span(&self) -> Option<Span> {
        Span::new("queue", self.queue_time)
    }
}

/// The first token of an answer was generated.
#[derive(Clone, Copy, Debug)]
pub struct FirstToken {
    /// Time since submission.
    pub ttft: Duration,
}

impl Event for FirstToken {
    const NAME: &'static str = "first_token";
    const MESSAGE: &'static str = "the first token was generated";

    fn level(&self) -> Level {
        Level::Debug
    }

    fn count(&self, metrics: &Metrics) {
        metrics.record(Timing::TimeToFirstToken, self.ttft);
    }

    fn fields(&self) -> Fields {
        Fields::of([("ttft_ms", self.ttft.into())])
    }

    fn span(&self) -> Option<Span> {
        Span::new("time_to_first_token", self.ttft)
    }
}

/// A token was generated, the first too: that one's comes behind its [`FirstToken`].
#[derive(Clone, Copy, Debug)]
pub struct TokenGenerated {
    /// Time since the token before, or since its sequence went on where that had to wait for its reader; `None` for the
    /// first.
    pub since_last: Option<Duration>,
}

impl Event for TokenGenerated {
    const NAME: &'static str = "token_generated";
    const MESSAGE: &'static str = "a token was generated";

    fn level(&self) -> Level {
        Level::Trace
    }

    fn count(&self, metrics: &Metrics) {
        metrics.generated_tokens.add(1);
        if let Some(time) = self.since_last {
            metrics.record(Timing::InterToken, time);
        }
    }

    fn fields(&self) -> Fields {
        Fields::of([("since_last_ms", self.since_last.into())])
    }
}

/// A request that was admitted ended. Each has exactly one.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnded {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The reason code, where there is one.
    pub reason: Option<ReasonCode>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Tokens of the prompt that were not computed, because their keys and values were cached.
    pub cached_tokens: usize,
    /// Time since submission.
    pub total: Duration,
}

impl Event for RequestEnded {
    const NAME: &'static str = "request_ended";
    const MESSAGE: &'static str = "a request ended";

    fn level(&self) -> Level {
        match self.finish_reason {
            FinishReason::Stop | FinishReason::Length | FinishReason::Cancelled => Level::Info,
            FinishReason::Error => Level::Error,
        }
    }

    fn count(&self, metrics: &Metrics) {
        metrics.ends.add(self.finish_reason, self.reason);
        metrics.prompt_tokens.add(self.prompt_tokens as u64);
        metrics.completion_tokens.add(self.completion_tokens as u64);
        metrics.cached_tokens.add(self.cached_tokens as u64);
        metrics.request_tokens.set((self.prompt_tokens + self.completion_tokens) as u64);
        metrics.record(Timing::Request, self.total);
    }

    fn fields(&self) -> Fields {
        let stop_code = StopReason::of(self.finish_reason, self.reason).code();
        Fields::of([
            ("finish_reason", self.finish_reason.as_str().into()),
            ("reason", self.reason.map(ReasonCode::as_str).into()),
            ("stop_code", u32::from(stop_code).into()),
            ("prompt_tokens", self.prompt_tokens.into()),
            ("completion_tokens", self.completion_tokens.into()),
            ("cached_tokens", self.cached_tokens.into()),
            ("total_ms", self.total.into()),
        ])
    }

    fn span(&self) -> Option<Span> {
        Span::new("request", self.total)
    }
}

/// A request is run again because an engine failed under it.
#[derive(Clone, Copy, Debug)]
pub struct Retried;

impl Event for Retried {
    const NAME: &'static str = "retried";
    const MESSAGE: &'static str = "a request is run again";

    fn level(&self) -> Level {
        Level::Warn
    }

    fn count(&self, metrics: &Metrics) {
        metrics.retries.add(1);
    }
}

/// A request is served, but not as well as it might be.
#[derive(Clone, Copy, Debug)]
pub struct Degraded {
    /// In what way.
    pub reason: ReasonCode,
}

impl Event for Degraded {
    const NAME: &'static str = "degraded";
    const MESSAGE: &'static str = "an answer is degraded";

    fn level(&self) -> Level {
        Level::Warn
    }

    fn count(&self, metrics: &Metrics) {
        metrics.degraded.add(self.reason);
    }

    fn fields(&self) -> Fields {
        let code = DegradeReason::of(self.reason).map(|reason| u32::from(reason.code()));
        Fields::of([("reason", self.reason.as_str().into()), ("degrade_code", code.into())])
    }
}

/// How many requests wait and run now.
#[derive(Clone, Copy, Debug)]
pub struct QueueDepth {
    /// Admitted, and not yet run.
    pub n_waiting: usize,
    /// In the batch.
    pub n_running: usize,
}

impl Event for QueueDepth {
    const NAME: &'static str = "queue_depth";
    const MESSAGE: &'static str = "the queue was looked at";

    fn level(&self) -> Level {
        Level::Trace
    }

    fn count(&self, metrics: &Metrics) {
        metrics.waiting.set(self.n_waiting as u64);
        metrics.running.set(self.n_running as u64);
    }

    fn fields(&self) -> Fields {
        Fields::of([("n_waiting", self.n_waiting.into()), ("n_running", self.n_running.into())])
    }
}
