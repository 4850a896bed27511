//! Tensors in shared memory: elements back to back, in the order of their heads. Texts are their lengths in bytes, 32 bits
//! each, and then their bytes.

use crate::WorkerError;
use crate::shared::SharedArea;
use crate::wire::{TensorHead, bounded};
use ballast_backend::{DType, RANK_MAX, Tensor, TensorData, TensorError, TensorMap, TensorSpec, element_count};
use bytemuck::{cast_slice, cast_slice_mut};
use std::borrow::Cow;

/// Bytes that tell how long a text is.
const TEXT_LEN_BYTES: usize = 4;

/// Writes tensors to shared memory and returns their heads.
pub(crate) fn write<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    area: &SharedArea,
) -> Result<Vec<TensorHead>, WorkerError> {
    let mut offset = 0;
    let mut write = |(name, tensor): (&str, &Tensor)| {
        offset = area.write(offset, &bytes(tensor.data())?)?;
        Ok(TensorHead { name: name.to_owned(), dtype: tensor.dtype().into(), shape: tensor.shape().to_vec() })
    };
    tensors.map(&mut write).collect()
}

/// Reads the tensors of `heads` from shared memory into `tensors`, into those that are there already where type and
/// shape agree.
///
/// # Errors
/// If the heads claim more than there is, before anything is allocated for it; or elements that no tensor may have.
pub(crate) fn read(heads: &[TensorHead], area: &SharedArea, tensors: &mut TensorMap) -> Result<(), WorkerError> {
    check_claims(heads, area.len_bytes()?)?;
    let mut offset = 0;
    for head in heads {
        if !tensors.get(&head.name).is_some_and(|tensor| is_like(tensor, head)) {
            let new = Tensor::zeros(head.shape.clone(), head.dtype.into()).map_err(|error| broken(&error))?;
            tensors.insert(head.name.clone(), new);
        }
        if let Some(tensor) = tensors.get_mut(&head.name) {
            offset = read_elements(area, offset, tensor.data_mut())?;
        }
    }
    Ok(())
}

/// Checks that `heads` are what `specs` say, in their order.
pub(crate) fn check_heads(heads: &[TensorHead], specs: &[TensorSpec]) -> Result<(), WorkerError> {
    let fits =
        |(head, spec): (&TensorHead, &TensorSpec)| head.name == spec.name && spec.fits(head.dtype.into(), &head.shape);
    if heads.len() == specs.len() && heads.iter().zip(specs).all(fits) {
        return Ok(());
    }
    let names: Vec<&str> = heads.iter().map(|head| head.name.as_str()).take(8).collect();
    Err(WorkerError::Protocol { expected: "the outputs of the schema", got: bounded(&format!("{names:?}")) })
}

fn broken(error: &TensorError) -> WorkerError {
    WorkerError::Protocol { expected: "tensors that can be", got: bounded(&error.to_string()) }
}

fn is_like(tensor: &Tensor, head: &TensorHead) -> bool {
    // The owner of a tensor may have torn it; its elements count, not its shape alone.
    tensor.dtype() == head.dtype.into()
        && tensor.shape() == head.shape
        && element_count(&head.shape) == Some(tensor.data().len())
}

fn check_claims(heads: &[TensorHead], there_bytes: u64) -> Result<(), WorkerError> {
    let size_bytes = |head: &TensorHead| {
        let n_elements = element_count(&head.shape).filter(|_| head.shape.len() <= RANK_MAX)?;
        let dtype = DType::from(head.dtype);
        n_elements.checked_mul(if dtype == DType::Str { TEXT_LEN_BYTES } else { dtype.size_bytes() })
    };
    let claimed = heads.iter().try_fold(0_usize, |sum, head| sum.checked_add(size_bytes(head)?));
    match claimed {
        Some(bytes) if bytes as u64 <= there_bytes => Ok(()),
        _ => Err(WorkerError::Protocol {
            expected: "tensors that are in shared memory",
            got: format!("{claimed:?} of {there_bytes} bytes"),
        }),
    }
}

fn bytes(data: &TensorData) -> Result<Cow<'_, [u8]>, WorkerError> {
    Ok(Cow::Borrowed(match data {
        TensorData::F32(values) => cast_slice(values),
        TensorData::F64(values) => cast_slice(values),
        TensorData::F16(bits) | TensorData::Bf16(bits) => cast_slice(bits),
        TensorData::I64(values) => cast_slice(values),
        TensorData::I32(values) => cast_slice(values),
        TensorData::I16(values) => cast_slice(values),
        TensorData::I8(values) => cast_slice(values),
        TensorData::U64(values) => cast_slice(values),
        TensorData::U32(values) => cast_slice(values),
        TensorData::U16(values) => cast_slice(values),
        TensorData::U8(values) => values,
        TensorData::Bool(values) => cast_slice(values),
        TensorData::Str(texts) => return Ok(Cow::Owned(text_bytes(texts)?)),
    }))
}

fn text_bytes(texts: &[String]) -> Result<Vec<u8>, WorkerError> {
    let too_long = |_| WorkerError::Protocol { expected: "texts of less than 4 GiB", got: "a longer one".to_owned() };
    let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.len() + TEXT_LEN_BYTES).sum());
    for text in texts {
        bytes.extend(u32::try_from(text.len()).map_err(too_long)?.to_le_bytes());
    }
    texts.iter().for_each(|text| bytes.extend(text.as_bytes()));
    Ok(bytes)
}

fn read_elements(area: &SharedArea, offset: u64, data: &mut TensorData) -> Result<u64, WorkerError> {
    match data {
        TensorData::F32(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::F64(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::F16(bits) | TensorData::Bf16(bits) => area.read(offset, cast_slice_mut(bits)),
        TensorData::I64(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::I32(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::I16(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::I8(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::U64(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::U32(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::U16(values) => area.read(offset, cast_slice_mut(values)),
        TensorData::U8(values) => area.read(offset, values),
        TensorData::Bool(values) => read_truths(area, offset, values),
        TensorData::Str(texts) => read_texts(area, offset, texts),
    }
}

/// Lengths are another process's word: they are checked against what there is before anything is allocated.
fn read_texts(area: &SharedArea, offset: u64, texts: &mut [String]) -> Result<u64, WorkerError> {
    let mut lens = vec![0; texts.len() * TEXT_LEN_BYTES];
    let mut offset = area.read(offset, &mut lens)?;
    let lens: Vec<u32> = lens.as_chunks().0.iter().map(|len| u32::from_le_bytes(*len)).collect();
    let claimed = lens.iter().map(|&len| u64::from(len)).sum::<u64>();
    let there_bytes = area.len_bytes()?;
    if claimed > there_bytes {
        let got = format!("{claimed} of {there_bytes} bytes");
        return Err(WorkerError::Protocol { expected: "texts that are in shared memory", got });
    }
    for (text, len) in texts.iter_mut().zip(lens) {
        let mut bytes = vec![0; len as usize];
        offset = area.read(offset, &mut bytes)?;
        *text = String::from_utf8(bytes)
            .map_err(|error| WorkerError::Protocol { expected: "texts in UTF-8", got: bounded(&error.to_string()) })?;
    }
    Ok(offset)
}

/// Only 0 and 1 are truth values; memory that another process writes holds any byte.
fn read_truths(area: &SharedArea, offset: u64, values: &mut [bool]) -> Result<u64, WorkerError> {
    let mut bytes = vec![0; values.len()];
    let end = area.read(offset, &mut bytes)?;
    for (value, byte) in values.iter_mut().zip(bytes) {
        *value = match byte {
            0 => false,
            1 => true,
            _ => return Err(WorkerError::Protocol { expected: "truth values of 0 or 1", got: byte.to_string() }),
        };
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedPlace;
    use crate::wire::Element;
    use ballast_backend::Dim;
    use proptest::prelude::*;

    fn area() -> SharedArea {
        SharedArea::create(&SharedPlace::Memory, 1 << 20).unwrap()
    }

    fn one_of_each() -> TensorMap {
        let data = [
            TensorData::F32(vec![1.5, f32::NAN, -0.0]),
            TensorData::F16(vec![1, 2, 65535]),
            TensorData::I64(vec![i64::MIN, 0, 5]),
            TensorData::I32(vec![-1, 2, 3]),
            TensorData::I8(vec![-1, 2, 3]),
            TensorData::U8(vec![255, 2, 3]),
            TensorData::Bool(vec![true, false, true]),
            TensorData::F64(vec![1.5, f64::MIN, -0.0]),
            TensorData::Bf16(vec![1, 2, 65535]),
            TensorData::I16(vec![-1, 2, 3]),
            TensorData::U64(vec![u64::MAX, 2, 3]),
            TensorData::U32(vec![u32::MAX, 2, 3]),
            TensorData::U16(vec![u16::MAX, 2, 3]),
            TensorData::Str(["", "a", "Größe"].map(str::to_owned).to_vec()),
        ];
        data.into_iter().map(|d| (d.dtype().to_string(), Tensor::new(vec![1, 3], d).unwrap())).collect()
    }

    fn pairs(map: &TensorMap) -> impl Iterator<Item = (&str, &Tensor)> {
        map.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn all_bytes(map: &TensorMap) -> Vec<(&str, Vec<u8>)> {
        pairs(map).map(|(name, tensor)| (name, bytes(tensor.data()).unwrap().into_owned())).collect()
    }

    #[test]
    fn tensors_of_every_type_read_back_bit_for_bit() {
        let (area, tensors) = (area(), one_of_each());
        let heads = write(pairs(&tensors), &area).unwrap();
        let mut torn = Tensor::zeros(vec![1, 3], DType::F32).unwrap();
        *torn.data_mut() = TensorData::F32(vec![0.0]);
        for mut into in [TensorMap::new(), one_of_each(), TensorMap::from([("f32".to_owned(), torn)])] {
            read(&heads, &area, &mut into).unwrap();
            assert_eq!(all_bytes(&into), all_bytes(&tensors));
        }
    }

    #[test]
    fn a_tensor_that_fits_is_written_in_place() {
        let (area, tensors) = (area(), one_of_each());
        let heads = write(pairs(&tensors), &area).unwrap();
        let mut into = one_of_each();
        let address = |map: &TensorMap| map["f32"].as_f32().unwrap().as_ptr();
        let before = address(&into);
        read(&heads, &area, &mut into).unwrap();
        assert_eq!(address(&into), before);
    }

    #[test]
    fn a_truth_value_of_2_is_refused() {
        let area = area();
        area.write(0, &[1, 2]).unwrap();
        let head = TensorHead { name: "x".to_owned(), dtype: Element::Bool, shape: vec![2] };
        assert!(matches!(read(&[head], &area, &mut TensorMap::new()), Err(WorkerError::Protocol { .. })));
    }

    #[test]
    fn texts_longer_than_the_memory_are_refused_before_they_are_read() {
        let area = area();
        area.write(0, &[255; 8]).unwrap();
        let head = TensorHead { name: "x".to_owned(), dtype: Element::Str, shape: vec![2] };
        assert!(matches!(read(&[head], &area, &mut TensorMap::new()), Err(WorkerError::Protocol { .. })));
    }

    #[test]
    fn outputs_are_those_of_the_schema_in_its_order() {
        let spec = |name: &str| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: vec![Dim::Any, Dim::Fixed(2)],
            batch_capable: true,
        };
        let head =
            |name: &str, dtype, shape: &[usize]| TensorHead { name: name.to_owned(), dtype, shape: shape.to_vec() };
        let specs = [spec("a"), spec("b")];
        let (a, b) = (head("a", Element::F32, &[7, 2]), head("b", Element::F32, &[0, 2]));
        assert!(check_heads(&[a.clone(), b.clone()], &specs).is_ok());
        for bad in [
            vec![],
            vec![a.clone()],
            vec![b.clone(), a.clone()],
            vec![a.clone(), b.clone(), b.clone()],
            vec![a.clone(), head("b", Element::F16, &[0, 2])],
            vec![a.clone(), head("b", Element::F32, &[0, 3])],
            vec![a.clone(), head("c", Element::F32, &[0, 2])],
        ] {
            assert!(matches!(check_heads(&bad, &specs), Err(WorkerError::Protocol { .. })), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_claims_never_panic_nor_allocate_more_than_there_is(
            shapes in prop::collection::vec(prop::collection::vec(prop_oneof![0..5_usize, any::<usize>()], 0..10), 0..5)
        ) {
            let area = area();
            area.write(0, &[0; 100]).unwrap();
            let head = |(idx, shape): (usize, Vec<usize>)| TensorHead { name: idx.to_string(), dtype: Element::I64, shape };
            let heads: Vec<TensorHead> = shapes.into_iter().enumerate().map(head).collect();
            let mut tensors = TensorMap::new();
            drop(read(&heads, &area, &mut tensors));
            prop_assert!(tensors.values().map(Tensor::size_bytes).sum::<usize>() <= 100);
        }
    }
}
