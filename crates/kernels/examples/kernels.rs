//! How fast each kernel set multiplies and attends on this machine, one thread:
//! `cargo run --release -p ballast-kernels --example kernels -- [SET]`. Medians of five.

#![expect(clippy::print_stdout, reason = "a program that prints")]
#![expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]

use ballast_kernels::{
    Activations, CacheType, Kernels, KvView, PackedMatrix, PanelMut, Partial, Queries, SPAN, WeightType, available,
};
use std::hint::black_box;
use std::time::Instant;

const N_ROUNDS: usize = 5;

/// Median seconds of one call, each round long enough to be measured.
fn seconds(mut call: impl FnMut()) -> f64 {
    call();
    let mut rounds: Vec<f64> = (0..N_ROUNDS)
        .map(|_| {
            let (start, mut n) = (Instant::now(), 0.0);
            while start.elapsed().as_secs_f64() < 0.02 {
                call();
                n += 1.0;
            }
            start.elapsed().as_secs_f64() / n
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[N_ROUNDS / 2]
}

fn product(set: &dyn Kernels, weight_type: WeightType, (n_rows, n_cols, n): (usize, usize, usize)) -> f64 {
    // Bytes of 0x11 are small numbers in every format.
    let bytes = vec![0x11; PackedMatrix::bytes_of(weight_type, n_rows, n_cols).expect("whole blocks")];
    let w = PackedMatrix::new(weight_type, n_rows, n_cols, &bytes).expect("the bytes of that shape");
    let mut x = Activations::default();
    let values: Vec<f32> = (0..n * n_cols).map(|i| (i % 17) as f32 - 8.0).collect();
    x.fill(set, weight_type.activation_format(), &values, n_cols);
    let mut y = vec![0.0; n * n_rows];
    let time = seconds(|| set.matmul(black_box(&w), &x, &mut PanelMut::new(&mut y, n_rows)));
    (n_rows * n_cols * n) as f64 / time / 1e9
}

fn attention(set: &dyn Kernels, cache_type: CacheType, (n_rows, n_group, head_dim): (usize, usize, usize)) -> f64 {
    let (block_len, n_blocks) = (32, SPAN / 32);
    // Small numbers in every type.
    let keys = vec![0x30; n_blocks * cache_type.key_block_bytes(block_len, head_dim)];
    let values = vec![0x30; n_blocks * cache_type.value_block_bytes(block_len, head_dim)];
    let blocks: Vec<u32> = (0..u32::try_from(n_blocks).expect("few")).collect();
    let (keys, values, blocks) = (keys.as_slice(), values.as_slice(), blocks.as_slice());
    let kv = KvView { cache_type, keys, values, blocks, kv_head: 0, n_kv_heads: 1, block_len, head_dim };
    let q = vec![0.5; n_rows * n_group * head_dim];
    let stride = n_group * head_dim;
    let queries = Queries { q: &q, stride, n_rows, n_group, position: SPAN - n_rows, scale: 0.125 };
    let mut data = vec![0.0; Partial::len_of(queries.len(), head_dim)];
    let (mut scores, mut out) = (vec![0.0; queries.len() * SPAN], Partial::over(&mut data, queries.len(), head_dim));
    let time = seconds(|| set.attend(black_box(&queries), &kv, 0, &mut scores, &mut out));
    (queries.len() * SPAN * head_dim * 2) as f64 / time / 1e9
}

fn main() {
    let wanted = std::env::args().nth(1);
    for set in available().filter(|set| wanted.as_deref().is_none_or(|name| name == set.name())) {
        println!("{}: products of 1536 x 576 weights, 10^9 multiply-adds a second", set.name());
        println!("{:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}", "rows", 1, 4, 8, 16, 32, 256);
        for weight_type in WeightType::ALL {
            let at = |n| product(set, weight_type, (1536, 576 + 192 * usize::from(weight_type.block_len() == 256), n));
            let figures = [1, 4, 8, 16, 32, 256].map(|n| format!("{:8.1}", at(n)));
            println!("{:>8} {}", format!("{weight_type:?}"), figures.join(" "));
        }
        for shape in [(1, 3, 64), (5, 3, 64), (1, 8, 128), (2, 8, 128), (16, 1, 64)] {
            let figures = CacheType::ALL.map(|of| format!("{} {:.1}", of.name(), attention(set, of, shape)));
            println!("attention, rows, group and head {shape:?}: {}", figures.join(", "));
        }
        let x = vec![1.5; 576 * 16];
        let mut blocks = vec![ballast_kernels::Block::ZERO; 18 * 16];
        let time = seconds(|| set.quantize(black_box(&x), 16, &mut blocks));
        println!("quantise, ns for 32: {:.1}", time * 1e9 / (18.0 * 16.0));
    }
}
