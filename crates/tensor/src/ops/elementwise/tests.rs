//! Arithmetic by known values, and broadcasting against a loop over all indices.

use crate::array::Array;
use crate::operator::{broadcast, strides};
use crate::ops::trial::{Trial, assert_near, row};
use proptest::prelude::*;

/// What element `at` of a broadcast shape has in an array.
fn element(array: &Array, shape: &[usize], mut at: usize) -> f32 {
    let (own, missing) = (strides(array.shape()), shape.len() - array.rank());
    let mut offset = 0;
    for dim in (0..shape.len()).rev() {
        let idx = at % shape[dim];
        at /= shape[dim];
        if dim >= missing && array.shape()[dim - missing] != 1 {
            offset += idx * own[dim - missing];
        }
    }
    array.values::<f32>().expect("floats")[offset]
}

/// A shape, and two that broadcast to it.
fn shapes() -> impl Strategy<Value = [Vec<usize>; 2]> {
    proptest::collection::vec((0usize..5, any::<bool>(), any::<bool>()), 0..5).prop_flat_map(|dims| {
        let shape = |which: fn(&(usize, bool, bool)) -> bool| -> Vec<usize> {
            dims.iter().map(|dim| if which(dim) { 1 } else { dim.0 }).collect()
        };
        let (a, b) = (shape(|dim| dim.1), shape(|dim| dim.2));
        (0..=a.len(), 0..=b.len()).prop_map(move |(drop_a, drop_b)| {
            // Only one of them may have fewer dimensions, lest the other's extents are not those of the shape.
            if drop_a < drop_b { [a.clone(), b[drop_b..].to_vec()] } else { [a[drop_a..].to_vec(), b.clone()] }
        })
    })
}

proptest! {
    #[test]
    fn arrays_broadcast_as_a_loop_over_all_indices_says([a, b] in shapes()) {
        let array = |shape: &[usize], from: f32| {
            let len = shape.iter().product::<usize>();
            Array::new(shape, (0..len).map(|at| from + at as f32).collect())
        };
        let (a, b) = (array(&a, 0.0), array(&b, 1000.0));
        let shape = broadcast(a.shape(), b.shape()).expect("the shapes broadcast");
        let len = shape.iter().product();
        let expected: Vec<f32> = (0..len).map(|at| element(&a, &shape, at) - element(&b, &shape, at)).collect();
        let got = Trial::new("Sub", 14).run(&[a.clone(), b.clone()]).expect("computes");
        prop_assert_eq!((got.shape(), got.values::<f32>()), (&shape[..], Some(&expected[..])));
        // A third array takes part in the walk with steps of its own.
        let condition = Array::new(&[], vec![true]);
        let got = Trial::new("Where", 16).run(&[condition, a.clone(), b]).expect("computes");
        let expected: Vec<f32> = (0..len).map(|at| element(&a, &shape, at)).collect();
        prop_assert_eq!(got.values::<f32>(), Some(&expected[..]));
    }
}

#[test]
fn threads_share_long_loops_and_change_nothing() {
    let n = 100_000;
    let a = Array::new(&[n / 10, 10], (0..n).map(|at| at as f32 * 0.5).collect());
    let b = row(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    let expected: Vec<f32> = (0..n).map(|at| at as f32 * 0.5 / (at % 10 + 1) as f32).collect();
    for n_threads in [1, 3] {
        assert_eq!(Trial::new("Div", 14).threads(n_threads).values::<f32>(&[a.clone(), b.clone()]), expected);
    }
}

#[test]
fn results_take_the_place_of_unshared_inputs_of_their_shape_only() {
    let (wide, narrow) = (|| Array::new(&[2, 2], vec![1f32, 2.0, 3.0, 4.0]), || row(&[10f32, 20.0]));
    // Trial keeps its own handle of each input, so that none may be written over.
    let (a, b) = (wide(), narrow());
    assert_eq!(Trial::new("Sub", 14).values::<f32>(&[b.clone(), a.clone()]), [9.0, 18.0, 7.0, 16.0]);
    assert_eq!((a, b), (wide(), narrow()));
    let over = |a: Array, b: Array| {
        crate::testing::with_context(1, |context| super::zip_over::<f32>(a, b, context, |a, b| a - b))
            .expect("computes")
    };
    assert_eq!(over(wide(), narrow()).values::<f32>(), Some(&[-9.0, -18.0, -7.0, -16.0][..]));
    assert_eq!(over(narrow(), wide()).values::<f32>(), Some(&[9.0, 18.0, 7.0, 16.0][..]));
    let scalar = || Array::scalar(1f32);
    assert_eq!(over(wide(), scalar()).values::<f32>(), Some(&[0.0, 1.0, 2.0, 3.0][..]));
}

#[test]
fn integers_divide_towards_zero_and_their_remainders_have_the_sign_that_is_asked_for() {
    let (a, b) = (row(&[7i32, -7, 7, -7, i32::MIN]), row(&[3i32, 3, -3, -3, -1]));
    assert_eq!(Trial::new("Div", 14).values::<i32>(&[a.clone(), b.clone()]), [2, -2, -2, 2, i32::MIN]);
    assert_eq!(Trial::new("Mod", 13).values::<i32>(&[a.clone(), b.clone()]), [1, 2, -2, -1, 0]);
    assert_eq!(Trial::new("Mod", 13).int("fmod", 1).values::<i32>(&[a.clone(), b]), [1, -1, 1, -1, 0]);
    for op in ["Div", "Mod"] {
        assert!(Trial::new(op, 14).run(&[a.clone(), row(&[0i32])]).is_err(), "{op} by 0");
    }
    let floats = [row(&[-4.3f32, 5.0]), row(&[2.1f32, 0.0])];
    assert_near(&Trial::new("Mod", 13).int("fmod", 1).values::<f32>(&floats), &[-0.1, f32::NAN], 1e-6);
    assert_eq!(Trial::new("Add", 14).values::<u8>(&[row(&[250u8]), row(&[10u8])]), [4]);
}

#[test]
fn bits_shift_out() {
    let left = || Trial::new("BitShift", 28).text("direction", "LEFT");
    let right = || Trial::new("BitShift", 28).text("direction", "RIGHT");
    assert_eq!(left().values::<u8>(&[row(&[16u8, 4, 1]), row(&[1u8, 2, 9])]), [32, 16, 0]);
    assert_eq!(right().values::<u8>(&[row(&[16u8, 4, 1]), row(&[1u8, 2, 9])]), [8, 1, 0]);
    assert_eq!(right().values::<i8>(&[row(&[-16i8, -16, 16, -1]), row(&[2i8, 9, 9, -1])]), [-4, -1, 0, -1]);
    assert_eq!(left().values::<i8>(&[row(&[-16i8, 100]), row(&[-1i8, 1])]), [0, -56]);
    assert!(Trial::new("BitShift", 11).text("direction", "UP").run(&[row(&[1u8]), row(&[1u8])]).is_err());
}

#[test]
fn powers_have_the_type_of_their_base() {
    let power = |base: Array, exponent: Array| Trial::new("Pow", 15).run(&[base, exponent]).expect("computes");
    assert_eq!(power(row(&[3i64, -2, 2]), row(&[2i32, 3, 62])), row(&[9i64, -8, 1 << 62]));
    assert_eq!(power(row(&[4i32]), row(&[0.5f32])), row(&[2i32]));
    assert_eq!(power(row(&[2f32, 3.0]), row(&[2i64])), row(&[4f32, 9.0]));
    let roots = power(row(&[9f32, f32::NEG_INFINITY, -1.0, -0.0]), row(&[0.5f32]));
    assert_near(roots.values().expect("floats"), &[3.0, f32::INFINITY, f32::NAN, 0.0], 0.0);
    assert_near(power(row(&[2f32]), row(&[-1.5f32])).values().expect("floats"), &[0.353_553_4], 1e-6);
}

#[test]
fn any_number_of_arrays_add_up() {
    let arrays = [row(&[1f32, 5.0, f32::NAN]), row(&[3f32]), row(&[2f32, 2.0, 2.0])];
    for (op, expected) in [("Sum", [6.0, 10.0]), ("Mean", [2.0, 10.0 / 3.0]), ("Max", [3.0, 5.0]), ("Min", [1.0, 2.0])]
    {
        let got = Trial::new(op, 13).values::<f32>(&arrays);
        assert_near(&got, &[expected[0], expected[1], f32::NAN], 1e-6);
    }
    assert!(Trial::new("Sum", 6).run(&arrays).is_err(), "they did not broadcast then");
}

#[test]
fn before_version_7_the_second_array_lies_where_it_is_told() {
    let (a, b) = (Array::new(&[2, 3], vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0]), row(&[10f32, 20.0]));
    let sum = Trial::new("Add", 6).int("broadcast", 1).int("axis", 0).values::<f32>(&[a.clone(), b.clone()]);
    assert_eq!(sum, [10.0, 11.0, 12.0, 23.0, 24.0, 25.0]);
    assert!(Trial::new("Add", 6).run(&[a.clone(), b.clone()]).is_err());
    assert!(Trial::new("Add", 14).run(&[a.clone(), b]).is_err());
    let slope = Array::new(&[2], vec![2f32, 3.0]);
    let x = Array::new(&[1, 2, 2], vec![-1f32, 1.0, -1.0, 1.0]);
    assert_eq!(Trial::new("PRelu", 6).values::<f32>(&[x.clone(), slope.clone()]), [-2.0, 1.0, -3.0, 1.0]);
    assert_eq!(Trial::new("PRelu", 16).values::<f32>(&[x, slope]), [-2.0, 1.0, -2.0, 1.0]);
}

#[test]
fn types_that_do_not_go_together_are_refused() {
    assert!(Trial::new("Add", 14).run(&[row(&[1f32]), row(&[1i64])]).is_err());
    assert!(Trial::new("Add", 14).run(&[row(&[true]), row(&[true])]).is_err());
    assert!(Trial::new("Where", 16).run(&[row(&[true]), row(&[1f32]), row(&[1i64])]).is_err());
    let texts = [row(&[true, false]), row(&["a".to_owned()]), row(&["b".to_owned()])];
    assert_eq!(Trial::new("Where", 16).values::<String>(&texts), ["a", "b"]);
}
