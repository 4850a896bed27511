//! The tokens still in the running: filters that narrow them and the draw that picks one.
//!
//! The order is by logit, highest first, lower id first among equals. Every filter keeps a prefix of that order, but
//! none sorts the whole vocabulary.

use super::{SamplingParams, TokenMask};
use std::cmp::Ordering;

/// How many candidates top-p sorts at first; it goes on in blocks that grow by [`BLOCK_GROWTH`].
const FIRST_BLOCK_LEN: usize = 64;
const BLOCK_GROWTH: usize = 4;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) logit: f32,
    /// Probability relative to the most likely candidate; set by [`weigh`].
    pub(super) weight: f32,
    pub(super) id: u32,
}

/// Highest logit first, lower id first among equals.
fn order(a: &Candidate, b: &Candidate) -> Ordering {
    // Logits are checked not to be NaN before they become candidates.
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Calls `visit` with every token that is allowed and possible, by ascending id.
fn for_each(logits: &[f32], allowed: Option<&TokenMask>, mut visit: impl FnMut(u32, f32)) {
    let mut visit_possible = |idx: usize| {
        if logits[idx] > f32::NEG_INFINITY {
            visit(u32::try_from(idx).expect("the vocabulary size was checked to fit"), logits[idx]);
        }
    };
    match allowed {
        Some(mask) => mask.indices().for_each(visit_possible),
        None => (0..logits.len()).for_each(&mut visit_possible),
    }
}

/// The most likely token, the lowest id among equals.
pub(super) fn arg_max(logits: &[f32], allowed: Option<&TokenMask>) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for_each(logits, allowed, |id, logit| {
        if best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((id, logit));
        }
    });
    best.map(|(id, _)| id)
}

/// Fills `pool` with the candidates that the filters leave, weighed.
pub(super) fn narrow(logits: &[f32], allowed: Option<&TokenMask>, params: &SamplingParams, pool: &mut Vec<Candidate>) {
    if params.top_k == 0 || params.top_k >= logits.len() {
        collect_all(logits, allowed, pool);
    } else {
        collect_top_k(logits, allowed, params.top_k, pool);
    }
    weigh(pool, params.temperature);
    if params.top_p < 1.0 {
        keep_top_p(pool, params.top_p);
    }
    if params.min_p > 0.0 {
        keep_min_p(pool, params.min_p);
    }
}

/// Fills `out` with every candidate, by ascending id.
fn collect_all(logits: &[f32], allowed: Option<&TokenMask>, out: &mut Vec<Candidate>) {
    out.clear();
    for_each(logits, allowed, |id, logit| out.push(Candidate { logit, weight: 0.0, id }));
}

/// Fills `out` with the `k` first candidates, in order. One pass; `out` never holds more than `2 * k`.
pub(super) fn collect_top_k(logits: &[f32], allowed: Option<&TokenMask>, k: usize, out: &mut Vec<Candidate>) {
    out.clear();
    if k == 0 {
        return;
    }
    // Ids ascend, so a later candidate that only equals the k-th comes after it in order.
    let mut bar = f32::NEG_INFINITY;
    for_each(logits, allowed, |id, logit| {
        if logit <= bar {
            return;
        }
        out.push(Candidate { logit, weight: 0.0, id });
        if out.len() == 2 * k {
            bar = keep_first(out, k);
        }
    });
    if out.len() > k {
        keep_first(out, k);
    }
    out.sort_unstable_by(order);
}

/// Keeps the `k` first candidates, unsorted, and returns the logit of the last of them.
fn keep_first(out: &mut Vec<Candidate>, k: usize) -> f32 {
    let (_, kth, _) = out.select_nth_unstable_by(k - 1, order);
    let bar = kth.logit;
    out.truncate(k);
    bar
}

/// Sets the weights: the softmax at `temperature`, relative to the most likely candidate, which weighs 1.
fn weigh(candidates: &mut [Candidate], temperature: f32) {
    let highest = candidates.iter().fold(f32::NEG_INFINITY, |highest, c| highest.max(c.logit));
    for candidate in candidates {
        candidate.weight = ((candidate.logit - highest) / temperature).exp();
    }
}

fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.weight)).sum()
}

/// Keeps the fewest first candidates whose probabilities reach `top_p`, at least one, in order.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f32) {
    let target = total_weight(candidates) * f64::from(top_p);
    let (mut mass, mut n_sorted, mut block_len) = (0.0, 0, FIRST_BLOCK_LEN);
    while n_sorted < candidates.len() {
        let rest = &mut candidates[n_sorted..];
        let n = block_len.min(rest.len());
        if n < rest.len() {
            rest.select_nth_unstable_by(n - 1, order);
        }
        rest[..n].sort_unstable_by(order);
        for (idx, candidate) in rest[..n].iter().enumerate() {
            mass += f64::from(candidate.weight);
            if mass >= target {
                candidates.truncate(n_sorted + idx + 1);
                return;
            }
        }
        n_sorted += n;
        block_len *= BLOCK_GROWTH;
    }
}

/// Keeps candidates at least `min_p` times as likely as the most likely one.
fn keep_min_p(candidates: &mut Vec<Candidate>, min_p: f32) {
    candidates.retain(|c| c.weight >= min_p);
}

/// The candidate on which `uniform`, from [0, 1), falls.
pub(super) fn draw(candidates: &[Candidate], uniform: f64) -> Option<u32> {
    let target = uniform * total_weight(candidates);
    let mut mass = 0.0;
    for candidate in candidates {
        mass += f64::from(candidate.weight);
        if target < mass {
            return Some(candidate.id);
        }
    }
    // Rounding can leave the target at the very end of the mass.
    candidates.iter().rev().find(|c| c.weight > 0.0).map(|c| c.id)
}
