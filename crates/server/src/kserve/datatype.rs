//! The protocol's names of element types.

use ballast_backend::DType;

/// A type by the three names it has: on the wire, in a model's configuration, and its number there.
const NAMES: [(DType, &str, &str, i32); 14] = [
    (DType::Bool, "BOOL", "TYPE_BOOL", 1),
    (DType::U8, "UINT8", "TYPE_UINT8", 2),
    (DType::U16, "UINT16", "TYPE_UINT16", 3),
    (DType::U32, "UINT32", "TYPE_UINT32", 4),
    (DType::U64, "UINT64", "TYPE_UINT64", 5),
    (DType::I8, "INT8", "TYPE_INT8", 6),
    (DType::I16, "INT16", "TYPE_INT16", 7),
    (DType::I32, "INT32", "TYPE_INT32", 8),
    (DType::I64, "INT64", "TYPE_INT64", 9),
    (DType::F16, "FP16", "TYPE_FP16", 10),
    (DType::F32, "FP32", "TYPE_FP32", 11),
    (DType::F64, "FP64", "TYPE_FP64", 12),
    (DType::Str, "BYTES", "TYPE_STRING", 13),
    (DType::Bf16, "BF16", "TYPE_BF16", 14),
];

fn row(dtype: DType) -> (DType, &'static str, &'static str, i32) {
    NAMES.into_iter().find(|(known, ..)| *known == dtype).expect("every type has a row: a test says so")
}

/// Its name on the wire.
pub(super) fn name(dtype: DType) -> &'static str {
    row(dtype).1
}

/// Its name in a model's configuration.
pub(super) fn config_name(dtype: DType) -> &'static str {
    row(dtype).2
}

/// Its number in a model's configuration.
pub(super) fn config_number(dtype: DType) -> i32 {
    row(dtype).3
}

/// The type of this name on the wire.
pub(super) fn of(name: &str) -> Option<DType> {
    NAMES.into_iter().find(|(_, known, ..)| *known == name).map(|(dtype, ..)| dtype)
}

/// Bytes of an element on the wire; `None`: each says its own length.
pub(super) fn size_bytes(dtype: DType) -> Option<usize> {
    (dtype != DType::Str).then(|| dtype.size_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_names() {
        for dtype in DType::EVERY {
            assert_eq!(of(name(dtype)), Some(dtype));
            assert!(config_name(dtype).starts_with("TYPE_") && config_number(dtype) > 0);
        }
        assert_eq!((of("FP8"), of("fp32"), of("STRING")), (None, None, None));
    }
}
