//! Behaviour of operators that choose elements.

use crate::array::{Array, Value};
use crate::graph::Attribute;
use crate::testing::{run_arrays, run_op};

fn outputs(op: (&str, i64), attributes: &[(&str, Attribute)], inputs: &[Array], n: usize) -> Vec<Array> {
    let inputs = inputs.iter().map(|array| Some(array.clone().into())).collect();
    let array = |value| match value {
        Value::Array(array) => array,
        other @ (Value::Sequence(_) | Value::Optional(_)) => panic!("{other:?}"),
    };
    run_op(op, attributes, inputs, n).unwrap().into_iter().map(array).collect()
}

fn ints(array: &Array) -> &[i64] {
    array.values().unwrap()
}

#[test]
fn of_equals_the_first_is_the_top() {
    let x = Array::new(&[5], vec![2.0_f32, 3.0, 3.0, 1.0, 2.0]);
    let top = |k: i64, largest: i64| {
        let k = Array::new(&[1], vec![k]);
        outputs(("TopK", 11), &[("largest", Attribute::Int(largest))], &[x.clone(), k], 2)
    };
    assert_eq!(ints(&top(3, 1)[1]), [1, 2, 0]);
    assert_eq!(top(3, 1)[0].values::<f32>().unwrap(), [3.0, 3.0, 2.0]);
    assert_eq!(ints(&top(2, 0)[1]), [3, 0]);
    assert_eq!(ints(&top(0, 1)[1]), [0_i64; 0]);
    assert!(run_arrays(("TopK", 11), &[], &[x, Array::new(&[1], vec![6_i64])]).is_err());
}

#[test]
fn each_part_is_there_once() {
    let x = Array::new(&[6], vec![2_i64, 1, 1, 3, 4, 3]);
    let sorted = outputs(("Unique", 11), &[], std::slice::from_ref(&x), 4);
    let expected: [&[i64]; 4] = [&[1, 2, 3, 4], &[1, 0, 3, 4], &[1, 0, 0, 2, 3, 2], &[2, 1, 2, 1]];
    assert_eq!(sorted.iter().map(ints).collect::<Vec<_>>(), expected);
    let in_order = outputs(("Unique", 11), &[("sorted", Attribute::Int(0))], &[x], 1);
    assert_eq!(ints(&in_order[0]), [2, 1, 3, 4]);
    let rows = Array::new(&[3, 2], vec![1_i64, 0, 0, 1, 1, 0]);
    let unique = outputs(("Unique", 11), &[("axis", Attribute::Int(0))], &[rows], 3);
    assert_eq!(
        (unique[0].shape(), ints(&unique[0]), ints(&unique[2])),
        (&[2, 2][..], &[0, 1, 1, 0][..], &[1, 0, 1][..])
    );
}

#[test]
fn what_is_not_zero_is_found_along_every_dimension() {
    let x = Array::new(&[2, 2], vec![true, false, true, true]);
    let found = run_arrays(("NonZero", 13), &[], &[x]).unwrap();
    assert_eq!((found.shape(), ints(&found)), (&[2, 3][..], &[0, 1, 1, 0, 0, 1][..]));
    assert_eq!(run_arrays(("NonZero", 13), &[], &[Array::scalar(1.0_f32)]).unwrap().shape(), [0, 1]);
}
