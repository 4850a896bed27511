//! The engine through the traits by which the runtime knows it.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{
    DType, Dim, Dispatch, ErrorKind, InferenceEngine, Instance, ModelArtifact, ModelFmt, Predictor, PrepareOptions,
    Prepared, Pulse, Quantization, Sha256, Tensor, TensorData, TensorMap,
};
use ballast_tensor::{ExecutorOptions, TensorCpu};
use ballast_testkit::{TinyOnnx, VirtualClock};
use std::path::Path;
use std::sync::Arc;

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorData::F32(values.to_vec())).unwrap()
}

/// `y = x + w`, for any number of rows of three.
fn model() -> Vec<u8> {
    let shape = [Dim::Any, Dim::Fixed(3)];
    let model = TinyOnnx::new(17).input("x", DType::F32, &shape).output("y", DType::F32, &shape);
    model.weight("w", &f32s(&[3], &[1.0, 2.0, 3.0])).node("Add", &["x", "w"], &["y"], &[]).write()
}

fn engine() -> TensorCpu {
    TensorCpu::new(ExecutorOptions::default(), Arc::new(VirtualClock::new()))
}

fn artifact(path: &Path, bytes: &[u8]) -> ModelArtifact {
    std::fs::write(path, bytes).unwrap();
    let (clock, pulse) = (VirtualClock::new(), Pulse::new());
    let until = ballast_artifacts::Until { clock: &clock, deadline: None, pulse: &pulse };
    let sha256 = ballast_artifacts::digest_file(path, &until).unwrap().sha256;
    ModelArtifact::Authoring { path: path.to_owned(), format: ModelFmt::Onnx, sha256 }
}

fn predictor(engine: &TensorCpu, prepared: &Prepared) -> Box<dyn Predictor> {
    match engine.open(prepared).unwrap() {
        Instance::Predictor(predictor) => predictor,
        Instance::Generator(_) => panic!("a tensor model is no generator"),
    }
}

#[test]
fn an_onnx_file_is_prepared_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let artifact = artifact(&folder.path().join("m.onnx"), &model());
    let prepared = engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    let schema = prepared.io_schema.clone().unwrap();
    assert_eq!((schema.inputs[0].name.as_str(), &schema.inputs[0].shape[..]), ("x", &[Dim::Any, Dim::Fixed(3)][..]));
    assert!(prepared.memory_bytes > 0 && prepared.cache_key.contains("tensor-cpu"));
    let mut predictor = predictor(&engine, &prepared);
    let mut outputs = TensorMap::new();
    let inputs = |values: &[f32]| TensorMap::from([("x".to_owned(), f32s(&[values.len() / 3, 3], values))]);
    predictor.predict(&inputs(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs["y"], f32s(&[2, 3], &[1.0, 2.0, 3.0, 2.0, 3.0, 4.0]));
    let place = outputs["y"].as_f32().unwrap().as_ptr();
    predictor.predict(&inputs(&[5.0; 6]), &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs["y"].as_f32().unwrap()[0], 6.0);
    assert_eq!(outputs["y"].as_f32().unwrap().as_ptr(), place, "a buffer that fits is written in place");
    predictor.predict(&inputs(&[5.0; 3]), &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs["y"].shape(), [1, 3]);
    assert_eq!(predictor.dispatch(), Some(Dispatch::CPU));
}

#[test]
fn a_call_that_nobody_waits_for_ends_between_operators() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let artifact = artifact(&folder.path().join("m.onnx"), &model());
    let prepared = engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    let mut predictor = predictor(&engine, &prepared);
    let pulse = Pulse::new();
    pulse.interrupt();
    let inputs = TensorMap::from([("x".to_owned(), f32s(&[1, 3], &[0.0; 3]))]);
    let error = predictor.predict(&inputs, &mut TensorMap::new(), &pulse).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
}

#[test]
fn what_cannot_be_prepared_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let good = artifact(&path, &model());
    let refused = |artifact: &ModelArtifact, options: &PrepareOptions| {
        let error = engine().prepare(artifact, options).unwrap_err();
        (error.kind(), error.to_string())
    };
    let default = PrepareOptions::default();
    let ModelArtifact::Authoring { path, .. } = &good else { panic!() };
    let other = ModelArtifact::Authoring { path: path.clone(), format: ModelFmt::Onnx, sha256: Sha256([0; 32]) };
    let quantized = PrepareOptions { quantization: Quantization::Int8, ..default.clone() };
    let poor = PrepareOptions { memory_budget_bytes: Some(10), ..default.clone() };
    let shape = |shape: &[usize]| PrepareOptions { shapes: vec![("x".to_owned(), shape.to_vec())], ..default.clone() };
    for (artifact, options, kind, word) in [
        (&other, &default, ErrorKind::Invalid, "digest"),
        (&good, &quantized, ErrorKind::Invalid, "int8"),
        (&good, &poor, ErrorKind::Denied, "10 bytes"),
        (&good, &shape(&[2, 4]), ErrorKind::Invalid, "\"x\""),
    ] {
        let (got, text) = refused(artifact, options);
        assert!(got == kind && text.contains(word), "{got:?} {text}");
    }
    let fixed = engine().prepare(&good, &shape(&[2, 3])).unwrap();
    assert_eq!(fixed.io_schema.unwrap().inputs[0].shape, [Dim::Fixed(2), Dim::Fixed(3)]);
    let unknown = TinyOnnx::new(17).output("y", DType::F32, &[]).node("Conjure", &[], &["y"], &[]);
    let unknown = unknown.node("Invent", &[], &["z"], &[]).output("z", DType::F32, &[]).write();
    let (kind, text) = refused(&artifact(path, &unknown), &default);
    assert!(kind == ErrorKind::Invalid && text.contains("Conjure") && text.contains("Invent"), "{text}");
    let odd = [("speed", ballast_testkit::OnnxAttribute::Int(9))];
    let odd = TinyOnnx::new(17).input("x", DType::F32, &[]).node("Add", &["x", "x"], &["y"], &odd);
    let (_, text) = refused(&artifact(path, &odd.output("y", DType::F32, &[]).write()), &default);
    assert!(text.contains("speed"), "an attribute that nobody reads is refused: {text}");
}
