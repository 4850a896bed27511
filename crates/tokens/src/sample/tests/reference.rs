//! Whole samplers against a plain one that makes every token a candidate, sorts them all, and adds every weight in
//! order: the tokens must be the very same, draw for draw.

use super::super::candidates::draw_from_all;
use super::super::{LogprobsOf, SamplingParams, penalties::penalized, rng, survey::Survey, weights::Row};
use super::{Sampler, TokenMask, tokens};
use ballast_backend::TokenId;
use proptest::prelude::*;

/// What [`Sampler`] promises, as plainly as it can be said. `None` if no token is possible.
#[derive(Clone)]
struct Plain {
    params: SamplingParams,
    seen: Vec<TokenId>,
    n_output: u64,
}

impl Plain {
    fn new(params: &SamplingParams, prompt: &[TokenId]) -> Self {
        Self { params: params.clone(), seen: prompt.to_vec(), n_output: 0 }
    }

    fn sample(&mut self, logits: &[f32], allowed: Option<&TokenMask>) -> Option<TokenId> {
        let logits = self.adjust(logits);
        let logits_len = logits.len();
        let possible = (0..).zip(logits).filter(|(id, logit)| {
            *logit > f32::NEG_INFINITY && allowed.is_none_or(|mask| mask.is_allowed(TokenId(*id)))
        });
        let mut candidates: Vec<(u32, f32)> = possible.collect();
        if candidates.is_empty() {
            return None;
        }
        let token = if self.params.temperature == 0.0 {
            sort(&mut candidates);
            candidates[0].0
        } else {
            self.draw(candidates, logits_len)
        };
        self.n_output += 1;
        self.seen.push(TokenId(token));
        Some(TokenId(token))
    }

    fn adjust(&self, logits: &[f32]) -> Vec<f32> {
        let mut logits = logits.to_vec();
        for (token, bias) in &self.params.logit_bias {
            logits[token.index()] = (logits[token.index()] + bias).min(f32::MAX);
        }
        let window = &self.seen[self.seen.len().saturating_sub(self.params.penalty_window)..];
        for (id, logit) in (0..).map(TokenId).zip(&mut logits) {
            let count = window.iter().filter(|seen| **seen == id).count();
            if count > 0 {
                *logit = penalized(*logit, u32::try_from(count).unwrap(), &self.params).min(f32::MAX);
            }
        }
        logits
    }

    fn draw(&self, mut candidates: Vec<(u32, f32)>, logits_len: usize) -> u32 {
        let SamplingParams { temperature, top_k, top_p, min_p, .. } = self.params;
        let highest = candidates.iter().map(|c| c.1).fold(f32::NEG_INFINITY, f32::max);
        let weight = |c: &(u32, f32)| ((c.1 - highest) / temperature).exp();
        let total = |candidates: &[(u32, f32)]| candidates.iter().map(|c| f64::from(weight(c))).sum::<f64>();
        if top_k > 0 && top_k < logits_len {
            sort(&mut candidates);
            candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            let target = total(&candidates) * f64::from(top_p);
            sort(&mut candidates);
            let mut mass = 0.0;
            let reaches = |c| {
                mass += f64::from(weight(c));
                mass >= target
            };
            let n = candidates.iter().position(reaches).map_or(candidates.len(), |idx| idx + 1);
            candidates.truncate(n);
        }
        candidates.retain(|c| min_p == 0.0 || weight(c) >= min_p);
        let target = rng::uniform(self.params.seed.unwrap(), self.n_output) * total(&candidates);
        let mut mass = 0.0;
        let falls_on = |c: &&(u32, f32)| {
            mass += f64::from(weight(c));
            target < mass
        };
        let last = candidates.iter().rev().find(|c| weight(c) > 0.0);
        candidates.iter().find(falls_on).or(last).unwrap().0
    }
}

fn sort(candidates: &mut [(u32, f32)]) {
    candidates.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
}

/// `n` tokens of both over rows that `row` gives; a failure names the draw.
fn compare(
    params: &SamplingParams,
    prompt: &[TokenId],
    allowed: Option<&TokenMask>,
    rows: &[Vec<f32>],
) -> Result<(), TestCaseError> {
    let mut sampler = Sampler::new(params, 0, rows[0].len()).unwrap();
    sampler.accept_prompt(prompt);
    let mut plain = Plain::new(params, prompt);
    for (n, row) in rows.iter().enumerate() {
        let got = sampler.sample_masked(&mut row.clone(), allowed).ok().map(|sampled| sampled.token);
        prop_assert_eq!(got, plain.sample(row, allowed), "draw {} of {:?}", n, params);
    }
    Ok(())
}

/// Rows as a model gives them: a bell curve, and above it some tokens that make sense.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any logits at any places will do")]
fn rows(vocab_size: usize, n: u64, flatness: f32) -> Vec<Vec<f32>> {
    let unit = |seed, at: usize| rng::uniform(seed, at as u64) as f32;
    let bell = |seed, at| (0..6).map(|part| unit(seed * 7 + part, at) - 0.5).sum::<f32>() * 4.0;
    let row = |seed| {
        let mut row: Vec<f32> = (0..vocab_size).map(|at| bell(seed, at) * flatness).collect();
        for rank in 1..40_u16 {
            let at = (unit(seed + 1000, usize::from(rank)) * vocab_size as f32) as usize % vocab_size;
            row[at] = (12.0 - 2.0 * f32::from(rank).ln()) * flatness;
        }
        row
    };
    (0..n).map(row).collect()
}

fn some_params() -> impl Strategy<Value = SamplingParams> {
    let temperature = prop_oneof![1 => Just(0.0f32), 1 => Just(1.0f32), 4 => 0.05f32..3.0, 1 => 3.0f32..100.0];
    let top_k = prop_oneof![2 => Just(0usize), 2 => 1usize..60, 1 => 60usize..3000];
    let top_p = prop_oneof![2 => Just(1.0f32), 1 => Just(0.0f32), 3 => 0.01f32..1.0, 1 => 0.9999f32..1.0];
    let min_p = prop_oneof![2 => Just(0.0f32), 2 => 1e-6f32..1.0, 1 => Just(1.0f32)];
    let penalties = prop_oneof![Just((1.0f32, 0.0f32, 0.0f32)), (0.5f32..2.0, -1.0f32..1.0, -1.0f32..1.0)];
    let bias = prop::collection::vec((0u32..100, prop_oneof![-9.0f32..9.0, Just(f32::NEG_INFINITY)]), 0..4);
    (temperature, top_k, top_p, min_p, penalties, bias, any::<u64>(), 0usize..20).prop_map(
        |(temperature, top_k, top_p, min_p, penalties, bias, seed, penalty_window)| SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty: penalties.0,
            frequency_penalty: penalties.1,
            presence_penalty: penalties.2,
            penalty_window,
            logit_bias: bias.into_iter().map(|(id, bias)| (TokenId(id), bias)).collect(),
            seed: Some(seed),
            n_logprobs: None,
            logprobs_of: LogprobsOf::Model,
        },
    )
}

/// Bits of a mask, sparse, dense and in between.
fn some_mask(vocab_size: usize) -> impl Strategy<Value = Option<TokenMask>> {
    let every = prop_oneof![Just(1usize), Just(2), Just(3), Just(64), Just(700)];
    prop_oneof![
        1 => Just(None),
        2 => (every, any::<bool>()).prop_map(move |(every, inverted)| {
            let mut mask = TokenMask::none(vocab_size);
            let allowed = (0..vocab_size).filter(|id| id.is_multiple_of(every) != inverted);
            allowed.for_each(|id| mask.allow(TokenId(u32::try_from(id).unwrap())));
            Some(mask)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sample_takes_the_very_tokens_of_a_plain_sampler_that_sorts_everything(
        params in some_params(),
        allowed in some_mask(1500),
        prompt in prop::collection::vec(0u32..2000, 0..30),
        flatness in prop_oneof![Just(1.0f32), Just(0.0f32), 0.01f32..10.0],
    ) {
        let prompt = tokens(&prompt);
        compare(&params, &prompt, allowed.as_ref(), &rows(1500, 6, flatness))?;
    }

    #[test]
    fn sample_takes_the_very_tokens_where_many_are_equal_or_impossible(
        params in some_params(),
        allowed in some_mask(130),
        row in prop::collection::vec(
            prop_oneof![3 => (-4i8..4).prop_map(f32::from), 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::MIN)],
            130,
        ),
    ) {
        compare(&params, &[], allowed.as_ref(), &vec![row; 8])?;
    }
}

#[test]
fn sample_takes_the_very_tokens_over_a_whole_vocabulary() {
    let free = SamplingParams { seed: Some(11), ..SamplingParams::default() };
    let cases = [
        free.clone(),
        SamplingParams { temperature: 0.7, top_p: 0.9, ..free.clone() },
        SamplingParams { temperature: 1.5, top_p: 0.999, min_p: 0.001, ..free.clone() },
        SamplingParams { top_k: 40, ..free.clone() },
        SamplingParams { top_k: 5000, ..free.clone() },
        SamplingParams { min_p: 0.02, ..free },
    ];
    let rows = [rows(49_152, 12, 1.0), rows(49_152, 4, 0.1)].concat();
    for params in cases {
        compare(&params, &[], None, &rows).unwrap();
    }
}

#[test]
fn sample_decides_exactly_where_a_draw_falls_between_two_tokens() {
    // Every weight is 1, so that the mass before a token is a whole number, and these draws hit each of them.
    for n in [1_u16, 5, 64, 100, 1000] {
        let mut logits = vec![3.0; usize::from(n)];
        let mut survey = Survey::default();
        survey.look(&mut logits, None).unwrap();
        let row = Row { logits: &logits, survey: &survey, temperature: 0.8 };
        for idx in 0..n {
            let mut sums = Vec::new();
            for (uniform, expected) in [
                (f64::from(idx) / f64::from(n), idx),
                ((f64::from(idx) + 0.5) / f64::from(n), idx),
                ((f64::from(idx) + 1.0) / f64::from(n) - 1e-12, idx),
            ] {
                // Where the quotient was rounded down, the mass before the token is not quite reached.
                let mass = uniform * f64::from(n);
                let expected = if mass < f64::from(expected) { expected - 1 } else { expected };
                assert_eq!(draw_from_all(row, uniform, &mut sums), Some(u32::from(expected)), "{idx} of {n}");
            }
        }
    }
}
