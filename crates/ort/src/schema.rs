//! What a model takes and gives, as ONNX Runtime tells it.

use crate::OrtError;
use ballast_backend::{DType, Dim, IoSchema, TensorSpec};
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

/// Inputs and outputs of a session.
pub(crate) fn schema(session: &Session) -> Result<IoSchema, OrtError> {
    let specs = |outlets: &[Outlet]| outlets.iter().map(spec).collect::<Result<_, _>>();
    Ok(IoSchema { inputs: specs(session.inputs())?, outputs: specs(session.outputs())? })
}

fn spec(outlet: &Outlet) -> Result<TensorSpec, OrtError> {
    let name = outlet.name();
    let other = || OrtError::Port { port: name.to_owned(), got: outlet.dtype().to_string() };
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else { return Err(other()) };
    // An extent that the model leaves open is told as -1.
    let dim = |extent: &i64| usize::try_from(*extent).map_or(Dim::Any, Dim::Fixed);
    let shape: Vec<Dim> = shape.iter().map(dim).collect();
    let batch_capable = matches!(shape.first(), Some(Dim::Any));
    Ok(TensorSpec { name: name.to_owned(), dtype: dtype(*ty).ok_or_else(other)?, shape, batch_capable })
}

/// Our name of an element type; `None`: we have none.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list of another project's types grows")]
pub(crate) fn dtype(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::Bf16,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::String => DType::Str,
        _ => return None,
    })
}

/// Fixes dimensions that the model leaves open.
pub(crate) fn fix_shapes(schema: &mut IoSchema, shapes: &[(String, Vec<usize>)]) -> Result<(), OrtError> {
    for (name, shape) in shapes {
        let wrong = || OrtError::Shape { name: name.clone(), got: shape.clone() };
        let spec = schema.inputs.iter_mut().find(|spec| spec.name == *name).ok_or_else(wrong)?;
        if !spec.fits(spec.dtype, shape) {
            return Err(wrong());
        }
        spec.shape = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
        spec.batch_capable = false;
    }
    Ok(())
}
