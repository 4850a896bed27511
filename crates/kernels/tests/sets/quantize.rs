//! Activations to int8: every set gives the very integers and scales of `generic`.

use crate::data::{Random, bits};
use ballast_kernels::{Kernels, available, by_name};
use proptest::prelude::*;

type Quantized = (Vec<i8>, Vec<u32>, Vec<i32>);

fn q8_32(set: &dyn Kernels, x: &[f32]) -> Quantized {
    let (mut q, mut d, mut sums) = (vec![0; x.len()], vec![0.0; x.len() / 32], vec![0; x.len() / 32]);
    set.quantize_q8_32(x, &mut q, &mut d, &mut sums);
    (q, bits(&d), sums)
}

fn q8_256(set: &dyn Kernels, x: &[f32]) -> Quantized {
    let (mut q, mut d, mut sums) = (vec![0; x.len()], vec![0.0; x.len() / 256], vec![0; x.len() / 16]);
    set.quantize_q8_256(x, &mut q, &mut d, &mut sums);
    (q, bits(&d), sums)
}

fn assert_same(x: &[f32]) {
    let generic = by_name("generic").expect("generic runs everywhere");
    for set in available() {
        assert_eq!(q8_32(set, x), q8_32(generic, x), "{}", set.name());
        assert_eq!(q8_256(set, x), q8_256(generic, x), "{}", set.name());
    }
}

#[test]
fn quants_are_those_of_generic_at_every_scale() {
    for n_blocks in [0, 1, 2, 3, 9] {
        for magnitude in [0.0, 1e-45, 1e-40, 3e-39, 1.2e-38, 1e-37, 1e-30, 1e-7, 1.0, 127.0, 8e6, 1e30, f32::MAX] {
            assert_same(&Random(n_blocks).floats(256 * usize::try_from(n_blocks).expect("few blocks"), magnitude));
        }
    }
}

#[test]
fn halves_round_as_ggml_rounds_them() {
    let mut x: Vec<f32> = (0..256_u16).map(|i| f32::from(i % 100) + 0.5).collect();
    x.iter_mut().step_by(32).for_each(|x| *x = -127.0);
    for set in available() {
        assert_eq!(q8_32(set, &x).0[1..4], [2, 3, 4], "away from zero, {}", set.name());
        assert_eq!(q8_256(set, &x).0[1..4], [2, 2, 4], "to even, {}", set.name());
    }
}

#[test]
fn the_first_of_two_extremes_decides_the_sign() {
    for (first, expected) in [(2.0, -1.0), (-2.0, 1.0)] {
        let mut x = vec![0.25; 256];
        (x[3], x[200]) = (first, -first);
        for set in available() {
            let (q, d, _) = q8_256(set, &x);
            assert_eq!((q[3], q[200]), (-127, 127), "{}", set.name());
            assert_eq!(f32::from_bits(d[0]).signum(), expected, "{}", set.name());
        }
    }
}

proptest! {
    #[test]
    fn any_finite_block_has_the_quants_of_generic(
        x in proptest::collection::vec(proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO, 256)
    ) {
        assert_same(&x);
    }

    #[test]
    fn blocks_of_one_magnitude_have_the_quants_of_generic(
        x in proptest::collection::vec(-1.0f32..1.0, 256), exponent in -140i32..120
    ) {
        let scaled: Vec<f32> = x.iter().map(|x| x * 2f32.powi(exponent)).collect();
        assert_same(&scaled);
    }
}
