//! The whole of the algorithm on a machine in software, with the vectors that this CPU has, against `generic`.

#![expect(unsafe_code, reason = "an operation for vectors of a CPU without tiles, and the entry to its features")]

use super::machine::Machine;
use super::trial::{self, Case, agrees_on, quantised};
use crate::product::tiles::{self, ROWS_MIN, TileIsa};
use crate::x86_64::avx512::Avx512;
use crate::x86_64::ymm::Avx2;
use crate::{ActivationFormat, Activations, PackedMatrix, PanelMut, WeightType, by_name};
use std::arch::x86_64::{__m256i, _mm256_set1_epi8, _mm256_storeu_si256, _mm256_sub_epi8};

impl TileIsa for Avx2 {
    #[inline(always)]
    fn store_signed(self, quants: [__m256i; 2], zero: u8, out: &mut [u8; 64]) {
        let (halves, _) = out.as_chunks_mut::<32>();
        for (quants, out) in quants.into_iter().zip(halves) {
            // SAFETY: `self` proves AVX2, and the array is as long as what is stored to it.
            unsafe {
                let signed = _mm256_sub_epi8(quants, _mm256_set1_epi8(zero.cast_signed()));
                _mm256_storeu_si256(out.as_mut_ptr().cast(), signed);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn matmul_avx2(set: Avx2, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    tiles::matmul(set, Machine::configure, w, x, y);
}

/// What multiplies on the machine, with each kind of vectors that the CPU has.
fn machines() -> Vec<Box<trial::Matmul<'static>>> {
    let mut machines: Vec<Box<trial::Matmul<'static>>> = Vec::new();
    if let Some(set) = Avx512::proof() {
        machines.push(Box::new(move |w, x, y| set.matmul_by_tiles(Machine::configure, w, x, y)));
    }
    if let Some(set) = Avx2::proof() {
        // SAFETY: `set` proves the features.
        machines.push(Box::new(move |w, x, y| unsafe { matmul_avx2(set, w, x, y) }));
    }
    machines
}

fn assert_agree(case: Case) {
    let oracle = by_name("generic").expect("generic runs everywhere");
    for (idx, matmul) in machines().iter().enumerate() {
        assert!(agrees_on(case, matmul, oracle), "machine {idx}: {case:?}");
    }
}

#[test]
fn tiles_give_the_bits_of_generic_for_any_number_of_rows() {
    for weight_type in quantised() {
        for n_rows in 1..=40 {
            assert_agree(Case { weight_type, n_rows, n_weight_rows: 16, n_cols: weight_type.block_len() });
        }
    }
}

#[test]
fn tiles_give_the_bits_of_generic_over_strips_and_columns() {
    for weight_type in quantised() {
        for (n_weight_rows, n_blocks) in [(1, 1), (15, 2), (17, 3), (31, 5), (32, 4), (33, 2), (50, 17), (7, 33)] {
            for n_rows in [16, 29] {
                let n_cols = weight_type.block_len() * n_blocks;
                assert_agree(Case { weight_type, n_rows, n_weight_rows, n_cols });
            }
        }
    }
}

#[test]
fn tiles_give_the_bits_of_generic_over_panels() {
    for weight_type in quantised() {
        for n_rows in [256, 257, 280] {
            let n_cols = weight_type.block_len();
            assert_agree(Case { weight_type, n_rows, n_weight_rows: 20, n_cols });
        }
    }
}

#[test]
fn the_machine_passes_the_trial() {
    let oracle = by_name("generic").expect("generic runs everywhere");
    for matmul in machines() {
        assert!(trial::agrees(&matmul, oracle));
    }
}

#[test]
fn tiles_are_for_many_rows_of_quantised_weights() {
    let mut x = Activations::default();
    for weight_type in WeightType::ALL {
        let bytes = vec![0; PackedMatrix::bytes_of(weight_type, 1, 256).expect("whole blocks")];
        let w = PackedMatrix::new(weight_type, 1, 256, &bytes).expect("the bytes of that shape");
        for n_rows in [1, ROWS_MIN - 1, ROWS_MIN, 40] {
            x.reset(weight_type.activation_format(), n_rows, 256);
            let quantised = weight_type.activation_format() == ActivationFormat::Q8_32;
            assert_eq!(tiles::has(&w, &x), quantised && n_rows >= ROWS_MIN, "{weight_type:?}, {n_rows} rows");
        }
    }
}

#[test]
fn the_set_runs_where_a_cpu_has_tiles() {
    let Some(set) = super::Amx::detect() else {
        println!("skipped: this CPU has no tiles, or the system does not give them");
        return;
    };
    let oracle = by_name("generic").expect("generic runs everywhere");
    assert!(trial::agrees(&|w, x, y| set.matmul(w, x, y), oracle));
}
