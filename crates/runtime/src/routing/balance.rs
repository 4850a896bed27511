//! Choices among targets that are up. Integer arithmetic only, so that every machine chooses the same.

use super::TargetStats;
use crate::breaker::Outcome;
use crate::retry::mix;
use std::time::Duration;

/// What a failure counts as where nothing was measured: a target that fails at once must not look fast.
const FAILED_LATENCY_MIN: Duration = Duration::from_secs(1);

/// The longest average; one that failed for an hour must still be able to come back.
const LATENCY_MAX: Duration = Duration::from_secs(10);

/// The target whose part of `0..sum` the hash falls into. If that one is down, its keys are spread over the others, and
/// the others' keys stay where they are.
pub(super) fn by_weight(targets: &[TargetStats], weights: &[u32], hash: u64) -> Option<usize> {
    let first = draw(weights, hash, |_| true)?;
    if targets[first].is_up() { Some(first) } else { draw(weights, mix(hash, 1), |idx| targets[idx].is_up()) }
}

/// The target with the highest score for this key (Thaler and Ravishankar: "Using name-based mappings to increase hit
/// rates", 1998): when one goes, only its own keys move.
pub(super) fn by_rendezvous(targets: &[TargetStats], hash: u64) -> Option<usize> {
    let up = (0..targets.len()).filter(|&idx| targets[idx].is_up());
    up.max_by_key(|&idx| mix(hash, u64::from(targets[idx].target.0)))
}

/// Draws two targets by weight and takes the one with less work (Mitzenmacher: "The power of two choices in randomized
/// load balancing", 2001). Equal work leaves the first, so that idle targets get their weights' shares; a slow one is
/// still drawn against itself, so that it can show that it has recovered.
pub(super) fn less_loaded_of_two(targets: &[TargetStats], weights: &[u32], hash: u64) -> Option<usize> {
    let is_up = |idx: usize| targets[idx].is_up();
    let (a, b) = (draw(weights, hash, is_up)?, draw(weights, mix(hash, 1), is_up)?);
    Some(if work(&targets[b]) < work(&targets[a]) { b } else { a })
}

/// The moving average after one more outcome.
pub(super) fn average(old: Option<Duration>, outcome: Outcome) -> Duration {
    let sample = match outcome {
        Outcome::Success { latency } => latency,
        Outcome::Failed(_) | Outcome::TimedOut => {
            old.map_or(FAILED_LATENCY_MIN, |old| old.saturating_mul(10).max(FAILED_LATENCY_MIN))
        }
    };
    let next = old.map_or(sample, |old| (old.saturating_mul(9).saturating_add(sample)) / 10);
    next.min(LATENCY_MAX)
}

/// Time until one more request would be answered, as far as is known. Unknown latency counts as none: it is found out
/// by asking.
fn work(stats: &TargetStats) -> u128 {
    let latency = stats.latency.map_or(1, |latency| latency.as_nanos().max(1));
    u128::from(stats.outstanding + 1) * latency
}

/// The target among those `allowed` whose part of their weights `hash` falls into.
fn draw(weights: &[u32], hash: u64, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let of = |idx: usize| if allowed(idx) { u64::from(weights[idx]) } else { 0 };
    let sum: u64 = (0..weights.len()).map(of).sum();
    let mut left = scale(hash, sum);
    (0..weights.len()).find(|&idx| {
        let is_here = left < of(idx);
        left = left.saturating_sub(of(idx));
        is_here
    })
}

/// A number below `bound`, proportional to `hash`; 0 if `bound` is.
pub(super) fn scale(hash: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(hash) * u128::from(bound)) >> 64).unwrap_or(0)
}
