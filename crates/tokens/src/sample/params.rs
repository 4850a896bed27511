//! The parameters of sampling, their defaults and their ranges.

use super::SamplingError;
use ballast_backend::TokenId;

/// Highest temperature. Far beyond use; it keeps a typing error from passing as a wish.
pub const TEMPERATURE_MAX: f32 = 100.0;
/// Most entries of a logit bias.
pub const LOGIT_BIAS_ENTRIES_MAX: usize = 1024;
/// Most alternatives whose log probabilities are reported with each token.
pub const LOGPROBS_MAX: usize = 20;
/// Tokens the penalties look back over, unless told otherwise: long enough to see a loop of a few sentences, short
/// enough that common words of a long text are not driven out of it.
pub const PENALTY_WINDOW_DEFAULT: usize = 256;
/// Longest window of the penalties.
pub const PENALTY_WINDOW_MAX: usize = 1 << 20;

/// How a sequence's tokens are chosen. The default is the model's own distribution: temperature 1 and every filter,
/// penalty and bias off.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits: 0 takes the most likely token (greedy), 1 leaves the distribution as it is.
    /// From 0 to [`TEMPERATURE_MAX`].
    pub temperature: f32,
    /// Keeps the k most likely tokens; 0 is off.
    pub top_k: usize,
    /// Keeps the fewest most likely tokens whose probabilities reach this sum, at least one; 1 is off.
    pub top_p: f32,
    /// Keeps tokens at least this many times as likely as the most likely one; 0 is off, 1 keeps that one and its
    /// equals.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in the window. From 0.1 to 10; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once for every time it is in the window. From -2 to 2; 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted from the logit of every token that is in the window. From -2 to 2; 0 is off.
    pub presence_penalty: f32,
    /// How many of the last tokens, prompt and output, the penalties look at; 0 turns all three off.
    /// At most [`PENALTY_WINDOW_MAX`].
    pub penalty_window: usize,
    /// Added to the logits of single tokens before anything else. Finite, or negative infinity, which forbids the
    /// token; entries for the same token add up. At most [`LOGIT_BIAS_ENTRIES_MAX`].
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Seed of the draws; the one the sampler is made with where this is not given.
    pub seed: Option<u64>,
    /// Asks for log probabilities: of the chosen token and of this many most likely ones, at most [`LOGPROBS_MAX`].
    pub n_logprobs: Option<usize>,
    /// Whose log probabilities they are.
    pub logprobs_of: LogprobsOf,
}

/// A distribution that log probabilities are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogprobsOf {
    /// The model's own, before bias, penalties, mask, filters and temperature.
    #[default]
    Model,
    /// The one that the token is drawn from, after all of them: only tokens that can be drawn are in it.
    Draw,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: PENALTY_WINDOW_DEFAULT,
            logit_bias: Vec::new(),
            seed: None,
            n_logprobs: None,
            logprobs_of: LogprobsOf::Model,
        }
    }
}

impl SamplingParams {
    /// Parameters that always take the most likely token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether the most likely token is taken, without a draw.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether any penalty can change a logit.
    pub(super) fn has_penalties(&self) -> bool {
        let off = self.repetition_penalty == 1.0 && self.frequency_penalty == 0.0 && self.presence_penalty == 0.0;
        self.penalty_window > 0 && !off
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// The first field that is out of range, with what was expected and what was given.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let ranges = [
            ("temperature", self.temperature, 0.0..=TEMPERATURE_MAX, "a number from 0 to 100"),
            ("top_p", self.top_p, 0.0..=1.0, "a number from 0 to 1"),
            ("min_p", self.min_p, 0.0..=1.0, "a number from 0 to 1"),
            ("repetition_penalty", self.repetition_penalty, 0.1..=10.0, "a number from 0.1 to 10"),
            ("frequency_penalty", self.frequency_penalty, -2.0..=2.0, "a number from -2 to 2"),
            ("presence_penalty", self.presence_penalty, -2.0..=2.0, "a number from -2 to 2"),
        ];
        for (field, got, range, expected) in ranges {
            if !range.contains(&got) {
                return Err(SamplingError::OutOfRange { field, expected, got: f64::from(got) });
            }
        }
        let counts = [
            ("penalty_window", self.penalty_window, PENALTY_WINDOW_MAX),
            ("logit_bias", self.logit_bias.len(), LOGIT_BIAS_ENTRIES_MAX),
            ("n_logprobs", self.n_logprobs.unwrap_or(0), LOGPROBS_MAX),
        ];
        for (field, got, max) in counts {
            if got > max {
                return Err(SamplingError::TooMany { field, max, got });
            }
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some((_, bias)) => Err(SamplingError::OutOfRange {
                field: "logit_bias",
                expected: "a finite number or negative infinity",
                got: f64::from(*bias),
            }),
            None => Ok(()),
        }
    }
}
