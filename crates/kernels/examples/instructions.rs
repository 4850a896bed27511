//! Runs each hot kernel of one set once, for a profiler that counts instructions: `scripts/instructions.sh`.
//!
//! `instructions SET` runs the cases in order, each inside `measured_case`; `instructions SET --names` prints their
//! names in that order and runs nothing.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use ballast_kernels::{
    Activations, Block, CacheType, Kernels, KvView, PackedMatrix, PanelMut, Partial, Queries, SPAN, WeightType, by_name,
};

/// A case's name and what it runs.
type Case = (String, Box<dyn Fn()>);

/// What the profiler counts. Something follows the call, so that it is a call and not a jump.
#[inline(never)]
fn measured_case(run: &dyn Fn()) -> u32 {
    run();
    std::hint::black_box(1)
}

fn product(set: &'static dyn Kernels, weight_type: WeightType, n: usize) -> Case {
    let (n_rows, n_cols) = (64, 512);
    let bytes = vec![0x11; PackedMatrix::bytes_of(weight_type, n_rows, n_cols).expect("whole blocks")];
    let mut x = Activations::default();
    x.fill(set, weight_type.activation_format(), &vec![0.5; n * n_cols], n_cols);
    let run = move || {
        let w = PackedMatrix::new(weight_type, n_rows, n_cols, &bytes).expect("the bytes of that shape");
        let mut y = vec![0.0; n * n_rows];
        set.matmul(&w, &x, &mut PanelMut::new(&mut y, n_rows));
    };
    (format!("matmul {weight_type:?} 64x512 rows {n}"), Box::new(run))
}

fn attention(set: &'static dyn Kernels, cache_type: CacheType, n_rows: usize) -> Case {
    // Small numbers in every type.
    let keys = vec![0x30; 8 * cache_type.key_block_bytes(32, 64)];
    let values = vec![0x30; 8 * cache_type.value_block_bytes(32, 64)];
    let run = move || {
        let blocks = [0, 1, 2, 3, 4, 5, 6, 7];
        let kv = KvView {
            cache_type,
            keys: &keys,
            values: &values,
            blocks: &blocks,
            kv_head: 0,
            n_kv_heads: 1,
            block_len: 32,
            head_dim: 64,
        };
        let q = vec![0.5; n_rows * 3 * 64];
        let queries = Queries { q: &q, stride: 192, n_rows, n_group: 3, position: SPAN - n_rows, scale: 0.125 };
        let mut data = vec![0.0; Partial::len_of(queries.len(), 64)];
        let mut out = Partial::over(&mut data, queries.len(), 64);
        set.attend(&queries, &kv, 0, &mut vec![0.0; queries.len() * SPAN], &mut out);
    };
    // What was counted before there were other types keeps its name.
    let of = if cache_type == CacheType::F16 { String::new() } else { format!(" in {}", cache_type.name()) };
    (format!("attend 3 heads of 64{of}, rows {n_rows}"), Box::new(run))
}

fn row_wise(set: &'static dyn Kernels) -> Vec<Case> {
    let (x, y) = (vec![0.5; 4096], vec![2.0; 4096]);
    let (x2, y2) = (x.clone(), y.clone());
    vec![
        ("quantize 4096".to_owned(), Box::new(move || set.quantize(&[0.5; 4096], 8, &mut [Block::ZERO; 128]))),
        ("rms_norm 4096".to_owned(), Box::new(move || set.rms_norm(&x, &y, 1e-5, &mut [0.0; 4096]))),
        ("silu_mul 4096".to_owned(), Box::new(move || set.silu_mul(&mut x2.clone(), &y2))),
    ]
}

fn cases(set: &'static dyn Kernels) -> Vec<Case> {
    let products = WeightType::ALL.into_iter().flat_map(|weight_type| [1, 8].map(|n| product(set, weight_type, n)));
    let attentions = CacheType::ALL.into_iter().flat_map(|of| [1, 5].map(|n_rows| attention(set, of, n_rows)));
    products.chain(attentions).chain(row_wise(set)).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().expect("usage: instructions SET [--names]");
    let set = by_name(&name).expect("a set that this CPU has");
    let names = arguments.next().is_some();
    for (name, run) in cases(set) {
        if names {
            println!("{name}");
        } else {
            std::hint::black_box(measured_case(&*run));
        }
    }
}
