//! Tensor models as a program meets them: a tiny ONNX file, opened, asked, isolated, refused, gated.

use ballast::gate::{Gate, GateOptions, run};
use ballast::tensor_model::{
    ComputeUnits, Fallback, LinkPhase, PoolOptions, Reading, Rounding, StartMode, TensorMap, npy, survey,
};
use ballast::{
    BudgetMode, ErrorKind, Isolation, MemoryBudget, ReasonCode, TensorLoadOptions, TensorModel, VerifyMacOptions,
    verify_mac,
};
use ballast_backend::{DType, Dim, Tensor, TensorData};
use ballast_testkit::TinyOnnx;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const BIAS: [f32; 3] = [0.1, 0.5, 0.3];

/// A file of `y = op(x, bias)` over rows of three numbers.
fn onnx(op: &str, bias: [f32; 3]) -> Vec<u8> {
    let rows = [Dim::Any, Dim::Fixed(3)];
    let bias = Tensor::new(vec![3], TensorData::F32(bias.to_vec())).unwrap();
    let model = TinyOnnx::new(17).node(op, &["x", "bias"], &["y"], &[]).weight("bias", &bias);
    model.input("x", DType::F32, &rows).output("y", DType::F32, &rows).write()
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn model(&self) -> PathBuf {
        self.file("add.onnx", onnx("Add", BIAS))
    }

    fn row(&self, row: [f32; 3]) -> PathBuf {
        self.file("row.npy", npy::write(&tensor(row)))
    }
}

fn options() -> TensorLoadOptions {
    TensorLoadOptions { n_threads: Some(1), ..TensorLoadOptions::default() }
}

fn tensor(row: [f32; 3]) -> Tensor {
    Tensor::new(vec![1, 3], TensorData::F32(row.to_vec())).unwrap()
}

fn inputs(row: [f32; 3]) -> TensorMap {
    TensorMap::from([("x".to_owned(), tensor(row))])
}

fn answered(model: &TensorModel, row: [f32; 3]) -> Vec<f32> {
    let prediction = model.predict(inputs(row)).unwrap();
    prediction.outputs.get("y").unwrap().as_f32().unwrap().to_vec()
}

#[test]
fn a_tensor_model_answers_and_tells_how_it_is() {
    let place = Place::new();
    let model = TensorModel::open(&place.model(), &options()).unwrap();
    assert_eq!(answered(&model, [1.0, 2.0, 3.0]), [1.1, 2.5, 3.3]);
    let health = model.health();
    assert!(health.is_ready() && health.links.len() == 1 && health.links[0].engine == "tensor-cpu");
    let metrics = model.metrics();
    assert_eq!((metrics.infer_count, metrics.infer_success, metrics.cpu_dispatch_pct), (1, 1, Some(100.0)));
    assert!(metrics.memory_current_mb.is_none_or(|mb| mb > 1.0));
    assert!(metrics.memory_peak_mb.is_none_or(|mb| mb > 1.0));
    assert_eq!(metrics.memory_peak_mb.is_some(), metrics.memory_current_mb.is_some());
    assert!(model.summary().contains("tensor-cpu"));
    let trace = model.trace(inputs([0.0; 3])).unwrap();
    assert_eq!(trace.iter().map(|entry| entry.op.as_str()).collect::<Vec<_>>(), ["Add"]);
}

#[test]
fn an_isolated_model_answers_the_same_from_a_process_of_its_own() {
    let place = Place::new();
    let rounded = TensorLoadOptions { rounding: Rounding::ToF16, ..options() };
    for options in [options(), rounded] {
        let here = TensorModel::open(&place.model(), &options).unwrap();
        let there = TensorLoadOptions { isolation: Isolation::Process, ..options };
        let there = TensorModel::open(&place.model(), &there).unwrap();
        let row = [0.123, 1.0, -7.5];
        assert_eq!(answered(&there, row), answered(&here, row));
        assert_eq!(there.schema(), here.schema());
    }
}

#[test]
fn every_option_of_loading_is_obeyed() {
    let place = Place::new();
    let path = place.model();
    let rounded = TensorLoadOptions { rounding: Rounding::ToF16, ..options() };
    let rounded = TensorModel::open(&path, &rounded).unwrap();
    assert_ne!(answered(&rounded, [0.1; 3]), answered(&TensorModel::open(&path, &options()).unwrap(), [0.1; 3]));
    let memory = MemoryBudget { mode: BudgetMode::Strict, bytes: Some(1) };
    let error = TensorModel::open(&path, &TensorLoadOptions { memory, ..options() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let late = TensorLoadOptions { deadline: Duration::from_nanos(1), ..options() };
    let error = TensorModel::open(&path, &late).unwrap().predict(inputs([0.0; 3])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    let kernels = TensorLoadOptions { kernels: Some("none".to_owned()), ..options() };
    assert!(TensorModel::open(&path, &kernels).is_err());
    let shapes = vec![("x".to_owned(), vec![2, 3])];
    let fixed = TensorModel::open(&path, &TensorLoadOptions { shapes, ..options() }).unwrap();
    assert_eq!(fixed.predict(inputs([0.0; 3])).unwrap_err().kind(), ErrorKind::Invalid);
    let pool = PoolOptions { n_instances: 3, ..PoolOptions::default() };
    let several = TensorModel::open(&path, &TensorLoadOptions { pool, ..options() }).unwrap();
    assert_eq!(several.health().links[0].pool.as_ref().map(|pool| pool.permits), Some(3));
}

#[test]
fn files_become_inputs_and_outputs_answers_as_the_manifest_says() {
    let place = Place::new();
    let (path, row) = (place.model(), place.row([0.0, 1.0, 0.0]));
    let plain = TensorModel::open(&path, &options()).unwrap();
    let answer = plain.ask(&[(None, row.clone())]).unwrap();
    assert!(matches!(&answer.readings[0].1, Reading::Raw { shape, .. } if *shape == [1, 3]));
    assert_eq!(answer.engine, "tensor-cpu");
    assert!(matches!(&plain.with_top_k(1).ask(&[(None, row.clone())]).unwrap().readings[0].1,
        Reading::Labels { labels } if labels.len() == 1 && labels[0].idx == 1));
    place.file(
        "add.onnx.ballast.json",
        r#"{"outputs": {"y": {"kind": "labels", "names": {"file": "names.txt"}, "top_k": 2}}}"#,
    );
    place.file("names.txt", "a\nb\nc\n");
    let declared = TensorModel::open(&path, &options()).unwrap();
    let answer = declared.ask(&[(Some("x".to_owned()), row)]).unwrap();
    let (_, Reading::Labels { labels }) = &answer.readings[0] else { panic!("expected labels") };
    assert_eq!(labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    let other = place.file("other.json", r#"{"outputs": {"z": {"kind": "vector"}}}"#);
    let options = TensorLoadOptions { manifest: Some(other), ..options() };
    assert!(TensorModel::open(&path, &options).unwrap_err().to_string().contains("\"y\""));
}

#[test]
fn what_is_no_tensor_model_is_refused_by_name() {
    let place = Place::new();
    let cases = [
        (place.file("a.gguf", b"GGUF\x03\0\0\0"), "GGUF"),
        (place.file("a.npz", b"PK\x03\x04"), "archive"),
        (place.file("a.mlmodel", b"\x08\x01"), "Core ML model"),
        (place.file("a.txt", b"hello"), "other bytes"),
        (place.file("a.onnx", b"\xff\xff\xff"), ""),
        (place.0.path().join("none.onnx"), "cannot be read"),
        (place.0.path().to_owned(), "Manifest.json"),
    ];
    for (path, part) in cases {
        let error = TensorModel::open(&path, &options()).unwrap_err().to_string();
        assert!(error.contains(part), "{}: {error}", path.display());
    }
}

#[test]
fn a_survey_tells_what_a_model_is_made_of_and_what_is_refused() {
    let place = Place::new();
    let found = survey(&place.model()).unwrap();
    assert_eq!((found.format, found.producer.as_str(), found.licence.as_deref()), ("onnx", "testkit", None));
    assert_eq!((found.parameters["f32"], found.parameter_bytes), (3, 12));
    assert!(found.refused.is_empty() && found.memory_bytes.is_some() && found.operators[0].known);
    assert_eq!(found.inputs[0].shape, [None, Some(3)]);
    let found = survey(&place.file("odd.onnx", onnx("Frobnicate", BIAS))).unwrap();
    assert!(found.refused[0].contains("Frobnicate") && found.memory_bytes.is_none() && !found.operators[0].known);
}

#[test]
fn every_gate_measures_or_says_why_not() {
    let place = Place::new();
    let path = place.model();
    for gate in Gate::ALL {
        let options = GateOptions { count: Some(120), load: options(), ..GateOptions::new(gate) };
        let mut seen = 0;
        let report = run(&path, &options, &mut |done, _| seen = seen.max(done)).unwrap();
        assert!(seen > 0 && report.count == 120);
        for row in &report.rows {
            assert_eq!(row.figure.value.is_none(), row.why_not.is_some(), "{gate:?} {row:?}");
        }
        if gate == Gate::D {
            let found = |name: &str| report.rows.iter().find(|row| row.figure.name == name).unwrap();
            let value = |name: &str| found(name).figure.value.unwrap();
            assert!(value("predictions a second, one caller") > 0.0);
            assert!(value("predictions a second, four callers") > 0.0);
            let (kept, not) =
                (value("bytes of outputs allocated"), value("bytes of outputs allocated without the pool"));
            assert!(kept < not / 2.0 && not == 120.0 * 12.0, "{kept} of {not}");
        }
        // Times and memory are the machine's; counts are ours.
        let is_count = |name: &str| !name.contains("p99") && !name.contains("MB") && !name.contains("ms");
        let failed: Vec<&str> = report.failed().map(|row| row.figure.name).filter(|name| is_count(name)).collect();
        assert!(failed.is_empty(), "{gate:?} {failed:?}");
    }
}

#[test]
fn gate_b_finds_a_reference_that_differs() {
    let place = Place::new();
    let path = place.model();
    let other = place.file("other.onnx", onnx("Add", [0.1, 0.5, 0.4]));
    let with = |reference: PathBuf| {
        let load = options();
        let options = GateOptions { count: Some(1), reference: Some(reference), load, ..GateOptions::new(Gate::B) };
        let report = run(&path, &options, &mut |_, _| ()).unwrap();
        report.failed().filter(|row| row.figure.name.contains("L-inf")).count()
    };
    assert_eq!((with(path.clone()), with(other)), (0, 1));
}

fn on(units: ComputeUnits, fallback: Fallback) -> TensorLoadOptions {
    TensorLoadOptions { compute_units: Some(units), fallback, start: StartMode::Wait, ..options() }
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn units_that_cannot_be_had_are_answered_by_the_cpu_which_says_so() {
    let place = Place::new();
    let path = place.model();
    for units in [ComputeUnits::CpuAndNe, ComputeUnits::CpuAndGpu] {
        let model = TensorModel::open(&path, &on(units, Fallback::Cpu)).unwrap();
        let prediction = model.predict(inputs([1.0, 2.0, 3.0])).unwrap();
        assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), [1.1, 2.5, 3.3]);
        assert_eq!(prediction.engine, "tensor-cpu");
        assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::ModelLoadFailed]);
        let health = model.health();
        let LinkPhase::Failed(why) = &health.links[0].phase else { panic!("{health:?}") };
        assert!(health.is_ready() && health.links[0].engine == "coreml" && why.contains("not "), "{why}");
        assert!(model.summary().contains(why.as_str()), "{}", model.summary());
        let error = TensorModel::open(&path, &on(units, Fallback::Never)).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::Unavailable, Some(ReasonCode::ModelLoadFailed)));
        assert!(error.to_string().contains(why.as_str()), "{error}");
    }
    for units in [ComputeUnits::All, ComputeUnits::CpuOnly] {
        for fallback in [Fallback::Cpu, Fallback::Never] {
            let model = TensorModel::open(&path, &on(units, fallback)).unwrap();
            assert_eq!(model.predict(inputs([0.0; 3])).unwrap().degraded, []);
            assert_eq!(model.health().links.len(), 1);
        }
    }
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn elsewhere_verify_mac_says_that_this_is_no_mac() {
    let error = verify_mac("none.mlpackage".as_ref(), &VerifyMacOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let word = if cfg!(feature = "coreml") { "not on this platform" } else { "not in this build" };
    assert!(error.to_string().contains(word), "{error}");
}
