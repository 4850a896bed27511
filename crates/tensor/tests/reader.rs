//! Models whose bytes were changed are refused or read; nothing panics.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{DType, Dim, Tensor, TensorData};
use ballast_tensor::{Executor, ExecutorOptions, Model, ReadLimits, RunLimits};
use ballast_testkit::{OnnxAttribute, TinyOnnx};
use proptest::prelude::*;

/// A small network with weights, shapes that are computed and attributes of several kinds.
fn network() -> Vec<u8> {
    let tensor = |shape: &[usize], data| Tensor::new(shape.to_vec(), data).unwrap();
    let ints = |values: &[i64]| tensor(&[values.len()], TensorData::I64(values.to_vec()));
    let perm = [("perm", OnnxAttribute::Ints(vec![0, 2, 1]))];
    let axis = [("axis", OnnxAttribute::Int(1))];
    let mode = [("mode", OnnxAttribute::Text("linear".to_owned()))];
    let shape = [Dim::Any, Dim::Fixed(2), Dim::Fixed(3)];
    TinyOnnx::new(17)
        .input("x", DType::F32, &shape)
        .output("y", DType::F32, &[Dim::Any, Dim::Any])
        .weight("w", &tensor(&[2, 3], TensorData::F32(vec![0.5; 6])))
        .weight("wanted", &ints(&[0, -1]))
        .weight("starts", &ints(&[0]))
        .weight("pads", &ints(&[0, 0, 1, 0, 0, 1]))
        .weight("scales", &tensor(&[3], TensorData::F32(vec![1.0, 2.0, 1.0])))
        .node("Add", &["x", "w"], &["a"], &[])
        .node("Transpose", &["a"], &["b"], &perm)
        .node("Concat", &["b", "b"], &["c"], &axis)
        .node("Pad", &["c", "pads"], &["d"], &[])
        .node("Resize", &["d", "", "scales"], &["e"], &mode)
        .node("Slice", &["e", "starts", "wanted"], &["f"], &[])
        .node("Reshape", &["f", "wanted"], &["y"], &[])
        .write()
}

/// Reads and plans within narrow bounds.
fn plan(bytes: &[u8]) -> bool {
    let limits = RunLimits { tensor_bytes_max: 1 << 20, ..RunLimits::default() };
    let reading = ReadLimits { tensor_bytes_max: 1 << 20, nodes_max: 1000, ..ReadLimits::default() };
    let options = ExecutorOptions { limits, ..ExecutorOptions::default() };
    Model::from_onnx(bytes, reading).is_ok_and(|model| Executor::new(&model, options).is_ok())
}

#[test]
fn the_network_itself_is_planned() {
    assert!(plan(&network()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_model_with_other_bytes_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = network();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        plan(&bytes);
    }

    #[test]
    fn a_model_that_is_cut_or_doubled_never_panics(start in any::<prop::sample::Index>(), end in any::<prop::sample::Index>()) {
        let bytes = network();
        let (start, end) = (start.index(bytes.len()), end.index(bytes.len()));
        let (start, end) = (start.min(end), start.max(end));
        plan(&bytes[start..end]);
        plan(&[&bytes[..end], &bytes[start..]].concat());
        plan(&[&bytes[..start], &bytes[end..]].concat());
    }

    #[test]
    fn bytes_that_are_no_model_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        plan(&bytes);
    }
}
