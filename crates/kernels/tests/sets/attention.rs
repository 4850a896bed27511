//! Attention against f64 arithmetic, and every set against `generic` bit for bit.

use crate::data::{Random, bits};
use ballast_kernels::{Kernels, KvView, Partial, Queries, SPAN, available, by_name, value_len};
use half::f16;

struct Case {
    head_dim: usize,
    n_group: usize,
    block_len: usize,
    /// Position of the first row of queries.
    position: usize,
    n_rows: usize,
}

/// Keys, values and a scattered block table for KV head 1 of 2. What no position of the sequence has is NaN.
struct Cache {
    keys: Vec<f16>,
    values: Vec<f16>,
    blocks: Vec<u32>,
}

impl Cache {
    fn new(case: &Case, random: &mut Random) -> Self {
        let (block_len, head_dim, value_len) = (case.block_len, case.head_dim, value_len(case.head_dim));
        let n_positions = case.position + case.n_rows;
        let n_blocks = n_positions.div_ceil(block_len);
        let blocks: Vec<u32> =
            (0..u32::try_from(n_blocks).expect("few blocks")).rev().map(|block| 2 * block + 1).collect();
        let mut keys = vec![f16::NAN; 4 * n_blocks * block_len * head_dim];
        let mut values = vec![f16::NAN; 4 * n_blocks * block_len * value_len];
        for t in 0..n_positions {
            let number = blocks[t / block_len] as usize * 2 + 1;
            for (d, key) in random.floats(head_dim, 2.0).into_iter().enumerate() {
                keys[(number * head_dim + d) * block_len + t % block_len] = f16::from_f32(key);
            }
            let row = &mut values[(number * block_len + t % block_len) * value_len..][..value_len];
            row.fill(f16::ZERO);
            row.iter_mut().zip(random.floats(head_dim, 2.0)).for_each(|(v, value)| *v = f16::from_f32(value));
        }
        Self { keys, values, blocks }
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

/// One query over the positions `0..n_positions`.
fn reference(q: &[f32], kv: &KvView<'_>, n_positions: usize, scale: f32) -> Vec<f64> {
    let key = |t: usize, d: usize| kv.key_block(t / kv.block_len)[d * kv.block_len + t % kv.block_len].to_f64();
    let value =
        |t: usize, d: usize| kv.value_block(t / kv.block_len)[t % kv.block_len * value_len(kv.head_dim) + d].to_f64();
    let score = |t: usize| -> f64 { q.iter().enumerate().map(|(d, q)| key(t, d) * f64::from(*q)).sum() };
    let scores: Vec<f64> = (0..n_positions).map(|t| f64::from(scale) * score(t)).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp() / sum).collect();
    (0..kv.head_dim).map(|d| weights.iter().enumerate().map(|(t, w)| w * value(t, d)).sum()).collect()
}

/// All spans of some queries, joined: `[n_queries, head_dim]`.
fn attend(set: &dyn Kernels, queries: &Queries<'_>, kv: &KvView<'_>) -> Vec<f32> {
    let (n, head_dim) = (queries.len(), kv.head_dim);
    let mut scores = vec![f32::NAN; n * SPAN];
    let mut data = [vec![f32::NAN; Partial::len_of(n, head_dim)], vec![f32::NAN; Partial::len_of(n, head_dim)]];
    let [mut whole, mut part] = data.each_mut().map(|data| Partial::over(data, n, head_dim));
    set.attend(queries, kv, 0, &mut scores, &mut whole);
    for span in 1..queries.n_spans() {
        set.attend(queries, kv, span, &mut scores, &mut part);
        set.join(&mut whole, &part);
    }
    let mut out = vec![f32::NAN; n * head_dim];
    out.chunks_mut(head_dim).enumerate().for_each(|(idx, out)| whole.write(idx, out));
    out
}

const CASES: [(usize, usize, usize, usize, usize); 15] = [
    (64, 3, 16, 0, 1),
    (64, 3, 16, 14, 1),
    (64, 3, 32, 15, 2),
    (64, 3, 16, 16, 5),
    (64, 1, 32, 99, 16),
    (128, 4, 16, 39, 3),
    (80, 2, 64, 32, 1),
    (96, 2, 32, 250, 8),
    (64, 3, 32, 255, 1),
    (64, 3, 32, 256, 1),
    (64, 2, 256, 600, 4),
    (1, 1, 16, 2, 1),
    (7, 2, 16, 9, 2),
    (17, 1, 32, 10, 3),
    (40, 5, 128, 21, 3),
];

fn cases() -> impl Iterator<Item = Case> {
    CASES.into_iter().map(|(head_dim, n_group, block_len, position, n_rows)| Case {
        head_dim,
        n_group,
        block_len,
        position,
        n_rows,
    })
}

/// Calls `check` with the queries and the cache of each case.
fn each_case(check: impl Fn(&Case, &Queries<'_>, &KvView<'_>)) {
    for case in cases() {
        let mut random = Random(case.position as u64);
        let cache = Cache::new(&case, &mut random);
        // Rows are farther apart than they are long, as in a matrix with other heads.
        let stride = case.n_group * case.head_dim + 5;
        let q = random.floats(case.n_rows * stride, 2.0);
        let scale = 1.0 / (case.head_dim as f32).sqrt();
        let Case { n_rows, n_group, position, .. } = case;
        check(&case, &Queries { q: &q, stride, n_rows, n_group, position, scale }, &cache.view(&case));
    }
}

/// The queries of one row alone.
fn row<'a>(queries: &Queries<'a>, row: usize) -> Queries<'a> {
    Queries { q: &queries.q[row * queries.stride..], n_rows: 1, position: queries.position + row, ..*queries }
}

#[test]
fn attention_agrees_with_f64() {
    each_case(|case, queries, kv| {
        for set in available() {
            let got = attend(set, queries, kv);
            for (idx, got) in got.chunks(case.head_dim).enumerate() {
                let (row, head) = (idx / case.n_group, idx % case.n_group);
                let q = &queries.q[row * queries.stride + head * case.head_dim..][..case.head_dim];
                let expected = reference(q, kv, case.position + row + 1, queries.scale);
                for (got, expected) in got.iter().zip(&expected) {
                    // Scores reach 4 * sqrt(head_dim); an error of 2^-20 there is the weights' relative error, and
                    // values are at most 2.
                    let difference = (f64::from(*got) - expected).abs();
                    assert!(difference < 1e-5, "{} {}: {got}, {expected}", set.name(), case.head_dim);
                }
            }
        }
    });
}

#[test]
fn all_sets_give_the_same_attention() {
    let generic = by_name("generic").expect("generic runs everywhere");
    each_case(|case, queries, kv| {
        let expected = bits(&attend(generic, queries, kv));
        for set in available() {
            assert_eq!(bits(&attend(set, queries, kv)), expected, "{} {}", set.name(), case.head_dim);
        }
    });
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    each_case(|case, queries, kv| {
        for set in available() {
            let alone: Vec<u32> = (0..case.n_rows).flat_map(|idx| bits(&attend(set, &row(queries, idx), kv))).collect();
            assert_eq!(bits(&attend(set, queries, kv)), alone, "{} {}", set.name(), case.head_dim);
        }
    });
}

#[test]
#[should_panic(expected = "span 1 of 1")]
fn refuses_a_span_that_nobody_sees() {
    let (keys, values) = ([f16::ONE; 32], [f16::ONE; 32]);
    let kv =
        KvView { keys: &keys, values: &values, blocks: &[0], kv_head: 0, n_kv_heads: 1, block_len: 32, head_dim: 1 };
    let queries = Queries { q: &[1.0], stride: 1, n_rows: 1, n_group: 1, position: 0, scale: 1.0 };
    let generic = by_name("generic").expect("generic runs everywhere");
    let mut data = [0.0; Partial::len_of(1, 1)];
    generic.attend(&queries, &kv, 1, &mut [0.0; SPAN], &mut Partial::over(&mut data, 1, 1));
}
