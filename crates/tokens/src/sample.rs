//! Sampling: from a row of logits to the next token of a sequence.
//!
//! One [`Sampler`] belongs to one sequence. A token is chosen in this order:
//!
//! 1. logit bias,
//! 2. penalties (repetition, then frequency and presence) over a window of the last tokens,
//! 3. the constraint mask, if there is one,
//! 4. temperature, or the arg max where the temperature is 0,
//! 5. top-k, then top-p, then min-p on the softmax of what is left,
//! 6. one draw, which depends on the seed and on the position of the token in the output only.
//!
//! It knows nothing of text: stop strings are [`crate::StopMatcher`]'s, detokenizing is the tokenizer's.

mod candidates;
mod error;
mod logprobs;
mod mask;
mod params;
mod penalties;
mod rng;
mod sampler;
mod survey;
#[cfg(test)]
mod tests;
mod weights;

pub use error::SamplingError;
pub use mask::TokenMask;
pub use params::{
    LOGIT_BIAS_ENTRIES_MAX, LOGPROBS_MAX, LogprobsOf, PENALTY_WINDOW_DEFAULT, PENALTY_WINDOW_MAX, SamplingParams,
    TEMPERATURE_MAX,
};
pub use sampler::{Sampled, Sampler};
