//! The tokens still in the running: filters that narrow them and the draw that picks one.
//!
//! The order is by logit, highest first, lower id first among equals. Every filter keeps a prefix of that order, but
//! none sorts the whole vocabulary, and only tokens that may pass become candidates. Tokens are drawn in that order
//! where top-k or top-p is on, and by ascending id where neither is.

use super::SamplingParams;
use super::survey::{BLOCK_LEN, Survey};
use super::weights::{LEFT_OUT, Row, SUM_ERROR};
use ballast_backend::TokenId;
use std::cmp::Reverse;

/// In a stretch of this many candidates one is found by sorting them.
const SORTED_LEN: usize = 64;

/// Top-p first looks at tokens down to this far below the highest, in units of the temperature: those at least
/// exp(-4) as likely as the most likely one. Twice as far each time until their mass suffices.
const FIRST_DEPTH: f32 = 4.0;
/// From here on every token is looked at: weights below are 0.
const DEPTH_MAX: f32 = 104.0;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) logit: f32,
    /// Probability relative to the most likely candidate; set by [`weigh`].
    pub(super) weight: f32,
    pub(super) id: u32,
}

/// Memory that is kept between tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub(super) pool: Vec<Candidate>,
    /// The weight of each block.
    pub(super) sums: Vec<f64>,
    highs: Vec<f32>,
}

/// Highest logit first, lower id first among equals; both zeros are equal.
fn order(candidate: &Candidate) -> Reverse<u64> {
    let bits = (candidate.logit + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    Reverse(u64::from(ascending) << 32 | u64::from(!candidate.id))
}

fn id_of(idx: usize) -> u32 {
    u32::try_from(idx).expect("the vocabulary size was checked to fit")
}

/// The most likely token, the lowest id among equals.
pub(super) fn arg_max(logits: &[f32], survey: &Survey) -> Option<u32> {
    let highest = Some(survey.highest()).filter(|highest| *highest > f32::NEG_INFINITY)?;
    let start = survey.highs().iter().position(|high| *high == highest)? * BLOCK_LEN;
    let offset = logits[start..].iter().position(|logit| *logit == highest)?;
    Some(id_of(start + offset))
}

/// A token drawn as `params` say, which are not greedy, by `uniform` from [0, 1). `None` if no token is possible.
pub(super) fn choose(row: Row<'_>, params: &SamplingParams, uniform: f64, scratch: &mut Scratch) -> Option<u32> {
    if row.survey.highest() == f32::NEG_INFINITY {
        return None;
    }
    match filter_of(row, params) {
        Filter::TopP => {
            narrow(row, params, scratch);
            draw_in_order(&mut scratch.pool, uniform)
        }
        Filter::TopK | Filter::MinP => {
            narrow(row, params, scratch);
            draw(&scratch.pool, uniform)
        }
        Filter::None => draw_from_all(row, uniform, &mut scratch.sums),
    }
}

/// The log probability of a token among those that the filters leave, and the `n` most likely of them, the most likely
/// first. Tokens too unlikely to be drawn are left out.
pub(super) fn drawn_logprobs(
    row: Row<'_>,
    params: &SamplingParams,
    (token, n): (TokenId, usize),
    scratch: &mut Scratch,
) -> (f32, Vec<(TokenId, f32)>) {
    narrow(row, params, scratch);
    let pool = &mut scratch.pool;
    pool.sort_unstable_by_key(order);
    let total = total_weight(pool);
    #[expect(clippy::cast_possible_truncation, reason = "log probabilities are reported as f32")]
    let logprob = |weight: f32| (f64::from(weight) / total).ln() as f32;
    let possible = pool.iter().filter(|candidate| candidate.weight > 0.0).take(n);
    let top = possible.map(|candidate| (TokenId(candidate.id), logprob(candidate.weight))).collect();
    (logprob(row.weight(row.logits[token.index()])), top)
}

/// The filter that comes first, on which it depends how candidates are gathered.
enum Filter {
    TopK,
    TopP,
    MinP,
    None,
}

fn filter_of(row: Row<'_>, params: &SamplingParams) -> Filter {
    if (1..row.logits.len()).contains(&params.top_k) {
        Filter::TopK
    } else if params.top_p < 1.0 {
        Filter::TopP
    } else if params.min_p > 0.0 {
        Filter::MinP
    } else {
        Filter::None
    }
}

/// Fills the pool with the candidates that the filters leave, weighed: in order behind top-k, by ascending id where
/// neither top-k nor top-p is on.
pub(super) fn narrow(row: Row<'_>, params: &SamplingParams, scratch: &mut Scratch) {
    match filter_of(row, params) {
        Filter::TopK => {
            collect_top_k(row.logits, row.survey, params.top_k, scratch);
            weigh(row, &mut scratch.pool);
            if params.top_p < 1.0 {
                let target = total_weight(&scratch.pool) * f64::from(params.top_p);
                let n = n_reaching(&scratch.pool, target);
                scratch.pool.truncate(n);
            }
        }
        Filter::TopP => collect_top_p(row, params.top_p, scratch),
        Filter::MinP | Filter::None => {
            collect_from(row.logits, row.survey, min_p_bar(row, params.min_p), &mut scratch.pool);
            weigh(row, &mut scratch.pool);
        }
    }
    if params.min_p > 0.0 {
        scratch.pool.retain(|c| c.weight >= params.min_p);
    }
}

/// Fills `out` with every possible token whose logit is at least `bar`, by ascending id.
fn collect_from(logits: &[f32], survey: &Survey, bar: f32, out: &mut Vec<Candidate>) {
    out.clear();
    for (block_idx, (block, high)) in logits.chunks(BLOCK_LEN).zip(survey.highs()).enumerate() {
        if *high < bar || *high == f32::NEG_INFINITY {
            continue;
        }
        for (offset, &logit) in block.iter().enumerate() {
            if logit >= bar && logit > f32::NEG_INFINITY {
                out.push(Candidate { logit, weight: 0.0, id: id_of(block_idx * BLOCK_LEN + offset) });
            }
        }
    }
}

/// Fills the pool with the `k` first candidates, in order.
///
/// The k-th highest of the blocks' highest logits is a bar that at least `k` tokens pass, and few more.
pub(super) fn collect_top_k(logits: &[f32], survey: &Survey, k: usize, scratch: &mut Scratch) {
    let Scratch { pool, highs, .. } = scratch;
    pool.clear();
    if k == 0 {
        return;
    }
    highs.clear();
    highs.extend_from_slice(survey.highs());
    let bar = if k <= highs.len() {
        *highs.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    } else {
        f32::NEG_INFINITY
    };
    collect_from(logits, survey, bar, pool);
    if pool.len() > k {
        pool.select_nth_unstable_by_key(k - 1, order);
        pool.truncate(k);
    }
    pool.sort_unstable_by_key(order);
}

/// Fills the pool with the fewest first candidates whose probabilities reach `top_p`, at least one, weighed.
fn collect_top_p(row: Row<'_>, top_p: f32, scratch: &mut Scratch) {
    let total = row.approximate_sums(&mut scratch.sums);
    let target = total * f64::from(top_p);
    let slack = 2.0 * (SUM_ERROR * total + LEFT_OUT) + order_error(row.logits.len()) * total;
    let pool = &mut scratch.pool;
    let mut depth = FIRST_DEPTH;
    loop {
        let is_all = depth >= DEPTH_MAX;
        let bar = if is_all { f32::NEG_INFINITY } else { row.survey.highest() - depth * row.temperature };
        collect_from(row.logits, row.survey, bar, pool);
        weigh(row, pool);
        if is_all || total_weight(pool) > target + slack {
            break;
        }
        depth *= 2.0;
    }
    let n = match place_of_mass(pool, target, slack) {
        Some(place) => place + 1,
        None => {
            pool.sort_unstable_by_key(order);
            n_reaching(pool, row.exact_total() * f64::from(top_p))
        }
    };
    pool.truncate(n);
}

/// Relative error of a sum of so many weights, added in whatever order.
fn order_error(n_weights: usize) -> f64 {
    n_weights as f64 * f64::EPSILON
}

/// The place of the candidate with which the mass, in order, passes `target`. It and all before it are moved to the
/// front. `None` where a difference of `slack` would decide about it.
fn place_of_mass(candidates: &mut [Candidate], target: f64, slack: f64) -> Option<usize> {
    let (mut start, mut end, mut before) = (0, candidates.len(), 0.0);
    while end - start > SORTED_LEN {
        let middle = usize::midpoint(start, end);
        candidates[start..end].select_nth_unstable_by_key(middle - start, order);
        let mass = before + total_weight(&candidates[start..middle]);
        if mass > target {
            end = middle;
        } else {
            (start, before) = (middle, mass);
        }
    }
    candidates[start..end].sort_unstable_by_key(order);
    for (place, candidate) in candidates.iter().enumerate().take(end).skip(start) {
        let mass = before + f64::from(candidate.weight);
        if mass > target {
            let is_certain = mass > target + slack && (place == 0 || before <= target - slack);
            return is_certain.then_some(place);
        }
        before = mass;
    }
    None
}

/// How many of the first candidates have weights that reach `target`; all if they do not.
fn n_reaching(candidates: &[Candidate], target: f64) -> usize {
    let mut mass = 0.0;
    let reaches = |c: &Candidate| {
        mass += f64::from(c.weight);
        mass >= target
    };
    candidates.iter().position(reaches).map_or(candidates.len(), |place| place + 1)
}

/// A logit that no candidate with a weight of at least `min_p` is below. The weight's rounding is far within the margin.
#[expect(clippy::cast_possible_truncation, reason = "rounded down right after")]
fn min_p_bar(row: Row<'_>, min_p: f32) -> f32 {
    const MARGIN: f64 = 1e-3;
    let bar = f64::from(row.survey.highest()) + (f64::from(min_p).ln() - MARGIN) * f64::from(row.temperature);
    (bar as f32).next_down()
}

/// Sets the weights of candidates.
fn weigh(row: Row<'_>, candidates: &mut [Candidate]) {
    for candidate in candidates {
        candidate.weight = row.weight(candidate.logit);
    }
}

fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.weight)).sum()
}

/// The candidate on which `uniform`, from [0, 1), falls, as they stand.
fn draw(candidates: &[Candidate], uniform: f64) -> Option<u32> {
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

/// As [`draw`] from candidates in order, which they need not be in.
fn draw_in_order(candidates: &mut [Candidate], uniform: f64) -> Option<u32> {
    let total = total_weight(candidates);
    let slack = 2.0 * order_error(candidates.len()) * total;
    if let Some(place) = place_of_mass(candidates, uniform * total, slack) {
        return Some(candidates[place].id);
    }
    candidates.sort_unstable_by_key(order);
    draw(candidates, uniform)
}

/// As [`draw`] from every possible token by ascending id, none of which has to become a candidate for it.
pub(super) fn draw_from_all(row: Row<'_>, uniform: f64, sums: &mut Vec<f64>) -> Option<u32> {
    let target = uniform * row.approximate_sums(sums);
    // The target may be off, and so may the mass that is compared to it.
    let slack = 2.0 * (SUM_ERROR * target + LEFT_OUT);
    let mut mass = 0.0;
    let mut block_idx = 0;
    while block_idx < sums.len() && mass + sums[block_idx] <= target - slack {
        mass += sums[block_idx];
        block_idx += 1;
    }
    let start = block_idx * BLOCK_LEN;
    // Where the mass ends so close before a block without a possible token, the exact weights decide.
    let is_possible = row.survey.highs().get(block_idx).is_some_and(|high| *high > f32::NEG_INFINITY);
    let n_logits = if is_possible { BLOCK_LEN } else { 0 };
    for (idx, logit) in row.logits.iter().enumerate().skip(start).take(n_logits) {
        mass += f64::from(row.weight(*logit));
        if mass > target + slack {
            return Some(id_of(idx));
        }
        if mass > target - slack {
            break;
        }
    }
    draw_exactly(row, uniform, sums)
}

/// The draw by exact weights: where it falls too close to the boundary of two tokens for approximate ones to tell.
fn draw_exactly(row: Row<'_>, uniform: f64, masses: &mut Vec<f64>) -> Option<u32> {
    row.exact_masses(masses);
    let target = uniform * masses.last()?;
    let block_idx = masses.partition_point(|mass| *mass <= target);
    let mut mass = if block_idx == 0 { 0.0 } else { masses[block_idx - 1] };
    let mut falls_on = |logit: &f32| {
        mass += f64::from(row.weight(*logit));
        target < mass
    };
    let mut behind = row.possible_blocks().skip_while(|(start, _)| *start < block_idx * BLOCK_LEN);
    let drawn = behind.find_map(|(start, block)| Some(start + block.iter().position(&mut falls_on)?));
    let has_weight = |logit: &f32| row.weight(*logit) > 0.0;
    let last =
        || row.possible_blocks().rev().find_map(|(start, block)| Some(start + block.iter().rposition(has_weight)?));
    drawn.or_else(last).map(id_of)
}
