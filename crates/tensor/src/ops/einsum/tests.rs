//! Sums of products against the definition, and determinants.

use crate::array::Array;
use crate::graph::Attribute;
use crate::testing::run_arrays;

fn counted(shape: &[usize]) -> Array {
    Array::new(shape, (1_i64..).take(shape.iter().product()).collect())
}

fn einsum(equation: &str, arrays: &[Array]) -> Option<Array> {
    run_arrays(("Einsum", 12), &[("equation", Attribute::Text(equation.to_owned()))], arrays).ok()
}

/// Equation, operands, and shape and elements of the result.
type Case<'a> = (&'a str, &'a [Array], &'a [usize], &'a [i64]);

#[test]
fn sums_of_products_are_those_of_the_definition() {
    let (a, b) = (counted(&[2, 3]), counted(&[3, 2]));
    let cases: &[Case<'_>] = &[
        ("ij,jk->ik", &[a.clone(), b.clone()], &[2, 2], &[22, 28, 49, 64]),
        ("ij , jk", &[a.clone(), b.clone()], &[2, 2], &[22, 28, 49, 64]),
        ("ij->ji", std::slice::from_ref(&a), &[3, 2], &[1, 4, 2, 5, 3, 6]),
        ("ij->", std::slice::from_ref(&a), &[], &[21]),
        ("ij->i", std::slice::from_ref(&a), &[2], &[6, 15]),
        ("ii->i", &[counted(&[3, 3])], &[3], &[1, 5, 9]),
        ("ii", &[counted(&[3, 3])], &[], &[15]),
        ("i,j->ij", &[counted(&[2]), counted(&[2])], &[2, 2], &[1, 2, 2, 4]),
        ("...ij->...ji", &[counted(&[1, 2, 2])], &[1, 2, 2], &[1, 3, 2, 4]),
        ("...i,...i->...", &[counted(&[2, 2]), counted(&[1, 2])], &[2], &[5, 11]),
        ("i,i,i->", &[counted(&[3]), counted(&[3]), counted(&[3])], &[], &[36]),
        ("bij,bjk->bik", &[counted(&[2, 1, 2]), counted(&[2, 2, 1])], &[2, 1, 1], &[5, 25]),
    ];
    for (equation, arrays, shape, expected) in cases {
        let got = einsum(equation, arrays).unwrap_or_else(|| panic!("{equation}"));
        assert_eq!((got.shape(), got.values::<i64>().unwrap()), (*shape, *expected), "{equation}");
    }
}

#[test]
fn many_columns_are_summed_as_few_are() {
    let (a, b) = (counted(&[3, 5]), counted(&[5, 20]));
    let got = einsum("ij,jk->ik", &[a.clone(), b.clone()]).unwrap();
    let (a, b) = (a.values::<i64>().unwrap(), b.values::<i64>().unwrap());
    let cell = |at: usize| (0..5).map(|j| a[at / 20 * 5 + j] * b[j * 20 + at % 20]).sum::<i64>();
    assert_eq!(got.values::<i64>().unwrap(), (0..60).map(cell).collect::<Vec<_>>());
}

#[test]
fn equations_that_do_not_fit_are_refused() {
    let a = || counted(&[2, 3]);
    for equation in ["", "ij->k", "ij->ii", "ijk", "i", "ii", "i.j", "ij,jk", "...i...", "ij->...ij", "i1"] {
        assert!(einsum(equation, &[a()]).is_none(), "{equation}");
    }
    assert!(einsum("ij,jk->ik", &[a(), a()]).is_none(), "extents differ");
}

#[test]
fn determinants_change_sign_with_the_order_of_rows() {
    let det = |values: [f32; 4]| run_arrays(("Det", 11), &[], &[Array::new(&[1, 2, 2], values.to_vec())]).unwrap();
    assert_eq!(det([0.0, 1.0, 1.0, 0.0]).values::<f32>().unwrap(), [-1.0]);
    assert_eq!(det([1.0, 2.0, 3.0, 4.0]).values::<f32>().unwrap(), [-2.0]);
    assert_eq!(det([1.0, 2.0, 2.0, 4.0]).values::<f32>().unwrap(), [0.0]);
    assert!(run_arrays(("Det", 11), &[], &[Array::new(&[2, 3], vec![0.0_f32; 6])]).is_err());
}
