//! Classifications: in place of an output's values the highest of them, as `value:index:label`.

use crate::fields::ParamError;
use ballast_backend::{Tensor, TensorData};
use std::cmp::Ordering;

/// The `n_classes` highest values of each item, as texts. Without batches the tensor is one item.
///
/// # Errors
/// If the output is of a datatype that has no highest value.
pub(super) fn classes(
    (name, output): (&str, &Tensor),
    n_classes: usize,
    has_batches: bool,
    labels: &[String],
) -> Result<Tensor, ParamError> {
    let values = numbers(output.data()).ok_or_else(|| ParamError::Unsupported {
        param: format!("output '{name}': classification"),
        supported: "outputs of numbers of 32 or 64 bits, or of whole numbers, can be classified",
    })?;
    let n_items = if has_batches { output.shape().first().copied().unwrap_or(1) } else { 1 };
    let n_values = values.len().checked_div(n_items).unwrap_or(0);
    let n_classes = n_classes.min(n_values);
    let mut texts = Vec::with_capacity(n_items * n_classes);
    for item in values.chunks(n_values.max(1)) {
        let mut order: Vec<usize> = (0..item.len()).collect();
        order.sort_by(|a, b| item[*b].compare(&item[*a]));
        texts.extend(order.into_iter().take(n_classes).map(|idx| told(item[idx], idx, labels)));
    }
    let shape = if has_batches { vec![n_items, n_classes] } else { vec![n_classes] };
    let wrong = |_| ParamError::Unsupported {
        param: format!("output '{name}': classification"),
        supported: "an output has to have as many values for each item",
    };
    Tensor::new(shape, TensorData::Str(texts)).map_err(wrong)
}

fn told(number: Number, idx: usize, labels: &[String]) -> String {
    let value = match number {
        Number::Float(value) => format!("{value:.6}"),
        Number::Whole(value) => value.to_string(),
    };
    match labels.get(idx) {
        Some(label) => format!("{value}:{idx}:{label}"),
        None => format!("{value}:{idx}"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Float(f64),
    Whole(i128),
}

impl Number {
    /// What is no number is below all that are.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => a.total_cmp(b),
                (a, b) => b.cmp(&a),
            },
            (Self::Whole(_), Self::Float(_)) => Ordering::Less,
            (Self::Float(_), Self::Whole(_)) => Ordering::Greater,
        }
    }
}

fn numbers(data: &TensorData) -> Option<Vec<Number>> {
    fn whole<T: Copy + Into<i128>>(values: &[T]) -> Vec<Number> {
        values.iter().map(|value| Number::Whole((*value).into())).collect()
    }
    Some(match data {
        TensorData::F32(values) => values.iter().map(|value| Number::Float((*value).into())).collect(),
        TensorData::F64(values) => values.iter().map(|value| Number::Float(*value)).collect(),
        TensorData::I64(values) => whole(values),
        TensorData::I32(values) => whole(values),
        TensorData::I16(values) => whole(values),
        TensorData::I8(values) => whole(values),
        TensorData::U64(values) => whole(values),
        TensorData::U32(values) => whole(values),
        TensorData::U16(values) => whole(values),
        TensorData::U8(values) => whole(values),
        TensorData::F16(_) | TensorData::Bf16(_) | TensorData::Bool(_) | TensorData::Str(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(shape: &[usize], data: TensorData, n_classes: usize, has_batches: bool) -> (Vec<usize>, Vec<String>) {
        let output = Tensor::new(shape.to_vec(), data).unwrap();
        let labels = ["cat".to_owned(), "dog".to_owned()];
        let (shape, data) = classes(("y", &output), n_classes, has_batches, &labels).unwrap().into_parts();
        let TensorData::Str(texts) = data else { panic!("texts") };
        (shape, texts)
    }

    #[test]
    fn the_highest_values_come_first_with_place_and_label() {
        let values = TensorData::F32(vec![0.25, 0.5, f32::NAN, 3.0, -1.0, 3.0]);
        let (shape, told) = texts(&[2, 3], values.clone(), 2, true);
        assert_eq!(shape, [2, 2]);
        assert_eq!(told, ["0.500000:1:dog", "0.250000:0:cat", "3.000000:0:cat", "3.000000:2"]);
        let (shape, told) = texts(&[2, 3], values, 1, false);
        assert_eq!((shape, told), (vec![1], vec!["3.000000:3".to_owned()]));
        let (shape, told) = texts(&[2], TensorData::I64(vec![-5, 7]), 9, false);
        assert_eq!((shape, told), (vec![2], vec!["7:1:dog".to_owned(), "-5:0:cat".to_owned()]));
    }

    #[test]
    fn what_has_no_order_is_refused() {
        for data in [TensorData::Bool(vec![true]), TensorData::F16(vec![0]), TensorData::Str(vec![String::new()])] {
            let output = Tensor::new(vec![1], data).unwrap();
            assert!(classes(("y", &output), 1, false, &[]).is_err());
        }
    }
}
