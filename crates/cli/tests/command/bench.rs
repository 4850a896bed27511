//! `ballast bench`: limits, sweeps, peers that work and peers that do not, and what comes out as JSON, tables and SVG.

use crate::support::{Home, Ran};
use serde_json::{Value, json};

const SMALL: [&str; 8] = ["--rounds", "1", "--prompt", "8", "--generate", "4", "--batch", "1,2"];

fn bench(home: &Home, args: &[&str]) -> Ran {
    home.ballast(&[&["bench", home.model()], &SMALL[..], args].concat())
}

/// The row of a figure with these fields.
#[track_caller]
fn row<'a>(report: &'a Value, fields: &Value) -> &'a Value {
    let is_it = |row: &&Value| fields.as_object().unwrap().iter().all(|(key, value)| row[key] == *value);
    let rows = report["rows"].as_array().unwrap_or_else(|| panic!("{report}"));
    rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {fields} in {report}"))
}

/// The spread of program `idx` in the row: it is there, and in order.
#[track_caller]
fn median(row: &Value, idx: usize) -> f64 {
    let spread = &row["programs"][idx]["spread"];
    let [min, median, max] = ["min", "median", "max"].map(|key| spread[key].as_f64().unwrap_or(f64::NAN));
    assert!(0.0 < min && min <= median && median <= max, "{row}");
    median
}

#[test]
fn bench_measures_what_it_says() {
    let home = Home::new();
    let report = bench(&home, &["--json"]).json();
    assert_eq!((&report["n_rounds"], &report["setting"]["batch"]), (&json!(1), &json!([1, 2])));
    let figures = [
        json!({ "figure": "prefill", "tokens": 8, "unit": "tokens/s" }),
        json!({ "figure": "decode", "tokens": 4, "sequences": 1, "depth": 0 }),
        json!({ "figure": "decode", "tokens": 4, "sequences": 2 }),
        json!({ "figure": "load", "unit": "s" }),
    ];
    for figure in figures {
        median(row(&report, &figure), 0);
    }
    let decode = row(&report, &json!({ "figure": "decode", "sequences": 1 }));
    let share = decode["share_of_roof"].as_f64().unwrap();
    let expected = median(decode, 0) / decode["roof_tokens_per_second"].as_f64().unwrap();
    assert!((share - expected).abs() < 1e-9 && share > 0.0, "{decode}");
    assert!(report["limits"][0]["bytes_per_second"]["best"].as_f64().unwrap() > 0.0, "{report}");
    let text = bench(&home, &[]);
    assert!(text.stdout.contains("decode 4, tokens/s") && text.stdout.contains("share of roof"), "{text:?}");
    let table = bench(&home, &["--format", "markdown"]);
    assert!(table.stdout.contains("|---|") && table.stdout.contains(" % |"), "{table:?}");
}

#[test]
fn every_setting_of_a_sweep_has_its_rows_and_its_line_in_the_plot() {
    let home = Home::new();
    let plot = home.path("sweep.svg");
    let sweep = ["--threads", "1,2", "--kernels", "generic", "--plot", plot.to_str().unwrap(), "--json"];
    let args =
        [&["bench", home.model(), "--rounds", "2", "--prompt", "4,8", "--generate", "2", "--depth", "16"], &sweep[..]];
    let report = home.ballast(&args.concat()).json();
    for threads in [1, 2] {
        for tokens in [4, 8] {
            let fields = json!({ "figure": "prefill", "tokens": tokens, "threads": threads, "kernels": "generic" });
            let row = row(&report, &fields);
            assert_eq!(row["programs"][0]["samples"].as_array().unwrap().len(), 2, "{row}");
        }
        median(row(&report, &json!({ "figure": "decode", "depth": 16, "threads": threads })), 0);
    }
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains("ballast, 1 t, generic") && svg.contains("ballast, 2 t, generic"), "{svg}");
}

#[test]
fn foreign_threads_are_a_setting_of_their_own() {
    let home = Home::new();
    let small = ["--rounds", "1", "--prompt", "4", "--generate", "0", "--threads", "1"];
    let ran = home.ballast(&[&["bench", home.model()], &small[..], &["--foreign", "0,1"]].concat());
    assert!(ran.stdout.contains("foreign threads") && !ran.stdout.contains("  kernels  "), "{ran:?}");
    assert_eq!(ran.stdout.matches("prefill 4, tokens/s").count(), 2, "{ran:?}");
    home.ballast(&["bench", home.model(), "--foreign", "100000"]).fails(2, "--foreign");
}

#[test]
fn another_ballast_is_a_peer() {
    let home = Home::new();
    let peer = format!("ballast:{}", env!("CARGO_BIN_EXE_ballast"));
    let report = bench(&home, &["--peer", &peer, "--json"]).json();
    let names: Vec<_> = report["programs"].as_array().unwrap().iter().map(|program| &program["name"]).collect();
    assert_eq!(names, ["ballast", "ballast (2)"]);
    let prefill = row(&report, &json!({ "figure": "prefill" }));
    let ratio = prefill["programs"][1]["ratio_ours_to_it"].as_f64().unwrap();
    assert!((ratio - median(prefill, 0) / median(prefill, 1)).abs() < 1e-9, "{prefill}");
}

#[test]
#[cfg(unix)]
fn a_peer_that_crashes_keeps_its_cell_and_the_others_their_figures() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let script = home.file("llama-bench", "#!/bin/sh\necho out of luck >&2\nkill -SEGV $$\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = bench(&home, &["--peer", &script]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("failed: llama-bench ended with signal: 11"), "{ran:?}");
    assert!(ran.stdout.contains("out of luck") && !ran.stdout.contains("ballast  failed"), "{ran:?}");
}

#[test]
fn a_peer_that_is_not_there_or_of_no_kind_is_told_before_the_first_round() {
    let home = Home::new();
    bench(&home, &["--peer", "/nowhere/llama-bench"]).fails(1, "llama-bench");
    bench(&home, &["--peer", "/bin/true"]).fails(2, "llama:PATH");
    bench(&home, &["--kernels", "abacus"]).fails(2, "abacus");
    bench(&home, &["--", "--cache-type", "q4"]).fails(2, "q8_0");
    home.ballast(&["bench", home.model(), "--prompt", "0", "--generate", "0"]).fails(2, "something to measure");
}

#[test]
#[cfg(unix)]
fn starts_are_timed_to_ready_and_to_the_first_token() {
    let home = Home::new();
    let report = bench(&home, &["--startup", "--json"]).json();
    let of = |figure: &str| median(row(&report, &json!({ "figure": figure })), 0);
    assert!(of("ready") < of("first_token"), "{report}");
    assert!(of("first_ready") > 0.0 && of("server_memory") > 1e6, "{report}");
}

#[test]
fn limits_are_measured_for_every_thread_count() {
    let home = Home::new();
    let small = ["bench", "limits", "--threads", "1,2", "--read-max", "1", "--product-max", "512", "--sample-ms", "1"];
    let found = home.ballast(&[&small[..], &["--json"]].concat()).json();
    let limits = found["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 2);
    for limit in limits {
        let sizes: Vec<_> =
            limit["read"].as_array().unwrap().iter().map(|read| read["bytes"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [256 << 10, 512 << 10, 1 << 20]);
        let products = limit["f32_products"].as_array().unwrap();
        assert_eq!((products.len(), &products[0]["rows"]), (1, &Value::from(512)));
        for peak in limit["peaks"].as_array().unwrap().iter().chain(products) {
            assert!(peak["operations_per_second"]["best"].as_f64().unwrap() > 0.0, "{peak}");
        }
    }
    assert_eq!(limits[0]["fork_join_seconds"], Value::Null);
    assert!(limits[1]["fork_join_seconds"]["best"].as_f64().unwrap() > 0.0, "{found}");
    let table = home.ballast(&[&small[..], &["--format", "markdown"]].concat());
    assert!(table.stdout.contains("| 1 thread | 2 threads |") && table.stdout.contains("not measured"), "{table:?}");
}

#[test]
fn a_model_of_random_weights_opens_decodes_and_is_the_same_for_the_same_seed() {
    let home = Home::new();
    let make = |name: &str, weight_type: &str, seed: &str| {
        let out = home.path(name).to_str().unwrap().to_owned();
        let args = ["--shape", "tiny", "--type", weight_type, "--like", home.model(), "--seed", seed];
        let ran = home.ballast(&[&["bench", "make-model"], &args[..], &[&out]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
        out
    };
    for weight_type in ["Q4_0", "Q4_1", "Q8_0", "F16"] {
        let made = make(weight_type, weight_type, "1");
        let asked = ["run", &made, "--raw", "-n", "2", "--ignore-eos", "--json", "hello"];
        let answer = home.ballast(&asked).json();
        assert_eq!(answer["usage"]["completion_tokens"], 2, "{weight_type}: {answer}");
        let logits = home.ballast(&["logits", &made, "--ids", "104", "--json"]).json();
        let row = logits["logits"][0].as_array().unwrap_or_else(|| panic!("{logits}"));
        assert!(row.iter().all(|logit| logit.as_f64().is_some_and(f64::is_finite)), "{weight_type}");
    }
    let bytes = |path: &str| std::fs::read(path).unwrap();
    assert_eq!(bytes(&make("a", "Q4_0", "1")), bytes(&make("b", "Q4_0", "1")));
    assert_ne!(bytes(&make("a", "Q4_0", "1")), bytes(&make("c", "Q4_0", "2")));
    let refused = ["bench", "make-model", "--shape", "tiny", "--type", "Q2_K", "--like", home.model(), "x"];
    home.ballast(&refused).fails(2, "Q4_0, Q4_1, Q8_0 or F16");
}

#[test]
fn growth_has_a_curve_for_contexts_batches_and_sizes() {
    let home = Home::new();
    let larger = home.path("larger.gguf").to_str().unwrap().to_owned();
    let make = ["bench", "make-model", "--shape", "tiny", "--type", "F16", "--like", home.model(), &larger];
    assert_eq!(home.ballast(&make).code, Some(0));
    let plot = home.path("growth.svg");
    let small = ["--contexts", "16,32,64,4096", "--batches", "1,2,4", "--generate", "2", "--rounds", "1"];
    let args =
        [&["bench", "growth", home.model(), larger.as_str()], &small[..], &["--plot", plot.to_str().unwrap()]].concat();
    let found = home.ballast(&[&args[..], &["--json"]].concat()).json();
    let curve = |name: &str| {
        let curves = found["curves"].as_array().unwrap();
        curves.iter().find(|curve| curve["curve"] == name).unwrap_or_else(|| panic!("{name} in {found}"))
    };
    let places = |name: &str| {
        let points = curve(name)["programs"][0]["points"].as_array().unwrap();
        assert!(points.iter().all(|point| point["seconds"]["median"].as_f64().is_some_and(|s| s > 0.0)), "{found}");
        points.iter().map(|point| point["x"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    // The model has 256 positions: 4096 is left out.
    assert_eq!((places("context"), places("batch")), (vec![17.5, 33.5, 65.5], vec![1.0, 2.0, 4.0]));
    assert_eq!((places("prefill").len(), places("size").len()), (3, 2));
    assert!(curve("batch")["programs"][0]["law"]["slope"].is_f64(), "{found}");
    assert_eq!(std::fs::read_to_string(&plot).unwrap().matches("<g ").count(), 4);
    let text = home.ballast(&args);
    assert!(text.stdout.contains("- batch, ballast: ") && text.stdout.contains("times the law"), "{text:?}");
}
