//! Behaviour of operators on texts.

use crate::array::{Array, Value};
use crate::graph::Attribute;
use crate::testing::{run_arrays, run_op};

fn texts(values: &[&str]) -> Array {
    Array::new(&[values.len()], values.iter().map(|&text| text.to_owned()).collect())
}

fn strings(array: &Array) -> Vec<&str> {
    array.values::<String>().unwrap().iter().map(String::as_str).collect()
}

#[test]
fn texts_are_split_as_often_as_is_said() {
    let split = |delimiter: &str, max: Option<i64>| {
        let mut attributes = vec![("delimiter", Attribute::Text(delimiter.to_owned()))];
        attributes.extend(max.map(|max| ("maxsplit", Attribute::Int(max))));
        let outputs =
            run_op(("StringSplit", 20), &attributes, vec![Some(texts(&[" a  b c ", "d"]).into())], 2).unwrap();
        match (&outputs[0], &outputs[1]) {
            (Value::Array(parts), Value::Array(counts)) => {
                let parts: Vec<String> = strings(parts).into_iter().map(str::to_owned).collect();
                (parts, counts.values::<i64>().unwrap().to_vec())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(split("", None), (["a", "b", "c", "d", "", ""].map(str::to_owned).to_vec(), vec![3, 1]));
    assert_eq!(split("", Some(1)), (["a", "b c ", "d", ""].map(str::to_owned).to_vec(), vec![2, 1]));
    assert_eq!(split("b", None), ([" a  ", " c ", "d", ""].map(str::to_owned).to_vec(), vec![2, 1]));
}

#[test]
fn words_are_dropped_in_either_case_or_the_exact_one() {
    let normalized = |is_exact: i64| {
        let attributes = [
            ("case_change_action", Attribute::Text("UPPER".to_owned())),
            ("is_case_sensitive", Attribute::Int(is_exact)),
            ("stopwords", Attribute::Texts(vec!["the".to_owned()])),
        ];
        run_arrays(("StringNormalizer", 10), &attributes, &[texts(&["The", "the", "cat"])]).unwrap()
    };
    assert_eq!(strings(&normalized(1)), ["THE", "CAT"]);
    assert_eq!(strings(&normalized(0)), ["CAT"]);
    let turkish = [("locale", Attribute::Text("tr_TR".to_owned()))];
    assert!(run_arrays(("StringNormalizer", 10), &turkish, &[texts(&["i"])]).is_err());
}

#[test]
fn texts_are_joined_as_they_broadcast() {
    let joined = run_arrays(("StringConcat", 20), &[], &[texts(&["a", "b"]), texts(&["!"])]).unwrap();
    assert_eq!(strings(&joined), ["a!", "b!"]);
    assert!(run_arrays(("StringConcat", 20), &[], &[texts(&["a", "b"]), texts(&["1", "2", "3"])]).is_err());
}
