//! The verbs of tensor models: predict, inspect of ONNX and GGUF, gate.

#[path = "../../../tensor/tests/packages/writer.rs"]
#[expect(dead_code, reason = "packages here need less than those of the engine's own tests")]
mod writer;

use crate::support::Home;
use ballast_backend::{DType, Dim, Tensor, TensorData};
use ballast_testkit::TinyOnnx;
use serde_json::json;

/// A file of `y = x + bias` over rows of three numbers.
pub(crate) fn onnx(bias: [f32; 3]) -> Vec<u8> {
    let rows = [Dim::Any, Dim::Fixed(3)];
    let bias = Tensor::new(vec![3], TensorData::F32(bias.to_vec())).unwrap();
    let model = TinyOnnx::new(17).node("Add", &["x", "bias"], &["y"], &[]).weight("bias", &bias);
    model.input("x", DType::F32, &rows).output("y", DType::F32, &rows).write()
}

fn model(home: &Home) -> String {
    home.file("add.onnx", onnx([0.0, 0.5, 0.25]))
}

#[test]
fn values_become_a_table_or_json_or_arrays() {
    let home = Home::new();
    let (model, row) = (model(&home), home.file("row.json", "[[1, 2, 3]]"));
    let table = home.ballast(&["predict", &model, "--input", &row, "--top-k", "1"]);
    assert_eq!((table.code, table.stdout.as_str()), (Some(0), "y\n  2  3.250000\n"));
    let found = home.ballast(&["predict", &model, "-i", &format!("x={row}"), "--json", "--trace", "--rounds", "3"]);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["outputs"]["y"]["first"], json!([1.0, 2.5, 3.25]));
    assert_eq!((&found["engine"], &found["frames"]), (&json!("tensor-cpu"), &json!(1)));
    assert_eq!(found["trace"][0]["op"], "Add");
    let out = home.path("out");
    let args = ["predict", &model, "-i", &row, "-o", "npy", "--to", out.to_str().unwrap()];
    assert!(home.ballast(&args).stdout.contains("float32 [1, 3]"));
    let array = out.join("y.npy");
    let again = home.ballast(&["predict", &model, "-i", array.to_str().unwrap(), "--json"]);
    assert!(again.stdout.contains("[1.0,3.0,3.5]"), "{}", again.stdout);
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let home = Home::new();
    let (model, picture) = (model(&home), home.file("cat.png", "no picture"));
    let row = home.file("row.json", "[[1, 2, 3]]");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["predict", &model, "-i", &picture], 1, "\"kind\": \"picture\""),
        (&["predict", &model], 1, "expected a tensor"),
        (&["predict", &model, "-i", &row, "-o", "npy"], 2, "--to"),
        (&["predict", &model, "-i", &row, "-o", "png", "--to", &picture], 2, "picture to draw on"),
        (&["predict", &model, "-i", &row, "--memory-budget", "1"], 3, "bytes"),
        (&["predict", home.model(), "-i", &row], 1, "GGUF"),
    ];
    for (args, code, part) in cases {
        let ran = home.ballast(args);
        assert_eq!((ran.code, ran.stderr.contains(part)), (Some(code), true), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn inspect_tells_of_onnx_and_of_gguf() {
    let home = Home::new();
    let model = model(&home);
    let text = home.ballast(&["inspect", &model]).stdout;
    assert!(text.contains("tensor-cpu: all of it") && text.contains("     1 Add"), "{text}");
    let found: serde_json::Value = serde_json::from_str(&home.ballast(&["inspect", &model, "--json"]).stdout).unwrap();
    assert_eq!(found["operators"], json!([{ "name": "Add", "count": 1, "known": true }]));
    let text = home.ballast(&["inspect", home.model()]).stdout;
    assert!(text.contains("llm-cpu: all of it") && text.contains("general.architecture = \"llama\""), "{text}");
    let found: serde_json::Value =
        serde_json::from_str(&home.ballast(&["inspect", home.model(), "--json"]).stdout).unwrap();
    assert_eq!((&found["format"], &found["refused"]), (&json!("gguf"), &json!([])));
}

/// A Core ML model of `y = relu(x) + b`, with `b` in the program's text.
fn core_ml() -> Vec<u8> {
    use writer::{F16, F32, constant, floats, model, named, operation, program, tensor};
    let (of, half) = (tensor(F32, &[3]), tensor(F16, &[3]));
    let operations = [
        operation("relu", &[("x", "x")], &[("positive", half)]),
        constant("b", &of, &floats(&[3], &[0.0, 0.5, 0.25])),
        operation("add", &[("x", "positive"), ("y", "b")], &[("y", of.clone())]),
    ];
    model(&program(&[named("x", &of)], &operations, &["y"]))
}

#[test]
fn inspect_tells_of_a_package_and_what_is_predicted_of_it() {
    let home = Home::new();
    let model = home.file("small.mlmodel", core_ml());
    let text = home.ballast(&["inspect", &model]).stdout;
    for part in [
        "ML Program, version 9: iOS 18, macOS 15 or newer",
        "main, operations of CoreML8, run unless another is asked for",
        "tensor-cpu: all of it",
        "Apple's neural engine: 1 of 2 operations (prediction, not run)",
        "prediction    1 of 2 operations on the neural engine, 50.0 %: by rules, from the program",
        "kept off: 1 by not f16, which is all that the neural engine computes with: add (y)",
        "     1 relu  1 fp16",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let found: serde_json::Value = serde_json::from_str(&home.ballast(&["inspect", &model, "--json"]).stdout).unwrap();
    assert_eq!(found["forecast"]["label"], "prediction");
    assert_eq!(found["forecast"]["findings"][0]["operations"], json!(["add (y)"]));
    assert_eq!(found["package"]["functions"][0]["name"], "main");
    assert_eq!(found["metadata"]["author"], "A. Uthor");
    assert_eq!(found["licence"], "CC0");
}

#[test]
fn inspect_tells_of_a_package_that_is_no_program_why_it_is_refused() {
    let home = Home::new();
    let network = writer::Proto::default().int(1, 4).message(500, &writer::Proto::default()).0;
    let text = home.ballast(&["inspect", &home.file("old.mlmodel", network)]).stdout;
    assert!(text.contains("neural network, version 4") && text.contains("tensor-cpu: refused"), "{text}");
    assert!(text.contains("of the format before ML Programs") && !text.contains("prediction "), "{text}");
}

#[test]
fn what_a_gate_measured_of_a_model_is_kept_in_its_manifest_and_told() {
    let home = Home::new();
    let model = model(&home);
    let other = home.file("other.onnx", onnx([1.0, 0.5, 0.25]));
    let gate = |gate: &str| home.ballast(&["gate", gate, "-m", &model, "-n", "5", "--reference", &other, "--record"]);
    assert_eq!(gate("A").code, Some(2), "only gate B compares");
    let manifest = format!("{model}.ballast.json");
    std::fs::write(&manifest, r#"{"model": "sum"}"#).unwrap();
    let ran = gate("B");
    assert_eq!((ran.code, ran.stderr.contains("recorded in")), (Some(1), true), "{}", ran.stderr);
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    assert_eq!((&kept["model"], &kept["accuracy_delta_of"]), (&json!("sum"), &json!("other.onnx")));
    assert_eq!(kept["quantization"], "fp32");
    assert!(kept["accuracy_delta_l_inf"].as_f64().is_some_and(|l_inf| (l_inf - 1.0).abs() < 1e-5), "{kept}");
    let text = home.ballast(&["inspect", &model]).stdout;
    assert!(text.contains("recorded      from other.onnx: L-inf 1.000e0"), "{text}");
    assert_eq!(home.ballast(&["gate", "B", "-m", &model, "-n", "5", "--record"]).code, Some(2), "without a reference");
}

#[test]
fn a_gate_prints_every_row_and_what_was_not_measured() {
    let home = Home::new();
    let model = model(&home);
    let text = home.ballast(&["gate", "c", "--model", &model, "--count", "5"]).stdout;
    assert!(text.contains("not measured: no engine for an accelerator answers here"), "{text}");
    let ran = home.ballast(&["gate", "B", "-m", &model, "-n", "5", "--json", "--reference", &model]);
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let row = found["rows"].as_array().unwrap().iter().find(|row| row["name"] == "p99, ms").unwrap();
    assert_eq!((&row["value"], &row["not_measured"]), (&json!(null), &json!("fewer than 100 samples")));
    let other = home.file("other.onnx", onnx([1.0, 0.5, 0.25]));
    let ran = home.ballast(&["gate", "B", "-m", &model, "-n", "5", "--reference", &other]);
    assert_eq!((ran.code, ran.stderr.contains("L-inf")), (Some(1), true), "{}", ran.stderr);
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn units_that_are_not_there_are_said_not_to_be() {
    let home = Home::new();
    let (model, row) = (model(&home), home.file("row.json", "[[1, 2, 3]]"));
    let ran = home.ballast(&["predict", &model, "-i", &row, "--compute-units", "cpu-ane", "--top-k", "1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "y\n  2  3.250000\n"));
    assert!(ran.stderr.contains("FALLBACK_ENGAGED"), "{}", ran.stderr);
    let ran = home.ballast(&["predict", &model, "-i", &row, "--compute-units", "cpu-ane", "--no-fallback"]);
    assert_eq!((ran.code, ran.stderr.contains("not on this platform")), (Some(1), true), "{}", ran.stderr);
    let text = home.ballast(&["gate", "c", "-m", &model, "-n", "2", "--compute-units", "cpu-gpu"]).stdout;
    assert!(text.contains("answers here: coreml: ") && text.contains("not on this platform"), "{text}");
    let report = home.path("report.json");
    let ran = home.ballast(&["verify-mac", "model.mlpackage", "--json", report.to_str().unwrap()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("not on this platform: core ml needs an Apple system"), "{}", ran.stderr);
    assert!(!report.exists());
    assert!(home.ballast(&["info"]).stdout.contains("not on this platform"));
}
