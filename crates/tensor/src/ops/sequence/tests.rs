//! Behaviour of sequences and optional values.

use crate::array::{Array, Value};
use crate::graph::Attribute;
use crate::testing::run_op;

fn array(value: i64) -> Value {
    Array::new(&[1], vec![value]).into()
}

fn at(place: i64) -> Option<Value> {
    Some(Array::scalar(place).into())
}

fn one(op: &str, attributes: &[(&str, Attribute)], inputs: Vec<Option<Value>>) -> Option<Value> {
    run_op((op, 18), attributes, inputs, 1).ok()?.pop()
}

fn joined(sequence: &Value) -> Vec<i64> {
    match one("ConcatFromSequence", &[("axis", Attribute::Int(0))], vec![Some(sequence.clone())]) {
        Some(Value::Array(array)) => array.values().unwrap().to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_go_in_and_out_of_a_sequence_where_it_is_said() {
    let three = one("SequenceConstruct", &[], (1..4).map(|value| Some(array(value))).collect()).unwrap();
    for (place, expected) in [(0, vec![9, 1, 2, 3]), (3, vec![1, 2, 3, 9]), (-1, vec![1, 2, 9, 3])] {
        let longer = one("SequenceInsert", &[], vec![Some(three.clone()), Some(array(9)), at(place)]).unwrap();
        assert_eq!(joined(&longer), expected, "{place}");
    }
    assert_eq!(joined(&one("SequenceErase", &[], vec![Some(three.clone())]).unwrap()), [1, 2]);
    assert_eq!(one("SequenceAt", &[], vec![Some(three.clone()), at(-3)]), Some(array(1)));
    for place in [3, -4] {
        assert_eq!(one("SequenceAt", &[], vec![Some(three.clone()), at(place)]), None);
        assert_eq!(one("SequenceErase", &[], vec![Some(three.clone()), at(place)]), None);
    }
    assert_eq!(one("SequenceInsert", &[], vec![Some(three), Some(array(9)), at(4)]), None);
}

#[test]
fn arrays_are_split_into_parts_of_one_length_and_the_rest() {
    let x: Value = Array::new(&[5], vec![1_i64, 2, 3, 4, 5]).into();
    let Some(Value::Sequence(parts)) = one("SplitToSequence", &[], vec![Some(x.clone()), at(2)]) else {
        panic!("a sequence")
    };
    let lens: Vec<usize> =
        parts.iter().map(|part| if let Value::Array(array) = part { array.len() } else { 0 }).collect();
    assert_eq!(lens, [2, 2, 1]);
    assert_eq!(one("SplitToSequence", &[], vec![Some(x), at(0)]), None);
}

#[test]
fn an_optional_value_is_there_or_not() {
    let some = one("Optional", &[], vec![Some(array(1))]).unwrap();
    let none = one("Optional", &[("type", Attribute::Type)], vec![]).unwrap();
    assert_eq!(one("OptionalGetElement", &[], vec![Some(some.clone())]), Some(array(1)));
    assert_eq!(one("OptionalGetElement", &[], vec![Some(none.clone())]), None);
    for (value, expected) in [(Some(some), true), (Some(none), false), (Some(array(1)), true)] {
        assert_eq!(one("OptionalHasElement", &[], vec![value]), Some(Array::scalar(expected).into()));
    }
}
