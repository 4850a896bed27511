//! Attention against f64 arithmetic.

use crate::data::{Random, bits};
use ballast_kernels::{KvView, available};
use half::f16;

struct Case {
    head_dim: usize,
    n_group: usize,
    block_len: usize,
    n_positions: usize,
}

/// Keys, values and a scattered block table for KV head 1 of 2.
struct Cache {
    keys: Vec<f16>,
    values: Vec<f16>,
    blocks: Vec<u32>,
}

impl Cache {
    fn new(case: &Case, random: &mut Random) -> Self {
        let n_blocks = case.n_positions.div_ceil(case.block_len);
        let n = 2 * n_blocks * 2 * case.block_len * case.head_dim;
        let mut halves = || random.floats(n, 2.0).into_iter().map(f16::from_f32).collect();
        let blocks = (0..u32::try_from(n_blocks).expect("few blocks")).rev().map(|block| 2 * block + 1).collect();
        Self { keys: halves(), values: halves(), blocks }
    }

    fn view(&self, case: &Case) -> KvView<'_> {
        KvView {
            keys: &self.keys,
            values: &self.values,
            blocks: &self.blocks,
            kv_head: 1,
            n_kv_heads: 2,
            block_len: case.block_len,
            head_dim: case.head_dim,
        }
    }
}

fn reference(case: &Case, q: &[f32], kv: &KvView<'_>, scale: f32) -> Vec<f64> {
    let row = |t: usize, block: &dyn Fn(usize) -> Vec<f64>| {
        block(t / case.block_len)[t % case.block_len * case.head_dim..][..case.head_dim].to_vec()
    };
    let widen = |values: &[f16]| values.iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
    let (keys, values) = (|idx: usize| widen(kv.key_block(idx)), |idx: usize| widen(kv.value_block(idx)));
    let mut out = Vec::new();
    for q in q.chunks(case.head_dim) {
        let score = |t: usize| -> f64 { row(t, &keys).iter().zip(q).map(|(k, q)| k * f64::from(*q)).sum() };
        let scores: Vec<f64> = (0..case.n_positions).map(|t| f64::from(scale) * score(t)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
        let mut head = vec![0.0; case.head_dim];
        for (t, score) in scores.iter().enumerate() {
            let weight = (score - max).exp() / sum;
            head.iter_mut().zip(row(t, &values)).for_each(|(out, v)| *out += weight * v);
        }
        out.extend(head);
    }
    out
}

const CASES: [(usize, usize, usize, usize); 12] = [
    (64, 3, 16, 1),
    (64, 3, 16, 15),
    (64, 3, 16, 16),
    (64, 3, 16, 17),
    (64, 1, 32, 100),
    (128, 4, 16, 40),
    (80, 2, 16, 33),
    (96, 2, 8, 9),
    (1, 1, 1, 3),
    (7, 2, 4, 10),
    (17, 1, 5, 11),
    (40, 5, 7, 22),
];

fn cases() -> impl Iterator<Item = Case> {
    CASES.into_iter().map(|(head_dim, n_group, block_len, n_positions)| Case {
        head_dim,
        n_group,
        block_len,
        n_positions,
    })
}

#[test]
fn attention_agrees_with_f64() {
    for case in cases() {
        let mut random = Random(case.n_positions as u64);
        let cache = Cache::new(&case, &mut random);
        let (kv, scale) = (cache.view(&case), 1.0 / (case.head_dim as f32).sqrt());
        let q = random.floats(case.n_group * case.head_dim, 2.0);
        let expected = reference(&case, &q, &kv, scale);
        for set in available() {
            let mut scores = vec![f32::NAN; case.n_positions + 2];
            let mut out = vec![f32::NAN; q.len()];
            set.attend(&q, &kv, case.n_positions, scale, &mut scores, &mut out);
            for (got, expected) in out.iter().zip(&expected) {
                // Scores reach 4 * sqrt(head_dim); an error of 2^-20 there is the weights' relative error, and values
                // are at most 2.
                let difference = (f64::from(*got) - expected).abs();
                assert!(difference < 1e-5, "{} {}: {got}, {expected}", set.name(), case.head_dim);
            }
        }
    }
}

#[test]
fn a_head_does_not_depend_on_its_group() {
    for case in cases() {
        let mut random = Random(case.head_dim as u64);
        let cache = Cache::new(&case, &mut random);
        let kv = cache.view(&case);
        let q = random.floats(case.n_group * case.head_dim, 2.0);
        for set in available() {
            let attend = |q: &[f32]| {
                let (mut scores, mut out) = (vec![0.0; case.n_positions], vec![0.0; q.len()]);
                set.attend(q, &kv, case.n_positions, 0.1, &mut scores, &mut out);
                bits(&out)
            };
            let alone: Vec<u32> = q.chunks(case.head_dim).flat_map(attend).collect();
            assert_eq!(attend(&q), alone, "{} {}", set.name(), case.head_dim);
        }
    }
}
