//! The sampler's cost per token, over logits shaped as a language model's.

use crate::table::{Table, rounds};
use ballast_backend::TokenId;
use ballast_tokens::{Sampler, SamplingError, SamplingParams, TokenMask};
use std::f32::consts::TAU;
use std::hint::black_box;

const VOCAB_SIZE: usize = 49_152;
/// Rows of a round, each another distribution.
const N_ROWS: usize = 32;
/// Tokens that have been seen when measuring begins: the window of the penalties is full.
const N_PROMPT: u32 = 512;

pub(crate) fn measure(table: &mut Table) -> Result<(), SamplingError> {
    let rows = rows();
    let free = SamplingParams::default();
    let penalties = SamplingParams { repetition_penalty: 1.1, frequency_penalty: 0.2, ..free.clone() };
    let chat = SamplingParams { temperature: 0.7, top_k: 40, top_p: 0.9, ..penalties.clone() };
    let cases = [
        ("greedy", SamplingParams::greedy()),
        ("greedy, penalties", SamplingParams { temperature: 0.0, ..penalties.clone() }),
        ("temperature 1", free.clone()),
        ("top-k 40", SamplingParams { top_k: 40, ..free.clone() }),
        ("top-p 0.9", SamplingParams { top_p: 0.9, ..free.clone() }),
        ("min-p 0.05", SamplingParams { min_p: 0.05, ..free.clone() }),
        ("top-p 0.9, min-p 0.05, penalties", SamplingParams { top_p: 0.9, min_p: 0.05, ..penalties }),
        ("temperature 0.7, top-k 40, top-p 0.9, penalties", chat),
        ("temperature 1, 5 logprobs", SamplingParams { n_logprobs: Some(5), ..free }),
    ];
    let wide = mask(|id| id % 3 != 0);
    let narrow = mask(|id| id % 1024 == 7);
    for (name, params) in &cases {
        time(table, &format!("sample: {name}"), params, &rows, None)?;
    }
    for (name, params) in &cases[..5] {
        time(table, &format!("sample: {name}, mask of two thirds"), params, &rows, Some(&wide))?;
        time(table, &format!("sample: {name}, mask of 48"), params, &rows, Some(&narrow))?;
    }
    Ok(())
}

fn time(
    table: &mut Table,
    name: &str,
    params: &SamplingParams,
    rows: &[Vec<f32>],
    mask: Option<&TokenMask>,
) -> Result<(), SamplingError> {
    let mut sampler = Sampler::new(params, 7, VOCAB_SIZE)?;
    sampler.accept_prompt(&(0..N_PROMPT).map(|n| TokenId(n * n % 50_000)).collect::<Vec<_>>());
    let mut failed = Ok(());
    let seconds = rounds(
        || rows.to_vec(),
        |rows| {
            for row in rows {
                failed = failed.and(sampler.sample_masked(black_box(row), mask).map(|sampled| {
                    black_box(sampled);
                }));
            }
        },
    );
    table.add_ns(name, rows.len(), &seconds);
    failed
}

fn mask(allows: impl Fn(u32) -> bool) -> TokenMask {
    let mut mask = TokenMask::none(VOCAB_SIZE);
    (0..).map(TokenId).take(VOCAB_SIZE).filter(|id| allows(id.0)).for_each(|id| mask.allow(id));
    mask
}

/// A bell curve for the tokens that make no sense, and above it a few hundred that do, by Zipf's law; from row to row
/// the best of them stand out more. Shaped after SmolLM2-135M over English text, where on average the best logit is 5.5
/// standard deviations above the mean, its token has probability 0.4, and top-p 0.9 keeps 276 tokens, the median 73.
fn rows() -> Vec<Vec<f32>> {
    let mut random = Random(1);
    let row = |n: usize| {
        let bell = |random: &mut Random| {
            let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
            3.0 * radius * (TAU * random.unit()).cos()
        };
        let mut row: Vec<f32> = (0..VOCAB_SIZE).map(|_| bell(&mut random)).collect();
        let (best, slope) = (15.0 + 5.0 * (n % 8) as f32 / 7.0, 0.8 + 0.3 * (n % 5) as f32);
        for rank in 1..=300_u16 {
            row[random.below(VOCAB_SIZE)] = best - slope * f32::from(rank).ln();
        }
        row
    };
    (0..N_ROWS).map(row).collect()
}

/// A small generator, so that every run has the same rows.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 40
    }

    fn unit(&mut self) -> f32 {
        self.next() as f32 / (1_u32 << 24) as f32
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % n
    }
}
