//! What is written is what is read.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use ballast_gguf::{Array, Gguf, StringArray, TensorType, Value, Writer};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Value::String(bytes.as_slice().into())),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    let flat = prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(vec(any::<u8>(), 0..9), 0..9).prop_map(|strings| Array::String(strings.iter().collect::<StringArray>())),
    ];
    flat.prop_recursive(3, 16, 4, |inner| vec(inner, 0..4).prop_map(Array::Array))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![scalar(), array().prop_map(Value::Array)]
}

fn tensor() -> impl Strategy<Value = (Vec<u64>, TensorType, Vec<u8>)> {
    let shape = (1..4u64, vec(1..4u64, 0..4));
    (proptest::sample::select(TensorType::ALL), shape, any::<u8>()).prop_map(|(tensor_type, (n_blocks, rest), byte)| {
        let n_bytes = n_blocks * rest.iter().product::<u64>() * tensor_type.block_bytes();
        let shape = [&[n_blocks * tensor_type.block_len()], rest.get(..3).unwrap_or(&rest)].concat();
        let n_bytes = n_bytes / rest.get(3).unwrap_or(&1);
        (shape, tensor_type, vec![byte; usize::try_from(n_bytes).unwrap()])
    })
}

/// Values as text: a NaN is not equal to itself, but prints the same.
fn shown(value: &Value) -> String {
    format!("{value:?}")
}

proptest! {
    #[test]
    fn every_entry_and_tensor_comes_back(
        entries in btree_map("[a-z.]{1,12}", value(), 0..8),
        tensors in btree_map("[a-z.\u{e9}]{1,12}", tensor(), 0..6),
        alignment in prop_oneof![Just(None), Just(Some(8u32)), Just(Some(256))],
    ) {
        let mut writer = Writer::new();
        for (key, value) in &entries {
            writer.metadata(key, value.clone());
        }
        if let Some(alignment) = alignment {
            writer.metadata("general.alignment", alignment);
        }
        for (name, (shape, tensor_type, data)) in &tensors {
            writer.tensor(name, shape, *tensor_type, data.as_slice());
        }
        let bytes = writer.to_bytes().unwrap();
        let header = Gguf::parse(&bytes).unwrap();

        prop_assert_eq!(header.alignment, alignment.unwrap_or(32));
        prop_assert_eq!(header.metadata.len(), entries.len() + usize::from(alignment.is_some()));
        for (key, value) in &entries {
            prop_assert_eq!(shown(header.metadata.get(key).unwrap()), shown(value));
        }
        prop_assert_eq!(header.tensors.len(), tensors.len());
        for (found, (name, (shape, tensor_type, data))) in header.tensors.iter().zip(&tensors) {
            prop_assert_eq!((&found.name, &found.shape, found.tensor_type), (name, shape, *tensor_type));
            prop_assert_eq!(found.offset % u64::from(header.alignment), 0);
            let (start, n_bytes) = (usize::try_from(found.offset).unwrap(), usize::try_from(found.n_bytes).unwrap());
            prop_assert_eq!(&bytes[start..start + n_bytes], data.as_slice());
        }
    }

    #[test]
    fn any_bytes_after_a_good_start_give_a_header_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(bytes);
        drop(Gguf::parse(&file));
    }
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let f32 = TensorType::F32;
    let deep = || (0..5).fold(Array::U8(Vec::new()), |inner, _| Array::Array(vec![inner]));
    type Fill = Box<dyn Fn(&mut Writer<'_>)>;
    let cases: [(&str, Fill); 9] = [
        ("DuplicateKey", Box::new(|w| _ = w.metadata("k", 1u8).metadata("k", 1u8))),
        ("EmptyName", Box::new(|w| _ = w.metadata("", 1u8))),
        ("TooMany", Box::new(|w| _ = w.metadata(&"k".repeat(70_000), 1u8))),
        ("BadAlignment", Box::new(|w| _ = w.metadata("general.alignment", 12u32))),
        ("ArrayTooDeep", Box::new(move |w| _ = w.metadata("k", deep()))),
        (
            "DuplicateTensor",
            Box::new(move |w| _ = w.tensor("t", &[1], f32, vec![0; 4]).tensor("t", &[1], f32, vec![0; 4])),
        ),
        ("BadDimCount", Box::new(move |w| _ = w.tensor("t", &[], f32, vec![0; 4]))),
        ("WrongDataLen", Box::new(move |w| _ = w.tensor("t", &[2], f32, vec![0; 4]))),
        ("RowNotInBlocks", Box::new(|w| _ = w.tensor("t", &[2], TensorType::Q8_0, vec![0; 4]))),
    ];
    for (expected, fill) in cases {
        let mut writer = Writer::new();
        fill(&mut writer);
        let error = writer.to_bytes().unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "expected {expected}, got {error}");
    }
}
