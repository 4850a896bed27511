//! Tensors lent to ONNX Runtime, and taken over from it.

use crate::OrtError;
use crate::schema::dtype;
use ballast_backend::{DType, Tensor, TensorData, TensorMap};
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor as OrtTensor, TensorRef};
use std::fmt::Debug;

/// A tensor for ONNX Runtime to read where it is; texts are copied.
pub(crate) fn lent<'a>(name: &str, tensor: &'a Tensor) -> Result<SessionInputValue<'a>, OrtError> {
    let shape = tensor.shape();
    let lent = match tensor.data() {
        TensorData::F32(values) => view(shape, values),
        TensorData::F64(values) => view(shape, values),
        TensorData::F16(bits) => view(shape, bits.reinterpret_cast::<f16>()),
        TensorData::Bf16(bits) => view(shape, bits.reinterpret_cast::<bf16>()),
        TensorData::I64(values) => view(shape, values),
        TensorData::I32(values) => view(shape, values),
        TensorData::I16(values) => view(shape, values),
        TensorData::I8(values) => view(shape, values),
        TensorData::U64(values) => view(shape, values),
        TensorData::U32(values) => view(shape, values),
        TensorData::U16(values) => view(shape, values),
        TensorData::U8(values) => view(shape, values),
        TensorData::Bool(values) => view(shape, values),
        TensorData::Str(texts) => OrtTensor::from_string_array((shape, texts.as_slice())).map(Into::into),
    };
    lent.map_err(|error| OrtError::Input { name: name.to_owned(), why: error.to_string() })
}

fn view<'a, T>(shape: &'a [usize], values: &'a [T]) -> ort::Result<SessionInputValue<'a>>
where
    T: PrimitiveTensorElementType + Debug + Clone + 'static,
{
    Ok(TensorRef::from_array_view((shape, values))?.into())
}

/// Writes an output to its place in `outputs`, over the tensor that is there where type and shape agree.
pub(crate) fn take_over(name: &str, value: &DynValue, outputs: &mut TensorMap) -> Result<(), OrtError> {
    let wrong = |why: String| OrtError::Output { name: name.to_owned(), why };
    let (shape, dtype) = kind(value).ok_or_else(|| wrong(value.dtype().to_string()))?;
    let place = match outputs.get_mut(name) {
        Some(tensor) if tensor.dtype() == dtype && tensor.shape() == shape => tensor,
        Some(_) | None => {
            let zeros = Tensor::zeros(shape, dtype).map_err(|error| wrong(error.to_string()))?;
            outputs.entry(name.to_owned()).insert_entry(zeros).into_mut()
        }
    };
    copied(value, place.data_mut()).map_err(|error| wrong(error.to_string()))
}

fn kind(value: &DynValue) -> Option<(Vec<usize>, DType)> {
    let dtype = dtype(value.dtype().tensor_type()?)?;
    let extents = value.dtype().tensor_shape()?.iter().map(|extent| usize::try_from(*extent));
    Some((extents.collect::<Result<_, _>>().ok()?, dtype))
}

/// Copies elements into a vector of the same type and length.
fn copied(value: &DynValue, place: &mut TensorData) -> ort::Result<()> {
    match place {
        TensorData::F32(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::F64(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::F16(place) => place.copy_from_slice(value.try_extract_tensor::<f16>()?.1.reinterpret_cast()),
        TensorData::Bf16(place) => place.copy_from_slice(value.try_extract_tensor::<bf16>()?.1.reinterpret_cast()),
        TensorData::I64(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::I32(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::I16(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::I8(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::U64(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::U32(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::U16(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::U8(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::Bool(place) => place.copy_from_slice(value.try_extract_tensor()?.1),
        TensorData::Str(place) => *place = value.try_extract_strings()?.1,
    }
    Ok(())
}
