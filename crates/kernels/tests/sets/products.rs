//! Products of weights and activations.

use crate::data::{Random, bits, f16_fields};
use ballast_kernels::{
    Activations, Kernels, PackedMatrix, PanelMut, WeightMatrix, WeightType, available, by_name, dequantize, pack,
};
use half::f16;
use proptest::prelude::*;

struct Product {
    weight_type: WeightType,
    n_rows: usize,
    n_cols: usize,
    /// Row-major blocks, and the same packed.
    weights: Vec<u8>,
    packed: Vec<u8>,
    x: Vec<f32>,
}

impl Product {
    fn new(weight_type: WeightType, n_cols: usize, weights: Vec<u8>, x: Vec<f32>) -> Self {
        let n_rows = weights.len() / (n_cols / weight_type.block_len() * weight_type.block_bytes());
        let mut packed = vec![0xaa; PackedMatrix::bytes_of(weight_type, n_rows, n_cols).expect("whole blocks")];
        pack(&WeightMatrix::new(weight_type, n_rows, n_cols, &weights).expect("whole rows"), &mut packed);
        Self { weight_type, n_rows, n_cols, weights, packed, x }
    }

    fn matrix(&self) -> PackedMatrix<'_> {
        PackedMatrix::new(self.weight_type, self.n_rows, self.n_cols, &self.packed).expect("packed for this shape")
    }

    fn compute(&self, kernels: &dyn Kernels) -> Vec<f32> {
        compute(kernels, &self.matrix(), &self.x)
    }

    /// The products in f64 and, for each, how far f32 and int8 activations may be from it: half a step of 1/127 of the
    /// greatest of 32 activations for each weight, and as many roundings as there are columns.
    fn references(&self) -> Vec<(f64, f64)> {
        let mut weights = vec![0.0; self.n_rows * self.n_cols];
        dequantize(self.weight_type, &self.weights, &mut weights);
        let quantized = self.weight_type.block_len() > 1;
        let mut references = Vec::new();
        for x in self.x.chunks(self.n_cols) {
            for weights in weights.chunks(self.n_cols) {
                let (mut sum, mut limit, mut magnitude) = (0.0, 0.0, 0.0);
                for (x, weights) in x.chunks(32).zip(weights.chunks(32)) {
                    let greatest = f64::from(x.iter().fold(0.0_f32, |max, x| max.max(x.abs())));
                    for (x, w) in x.iter().zip(weights) {
                        sum += f64::from(*x) * f64::from(*w);
                        limit += if quantized { f64::from(w.abs()) * greatest / 253.0 } else { 0.0 };
                        magnitude += f64::from(w.abs()) * greatest;
                    }
                }
                references.push((sum, limit + magnitude * self.n_cols as f64 * 2f64.powi(-23) + 1e-37));
            }
        }
        references
    }
}

fn compute(kernels: &dyn Kernels, matrix: &PackedMatrix<'_>, x: &[f32]) -> Vec<f32> {
    let mut activations = Activations::default();
    activations.fill(kernels, matrix.weight_type().activation_format(), x, matrix.n_cols());
    let mut y = vec![f32::NAN; activations.n_rows() * matrix.n_rows()];
    kernels.matmul(matrix, &activations, &mut PanelMut::new(&mut y, matrix.n_rows()));
    y
}

fn random(weight_type: WeightType, n_cols: usize, (n_rows, n_weight_rows): (usize, usize), seed: u64) -> Product {
    let mut random = Random(seed);
    let weights = random.blocks(weight_type, n_weight_rows * n_cols / weight_type.block_len(), 1.0);
    Product::new(weight_type, n_cols, weights, random.floats(n_rows * n_cols, 3.0))
}

/// Every set has the bits of `generic`, and those are near the products in f64.
fn assert_right(product: &Product, what: &str) {
    let generic = by_name("generic").expect("generic runs everywhere");
    let expected = product.compute(generic);
    let (weight_type, n_cols) = (product.weight_type, product.n_cols);
    for (got, (reference, limit)) in expected.iter().zip(product.references()) {
        let difference = (f64::from(*got) - reference).abs();
        assert!(difference <= limit, "{weight_type:?} {n_cols} {what}: {got} instead of {reference}, limit {limit}");
    }
    for set in available() {
        let same = bits(&product.compute(set)) == bits(&expected);
        assert!(same, "{} {weight_type:?} {n_cols} columns, {what}", set.name());
    }
}

#[test]
fn packing_keeps_every_weight() {
    for weight_type in WeightType::ALL {
        for n_rows in [1, 15, 16, 17, 40] {
            let n_cols = 3 * weight_type.block_len();
            let product = random(weight_type, n_cols, (1, n_rows), n_rows as u64);
            let (mut expected, mut row) = (vec![0.0; n_rows * n_cols], vec![0.0; n_cols]);
            dequantize(weight_type, &product.weights, &mut expected);
            for (idx, expected) in expected.chunks(n_cols).enumerate() {
                product.matrix().dequantize_row(idx, &mut row);
                assert_eq!(bits(&row), bits(expected), "{weight_type:?} row {idx} of {n_rows}");
            }
        }
    }
}

#[test]
fn packing_does_not_make_whole_strips_larger() {
    for weight_type in WeightType::ALL {
        let n_blocks = 16 * 5;
        let packed = PackedMatrix::bytes_of(weight_type, 16, 5 * weight_type.block_len());
        assert_eq!(packed, Some(n_blocks * weight_type.block_bytes()), "{weight_type:?}");
    }
    assert_eq!(PackedMatrix::bytes_of(WeightType::Q4_0, 1, 33), None);
    assert_eq!(PackedMatrix::bytes_of(WeightType::F32, usize::MAX, 64), None);
}

/// Block counts around the groups of 8 and 16 that the sets take at once; plain floats also end inside a vector.
fn lengths(weight_type: WeightType) -> Vec<usize> {
    if weight_type.block_len() == 1 {
        return vec![1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 65, 100, 576];
    }
    [1, 2, 3, 7, 8, 9, 15, 16, 17, 18, 48].map(|n| n * weight_type.block_len()).to_vec()
}

#[test]
fn all_sets_give_the_same_products_over_lengths() {
    for weight_type in WeightType::ALL {
        for n_cols in lengths(weight_type) {
            for n_rows in [1, 2, 3, 4, 5, 8, 18] {
                let product = random(weight_type, n_cols, (n_rows, 19), n_cols as u64);
                assert_right(&product, &format!("{n_rows} rows"));
            }
        }
    }
}

#[test]
fn all_sets_give_the_same_products_at_extreme_scales() {
    for weight_type in WeightType::ALL {
        let n_cols = 3 * weight_type.block_len().max(11);
        for (weights, x) in [(1e-7, 1.0), (1.0, 1e-30), (1.0, 1e-42), (6e4, 1e-3), (3e4, 1e5), (0.0, 1.0), (1.0, 0.0)] {
            let mut random = Random(5);
            let weights_bytes = random.blocks(weight_type, 2 * n_cols / weight_type.block_len(), weights);
            let x_values = random.floats(5 * n_cols, x);
            let product = Product::new(weight_type, n_cols, weights_bytes, x_values);
            assert_right(&product, &format!("weights {weights:e}, x {x:e}"));
        }
    }
}

/// More than two strips of 16 weight rows and more than one chunk of 32 blocks.
#[test]
fn a_result_depends_on_its_own_rows_alone() {
    const N_WEIGHT_ROWS: usize = 37;
    for weight_type in WeightType::ALL {
        let n_cols = match weight_type.block_len() {
            1 => 100,
            32 => 70 * 32,
            _ => 3 * 256,
        };
        let product = random(weight_type, n_cols, (23, N_WEIGHT_ROWS), 1);
        let matrix = product.matrix();
        for set in available() {
            let together = product.compute(set);
            for (i, x) in product.x.chunks(n_cols).enumerate() {
                let alone = compute(set, &matrix, x);
                let row = &together[i * N_WEIGHT_ROWS..][..N_WEIGHT_ROWS];
                assert_eq!(bits(row), bits(&alone), "{} {weight_type:?} row {i}", set.name());
            }
            let eight = compute(set, &matrix, &product.x[n_cols..9 * n_cols]);
            let rows = &together[N_WEIGHT_ROWS..9 * N_WEIGHT_ROWS];
            assert_eq!(bits(rows), bits(&eight), "{} {weight_type:?}", set.name());
            for split in [0, 16, 32, N_WEIGHT_ROWS] {
                assert_eq!(bits(&together), bits(&split_at(set, &product, split)), "{} {weight_type:?}", set.name());
            }
        }
    }
}

/// The product in two panels.
fn split_at(set: &dyn Kernels, product: &Product, split: usize) -> Vec<f32> {
    let matrix = product.matrix();
    let mut activations = Activations::default();
    activations.fill(set, product.weight_type.activation_format(), &product.x, product.n_cols);
    let mut y = vec![f32::NAN; activations.n_rows() * matrix.n_rows()];
    let (mut left, mut right) = PanelMut::new(&mut y, matrix.n_rows()).split_at_col(split);
    set.matmul(&matrix.rows(0..split), &activations, &mut left);
    set.matmul(&matrix.rows(split..matrix.n_rows()), &activations, &mut right);
    y
}

/// With all factors 1 a block's result is an integer below 2^24, which every order of summation gives exactly.
#[test]
fn sums_inside_a_block_are_exact() {
    for weight_type in WeightType::ALL.into_iter().filter(|weight_type| weight_type.block_len() > 1) {
        let n_cols = weight_type.block_len();
        for (fill, seed) in [(Some(0x00), 0), (Some(0xff), 0), (Some(0x80), 0), (Some(0x7f), 0), (None, 1), (None, 2)] {
            let mut random = Random(seed);
            let mut weights = random.blocks(weight_type, 1, 1.0);
            if let Some(byte) = fill {
                weights.fill(byte);
            }
            small_factors(weight_type, &mut weights);
            for signs in [-1.0, 1.0, 0.0] {
                // The first of each 32 makes their scale 1.
                let mut x: Vec<f32> = (0..n_cols).map(|_| 127.0 * signs).collect();
                if signs == 0.0 {
                    x = random.floats(n_cols, 127.0).into_iter().map(f32::round).collect();
                }
                x.iter_mut().step_by(32).for_each(|x| *x = -127.0);
                let mut values = vec![0.0; n_cols];
                dequantize(weight_type, &weights, &mut values);
                let expected: f64 = values.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                let product = Product::new(weight_type, n_cols, weights.clone(), x);
                for set in available() {
                    let got = f64::from(product.compute(set)[0]);
                    assert!(got == expected, "{} {weight_type:?} {fill:?} {signs}: {got}, {expected}", set.name());
                }
            }
        }
    }
}

/// f16 factors of 1 and group scales and minima of at most 7.
fn small_factors(weight_type: WeightType, block: &mut [u8]) {
    for offset in f16_fields(weight_type) {
        block[*offset..offset + 2].copy_from_slice(&f16::ONE.to_le_bytes());
    }
    let groups = if weight_type == WeightType::Q6_K {
        192..208
    } else if weight_type.block_len() == 256 {
        4..16
    } else {
        0..0
    };
    for byte in &mut block[groups] {
        *byte &= 0x07;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_sets_give_the_same_products_of_any_shape(
        which in 0..WeightType::ALL.len(), n_blocks in 1usize..24, n_rows in 1usize..9,
        n_weight_rows in 1usize..70, seed: u64,
    ) {
        let weight_type = WeightType::ALL[which];
        let product = random(weight_type, n_blocks * weight_type.block_len(), (n_rows, n_weight_rows), seed);
        assert_right(&product, "any");
    }
}

#[test]
#[should_panic(expected = "wants activations as Q8_32, got Some(F32)")]
fn refuses_activations_in_another_form() {
    let product = random(WeightType::Q8_0, 32, (1, 1), 0);
    let mut activations = Activations::default();
    let generic = by_name("generic").expect("generic runs everywhere");
    activations.fill(generic, WeightType::F32.activation_format(), &product.x, 32);
    generic.matmul(&product.matrix(), &activations, &mut PanelMut::new(&mut [0.0], 1));
}
