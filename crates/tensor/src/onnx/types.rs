//! Types of values.

use crate::error::GraphError;
use crate::graph::Port;
use crate::protobuf::Message;
use ballast_backend::{DType, Dim, RANK_MAX, TensorSpec};

/// The type of a number in files; `None`: one that the engine does not have.
pub(super) fn dtype(code: i64) -> Option<DType> {
    Some(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        8 => DType::Str,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::Bf16,
        _ => return None,
    })
}

/// An input or output.
pub(super) fn port(message: Message<'_>) -> Result<Port, GraphError> {
    let (mut name, mut parts) = (String::new(), None);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => parts = tensor_type(field.message("type")?)?,
            _ => {}
        }
    }
    let spec = parts.and_then(|(code, shape)| {
        let shape = shape?;
        let batch_capable = matches!(shape.first(), Some(Dim::Any));
        Some(TensorSpec { name: name.clone(), dtype: dtype(code)?, shape, batch_capable })
    });
    Ok(Port { name, spec })
}

/// The code of a tensor's type and its shape, if it is a tensor and has one.
type TensorType = (i64, Option<Vec<Dim>>);

fn tensor_type(message: Message<'_>) -> Result<Option<TensorType>, GraphError> {
    let mut parts = None;
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            let mut of = (0, None);
            for field in field.message("tensor type")?.fields() {
                let field = field?;
                match field.number {
                    1 => of.0 = field.int()?,
                    2 => of.1 = Some(shape(field.message("shape")?)?),
                    _ => {}
                }
            }
            parts = Some(of);
        }
    }
    Ok(parts)
}

fn shape(message: Message<'_>) -> Result<Vec<Dim>, GraphError> {
    let mut dims = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let mut dim = Dim::Any;
        for part in field.message("dimension")?.fields() {
            let part = part?;
            if part.number == 1 {
                // Some exporters write -1 where they mean any.
                dim = usize::try_from(part.int()?).map_or(Dim::Any, Dim::Fixed);
            }
        }
        if dims.len() == RANK_MAX {
            let what = format!("dimensions of a {}", message.what);
            return Err(GraphError::TooMany { what, max: RANK_MAX as u64, got: RANK_MAX as u64 + 1 });
        }
        dims.push(dim);
    }
    Ok(dims)
}
