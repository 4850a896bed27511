//! The verbs of tensor models: predict, inspect of ONNX and GGUF, gate.

use crate::support::Home;
use ballast_backend::{DType, Dim, Tensor, TensorData};
use ballast_testkit::TinyOnnx;
use serde_json::json;

/// A file of `y = x + bias` over rows of three numbers.
fn onnx(bias: [f32; 3]) -> Vec<u8> {
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

#[test]
fn a_gate_prints_every_row_and_what_was_not_measured() {
    let home = Home::new();
    let model = model(&home);
    let text = home.ballast(&["gate", "c", "--model", &model, "--count", "5"]).stdout;
    assert!(text.contains("not measured: no engine for an accelerator"), "{text}");
    let ran = home.ballast(&["gate", "B", "-m", &model, "-n", "5", "--json", "--reference", &model]);
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let row = found["rows"].as_array().unwrap().iter().find(|row| row["name"] == "p99, ms").unwrap();
    assert_eq!((&row["value"], &row["not_measured"]), (&json!(null), &json!("fewer than 100 samples")));
    let other = home.file("other.onnx", onnx([1.0, 0.5, 0.25]));
    let ran = home.ballast(&["gate", "B", "-m", &model, "-n", "5", "--reference", &other]);
    assert_eq!((ran.code, ran.stderr.contains("L-inf")), (Some(1), true), "{}", ran.stderr);
}
