//! Tensors of several requests as one along their first dimension, and apart again.

use super::error::TensorsError;
use ballast_backend::{Tensor, TensorData, TensorMap};

/// The same expression for two tensors' vectors of one type.
macro_rules! both {
    ($whole:expr, $part:expr, |$to:ident, $from:ident| $do:expr, $other:expr) => {
        match ($whole, $part) {
            (TensorData::F32($to), TensorData::F32($from)) => $do,
            (TensorData::F64($to), TensorData::F64($from)) => $do,
            (TensorData::F16($to), TensorData::F16($from)) => $do,
            (TensorData::Bf16($to), TensorData::Bf16($from)) => $do,
            (TensorData::I64($to), TensorData::I64($from)) => $do,
            (TensorData::I32($to), TensorData::I32($from)) => $do,
            (TensorData::I16($to), TensorData::I16($from)) => $do,
            (TensorData::I8($to), TensorData::I8($from)) => $do,
            (TensorData::U64($to), TensorData::U64($from)) => $do,
            (TensorData::U32($to), TensorData::U32($from)) => $do,
            (TensorData::U16($to), TensorData::U16($from)) => $do,
            (TensorData::U8($to), TensorData::U8($from)) => $do,
            (TensorData::Bool($to), TensorData::Bool($from)) => $do,
            (TensorData::Str($to), TensorData::Str($from)) => $do,
            _ => $other,
        }
    };
}

/// The inputs of several requests as those of one: one after the other along the first dimension.
///
/// # Errors
/// If they have not the same names, types and shapes but for the first extents; whoever calls has compared those.
pub(super) fn join(parts: Vec<TensorMap>) -> Result<TensorMap, TensorsError> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().unwrap_or_default();
    for part in parts {
        for (name, tensor) in part {
            let unlike = || TensorsError::Unlike { name: name.clone() };
            let (_, mut data) = whole.remove(&name).ok_or_else(unlike)?.into_parts();
            let (shape, more) = tensor.into_parts();
            both!(&mut data, more, |to, from| to.extend(from), return Err(unlike()));
            let row: usize = shape.iter().skip(1).product();
            let mut shape = shape;
            if let Some(first) = shape.first_mut().filter(|_| row > 0) {
                *first = data.len() / row;
            }
            whole.insert(name.clone(), Tensor::new(shape, data).map_err(|_| unlike())?);
        }
    }
    Ok(whole)
}

/// The outputs of a joined run, request by request.
///
/// # Errors
/// If an output has not one row for each item: the model does not treat its items as independent.
pub(super) fn split(whole: TensorMap, n_items: &[usize]) -> Result<Vec<TensorMap>, TensorsError> {
    let total: usize = n_items.iter().sum();
    let mut parts: Vec<TensorMap> = n_items.iter().map(|_| TensorMap::new()).collect();
    for (name, tensor) in whole {
        let unlike = || TensorsError::Unlike { name: name.clone() };
        let (shape, data) = tensor.into_parts();
        if shape.first() != Some(&total) || total == 0 {
            return Err(unlike());
        }
        let row = data.len() / total;
        let mut rest = data;
        // From the last to the first, so that no element is moved twice.
        for (part, n) in parts.iter_mut().zip(n_items).rev() {
            let from = rest.len() - n * row;
            let taken = take_from(&mut rest, from);
            let mut shape = shape.clone();
            shape[0] = *n;
            part.insert(name.clone(), Tensor::new(shape, taken).map_err(|_| unlike())?);
        }
    }
    Ok(parts)
}

/// Takes the elements from `at` on out.
fn take_from(data: &mut TensorData, at: usize) -> TensorData {
    let mut taken = TensorData::zeros(data.dtype(), 0);
    both!(&mut taken, data, |to, from| *to = from.split_off(at), unreachable!("both are of one type"));
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::DType;

    fn tensors(dtype: DType, shape: &[usize]) -> TensorMap {
        TensorMap::from([("x".to_owned(), Tensor::zeros(shape.to_vec(), dtype).unwrap())])
    }

    #[test]
    fn every_type_is_joined_and_split_row_by_row() {
        for dtype in DType::EVERY {
            let whole = join(vec![tensors(dtype, &[1, 2]), tensors(dtype, &[3, 2])]).unwrap();
            assert_eq!((whole["x"].shape(), whole["x"].dtype()), (&[4, 2][..], dtype));
            let parts = split(whole, &[1, 3]).unwrap();
            assert_eq!(parts, [tensors(dtype, &[1, 2]), tensors(dtype, &[3, 2])]);
        }
    }

    #[test]
    fn rows_stay_with_their_requests() {
        let ones = |n: usize, value: f32| {
            TensorMap::from([("x".to_owned(), Tensor::new(vec![n, 2], TensorData::F32(vec![value; n * 2])).unwrap())])
        };
        let parts = vec![ones(2, 1.0), ones(1, 2.0), ones(3, 3.0)];
        assert_eq!(split(join(parts.clone()).unwrap(), &[2, 1, 3]).unwrap(), parts);
    }

    #[test]
    fn what_is_not_alike_is_refused() {
        assert!(join(vec![tensors(DType::F32, &[1]), tensors(DType::I64, &[1])]).is_err());
        assert!(
            join(vec![
                tensors(DType::F32, &[1]),
                TensorMap::from([("y".to_owned(), Tensor::zeros(vec![1], DType::F32).unwrap())])
            ])
            .is_err()
        );
        assert!(split(tensors(DType::F32, &[3]), &[1, 1]).is_err(), "three rows are not two");
        assert!(split(tensors(DType::F32, &[]), &[1]).is_err(), "a scalar has no rows");
    }
}
