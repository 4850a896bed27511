//! `ballast parity`: two ways of running a model, compared.

use crate::support::Home;
use ballast_gguf::TensorType;
use ballast_testkit::TinyLlama;
use serde_json::Value;

fn quantised() -> Home {
    Home::with(TinyLlama::new(TensorType::Q8_0))
}

/// `B` of a comparison of `home`'s model with itself.
fn compare(home: &Home, b: &str, args: &[&str]) -> Value {
    home.ballast(&[&["parity", home.model(), b, "--json"], args].concat()).json()
}

#[test]
fn threads_batches_and_processes_change_no_bit() {
    let home = quantised();
    for b in ["@threads=1", "@threads=2", "@batch=7", "@isolation=process", home.model()] {
        let report = compare(&home, b, &["--tolerance", "0", "--tokens", "80", "--sequences", "2"]);
        assert_eq!(report["within"], true, "{b}: {report}");
        assert_eq!((&report["n_samples"], report["outputs"][0]["l_inf"].as_f64()), (&160.into(), Some(0.0)), "{b}");
        assert_eq!(report["positions"].as_array().unwrap().len(), 80);
        assert_eq!(report["reference"]["model_sha256"], report["candidate"]["model_sha256"]);
    }
}

#[test]
fn kernel_sets_agree_as_far_as_their_activations_are_precise() {
    // An activation on the edge between two 8-bit values may fall on either side, so that logits differ a little.
    let cases = [(TensorType::F32, "f32", "0.001"), (TensorType::Q8_0, "int8", "0.5")];
    for (weights, precision, tolerance) in cases {
        let home = Home::with(TinyLlama::new(weights));
        let args = ["--precision", precision, "--tolerance", tolerance, "--cosine-min", "0.99"];
        let report = compare(&home, "@kernels=generic", &args);
        assert_eq!(report["precision"], precision);
        assert!(report["outputs"][0]["cosine"].as_f64().unwrap() > 0.99, "{report}");
        assert!(report["candidate"]["engine"].as_str().unwrap().contains("kernels=generic"));
    }
}

#[test]
fn other_weights_are_over_the_tolerance_and_say_where() {
    let home = quantised();
    let other = home.path("other.gguf");
    TinyLlama { seed: 2, ..TinyLlama::new(TensorType::Q8_0) }.write_file(&other).unwrap();
    let other = other.to_str().unwrap();
    let ran = home.ballast(&["parity", home.model(), other, "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("PARITY_EXCEEDED"), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["within"], &report["reason"]), (&false.into(), &"PARITY_EXCEEDED".into()));
    assert!(report["exceeded"].as_array().unwrap().len() >= 2, "{report}");
    assert!(report["worst"]["sample"].is_u64() && report["positions"][0]["l_inf"].as_f64().unwrap() > 0.0);
    assert_ne!(report["reference"]["model_sha256"], report["candidate"]["model_sha256"]);
    let allowed = home.ballast(&["parity", home.model(), other, "--tolerance", "1e9"]);
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    assert!(allowed.stdout.contains("within the tolerance"), "{allowed:?}");
}

#[test]
fn a_text_is_compared_too() {
    let home = quantised();
    let text = home.file("text", "the hello number is hell, he tells the others of it");
    let report = compare(&home, "@threads=1", &["--tolerance", "0", "-f", &text, "--tokens", "8"]);
    assert_eq!(report["positions"].as_array().unwrap().len(), 8);
    assert!(report["inputs"]["given"].is_string(), "{report}");
    let same = compare(&home, "@threads=1", &["--seed", "5"]);
    assert_eq!(same["inputs"]["seeded"]["seed"], 5);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let home = quantised();
    let model = home.model();
    home.ballast(&["parity", model]).fails(2, "<B>");
    home.ballast(&["parity", "@threads=1", model]).fails(2, "expected a model");
    home.ballast(&["parity", model, "@speed=1"]).fails(2, "kernels, threads, batch, cache-type or isolation");
    home.ballast(&["parity", model, "@kernels=none"]).fails(2, "kernels: expected one of");
    home.ballast(&["parity", model, model, "--tokens", "1000"]).fails(2, "expected at most 256");
    home.ballast(&["parity", model, model, "--tolerance", "-1"]).fails(2, "");
    let empty = home.file("empty", "");
    home.ballast(&["parity", model, model, "-f", &empty]).fails(1, "expected");
}
