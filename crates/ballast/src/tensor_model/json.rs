//! Values written as JSON: numbers, truth values and texts, in lists as deep as a tensor has dimensions.

use super::elements::{of_integers, of_numbers};
use ballast_backend::{DType, RANK_MAX, Tensor, TensorData};
use serde_json::Value;

/// The tensor that nested lists are.
///
/// # Errors
/// In words: what was expected and what is there.
pub(super) fn tensor(value: &Value, dtype: DType) -> Result<Tensor, (String, String)> {
    let mut shape = Vec::new();
    let mut at = value;
    while let Value::Array(items) = at {
        if shape.len() == RANK_MAX {
            return Err((format!("lists at most {RANK_MAX} deep"), "deeper ones".to_owned()));
        }
        shape.push(items.len());
        match items.first() {
            Some(first) => at = first,
            None => break,
        }
    }
    let mut leaves = Vec::new();
    flatten(value, &shape, &mut leaves)?;
    let data = data(&leaves, dtype)?;
    Tensor::new(shape, data).map_err(|error| ("a tensor".to_owned(), error.to_string()))
}

fn flatten<'a>(value: &'a Value, shape: &[usize], leaves: &mut Vec<&'a Value>) -> Result<(), (String, String)> {
    match (value, shape.split_first()) {
        (Value::Array(items), Some((len, rest))) if items.len() == *len => {
            items.iter().try_for_each(|item| flatten(item, rest, leaves))
        }
        (Value::Array(_), _) | (_, Some(_)) => {
            Err(("lists of one length at each depth".to_owned(), "others".to_owned()))
        }
        (leaf, None) => {
            leaves.push(leaf);
            Ok(())
        }
    }
}

fn data(leaves: &[&Value], dtype: DType) -> Result<TensorData, (String, String)> {
    fn all<T>(
        leaves: &[&Value],
        expected: &str,
        value: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, (String, String)> {
        leaves.iter().map(|leaf| value(leaf).ok_or_else(|| (expected.to_owned(), leaf.to_string()))).collect()
    }
    let outside = || (format!("values of {dtype}"), "others".to_owned());
    match dtype {
        DType::Bool => Ok(TensorData::Bool(all(leaves, "truth values", Value::as_bool)?)),
        DType::Str => Ok(TensorData::Str(all(leaves, "texts", |leaf| leaf.as_str().map(str::to_owned))?)),
        DType::F64 => Ok(TensorData::F64(all(leaves, "numbers", Value::as_f64)?)),
        DType::F32 | DType::F16 | DType::Bf16 => {
            #[expect(clippy::cast_possible_truncation, reason = "rounded to the type that the model takes")]
            let numbers = all(leaves, "numbers", |leaf| leaf.as_f64().map(|value| value as f32))?;
            of_numbers(&numbers, dtype).ok_or_else(outside)
        }
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U64 | DType::U32 | DType::U16 | DType::U8 => {
            of_integers(&all(leaves, "whole numbers", Value::as_i64)?, dtype).ok_or_else(outside)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_lists_are_tensors_of_every_type() {
        let made = |value: Value, dtype| tensor(&value, dtype).unwrap();
        assert_eq!(made(json!(3), DType::I64), Tensor::new(vec![], TensorData::I64(vec![3])).unwrap());
        let rows = Tensor::new(vec![2, 1], TensorData::F32(vec![1.0, 2.5])).unwrap();
        assert_eq!(made(json!([[1], [2.5]]), DType::F32), rows);
        assert_eq!(made(json!([true]), DType::Bool), Tensor::new(vec![1], TensorData::Bool(vec![true])).unwrap());
        assert_eq!(made(json!(["a"]), DType::Str).dtype(), DType::Str);
        assert_eq!(made(json!([0.1]), DType::F64), Tensor::new(vec![1], TensorData::F64(vec![0.1])).unwrap());
        assert_eq!(made(json!([[], []]), DType::F32).shape(), [2, 0]);
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        let deep = json!([[[[[[[[[1]]]]]]]]]);
        for (value, dtype) in [
            (json!([[1], [1, 2]]), DType::F32),
            (json!([1, [2]]), DType::F32),
            (json!([[1], 2]), DType::F32),
            (json!(["1"]), DType::F32),
            (json!([1.5]), DType::I64),
            (json!([300]), DType::U8),
            (json!([1]), DType::Bool),
            (json!({"a": 1}), DType::F32),
            (json!(null), DType::F32),
            (deep, DType::F32),
        ] {
            assert!(tensor(&value, dtype).is_err(), "{value} {dtype}");
        }
    }
}
