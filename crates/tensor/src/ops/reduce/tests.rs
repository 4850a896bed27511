//! Reductions against a loop over all elements, and by known values.

use crate::array::Array;
use crate::operator::strides;
use crate::ops::trial::{Trial, assert_near, row};
use proptest::prelude::*;

/// The elements of each set along `axes`, in the order of the sets.
fn sets(x: &Array, axes: &[usize]) -> Vec<Vec<f32>> {
    let kept: Vec<usize> = (0..x.rank()).filter(|at| !axes.contains(at)).collect();
    let mut sets = vec![Vec::new(); kept.iter().map(|at| x.shape()[*at]).product()];
    let steps = strides(x.shape());
    for (at, value) in x.values::<f32>().expect("floats").iter().enumerate() {
        let set = kept.iter().fold(0, |set, dim| set * x.shape()[*dim] + at / steps[*dim] % x.shape()[*dim]);
        sets[set].push(*value);
    }
    sets
}

fn array_and_axes() -> impl Strategy<Value = (Array, Vec<usize>)> {
    let dims = proptest::collection::vec((prop_oneof![0usize..4, 15usize..22], any::<bool>()), 1..4);
    dims.prop_map(|dims| {
        let shape: Vec<usize> = dims.iter().map(|dim| dim.0).collect();
        let len = shape.iter().product::<usize>();
        let values = (0..len).map(|at| (at * 37 % 101) as f32 - 50.0).collect();
        let axes = dims.iter().enumerate().filter(|(_, dim)| dim.1).map(|(at, _)| at).collect();
        (Array::new(&shape, values), axes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sets_are_those_of_a_loop_over_all_elements((x, axes) in array_and_axes(), keeps in any::<bool>()) {
        let named: Vec<i64> = axes.iter().map(|at| *at as i64 - x.rank() as i64).collect();
        let reduce = |op: &str| {
            let trial = Trial::new(op, 18).int("noop_with_empty_axes", 1).int("keepdims", i64::from(keeps));
            trial.run(&[x.clone(), row(&named)]).expect("computes")
        };
        let sets = sets(&x, &axes);
        let all = |f: fn(&Vec<f32>) -> f32| sets.iter().map(f).collect::<Vec<f32>>();
        // Sums of such numbers are exact in any order.
        let sum = reduce("ReduceSum");
        prop_assert_eq!(sum.values::<f32>(), Some(&all(|set| set.iter().sum())[..]));
        let rank = if keeps { x.rank() } else { x.rank() - axes.len() };
        prop_assert_eq!(sum.rank(), rank);
        let max = all(|set| set.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let max_got = reduce("ReduceMax");
        prop_assert_eq!(max_got.values::<f32>(), Some(&max[..]));
        // As are sums of their squares, being less than 2^24.
        let squares = all(|set| set.iter().map(|x| x * x).sum());
        let squares_got = reduce("ReduceSumSquare");
        prop_assert_eq!(squares_got.values::<f32>(), Some(&squares[..]));
        let log = all(|set| set.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln() as f32);
        assert_near(reduce("ReduceLogSumExp").values::<f32>().expect("floats"), &log, 2e-5);
    }
}

#[test]
fn reductions_have_known_values() {
    let x = || Array::new(&[2, 2], vec![1f32, -2.0, 3.0, 4.0]);
    let cases = [
        ("ReduceSum", [-1.0, 7.0]),
        ("ReduceMean", [-0.5, 3.5]),
        ("ReduceProd", [-2.0, 12.0]),
        ("ReduceMax", [1.0, 4.0]),
        ("ReduceMin", [-2.0, 3.0]),
        ("ReduceL1", [3.0, 7.0]),
        ("ReduceL2", [2.236_068, 5.0]),
        ("ReduceLogSum", [f32::NAN, 1.945_910_1]),
        ("ReduceLogSumExp", [1.048_587_4, 4.313_261_7]),
        ("ReduceSumSquare", [5.0, 25.0]),
    ];
    for (op, expected) in cases {
        assert_near(&Trial::new(op, 18).values::<f32>(&[x(), row(&[1i64])]), &expected, 1e-6);
        if op != "ReduceSum" {
            assert_near(&Trial::new(op, 13).ints("axes", &[-1]).values::<f32>(&[x()]), &expected, 1e-6);
        }
    }
    assert_eq!(Trial::new("ReduceSum", 11).ints("axes", &[0]).values::<f32>(&[x()]), [4.0, 2.0]);
    assert_eq!(Trial::new("ReduceSum", 13).int("keepdims", 0).run(&[x()]).expect("computes"), Array::scalar(6f32));
    let ints = Array::new(&[1, 2], vec![7i32, -2]);
    for (op, expected) in [("ReduceMean", 2), ("ReduceL2", 7), ("ReduceMax", 7), ("ReduceL1", 9), ("ReduceProd", -14)] {
        assert_eq!(Trial::new(op, 18).values::<i32>(&[ints.clone()]), [expected], "{op}");
    }
    let truths = Array::new(&[2, 2], vec![false, true, false, false]);
    assert_eq!(Trial::new("ReduceMax", 20).values::<bool>(&[truths.clone(), row(&[1i64])]), [true, false]);
    assert_eq!(Trial::new("ReduceMin", 20).values::<bool>(&[truths, row(&[1i64])]), [false, false]);
}

#[test]
fn no_axes_are_all_or_none() {
    let x = row(&[3f32, -4.0]);
    assert_eq!(Trial::new("ReduceL2", 18).values::<f32>(&[x.clone()]), [5.0]);
    let none = || Trial::new("ReduceL1", 18).int("noop_with_empty_axes", 1);
    assert_eq!(none().values::<f32>(&[x.clone()]), [3.0, 4.0]);
    assert_eq!(none().values::<f32>(&[x.clone(), row::<i64>(&[])]), [3.0, 4.0]);
    for axes in [&[1i64][..], &[0, 0], &[0, -1]] {
        assert!(Trial::new("ReduceSum", 13).run(&[x.clone(), row(axes)]).is_err(), "{axes:?}");
    }
}

#[test]
fn nothing_adds_up_to_what_changes_nothing() {
    let x = || Array::new(&[2, 0], Vec::<f32>::new());
    let cases = [
        ("ReduceSum", 0.0),
        ("ReduceProd", 1.0),
        ("ReduceMax", f32::NEG_INFINITY),
        ("ReduceMin", f32::INFINITY),
        ("ReduceLogSum", f32::NEG_INFINITY),
        ("ReduceLogSumExp", f32::NEG_INFINITY),
        ("ReduceL2", 0.0),
        ("ReduceMean", f32::NAN),
    ];
    for (op, expected) in cases {
        assert_near(&Trial::new(op, 18).values::<f32>(&[x(), row(&[1i64])]), &[expected; 2], 0.0);
    }
    let bytes = Array::new(&[0], Vec::<u8>::new());
    assert_eq!(Trial::new("ReduceMax", 20).values::<u8>(&[bytes.clone()]), [0]);
    assert_eq!(Trial::new("ReduceMin", 20).values::<u8>(&[bytes.clone()]), [255]);
    assert!(Trial::new("ArgMax", 13).run(&[bytes]).is_err());
}

#[test]
fn extremes_are_found_first_or_last() {
    let x = Array::new(&[2, 3], vec![2f32, 2.0, 1.0, 0.0, f32::NAN, f32::NAN]);
    let arg = |op: &str, last: i64| {
        Trial::new(op, 13).int("axis", -1).int("select_last_index", last).int("keepdims", 0).values::<i64>(&[x.clone()])
    };
    assert_eq!([arg("ArgMax", 0), arg("ArgMax", 1)], [[0, 1], [1, 2]]);
    assert_eq!([arg("ArgMin", 0), arg("ArgMin", 1)], [[2, 1], [2, 2]]);
    let columns = Array::new(&[2, 3], vec![1i32, 9, 3, 4, 5, 3]);
    assert_eq!(Trial::new("ArgMax", 13).values::<i64>(&[columns.clone()]), [1, 0, 0]);
    assert_eq!(Trial::new("ArgMax", 11).run(&[columns]).expect("computes").shape(), [1, 3]);
}

#[test]
fn sums_run_forward_and_backward_with_each_element_or_without() {
    let x = || row(&[1f32, 2.0, 3.0]);
    let sum = |exclusive: i64, reverse: i64| {
        let trial = Trial::new("CumSum", 14).int("exclusive", exclusive).int("reverse", reverse);
        trial.values::<f32>(&[x(), Array::scalar(0i32)])
    };
    assert_eq!(sum(0, 0), [1.0, 3.0, 6.0]);
    assert_eq!(sum(1, 0), [0.0, 1.0, 3.0]);
    assert_eq!(sum(0, 1), [6.0, 5.0, 3.0]);
    assert_eq!(sum(1, 1), [5.0, 3.0, 0.0]);
    assert_eq!(
        Trial::new("CumProd", 26).int("exclusive", 1).values::<f32>(&[x(), Array::scalar(0i64)]),
        [1.0, 1.0, 2.0]
    );
    let plane = Array::new(&[2, 2], vec![1i64, 2, 3, 4]);
    assert_eq!(Trial::new("CumSum", 14).values::<i64>(&[plane.clone(), Array::scalar(0i64)]), [1, 2, 4, 6]);
    assert_eq!(Trial::new("CumSum", 14).values::<i64>(&[plane.clone(), Array::scalar(-1i64)]), [1, 3, 3, 7]);
    assert!(Trial::new("CumSum", 14).run(&[plane, row(&[0i64, 1])]).is_err());
}
