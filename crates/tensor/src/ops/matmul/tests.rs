//! Products of any shape against plain loops.

use super::product::{Packed, Right, multiply};
use crate::pieces::Epilogue;
use crate::testing::{Random, with_context};
use ballast_kernels::Pointwise;
use proptest::prelude::*;

fn check([m, k, n]: [usize; 3], n_threads: usize) {
    let mut random = Random::new((m * k * n) as u64);
    let (a, b, before) = (random.floats(m * k), random.floats(k * n), random.floats(m * n));
    let expected = |at: usize| {
        let product = |i: usize| f64::from(a[at / n * k + i]) * f64::from(b[i * n + at % n]);
        (f64::from(before[at]) + (0..k).map(product).sum::<f64>()).max(0.0)
    };
    let transposed = |x: &[f32], n_rows: usize, n_cols: usize| -> Vec<f32> {
        (0..x.len()).map(|at| x[at % n_rows * n_cols + at / n_rows]).collect()
    };
    let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
    let (packed, from_transposed) = (Packed::new(&b, [n, 1], k, n), Packed::new(&b_t, [1, k], k, n));
    let mut first: Option<Vec<f32>> = None;
    for (a, steps) in [(&a, [k, 1]), (&a_t, [1, m])] {
        for right in [Right::direct(&b, k, n), packed.view(), from_transposed.view()] {
            let mut out = before.clone();
            with_context(n_threads, |context| {
                multiply(a, steps, &right, &mut out, (&Epilogue(vec![Pointwise::Relu]), context));
            });
            for (at, got) in out.iter().enumerate() {
                assert!((f64::from(*got) - expected(at)).abs() < 1e-4, "{m} x {k} x {n}, result {at}");
            }
            assert_eq!(first.get_or_insert_with(|| out.clone()), &out, "the way to the result changes its bits");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_product_is_the_sum_of_its_columns(m in 1usize..90, k in 0usize..50, n in 1usize..120, n_threads in 1usize..4) {
        check([m, k, n], n_threads);
    }
}

#[test]
fn long_sums_are_cut_and_added_up() {
    check([9, 900, 50], 2);
    check([1, 900, 200], 2);
}

#[test]
fn sums_of_nothing_are_what_was_there() {
    check([24, 0, 100], 2);
    check([1, 0, 100], 2);
}
