//! Activations to int8: every set gives the very integers and scales of `generic`.

use crate::data::Random;
use ballast_kernels::{Block, Kernels, available, by_name};
use proptest::prelude::*;

fn quantize(set: &dyn Kernels, x: &[f32], n_rows: usize) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; x.len() / 32];
    set.quantize(x, n_rows, &mut blocks);
    blocks
}

fn quants(block: &Block) -> Vec<i32> {
    block.quants.iter().flat_map(|word| word.to_le_bytes()).map(|byte| i32::from(byte.cast_signed())).collect()
}

fn assert_same(x: &[f32], n_rows: usize) {
    let generic = by_name("generic").expect("generic runs everywhere");
    let expected = quantize(generic, x, n_rows);
    for set in available() {
        assert_eq!(quantize(set, x, n_rows), expected, "{}", set.name());
    }
    for block in expected {
        let quants = quants(&block);
        assert!(quants.iter().all(|q| (-127..=127).contains(q)));
        let sums = [&quants[..16], &quants[16..]].map(|half| half.iter().sum::<i32>());
        assert_eq!((block.neg_sums, block.neg_sum), ([-sums[0], -sums[1]], -sums[0] - sums[1]));
        assert_eq!(block.offset.to_bits(), (block.scale * (sums[0] + sums[1]) as f32).to_bits());
    }
}

#[test]
fn all_sets_give_the_same_quants_at_every_scale() {
    for n_rows in [1, 2, 3, 16] {
        for magnitude in [0.0, 1e-45, 1e-40, 3e-39, 1.2e-38, 1e-37, 1e-30, 1e-7, 1.0, 127.0, 8e6, 1e30, f32::MAX] {
            assert_same(&Random(1).floats(96 * n_rows, magnitude), n_rows);
        }
    }
}

#[test]
fn blocks_of_a_row_stand_apart_and_rows_together() {
    let x: Vec<f32> = [1.0, 2.0, 3.0, 4.0].into_iter().flat_map(|value| [value; 32]).collect();
    for set in available() {
        let scales: Vec<f32> = quantize(set, &x, 2).iter().map(|block| block.scale * 127.0).collect();
        assert_eq!(scales, [1.0, 3.0, 2.0, 4.0], "{}", set.name());
    }
}

#[test]
fn halves_round_away_from_zero() {
    let mut x: Vec<f32> = (0..32_u16).map(|i| f32::from(i) + 0.5).collect();
    x[0] = -127.0;
    x[5] = -5.5;
    for set in available() {
        let quants = quants(&quantize(set, &x, 1)[0]);
        assert_eq!((quants[0], &quants[1..4], quants[5]), (-127, &[2, 3, 4][..], -6), "{}", set.name());
    }
}

proptest! {
    #[test]
    fn any_finite_block_has_the_quants_of_generic(
        x in proptest::collection::vec(proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO, 64)
    ) {
        assert_same(&x, 1);
    }

    #[test]
    fn blocks_of_one_magnitude_have_the_quants_of_generic(
        x in proptest::collection::vec(-1.0f32..1.0, 64), exponent in -140i32..120
    ) {
        let scaled: Vec<f32> = x.iter().map(|x| x * 2f32.powi(exponent)).collect();
        assert_same(&scaled, 2);
    }
}
