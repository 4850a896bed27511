//! Behaviour of operators that lay elements out anew.

use crate::array::Array;
use crate::graph::Attribute;
use crate::testing::{run_arrays, run_op};
use proptest::prelude::*;

fn counted(shape: &[usize]) -> Array {
    Array::new(shape, (0_i64..).take(shape.iter().product()).collect())
}

fn ints(values: &[i64]) -> Array {
    Array::new(&[values.len()], values.to_vec())
}

/// What is asked for, whether zeros stand for themselves, and the shape that comes out.
type Case<'a> = (&'a [i64], i64, Option<&'a [usize]>);

#[test]
fn reshape_finds_the_extent_that_is_left_out() {
    let cases: &[Case<'_>] = &[
        (&[6, 4], 0, Some(&[6, 4])),
        (&[-1, 8], 0, Some(&[3, 8])),
        (&[0, -1], 0, Some(&[2, 12])),
        (&[0, 0, 0], 0, Some(&[2, 3, 4])),
        (&[-1, -1], 0, None),
        (&[5, -1], 0, None),
        (&[25], 0, None),
        (&[0, 0, 0, 0], 0, None),
        (&[0, -1], 1, None),
        (&[-2, 12], 0, None),
        (&[i64::MAX, i64::MAX], 0, None),
    ];
    for (wanted, allows_zero, expected) in cases {
        let attributes = [("allowzero", Attribute::Int(*allows_zero))];
        let got = run_arrays(("Reshape", 14), &attributes, &[counted(&[2, 3, 4]), ints(wanted)]);
        assert_eq!(got.ok().map(|array| array.shape().to_vec()), expected.map(<[usize]>::to_vec), "{wanted:?}");
    }
}

#[test]
fn no_elements_keep_their_shape() {
    let empty = Array::new::<f32>(&[0, 3], Vec::new());
    let reshape = |allows_zero, wanted: &[i64]| {
        run_arrays(("Reshape", 14), &[("allowzero", Attribute::Int(allows_zero))], &[empty.clone(), ints(wanted)])
    };
    assert_eq!(reshape(0, &[0, 5]).unwrap().shape(), [0, 5]);
    assert_eq!(reshape(1, &[3, 0]).unwrap().shape(), [3, 0]);
    assert!(reshape(0, &[0, -1]).is_err(), "any extent would do");
    assert_eq!(run_arrays(("Transpose", 13), &[], std::slice::from_ref(&empty)).unwrap().shape(), [3, 0]);
    let axis = [("axis", Attribute::Int(0))];
    assert_eq!(run_arrays(("Concat", 13), &axis, &[empty.clone(), empty]).unwrap().shape(), [0, 3]);
}

#[test]
fn axes_outside_are_refused() {
    let x = counted(&[2, 1, 3]);
    assert_eq!(run_arrays(("Squeeze", 13), &[], &[x.clone(), ints(&[-2])]).unwrap().shape(), [2, 3]);
    assert!(run_arrays(("Squeeze", 13), &[], &[x.clone(), ints(&[0])]).is_err());
    assert!(run_arrays(("Squeeze", 13), &[], &[x.clone(), ints(&[3])]).is_err());
    assert_eq!(run_arrays(("Unsqueeze", 13), &[], &[x.clone(), ints(&[0, -1])]).unwrap().shape(), [1, 2, 1, 3, 1]);
    assert!(run_arrays(("Unsqueeze", 13), &[], &[x.clone(), ints(&[0, 0])]).is_err());
    assert!(run_arrays(("Transpose", 13), &[("perm", Attribute::Ints(vec![0, 0, 1]))], &[x]).is_err());
}

#[test]
fn what_is_too_large_is_refused_before_it_is_made() {
    let huge = ints(&[1 << 40]);
    let one = Array::new(&[1], vec![1.0_f32]);
    for op in ["Tile", "Expand"] {
        let error = run_arrays((op, 13), &[], &[one.clone(), huge.clone()]).unwrap_err();
        assert!(error.to_string().contains("at most"), "{op}: {error}");
    }
    assert!(run_arrays(("ConstantOfShape", 9), &[], &[huge]).is_err());
    assert!(
        run_arrays(("Range", 11), &[], &[Array::scalar(0_i64), Array::scalar(i64::MAX), Array::scalar(1_i64)]).is_err()
    );
}

#[test]
fn a_repeated_block_order_comes_back() {
    let x = counted(&[1, 8, 2, 3]);
    let block = |mode: &str| [("blocksize", Attribute::Int(2)), ("mode", Attribute::Text(mode.to_owned()))];
    let space = run_arrays(("DepthToSpace", 13), &block("DCR"), std::slice::from_ref(&x)).unwrap();
    assert_eq!(space.shape(), [1, 2, 4, 6]);
    assert_eq!(&space.values::<i64>().unwrap()[..6], [0, 12, 1, 13, 2, 14]);
    assert_eq!(run_arrays(("SpaceToDepth", 13), &block("DCR")[..1], &[space]).unwrap(), x);
    assert!(run_arrays(("DepthToSpace", 13), &block("DCR"), &[counted(&[1, 6, 2, 3])]).is_err());
}

/// The places of a slice by the rules of the standard, one after the other.
fn places(extent: i64, (start, end, step): (i64, i64, i64)) -> Vec<i64> {
    let from_front = |at: i64| if at < 0 { at + extent } else { at };
    let (mut at, mut places) = (from_front(start), Vec::new());
    let end = from_front(end);
    if step > 0 {
        at = at.clamp(0, extent);
        while at < end.clamp(0, extent) {
            places.push(at);
            at += step;
        }
    } else {
        at = at.clamp(0, extent - 1);
        while at > end.clamp(-1, extent - 1) {
            places.push(at);
            at += step;
        }
    }
    places
}

proptest! {
    #[test]
    fn slices_are_those_of_the_standard(
        extent in 1_i64..7,
        bounds in (-9_i64..9, -9_i64..9, prop_oneof![-4_i64..0, 1_i64..5]),
    ) {
        let n = usize::try_from(extent).unwrap();
        let inputs = [counted(&[n, 2]), ints(&[bounds.0]), ints(&[bounds.1]), ints(&[0]), ints(&[bounds.2])];
        let got = run_arrays(("Slice", 13), &[], &inputs).unwrap();
        let expected: Vec<i64> = places(extent, bounds).into_iter().flat_map(|at| [2 * at, 2 * at + 1]).collect();
        prop_assert_eq!(got.values::<i64>().unwrap(), expected);
    }

    #[test]
    fn what_is_split_is_joined_again(lens in prop::collection::vec(0_i64..4, 1..5), at in 0_usize..3) {
        let mut shape = vec![2, 3, 2];
        shape[at] = usize::try_from(lens.iter().sum::<i64>()).unwrap();
        let x = counted(&shape);
        let axis = [("axis", Attribute::Int(i64::try_from(at).unwrap()))];
        let parts = run_op(("Split", 13), &axis, vec![Some(x.clone().into()), Some(ints(&lens).into())], lens.len()).unwrap();
        let joined = run_op(("Concat", 13), &axis, parts.into_iter().map(Some).collect(), 1).unwrap();
        prop_assert_eq!(&joined[0], &x.into());
    }
}

#[test]
fn ends_of_slices_may_lie_far_outside() {
    let slice = |start, end, step| {
        let inputs = [counted(&[4]), ints(&[start]), ints(&[end]), ints(&[0]), ints(&[step])];
        run_arrays(("Slice", 13), &[], &inputs).map(|array| array.values::<i64>().unwrap().to_vec())
    };
    assert_eq!(slice(0, i64::MAX, 1).unwrap(), [0, 1, 2, 3]);
    assert_eq!(slice(i64::MAX, i64::MIN, -1).unwrap(), [3, 2, 1, 0]);
    assert_eq!(slice(1, i64::MAX, i64::MAX).unwrap(), [1]);
    assert_eq!(slice(-1, i64::MIN, i64::MIN).unwrap(), [3]);
    assert!(slice(0, 1, 0).is_err());
}
