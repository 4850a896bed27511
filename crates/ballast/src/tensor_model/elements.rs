//! Numbers as elements of whatever type a model wants, and back.

use ballast_backend::{DType, Tensor, TensorData};
use half::{bf16, f16};

/// Real numbers as elements of `dtype`: integers are rounded and kept within their bounds. `None` for texts and truth
/// values.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` rounds and keeps to the bounds")]
pub(super) fn of_numbers(values: &[f32], dtype: DType) -> Option<TensorData> {
    fn all<T>(values: &[f32], element: impl Fn(f32) -> T) -> Vec<T> {
        values.iter().map(|&value| element(value)).collect()
    }
    Some(match dtype {
        DType::F32 => TensorData::F32(values.to_vec()),
        DType::F64 => TensorData::F64(all(values, f64::from)),
        DType::F16 => TensorData::F16(all(values, |value| f16::from_f32(value).to_bits())),
        DType::Bf16 => TensorData::Bf16(all(values, |value| bf16::from_f32(value).to_bits())),
        DType::I64 => TensorData::I64(all(values, |value| value.round() as i64)),
        DType::I32 => TensorData::I32(all(values, |value| value.round() as i32)),
        DType::I16 => TensorData::I16(all(values, |value| value.round() as i16)),
        DType::I8 => TensorData::I8(all(values, |value| value.round() as i8)),
        DType::U64 => TensorData::U64(all(values, |value| value.round() as u64)),
        DType::U32 => TensorData::U32(all(values, |value| value.round() as u32)),
        DType::U16 => TensorData::U16(all(values, |value| value.round() as u16)),
        DType::U8 => TensorData::U8(all(values, |value| value.round() as u8)),
        DType::Bool | DType::Str => return None,
    })
}

/// Whole numbers as elements of `dtype`. `None` if one has no place in it.
pub(super) fn of_integers(values: &[i64], dtype: DType) -> Option<TensorData> {
    fn all<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
        values.iter().map(|&value| T::try_from(value).ok()).collect()
    }
    Some(match dtype {
        DType::I64 => TensorData::I64(values.to_vec()),
        DType::I32 => TensorData::I32(all(values)?),
        DType::I16 => TensorData::I16(all(values)?),
        DType::I8 => TensorData::I8(all(values)?),
        DType::U64 => TensorData::U64(all(values)?),
        DType::U32 => TensorData::U32(all(values)?),
        DType::U16 => TensorData::U16(all(values)?),
        DType::U8 => TensorData::U8(all(values)?),
        DType::F32 | DType::F64 | DType::F16 | DType::Bf16 => {
            let exact = |&value: &i64| i32::try_from(value).ok().filter(|value| value.unsigned_abs() <= 1 << 24);
            #[expect(clippy::cast_precision_loss, reason = "up to 2^24 every integer is an f32")]
            let floats: Vec<f32> = values.iter().map(|value| exact(value).map(|v| v as f32)).collect::<Option<_>>()?;
            return of_numbers(&floats, dtype);
        }
        DType::Bool | DType::Str => return None,
    })
}

/// A tensor's elements as real numbers; truth values are 0 and 1. `None` for texts.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "scores and coordinates are small")]
pub(super) fn numbers(tensor: &Tensor) -> Option<Vec<f32>> {
    fn all<T: Copy>(values: &[T], number: impl Fn(T) -> f32) -> Vec<f32> {
        values.iter().map(|&value| number(value)).collect()
    }
    Some(match tensor.data() {
        TensorData::F32(values) => values.clone(),
        TensorData::F64(values) => all(values, |value| value as f32),
        TensorData::F16(bits) => all(bits, |bits| f16::from_bits(bits).to_f32()),
        TensorData::Bf16(bits) => all(bits, |bits| bf16::from_bits(bits).to_f32()),
        TensorData::I64(values) => all(values, |value| value as f32),
        TensorData::I32(values) => all(values, |value| value as f32),
        TensorData::I16(values) => all(values, f32::from),
        TensorData::I8(values) => all(values, f32::from),
        TensorData::U64(values) => all(values, |value| value as f32),
        TensorData::U32(values) => all(values, |value| value as f32),
        TensorData::U16(values) => all(values, f32::from),
        TensorData::U8(values) => all(values, f32::from),
        TensorData::Bool(values) => all(values, |value| f32::from(u8::from(value))),
        TensorData::Str(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_elements_of_every_numeric_type_and_back() {
        for dtype in DType::EVERY {
            let is_numeric = !matches!(dtype, DType::Bool | DType::Str);
            let (floats, ints) = (of_numbers(&[0.0, 1.0, 100.0], dtype), of_integers(&[0, 1, 100], dtype));
            assert_eq!((floats.is_some(), ints.is_some()), (is_numeric, is_numeric), "{dtype}");
            assert_eq!(floats, ints);
            if let Some(data) = floats {
                assert_eq!(numbers(&Tensor::new(vec![3], data).unwrap()), Some(vec![0.0, 1.0, 100.0]));
            }
        }
    }

    #[test]
    fn what_has_no_place_is_refused_or_kept_within_bounds() {
        assert_eq!(of_numbers(&[-5.0, 300.0, 1.6], DType::U8), Some(TensorData::U8(vec![0, 255, 2])));
        assert_eq!(of_integers(&[256], DType::U8), None);
        assert_eq!(of_integers(&[-1], DType::U64), None);
        assert_eq!(of_integers(&[(1 << 24) + 1], DType::F32), None);
        assert_eq!(numbers(&Tensor::zeros(vec![1], DType::Str).unwrap()), None);
    }
}
