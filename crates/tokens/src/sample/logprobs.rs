//! Log probabilities of the model's own distribution.

use super::candidates::{Candidate, collect_top_k};
use ballast_backend::TokenId;

/// Logarithm of the sum of the exponentials of the logits, the number that turns a logit into a log probability.
/// `None` if every logit is negative infinity.
pub(super) fn log_sum_exp(logits: &[f32]) -> Option<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest == f32::NEG_INFINITY {
        return None;
    }
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - highest).exp())).sum();
    Some(f64::from(highest) + sum.ln())
}

/// A logit as a log probability.
#[expect(clippy::cast_possible_truncation, reason = "log probabilities are reported as f32")]
pub(super) fn logprob(logit: f32, log_sum: f64) -> f32 {
    (f64::from(logit) - log_sum) as f32
}

/// The `n` most likely tokens with their log probabilities, the most likely first.
pub(super) fn top(logits: &[f32], n: usize, log_sum: f64, scratch: &mut Vec<Candidate>) -> Vec<(TokenId, f32)> {
    collect_top_k(logits, None, n, scratch);
    scratch.iter().map(|c| (TokenId(c.id), logprob(c.logit, log_sum))).collect()
}
