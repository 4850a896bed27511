//! What is asked for and what comes back.

use ballast_backend::{ReasonCode, TokenId};
use ballast_tokens::SamplingParams;
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
    /// Go on after end-of-generation tokens.
    pub ignore_eos: bool,
    /// Give control tokens of the answer as text.
    pub show_special: bool,
    /// Time from submission until the request is ended with `CANCELLED_BY_TIMEOUT`.
    pub deadline: Option<Duration>,
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
            show_special: false,
            deadline: None,
        }
    }
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// The token.
    pub token: TokenId,
    /// Text that may be shown now. Empty while a character is incomplete or text may still become a stop string.
    pub text: String,
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
    /// Prompt tokens per second between the end of the queue and the first token.
    #[must_use]
    pub fn prefill_tokens_per_second(&self, usage: Usage) -> Option<f64> {
        let time = self.time_to_first_token?.saturating_sub(self.queue);
        rate(usage.prompt_tokens, time)
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
    /// The reason code, where the finish reason has one.
    pub reason: Option<ReasonCode>,
    /// Tokens counted.
    pub usage: Usage,
    /// Time counted.
    pub timings: Timings,
}
