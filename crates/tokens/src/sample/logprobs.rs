//! Log probabilities of the model's own distribution.

use super::candidates::{Scratch, collect_top_k};
use super::weights::Row;
use ballast_backend::TokenId;

/// Logarithm of the sum of the exponentials of the logits, the number that turns a logit into a log probability, within
/// [`SUM_ERROR`](super::weights::SUM_ERROR). The row's temperature is 1. `None` if every logit is negative infinity.
pub(super) fn log_sum_exp(row: Row<'_>, scratch: &mut Scratch) -> Option<f64> {
    let highest = row.survey.highest();
    let total = (highest > f32::NEG_INFINITY).then(|| row.approximate_sums(&mut scratch.sums))?;
    Some(f64::from(highest) + total.ln())
}

/// A logit as a log probability.
#[expect(clippy::cast_possible_truncation, reason = "log probabilities are reported as f32")]
pub(super) fn logprob(logit: f32, log_sum: f64) -> f32 {
    (f64::from(logit) - log_sum) as f32
}

/// The `n` most likely tokens with their log probabilities, the most likely first.
pub(super) fn top(row: Row<'_>, n: usize, log_sum: f64, scratch: &mut Scratch) -> Vec<(TokenId, f32)> {
    collect_top_k(row.logits, row.survey, n, scratch);
    scratch.pool.iter().map(|c| (TokenId(c.id), logprob(c.logit, log_sum))).collect()
}
