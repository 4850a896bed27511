//! ONNX Runtime in front of our own engine, on the same files. `BALLAST_ORT_LIBRARY` names its library; without it
//! nothing is tested, and that is said. The step "ONNX Runtime" of `.ci/run` sets it.
#![cfg(feature = "ort")]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::disallowed_methods, reason = "where the library lies is told by the environment")]
#![expect(clippy::print_stderr, reason = "what is skipped is said")]

use ballast::tensor_model::{Fallback, LinkPhase, StartMode, TensorEngine, TensorMap};
use ballast::{ErrorKind, ReasonCode, TensorLoadOptions, TensorModel};
use ballast_backend::{DType, Dim, Tensor, TensorData};
use ballast_testkit::TinyOnnx;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn asked() -> Option<TensorLoadOptions> {
    let library = std::env::var_os("BALLAST_ORT_LIBRARY").map(PathBuf::from);
    if library.is_none() {
        eprintln!("skipped: BALLAST_ORT_LIBRARY names no library");
    }
    let engine = TensorEngine::OnnxRuntime { library: Some(library?) };
    Some(TensorLoadOptions { engine, n_threads: Some(1), start: StartMode::Wait, ..TensorLoadOptions::default() })
}

/// A file of `y = x + x` over any number of elements.
fn double(folder: &Path, dtype: DType) -> PathBuf {
    let model = TinyOnnx::new(17).input("x", dtype, &[Dim::Any]).output("y", dtype, &[Dim::Any]);
    let path = folder.join("double.onnx");
    std::fs::write(&path, model.node("Add", &["x", "x"], &["y"], &[]).write()).unwrap();
    path
}

fn inputs(data: TensorData) -> TensorMap {
    TensorMap::from([("x".to_owned(), Tensor::new(vec![data.len()], data).unwrap())])
}

fn links(model: &TensorModel) -> Vec<(&'static str, LinkPhase)> {
    model.health().links.into_iter().map(|link| (link.engine, link.phase)).collect()
}

#[test]
fn it_answers_and_ours_stands_behind_it() {
    let Some(options) = asked() else { return };
    let folder = TempDir::new().unwrap();
    let model = TensorModel::open(&double(folder.path(), DType::F32), &options).unwrap();
    assert_eq!(links(&model), [("onnxruntime", LinkPhase::Ready), ("tensor-cpu", LinkPhase::Ready)]);
    let prediction = model.predict(inputs(TensorData::F32(vec![1.0, 2.5]))).unwrap();
    assert_eq!((prediction.engine, &prediction.degraded[..]), ("onnxruntime", &[][..]));
    assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), [2.0, 5.0]);
    let error = model.trace(inputs(TensorData::F32(vec![1.0]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");

    let alone = TensorLoadOptions { fallback: Fallback::Never, ..options };
    let model = TensorModel::open(&double(folder.path(), DType::F32), &alone).unwrap();
    assert_eq!(links(&model), [("onnxruntime", LinkPhase::Ready)]);
}

#[test]
fn where_it_has_no_kernel_ours_answers_and_says_so() {
    let Some(options) = asked() else { return };
    let folder = TempDir::new().unwrap();
    let path = double(folder.path(), DType::Bf16);
    let model = TensorModel::open(&path, &options).unwrap();
    let links = links(&model);
    assert!(
        matches!(&links[..], [("onnxruntime", LinkPhase::Failed(_)), ("tensor-cpu", LinkPhase::Ready)]),
        "{links:?}"
    );
    // 1.0 and 2.0.
    let prediction = model.predict(inputs(TensorData::Bf16(vec![0x3f80]))).unwrap();
    assert_eq!(prediction.outputs.get("y").unwrap().data(), &TensorData::Bf16(vec![0x4000]));
    let told = [ReasonCode::FallbackEngaged, ReasonCode::ModelLoadFailed];
    assert_eq!((prediction.engine, &prediction.degraded[..]), ("tensor-cpu", &told[..]));
    let alone = TensorLoadOptions { fallback: Fallback::Never, ..options };
    let error = TensorModel::open(&path, &alone).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
