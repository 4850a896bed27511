//! What is asked for and what comes back.

use crate::{CorrelationId, TenantId};
use ballast_backend::{ReasonCode, TokenId};
use ballast_tokens::{Grammar, SamplingParams, ThinkingPlan};
use compact_str::CompactString;
use std::time::Duration;

/// One generation: a prompt in tokens and how to continue it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt, at least one token.
    pub prompt: Vec<TokenId>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Seed when `sampling` has none of its own.
    pub fallback_seed: u64,
    /// Text that ends the answer; it is not part of it.
    pub stop: Vec<String>,
    /// Most tokens to generate; `None`: until the context is full.
    pub max_tokens: Option<usize>,
    /// Go on after end-of-generation tokens, unless `constraint` has the answer end.
    pub ignore_eos: bool,
    /// What the answer must look like, compiled by [`crate::Runtime::compile`]; `None`: anything. Where it can go no
    /// further the answer ends with `Stop`. An answer that ends for another reason may be a part of what was asked for.
    pub constraint: Option<Grammar>,
    /// Thoughts before the answer, for which `constraint` does not hold; `None`: they are a part of it like any other.
    pub thinking: Option<ThinkingPlan>,
    /// Give control tokens of the answer as text.
    pub show_special: bool,
    /// Tell, between the tokens, how far it has come: [`crate::Event::Progress`].
    pub tells_progress: bool,
    /// How long each phase may take; past it the request is ended with `CANCELLED_BY_TIMEOUT`.
    pub deadlines: Deadlines,
    /// Who asks: queue time is shared fairly between tenants, and they do not see each other's cached prefixes.
    pub tenant: TenantId,
    /// How soon its turn comes.
    pub priority: Priority,
    /// Which cached keys and values it may use and leave.
    pub prefix_cache: PrefixCache,
    /// What the caller calls it in events and logs; `None`: a number.
    pub correlation: Option<CorrelationId>,
}

/// How soon a request's turn comes, -10 to 10: higher is sooner. Waiting raises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(i8);

impl Priority {
    /// Never before anything else, but for its age.
    pub const MIN: Self = Self(-10);
    /// Work that can wait.
    pub const LOW: Self = Self(-1);
    /// As most.
    pub const NORMAL: Self = Self(0);
    /// Somebody waits for it.
    pub const HIGH: Self = Self(1);
    /// Before everything else.
    pub const MAX: Self = Self(10);

    /// The priority of a level; `None` outside of -10 to 10.
    #[must_use]
    pub fn new(level: i8) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&level).then_some(Self(level))
    }

    /// Its level.
    #[must_use]
    pub fn level(self) -> i8 {
        self.0
    }
}

/// The longest each phase of a request may take; `None`: as long as it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// From submission until its first step.
    pub queue: Option<Duration>,
    /// From submission until its first token.
    pub first_token: Option<Duration>,
    /// From one token to the next, the time its reader makes it wait aside.
    pub inter_token: Option<Duration>,
    /// From submission until its end.
    pub total: Option<Duration>,
}

impl Deadlines {
    /// A bound of the whole request only.
    #[must_use]
    pub fn total(total: Duration) -> Self {
        Self { total: Some(total), ..Self::default() }
    }
}

/// The phase whose deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for the first step.
    Queue,
    /// Waiting for the first token.
    FirstToken,
    /// Waiting for the next token.
    InterToken,
    /// The request as a whole.
    Total,
}

impl Phase {
    /// The stable string form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::FirstToken => "first_token",
            Self::InterToken => "inter_token",
            Self::Total => "total",
        }
    }
}

/// Which cached keys and values a request may use, and who may use those it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PrefixCache {
    /// Those of its tenant.
    #[default]
    Tenant,
    /// Those of requests of its tenant that say the same number.
    Part(u64),
    /// Those of all requests that say `Shared`. How fast it is answered tells what others have asked.
    Shared,
    /// None: everything is computed for it alone, and nothing is left behind.
    Off,
}

impl Request {
    /// A request for `prompt` with default sampling, no stop strings and no bounds but the context's.
    #[must_use]
    pub fn new(prompt: Vec<TokenId>) -> Self {
        Self {
            prompt,
            sampling: SamplingParams::default(),
            fallback_seed: 0,
            stop: Vec::new(),
            max_tokens: None,
            ignore_eos: false,
            constraint: None,
            thinking: None,
            show_special: false,
            tells_progress: false,
            deadlines: Deadlines::default(),
            tenant: TenantId::default(),
            priority: Priority::NORMAL,
            prefix_cache: PrefixCache::Tenant,
            correlation: None,
        }
    }
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// The token.
    pub token: TokenId,
    /// Text that may be shown now. Empty while a character is incomplete or text may still become a stop string. As long
    /// as that of nearly every token, it lies in the event itself.
    pub text: CompactString,
    /// The token's logprob and the most likely alternatives, if the request asked for logprobs.
    pub logprob: Option<TokenLogprob>,
}

/// Natural logarithms of probabilities, from the model's own distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// Of the most likely tokens, best first.
    pub top: Vec<(TokenId, f32)>,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tokens of the prompt that have been read, those found computed included.
    pub read_tokens: usize,
    /// Tokens counted until now.
    pub usage: Usage,
    /// Time counted until now.
    pub timings: Timings,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The caller, a deadline or a shutdown ended it.
    Cancelled,
    /// The engine failed.
    Error,
}

impl FinishReason {
    /// The stable string form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }
}

/// Tokens counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose keys and values were found computed.
    pub cached_tokens: usize,
    /// Tokens generated, an end-of-generation token included.
    pub completion_tokens: usize,
}

/// Where the time went, measured from submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the first step that ran a token of the request.
    pub queue: Duration,
    /// Until the first token was generated; `None` if none was.
    pub time_to_first_token: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

impl Timings {
    /// Prompt tokens that were computed, per second, between the end of the queue and the first token.
    #[must_use]
    pub fn prefill_tokens_per_second(&self, usage: Usage) -> Option<f64> {
        let time = self.time_to_first_token?.saturating_sub(self.queue);
        rate(usage.prompt_tokens.saturating_sub(usage.cached_tokens), time)
    }

    /// Generated tokens per second after the first.
    #[must_use]
    pub fn decode_tokens_per_second(&self, usage: Usage) -> Option<f64> {
        let time = self.total.saturating_sub(self.time_to_first_token?);
        rate(usage.completion_tokens.saturating_sub(1), time)
    }
}

fn rate(n_tokens: usize, time: Duration) -> Option<f64> {
    (n_tokens > 0 && !time.is_zero()).then(|| n_tokens as f64 / time.as_secs_f64())
}

/// How a request ended. Each has exactly one.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Text that was held back and turned out to be part of the answer.
    pub tail: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Which of the request's stop strings ended it.
    pub stop_idx: Option<usize>,
    /// The reason code, where the finish reason has one.
    pub reason: Option<ReasonCode>,
    /// The phase whose deadline passed, if one did.
    pub overdue: Option<Phase>,
    /// What did not go as it should and was made good: `RETRIED`, `KV_EVICTED`, `FALLBACK_ENGAGED`.
    pub degraded: Vec<ReasonCode>,
    /// The engine of the chain that answered.
    pub engine: &'static str,
    /// Tokens counted.
    pub usage: Usage,
    /// Time counted.
    pub timings: Timings,
}
