//! Attention against f64 arithmetic, and every set against `generic` bit for bit.

use crate::data::{Random, bits};
use ballast_kernels::{CacheType, Kernels, KvBlockMut, KvView, Partial, Queries, SPAN, available, by_name};
use half::{bf16, f16};

#[derive(Clone, Copy)]
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
    cache_type: CacheType,
    keys: Vec<u8>,
    values: Vec<u8>,
    blocks: Vec<u32>,
    /// The keys and values of each position as they should be stored.
    stored: Vec<[Vec<f32>; 2]>,
}

impl Cache {
    fn new(case: &Case, cache_type: CacheType, random: &mut Random) -> Self {
        let (block_len, head_dim) = (case.block_len, case.head_dim);
        let n_positions = case.position + case.n_rows;
        let n_blocks = n_positions.div_ceil(block_len);
        let blocks: Vec<u32> =
            (0..u32::try_from(n_blocks).expect("few blocks")).rev().map(|block| 2 * block + 1).collect();
        // Bytes that make a NaN of every entry or of its scale.
        let (n_key_bytes, n_value_bytes) =
            (cache_type.key_block_bytes(block_len, head_dim), cache_type.value_block_bytes(block_len, head_dim));
        let mut keys = vec![0xff; 4 * n_blocks * n_key_bytes];
        let mut values = vec![0xff; 4 * n_blocks * n_value_bytes];
        let mut stored = Vec::new();
        for t in 0..n_positions {
            let number = blocks[t / block_len] as usize * 2 + 1;
            let [key, value] = [random.floats(head_dim, 2.0), random.floats(head_dim, 2.0)];
            let keys = &mut keys[number * n_key_bytes..][..n_key_bytes];
            let values = &mut values[number * n_value_bytes..][..n_value_bytes];
            KvBlockMut { cache_type, keys, values, block_len, head_dim }.write(t % block_len, &key, &value);
            stored.push([key, value].map(|x| nearest(cache_type, &x)));
        }
        Self { cache_type, keys, values, blocks, stored }
    }

    fn view(&self, case: &Case) -> KvView<'_> {
        KvView {
            cache_type: self.cache_type,
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

/// What a cache of that type has instead of `x`.
fn nearest(cache_type: CacheType, x: &[f32]) -> Vec<f32> {
    match cache_type {
        CacheType::F16 => x.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
        CacheType::BF16 => x.iter().map(|x| bf16::from_f32(*x).to_f32()).collect(),
        CacheType::Q8_0 => x.chunks(32).flat_map(nearest_quants).collect(),
    }
}

/// Up to 32 entries as int8 with one scale.
fn nearest_quants(x: &[f32]) -> Vec<f32> {
    let scale = bf16::from_f32(x.iter().fold(0.0, |max: f32, x| max.max(x.abs())) / 127.0).to_f32();
    x.iter().map(|x| (x * (1.0 / scale)).round() * scale).collect()
}

/// One query over the positions `0..n_positions`.
fn reference(q: &[f32], cache: &Cache, n_positions: usize, scale: f32) -> Vec<f64> {
    let stored = &cache.stored[..n_positions];
    let score = |key: &[f32]| -> f64 { q.iter().zip(key).map(|(q, key)| f64::from(*key) * f64::from(*q)).sum() };
    let scores: Vec<f64> = stored.iter().map(|[key, _]| f64::from(scale) * score(key)).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp() / sum).collect();
    (0..q.len()).map(|d| weights.iter().zip(stored).map(|(w, [_, value])| w * f64::from(value[d])).sum()).collect()
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

/// Calls `check` with the queries and the cache of each case, in every type of entries.
fn each_case(check: impl Fn(&Case, &Queries<'_>, &Cache)) {
    for (case, cache_type) in cases().flat_map(|case| CacheType::ALL.map(|cache_type| (case, cache_type))) {
        let mut random = Random(case.position as u64);
        let cache = Cache::new(&case, cache_type, &mut random);
        // Rows are farther apart than they are long, as in a matrix with other heads.
        let stride = case.n_group * case.head_dim + 5;
        let q = random.floats(case.n_rows * stride, 2.0);
        let scale = 1.0 / (case.head_dim as f32).sqrt();
        let Case { n_rows, n_group, position, .. } = case;
        check(&case, &Queries { q: &q, stride, n_rows, n_group, position, scale }, &cache);
    }
}

/// The queries of one row alone.
fn row<'a>(queries: &Queries<'a>, row: usize) -> Queries<'a> {
    Queries { q: &queries.q[row * queries.stride..], n_rows: 1, position: queries.position + row, ..*queries }
}

#[test]
fn attention_agrees_with_f64() {
    each_case(|case, queries, cache| {
        let kv = &cache.view(case);
        for set in available() {
            let got = attend(set, queries, kv);
            for (idx, got) in got.chunks(case.head_dim).enumerate() {
                let (row, head) = (idx / case.n_group, idx % case.n_group);
                let q = &queries.q[row * queries.stride + head * case.head_dim..][..case.head_dim];
                let expected = reference(q, cache, case.position + row + 1, queries.scale);
                for (got, expected) in got.iter().zip(&expected) {
                    // Scores reach 4 * sqrt(head_dim); an error of 2^-20 there is the weights' relative error, and
                    // values are at most 2.
                    let difference = (f64::from(*got) - expected).abs();
                    assert!(
                        difference < 1e-5,
                        "{} {:?} {}: {got}, {expected}",
                        set.name(),
                        kv.cache_type,
                        case.head_dim
                    );
                }
            }
        }
    });
}

#[test]
fn all_sets_give_the_same_attention() {
    let generic = by_name("generic").expect("generic runs everywhere");
    each_case(|case, queries, cache| {
        let kv = &cache.view(case);
        let expected = bits(&attend(generic, queries, kv));
        for set in available() {
            assert_eq!(
                bits(&attend(set, queries, kv)),
                expected,
                "{} {:?} {}",
                set.name(),
                kv.cache_type,
                case.head_dim
            );
        }
    });
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    each_case(|case, queries, cache| {
        let kv = &cache.view(case);
        for set in available() {
            let alone: Vec<u32> = (0..case.n_rows).flat_map(|idx| bits(&attend(set, &row(queries, idx), kv))).collect();
            assert_eq!(bits(&attend(set, queries, kv)), alone, "{} {:?} {}", set.name(), kv.cache_type, case.head_dim);
        }
    });
}

/// What a block of one position gives back of a key and a value.
fn read_back(cache_type: CacheType, x: &[f32]) -> [Vec<f32>; 2] {
    let (block_len, head_dim) = (16, x.len());
    let mut keys = vec![0; cache_type.key_block_bytes(block_len, head_dim)];
    let mut values = vec![0; cache_type.value_block_bytes(block_len, head_dim)];
    KvBlockMut { cache_type, keys: &mut keys, values: &mut values, block_len, head_dim }.write(9, x, x);
    let kv = KvView {
        cache_type,
        keys: &keys,
        values: &values,
        blocks: &[0],
        kv_head: 0,
        n_kv_heads: 1,
        block_len,
        head_dim,
    };
    [(0..head_dim).map(|d| kv.key(9, d)).collect(), (0..head_dim).map(|d| kv.value(9, d)).collect()]
}

#[test]
fn an_entry_errs_by_its_rounding_alone() {
    // With the smallest, scales are no normal numbers.
    let tiny = (0..20_u8).map(|step| (64, 4e-37 + f32::from(step) * 1e-38));
    for (head_dim, magnitude) in [(32, 1.0), (80, 1e-3), (33, 6e4), (7, 1e30), (64, 3e-38)].into_iter().chain(tiny) {
        let x = Random(head_dim as u64).floats(head_dim, magnitude);
        for cache_type in [CacheType::BF16, CacheType::Q8_0] {
            let [key, value] = read_back(cache_type, &x);
            assert_eq!(key, value);
            for (part, got) in x.chunks(32).zip(key.chunks(32)) {
                let amax = part.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
                for (x, got) in part.iter().zip(got) {
                    // Half of the last place of 8 bits, and half a scale, which may be rounded up by as much.
                    let bound = match cache_type {
                        CacheType::F16 | CacheType::BF16 => x.abs() / 256.0,
                        CacheType::Q8_0 => amax / 254.0 * (1.0 + 1.0 / 256.0),
                    };
                    // What is so small that its scale has no inverse is lost.
                    assert!(
                        (x - got).abs() <= bound.max(32.0 * f32::MIN_POSITIVE),
                        "{cache_type:?} {head_dim} {magnitude}: {x} is {got}"
                    );
                }
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_and_what_is_no_number_shows() {
    for cache_type in CacheType::ALL {
        assert_eq!(read_back(cache_type, &[0.0; 40]), [vec![0.0; 40], vec![0.0; 40]], "{cache_type:?}");
        let mut x = [1.0; 32];
        x[3] = f32::INFINITY;
        assert!(read_back(cache_type, &x).iter().all(|x| !x[3].is_finite()), "{cache_type:?}");
    }
}

#[test]
#[should_panic(expected = "span 1 of 1")]
fn refuses_a_span_that_nobody_sees() {
    let case = Case { head_dim: 1, n_group: 1, block_len: 32, position: 0, n_rows: 1 };
    let cache = Cache::new(&case, CacheType::F16, &mut Random(0));
    let queries = Queries { q: &[1.0], stride: 1, n_rows: 1, n_group: 1, position: 0, scale: 1.0 };
    let generic = by_name("generic").expect("generic runs everywhere");
    let mut data = [0.0; Partial::len_of(1, 1)];
    generic.attend(&queries, &cache.view(&case), 1, &mut [0.0; SPAN], &mut Partial::over(&mut data, 1, 1));
}
