//! Types of values.

use crate::error::GraphError;
use crate::graph::{Port, ValueKind};
use crate::protobuf::Message;
use ballast_backend::{DType, Dim, RANK_MAX, TensorSpec};

/// The type of a number in files; `None`: one that the engine does not have.
pub(crate) fn dtype(code: i64) -> Option<DType> {
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

/// What the standard calls a type that the engine does not have.
pub(crate) fn type_name(code: i64) -> String {
    let known = [
        (14, "complex64"),
        (15, "complex128"),
        (17, "float8e4m3fn"),
        (18, "float8e4m3fnuz"),
        (19, "float8e5m2"),
        (20, "float8e5m2fnuz"),
        (21, "uint4"),
        (22, "int4"),
        (23, "float4e2m1"),
        (24, "float8e8m0"),
        (25, "uint2"),
        (26, "int2"),
    ];
    let name = known.into_iter().find(|(known, _)| *known == code).map(|(_, name)| name.to_owned());
    name.unwrap_or_else(|| format!("type {code}"))
}

/// An input or output.
pub(super) fn port(message: Message<'_>) -> Result<Port, GraphError> {
    let (mut name, mut of) = (String::new(), ValueType::default());
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => of = value_type(field.message("type")?)?,
            _ => {}
        }
    }
    let ValueType { kind, code, shape } = of;
    if code != 0 && dtype(code).is_none() {
        return Err(GraphError::Unsupported { what: vec![format!("{name:?}, a tensor of {}", type_name(code))] });
    }
    let spec = shape.filter(|_| kind == ValueKind::Tensor).and_then(|shape| {
        let batch_capable = matches!(shape.first(), Some(Dim::Any));
        Some(TensorSpec { name: name.clone(), dtype: dtype(code)?, shape, batch_capable })
    });
    Ok(Port { name, spec, kind })
}

/// What kind of value, and of tensors the number of their type, 0 where it is not told, and their shape.
#[derive(Default)]
struct ValueType {
    kind: ValueKind,
    code: i64,
    shape: Option<Vec<Dim>>,
}

fn value_type(message: Message<'_>) -> Result<ValueType, GraphError> {
    let mut of = ValueType::default();
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => {
                for field in field.message("tensor type")?.fields() {
                    let field = field?;
                    match field.number {
                        1 => of.code = field.int()?,
                        2 => of.shape = Some(shape(field.message("shape")?)?),
                        _ => {}
                    }
                }
            }
            4 => of.kind = ValueKind::Sequence,
            9 => of.kind = ValueKind::Optional,
            5 => return Err(GraphError::Unsupported { what: vec!["values that are maps".to_owned()] }),
            8 => return Err(GraphError::Unsupported { what: vec!["sparse tensors".to_owned()] }),
            _ => {}
        }
    }
    Ok(of)
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
