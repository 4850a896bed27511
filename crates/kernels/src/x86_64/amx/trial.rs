//! What a set that was never run has to show before it is used: the products of another, bit for bit.

use crate::activations::{ActivationFormat, TILE_ROWS};
use crate::{Activations, Kernels, PackedMatrix, PanelMut, STRIP_ROWS, WeightType};

/// A product, as [`Kernels::matmul`] is one.
pub(super) type Matmul<'a> = dyn Fn(&PackedMatrix<'_>, &Activations, &mut PanelMut<'_>) + 'a;

/// Products of `n_rows` rows of activations and `n_weight_rows` of weights, of `n_cols` columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) weight_type: WeightType,
    pub(super) n_rows: usize,
    pub(super) n_weight_rows: usize,
    pub(super) n_cols: usize,
}

/// Whether `matmul` gives the bits of `oracle` for every quantised format: two full tiles, a short tail and a long one,
/// a strip that is full and one that is not, and slices enough for two chunks of which the second is not full.
pub(super) fn agrees(matmul: &Matmul<'_>, oracle: &dyn Kernels) -> bool {
    quantised().all(|weight_type| {
        let n_cols = if weight_type.block_len() == 32 { 32 * 19 } else { 256 * 3 };
        [2 * TILE_ROWS + 3, TILE_ROWS + 13].into_iter().all(|n_rows| {
            let case = Case { weight_type, n_rows, n_weight_rows: STRIP_ROWS + 3, n_cols };
            agrees_on(case, matmul, oracle)
        })
    })
}

/// The formats that tiles are for.
pub(super) fn quantised() -> impl Iterator<Item = WeightType> {
    WeightType::ALL.into_iter().filter(|weight_type| weight_type.activation_format() == ActivationFormat::Q8_32)
}

/// Whether `matmul` gives the bits of `oracle` in one case.
pub(super) fn agrees_on(case: Case, matmul: &Matmul<'_>, oracle: &dyn Kernels) -> bool {
    let Case { weight_type, n_rows, n_weight_rows, n_cols } = case;
    let bytes = weights(case);
    let w = PackedMatrix::new(weight_type, n_weight_rows, n_cols, &bytes).expect("the bytes of that shape");
    let mut random = Random(11);
    let mut values: Vec<f32> = (0..n_rows * n_cols).map(|_| f32::from(random.byte()) - 128.0).collect();
    // The sign of a sum of nothing, too, is the oracle's.
    values[..n_cols].fill(0.0);
    let mut x = Activations::default();
    x.fill(oracle, weight_type.activation_format(), &values, n_cols);
    let (mut got, mut wanted) = (vec![0.0; n_rows * n_weight_rows], vec![0.0; n_rows * n_weight_rows]);
    matmul(&w, &x, &mut PanelMut::new(&mut got, n_weight_rows));
    oracle.matmul(&w, &x, &mut PanelMut::new(&mut wanted, n_weight_rows));
    got.iter().map(|value| value.to_bits()).eq(wanted.iter().map(|value| value.to_bits()))
}

/// Packed weights of any quants whose f16 factors are finite: these are the first bytes of a group, and the second of two
/// has the exponent.
fn weights(case: Case) -> Vec<u8> {
    let n_bytes = PackedMatrix::bytes_of(case.weight_type, case.n_weight_rows, case.n_cols).expect("whole blocks");
    let mut random = Random(7);
    let mut bytes: Vec<u8> = (0..n_bytes).map(|_| random.byte()).collect();
    for group in bytes.chunks_mut(STRIP_ROWS * case.weight_type.block_bytes()) {
        group[..64].iter_mut().skip(1).step_by(2).for_each(|byte| *byte &= 0xbf);
    }
    bytes
}

/// A sequence of bytes that look random (Numerical Recipes, 7.1).
struct Random(u32);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.to_be_bytes()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::{agrees, quantised};
    use crate::{available, by_name};

    #[test]
    fn every_set_passes() {
        let oracle = by_name("generic").expect("generic runs everywhere");
        for set in available() {
            assert!(agrees(&|w, x, y| set.matmul(w, x, y), oracle), "{}", set.name());
        }
    }

    #[test]
    fn one_wrong_bit_of_one_format_is_noticed() {
        let oracle = by_name("generic").expect("generic runs everywhere");
        for (wrong, n_rows) in quantised().flat_map(|wrong| [(wrong, 35), (wrong, 29)]) {
            let agrees = agrees(
                &|w, x, y| {
                    oracle.matmul(w, x, y);
                    if w.weight_type() == wrong && y.n_rows() == n_rows {
                        let entry = &mut y.row_mut(n_rows - 1)[w.n_rows() - 1];
                        *entry = f32::from_bits(entry.to_bits() ^ 1);
                    }
                },
                oracle,
            );
            assert!(!agrees, "{wrong:?}, {n_rows} rows");
        }
    }
}
