//! Products of plain matrices, and functions of one number.

use crate::data::{Random, bits};
use ballast_kernels::{Columns, Kernels, PanelMut, Pointwise, RowTiles, available, by_name};
use proptest::prelude::*;

/// `[n_rows, n_inner] x [n_inner, n_cols]` onto what is there, the rows of the second `step` apart.
struct Case {
    shape: [usize; 3],
    step: usize,
    seed: u64,
}

impl Case {
    fn compute(&self, kernels: &dyn Kernels) -> Vec<f32> {
        let (rows, x, offsets, before) = self.data();
        let [n_rows, n_inner, n_cols] = self.shape;
        let mut packed = vec![f32::NAN; RowTiles::len_of(n_rows, n_inner)];
        RowTiles::pack(&rows, [n_inner, 1], n_rows, n_inner, &mut packed);
        let mut out = before;
        let tiles = RowTiles::new(&packed, n_rows, n_inner);
        kernels.gemm(&tiles, &Columns { values: &x, offsets: &offsets }, &mut PanelMut::new(&mut out, n_cols));
        out
    }

    fn data(&self) -> (Vec<f32>, Vec<f32>, Vec<usize>, Vec<f32>) {
        let [n_rows, n_inner, n_cols] = self.shape;
        let mut random = Random(self.seed);
        let rows = random.floats(n_rows * n_inner, 2.0);
        let x = random.floats(n_inner.saturating_sub(1) * self.step + n_cols, 3.0);
        (rows, x, (0..n_inner).map(|k| k * self.step).collect(), random.floats(n_rows * n_cols, 1.0))
    }

    fn reference(&self) -> Vec<f64> {
        let (rows, x, offsets, before) = self.data();
        let [_, n_inner, n_cols] = self.shape;
        let entry = |(idx, before): (usize, &f32)| {
            let (i, j) = (idx / n_cols, idx % n_cols);
            let product = |k: usize| f64::from(rows[i * n_inner + k]) * f64::from(x[offsets[k] + j]);
            f64::from(*before) + (0..n_inner).map(product).sum::<f64>()
        };
        before.iter().enumerate().map(entry).collect()
    }

    /// Every set has the bits of `generic`, and those are near the products in f64.
    fn check(&self) {
        let expected = self.compute(by_name("generic").expect("generic runs everywhere"));
        let limit = 1e-6 * 6.0 * (self.shape[1] + 1) as f64;
        for (got, reference) in expected.iter().zip(self.reference()) {
            assert!((f64::from(*got) - reference).abs() <= limit, "{:?}: {got}, not {reference}", self.shape);
        }
        for set in available() {
            assert_eq!(bits(&self.compute(set)), bits(&expected), "{} {:?}", set.name(), self.shape);
        }
    }
}

#[test]
fn all_sets_give_the_same_gemm_over_lengths() {
    for n_cols in [1, 2, 3, 6, 13, 15, 16, 17, 47, 48, 49, 63, 64, 65, 130, 195, 210] {
        for n_rows in [1, 2, 3, 4, 5, 7, 8, 9, 20, 33, 70] {
            for n_inner in [0, 1, 9] {
                Case { shape: [n_rows, n_inner, n_cols], step: n_cols, seed: n_cols as u64 }.check();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_sets_give_the_same_gemm_of_any_shape(
        n_rows in 1usize..80, n_inner in 0usize..40, n_cols in 1usize..120, step in 0usize..150, seed: u64,
    ) {
        Case { shape: [n_rows, n_inner, n_cols], step, seed }.check();
    }
}

#[test]
fn a_gemm_cut_anywhere_has_the_same_bits() {
    let case = Case { shape: [21, 30, 70], step: 77, seed: 4 };
    let (rows, x, offsets, before) = case.data();
    let mut packed = vec![0.0; RowTiles::len_of(21, 30)];
    RowTiles::pack(&rows, [30, 1], 21, 30, &mut packed);
    let tiles = RowTiles::new(&packed, 21, 30);
    for set in available() {
        let mut out = before.clone();
        let (above, below) = PanelMut::new(&mut out, 70).split_at_row(8);
        let (left, right) = below.split_at_col(33);
        for (rows, from, mut panel) in [(0..8, 0, above), (8..21, 0, left), (8..21, 33, right)] {
            for cols in [0..13, 13..30] {
                let columns = Columns { values: &x[from..], offsets: &offsets[cols.clone()] };
                set.gemm(&tiles.rows(rows.clone()).cols(cols), &columns, &mut panel);
            }
        }
        assert_eq!(bits(&out), bits(&case.compute(set)), "{}", set.name());
    }
}

#[test]
#[should_panic(expected = "not in 11 values")]
fn refuses_columns_that_end_outside() {
    let (packed, set) = (vec![0.0; RowTiles::len_of(1, 2)], by_name("generic").expect("generic runs everywhere"));
    let columns = Columns { values: &[0.0; 11], offsets: &[0, 8] };
    set.gemm(&RowTiles::new(&packed, 1, 2), &columns, &mut PanelMut::new(&mut [0.0; 4], 4));
}

const FUNCTIONS: [Pointwise; 11] = [
    Pointwise::Affine(1.5, -0.25),
    Pointwise::Relu,
    Pointwise::LeakyRelu(0.1),
    Pointwise::Clip(-1.0, 2.0),
    Pointwise::HardSigmoid(0.2, 0.5),
    Pointwise::HardSwish,
    Pointwise::Sigmoid,
    Pointwise::Tanh,
    Pointwise::Silu,
    Pointwise::Gelu,
    Pointwise::Exp,
];

fn exact(f: Pointwise, x: f64) -> Option<f64> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    Some(match f {
        Pointwise::Affine(factor, term) => f64::from(factor) * x + f64::from(term),
        Pointwise::Relu => x.max(0.0),
        Pointwise::LeakyRelu(slope) => {
            if x < 0.0 {
                f64::from(slope) * x
            } else {
                x
            }
        }
        Pointwise::Clip(min, max) => x.clamp(f64::from(min), f64::from(max)),
        Pointwise::HardSigmoid(alpha, beta) => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        Pointwise::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Pointwise::Sigmoid => sigmoid(x),
        Pointwise::Tanh => x.tanh(),
        Pointwise::Silu => x * sigmoid(x),
        Pointwise::Gelu => return None,
        Pointwise::Exp => x.exp(),
    })
}

#[test]
fn functions_agree_with_f64_and_between_sets() {
    let mut x: Vec<f32> = (-4000..4000).map(|step| step as f32 * 0.003).collect();
    x.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-20, -1e-20, 40.0, -40.0, 1e30, -1e30]);
    let generic = by_name("generic").expect("generic runs everywhere");
    for f in FUNCTIONS {
        let mut expected = x.clone();
        generic.pointwise(f, &mut expected);
        for (x, got) in x.iter().zip(&expected).filter(|(x, _)| x.abs() < 50.0) {
            let Some(exact) = exact(f, f64::from(*x)) else { continue };
            let limit = 3e-7 * exact.abs() + 2e-7_f64.min(f64::from(x.abs()));
            assert!((f64::from(*got) - exact).abs() <= limit, "{f:?} of {x}: {got}, not {exact}");
        }
        assert!(x.iter().zip(&expected).all(|(x, y)| x.is_nan() <= y.is_nan()), "{f:?} hides a NaN");
        for set in available() {
            let mut got = x.clone();
            set.pointwise(f, &mut got);
            assert_eq!(bits(&got), bits(&expected), "{} {f:?}", set.name());
        }
    }
}
