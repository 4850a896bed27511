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
    let small = ["bench", "limits", "--threads", "1,2", "--read-max", "1", "--sample-ms", "1"];
    let found = home.ballast(&[&small[..], &["--json"]].concat()).json();
    let limits = found["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 2);
    for limit in limits {
        let sizes: Vec<_> =
            limit["read"].as_array().unwrap().iter().map(|read| read["bytes"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [256 << 10, 512 << 10, 1 << 20]);
        for peak in limit["peaks"].as_array().unwrap() {
            assert!(peak["operations_per_second"]["best"].as_f64().unwrap() > 0.0, "{peak}");
        }
    }
    assert_eq!(limits[0]["fork_join_seconds"], Value::Null);
    assert!(limits[1]["fork_join_seconds"]["best"].as_f64().unwrap() > 0.0, "{found}");
    let table = home.ballast(&[&small[..], &["--format", "markdown"]].concat());
    assert!(table.stdout.contains("| 1 thread | 2 threads |") && table.stdout.contains("not measured"), "{table:?}");
}
