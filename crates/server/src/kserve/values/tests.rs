//! JSON to tensors and back, beside the same tensors as bytes.

use super::*;
use crate::kserve::raw;
use proptest::prelude::*;

#[test]
fn lists_are_flat_or_as_the_shape_says() {
    let expected = Ok(TensorData::I32(vec![1, 2, 3, 4, 5, 6]));
    for json in ["[1,2,3,4,5,6]", "[[1,2,3],[4,5,6]]", " [ [1, 2,3 ]\n,[4,5,6]] ", "[1.0,2e0,3,4,5,6]"] {
        assert_eq!(read(DType::I32, &[2, 3], json), expected, "{json}");
    }
    assert_eq!(read(DType::I32, &[], "[7]"), Ok(TensorData::I32(vec![7])));
    assert_eq!(read(DType::I32, &[1, 1, 1], "[[[7]]]"), Ok(TensorData::I32(vec![7])));
    assert_eq!(read(DType::F32, &[0, 3], "[]"), Ok(TensorData::F32(vec![])));
    assert_eq!(read(DType::Str, &[2], r#"["a\"]", "\u00e4,"]"#), Ok(TensorData::Str(vec!["a\"]".into(), "ä,".into()])));
    assert_eq!(read(DType::Bool, &[2], "[true,false]"), Ok(TensorData::Bool(vec![true, false])));
}

#[test]
fn what_contradicts_shape_or_type_is_refused() {
    let cases: [(DType, &[usize], &str, ValuesError); 17] = [
        (DType::I32, &[2, 3], "[1,2,3,4,5]", ValuesError::Count { expected: 6, got: 5 }),
        (DType::I32, &[2], "[1,2,3]", ValuesError::Count { expected: 2, got: 3 }),
        (DType::I32, &[1 << 40], "[1]", ValuesError::Count { expected: 1 << 40, got: 1 }),
        (DType::I32, &[2, 2], "[[1,2,3],[4]]", ValuesError::Nesting),
        (DType::I32, &[2, 2], "[[1,2],[3,4],[]]", ValuesError::Nesting),
        (DType::I32, &[2, 2], "[[1,2],3,4]", ValuesError::Nesting),
        (DType::I32, &[2, 2], "[1,[2,3],4]", ValuesError::Nesting),
        (DType::I32, &[4], "[[1,2,3,4]]", ValuesError::Nesting),
        (DType::I32, &[], "[[1]]", ValuesError::Nesting),
        (DType::I32, &[1], "7", ValuesError::NoList),
        (DType::I32, &[1], "{}", ValuesError::NoList),
        (DType::U8, &[2], "[0,256]", ValuesError::Value { at: 1 }),
        (DType::U8, &[1], "[0.5]", ValuesError::Value { at: 0 }),
        (DType::F32, &[1], "[1e39]", ValuesError::Value { at: 0 }),
        (DType::F32, &[1], "[null]", ValuesError::Value { at: 0 }),
        (DType::Bool, &[1], "[1]", ValuesError::Value { at: 0 }),
        (DType::F16, &[1], "[1]", ValuesError::Binary),
    ];
    for (dtype, shape, json, expected) in cases {
        assert_eq!(read(dtype, shape, json), Err(expected), "{dtype} {shape:?} {json}");
    }
}

/// Elements of every type that has JSON.
fn data() -> impl Strategy<Value = TensorData> {
    let finite32 = any::<f32>().prop_filter("finite", |value| value.is_finite());
    let finite64 = any::<f64>().prop_filter("finite", |value| value.is_finite());
    let n = 0..24_usize;
    prop_oneof![
        prop::collection::vec(finite32, n.clone()).prop_map(TensorData::F32),
        prop::collection::vec(finite64, n.clone()).prop_map(TensorData::F64),
        prop::collection::vec(any::<i64>(), n.clone()).prop_map(TensorData::I64),
        prop::collection::vec(any::<i32>(), n.clone()).prop_map(TensorData::I32),
        prop::collection::vec(any::<i16>(), n.clone()).prop_map(TensorData::I16),
        prop::collection::vec(any::<i8>(), n.clone()).prop_map(TensorData::I8),
        prop::collection::vec(any::<u64>(), n.clone()).prop_map(TensorData::U64),
        prop::collection::vec(any::<u32>(), n.clone()).prop_map(TensorData::U32),
        prop::collection::vec(any::<u16>(), n.clone()).prop_map(TensorData::U16),
        prop::collection::vec(any::<u8>(), n.clone()).prop_map(TensorData::U8),
        prop::collection::vec(any::<bool>(), n.clone()).prop_map(TensorData::Bool),
        prop::collection::vec(".*", n).prop_map(TensorData::Str),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a tensor holds, its JSON and its bytes are read as the same tensor, flat and nested.
    #[test]
    fn json_and_bytes_are_the_same_tensor(data in data()) {
        let (dtype, n) = (data.dtype(), data.len());
        let bytes = raw::write(&data);
        prop_assert_eq!(&raw::read(dtype, n, &bytes).unwrap(), &data);
        let values = Values(data);
        prop_assert_eq!(values.check(), Ok(()));
        let json = serde_json::to_string(&values).unwrap();
        prop_assert_eq!(&read(dtype, &[n], &json).unwrap(), &values.0);
        if n > 0 {
            let nested = format!("[{json}]");
            prop_assert_eq!(&read(dtype, &[1, n], &nested).unwrap(), &values.0);
        }
    }

    /// Whatever JSON there is, it is a tensor or refused.
    #[test]
    fn no_json_is_more_than_refused(
        json in "[\\[\\]0-9,.eE\"\\\\ truefalsn-]{0,40}",
        shape in prop::collection::vec(0_usize..4, 0..4),
        dtype in 0_usize..14,
    ) {
        let is_json = serde_json::from_str::<serde_json::Value>(&json).is_ok();
        if let Some(Ok(data)) = is_json.then(|| read(DType::EVERY[dtype], &shape, &json)) {
            prop_assert_eq!(data.len(), shape.iter().product::<usize>());
        }
    }
}
