//! Sessions of the real library, through the traits by which the runtime knows engines. `BALLAST_ORT_LIBRARY` names it;
//! without it nothing is tested, and that is said. The step "ONNX Runtime" of `.ci/run` sets it.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::disallowed_methods, reason = "where the library lies is told by the environment")]
#![expect(clippy::print_stderr, reason = "what is skipped is said")]

use ballast_backend::{
    DType, Dim, Dispatch, ErrorKind, InferenceEngine, Instance, ModelArtifact, ModelFmt, Predictor, PrepareOptions,
    Pulse, Quantization, Sha256, Tensor, TensorData, TensorMap,
};
use ballast_ort::{Library, OrtEngine, OrtError, OrtOptions};
use ballast_testkit::{OnnxAttribute, PATIENCE, TinyOnnx, VirtualClock};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn library() -> Option<PathBuf> {
    let library = std::env::var_os("BALLAST_ORT_LIBRARY").map(PathBuf::from);
    if library.is_none() {
        eprintln!("skipped: BALLAST_ORT_LIBRARY is not set");
    }
    library
}

fn engine(n_threads: usize) -> Option<OrtEngine> {
    let options = OrtOptions { library: Some(library()?), n_threads: NonZeroUsize::new(n_threads).unwrap() };
    Some(OrtEngine::new(options, Arc::new(VirtualClock::new())).unwrap())
}

fn artifact(path: &Path, bytes: &[u8]) -> ModelArtifact {
    std::fs::write(path, bytes).unwrap();
    let (clock, pulse) = (VirtualClock::new(), Pulse::new());
    let until = ballast_artifacts::Until { clock: &clock, deadline: None, pulse: &pulse };
    let sha256 = ballast_artifacts::digest_file(path, &until).unwrap().sha256;
    ModelArtifact::Authoring { path: path.to_owned(), format: ModelFmt::Onnx, sha256 }
}

fn opened(engine: &OrtEngine, bytes: &[u8]) -> Box<dyn Predictor> {
    let folder = tempfile::tempdir().unwrap();
    let artifact = artifact(&folder.path().join("m.onnx"), bytes);
    let prepared = engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    match engine.open(&prepared).unwrap() {
        Instance::Predictor(predictor) => predictor,
        Instance::Generator(_) => panic!("a tensor model is no generator"),
    }
}

fn tensor(shape: &[usize], data: TensorData) -> Tensor {
    Tensor::new(shape.to_vec(), data).unwrap()
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    tensor(shape, TensorData::F32(values.to_vec()))
}

fn named(name: &str, tensor: Tensor) -> TensorMap {
    TensorMap::from([(name.to_owned(), tensor)])
}

/// `y = x + w`, for any number of rows of three.
fn sum() -> Vec<u8> {
    let shape = [Dim::Any, Dim::Fixed(3)];
    let model = TinyOnnx::new(17).input("x", DType::F32, &shape).output("y", DType::F32, &shape);
    model.weight("w", &f32s(&[3], &[1.0, 2.0, 3.0])).node("Add", &["x", "w"], &["y"], &[]).write()
}

#[test]
fn an_onnx_file_is_prepared_and_predicts() {
    let Some(engine) = engine(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let artifact = artifact(&folder.path().join("m.onnx"), &sum());
    let prepared = engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    let schema = prepared.io_schema.clone().unwrap();
    assert_eq!((schema.inputs[0].name.as_str(), &schema.inputs[0].shape[..]), ("x", &[Dim::Any, Dim::Fixed(3)][..]));
    assert!(prepared.memory_bytes > 0 && prepared.cache_key.contains("onnxruntime"));
    assert!(engine.library().version().contains("ORT"), "{}", engine.library().version());
    let Instance::Predictor(mut predictor) = engine.open(&prepared).unwrap() else { panic!() };
    let mut outputs = TensorMap::new();
    let inputs = |values: &[f32]| named("x", f32s(&[values.len() / 3, 3], values));
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
fn tensors_of_every_type_go_in_and_come_out_as_they_are() {
    let Some(engine) = engine(1) else { return };
    let texts = ["", "grüße", "two words"].map(str::to_owned).to_vec();
    let of_three = [
        TensorData::F32(vec![0.5, -1.0, f32::INFINITY]),
        TensorData::F64(vec![0.1, -1.0, 1e300]),
        TensorData::F16(vec![0x3c00, 0xc000, 0x7bff]),
        TensorData::Bf16(vec![0x3f80, 0xc000, 0x7f7f]),
        TensorData::I64(vec![i64::MIN, 0, i64::MAX]),
        TensorData::I32(vec![i32::MIN, 0, i32::MAX]),
        TensorData::I16(vec![i16::MIN, 0, i16::MAX]),
        TensorData::I8(vec![i8::MIN, 0, i8::MAX]),
        TensorData::U64(vec![0, 1, u64::MAX]),
        TensorData::U32(vec![0, 1, u32::MAX]),
        TensorData::U16(vec![0, 1, u16::MAX]),
        TensorData::U8(vec![0, 1, u8::MAX]),
        TensorData::Bool(vec![true, false, true]),
        TensorData::Str(texts),
    ];
    assert_eq!(of_three.len(), DType::EVERY.len());
    for data in of_three {
        let dtype = data.dtype();
        let model = TinyOnnx::new(17).input("x", dtype, &[Dim::Any]).output("y", dtype, &[Dim::Any]);
        let mut predictor = opened(&engine, &model.node("Identity", &["x"], &["y"], &[]).write());
        assert_eq!(predictor.io_schema().outputs[0].dtype, dtype);
        for given in [tensor(&[3], data), tensor(&[0], TensorData::zeros(dtype, 0))] {
            let mut outputs = TensorMap::new();
            predictor.predict(&named("x", given.clone()), &mut outputs, &Pulse::new()).unwrap();
            assert_eq!(outputs["y"], given);
        }
    }
}

#[test]
fn what_cannot_be_prepared_is_refused_with_its_reason() {
    let Some(engine) = engine(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let good = artifact(&path, &sum());
    let other = ModelArtifact::Authoring { path: path.clone(), format: ModelFmt::Onnx, sha256: Sha256([0; 32]) };
    let package = ModelArtifact::Authoring { path: path.clone(), format: ModelFmt::MlPackage, sha256: Sha256([0; 32]) };
    let default = PrepareOptions::default();
    let quantized = PrepareOptions { quantization: Quantization::Int8, ..default.clone() };
    let poor = PrepareOptions { memory_budget_bytes: Some(10), ..default.clone() };
    let shape = |name: &str, shape: &[usize]| PrepareOptions {
        shapes: vec![(name.to_owned(), shape.to_vec())],
        ..default.clone()
    };
    for (artifact, options, kind, word) in [
        (&other, &default, ErrorKind::Invalid, "digest"),
        (&package, &default, ErrorKind::Invalid, "mlpackage"),
        (&good, &quantized, ErrorKind::Invalid, "int8"),
        (&good, &poor, ErrorKind::Denied, "10 bytes"),
        (&good, &shape("x", &[2, 4]), ErrorKind::Invalid, "\"x\""),
        (&good, &shape("z", &[2, 3]), ErrorKind::Invalid, "\"z\""),
    ] {
        let error = engine.prepare(artifact, options).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(word), "{:?} {error}", error.kind());
    }
    let fixed = engine.prepare(&good, &shape("x", &[2, 3])).unwrap();
    assert_eq!(fixed.io_schema.unwrap().inputs[0].shape, [Dim::Fixed(2), Dim::Fixed(3)]);
    let unknown = TinyOnnx::new(17).output("y", DType::F32, &[]).node("Conjure", &[], &["y"], &[]).write();
    for (bytes, word) in [(&unknown[..], "Conjure"), (&[8, 8, 0xff, 0xff][..], "ONNX Runtime"), (&[], "ONNX Runtime")] {
        let error = engine.prepare(&artifact(&path, bytes), &default).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(word), "{error}");
    }
    let sequence = TinyOnnx::new(17).input("x", DType::F32, &[Dim::Any]).output("y", DType::F32, &[]);
    let sequence = sequence.node("SequenceConstruct", &["x"], &["y"], &[]).write();
    let error = engine.prepare(&artifact(&path, &sequence), &default).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn inputs_that_do_not_fit_are_the_callers_fault_and_the_session_goes_on() {
    let Some(engine) = engine(1) else { return };
    let mut predictor = opened(&engine, &sum());
    let mut refused = |inputs: &TensorMap| {
        let error = predictor.predict(inputs, &mut TensorMap::new(), &Pulse::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        error.to_string()
    };
    refused(&named("x", f32s(&[1, 4], &[0.0; 4])));
    refused(&named("x", tensor(&[1, 3], TensorData::I32(vec![0; 3]))));
    refused(&named("z", f32s(&[1, 3], &[0.0; 3])));
    refused(&TensorMap::new());
    let told = refused(&named("x", tensor(&[1, 3], TensorData::Str(["a", "b\0c", ""].map(str::to_owned).to_vec()))));
    assert!(told.contains("\"x\""), "{told}");
    let mut outputs = TensorMap::new();
    predictor.predict(&named("x", f32s(&[1, 3], &[0.0; 3])), &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs["y"], f32s(&[1, 3], &[1.0, 2.0, 3.0]));
}

/// A product of two matrices, again and again: long enough to be interrupted on any machine.
fn long(n_products: usize, extent: usize) -> Vec<u8> {
    let shape = [Dim::Fixed(extent), Dim::Fixed(extent)];
    let mut model = TinyOnnx::new(17).input("x0", DType::F32, &shape);
    for idx in 0..n_products {
        let (x, y) = (format!("x{idx}"), format!("x{}", idx + 1));
        model = model.node("MatMul", &[&x, "x0"], &[&y], &[]);
    }
    model.output(&format!("x{n_products}"), DType::F32, &shape).write()
}

#[test]
fn a_call_that_nobody_waits_for_ends_between_operators() {
    let Some(engine) = engine(1) else { return };
    let (n_products, extent) = (4_000, 256);
    let mut predictor = opened(&engine, &long(n_products, extent));
    let inputs = named("x0", tensor(&[extent, extent], TensorData::zeros(DType::F32, extent * extent)));

    let before = Pulse::new();
    before.interrupt();
    let error = predictor.predict(&inputs, &mut TensorMap::new(), &before).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");

    let pulse = Pulse::new();
    let watched = pulse.clone();
    let asker = std::thread::spawn(move || {
        let until = std::time::Instant::now() + PATIENCE;
        // The call is at work once somebody else beats for it.
        while watched.beats() < 3 && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        watched.interrupt();
    });
    let error = predictor.predict(&inputs, &mut TensorMap::new(), &pulse).unwrap_err();
    asker.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");

    // The order to end was for that call alone.
    let mut outputs = TensorMap::new();
    predictor.predict(&inputs, &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs.len(), 1);
}

#[test]
fn a_failure_inside_is_told_and_the_session_goes_on() {
    let Some(engine) = engine(1) else { return };
    let model = TinyOnnx::new(17).input("x", DType::F32, &[Dim::Any]).input("at", DType::I64, &[Dim::Any]);
    let model = model.output("y", DType::F32, &[Dim::Any]);
    let gather = model.node("Gather", &["x", "at"], &["y"], &[("axis", OnnxAttribute::Int(0))]).write();
    let mut predictor = opened(&engine, &gather);
    let inputs = |at: i64| {
        let mut inputs = named("x", f32s(&[3], &[1.0, 2.0, 3.0]));
        inputs.insert("at".to_owned(), tensor(&[1], TensorData::I64(vec![at])));
        inputs
    };
    let error = predictor.predict(&inputs(9), &mut TensorMap::new(), &Pulse::new()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Internal), "{error}");
    let mut outputs = TensorMap::new();
    predictor.predict(&inputs(1), &mut outputs, &Pulse::new()).unwrap();
    assert_eq!(outputs["y"], f32s(&[1], &[2.0]));
}

#[test]
fn a_process_has_one_library() {
    let Some(path) = library() else { return };
    let first = Library::load(Some(&path)).unwrap();
    assert_eq!(Library::load(None).unwrap().path(), first.path(), "the one that there is will do");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("another.so");
    std::fs::write(&copy, b"not even a library").unwrap();
    let error = Library::load(Some(&copy)).unwrap_err();
    assert!(matches!(&error, OrtError::LibraryOther { asked, .. } if asked.ends_with("another.so")), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
