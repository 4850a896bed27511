//! `ballast bench serve` and `ballast bench overload`: a server under load, its figures, and gates that decide the exit
//! code.

use crate::support::{Home, Ran};
use serde_json::{Value, json};

/// Small enough for a model of 256 positions.
const SMALL: [&str; 8] = ["--prompt-tokens", "16", "--max-tokens", "8", "--rounds", "1", "--threads", "1"];

fn bench(home: &Home, args: &[&str]) -> Ran {
    home.ballast(&[&["bench", "serve", home.model()], &SMALL[..], args].concat())
}

#[track_caller]
fn row<'a>(report: &'a Value, fields: &Value) -> &'a Value {
    let is_it = |row: &&Value| fields.as_object().unwrap().iter().all(|(key, value)| row[key] == *value);
    let rows = report["rows"].as_array().unwrap_or_else(|| panic!("{report}"));
    rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {fields} in {report}"))
}

#[test]
fn a_server_under_load_has_its_figures_beside_a_peers() {
    let home = Home::new();
    let peer = format!("ballast:{}", env!("CARGO_BIN_EXE_ballast"));
    let report =
        bench(&home, &["--clients", "1,3", "--requests", "2", "--shared", "0.5", "--peer", &peer, "--json"]).json();
    for clients in [1, 3] {
        for (measure, percentile) in [("requests", None), ("tokens", None), ("first_token", Some(99))] {
            let mut fields = json!({ "clients": clients, "measure": measure });
            if let Some(percentile) = percentile {
                fields["percentile"] = json!(percentile);
            }
            let programs = row(&report, &fields)["programs"].as_array().unwrap();
            assert_eq!(programs.len(), 2);
            for program in programs {
                assert!(program["spread"]["median"].as_f64().is_some_and(|value| value > 0.0), "{report}");
            }
            assert!(programs[1]["ratio_ours_to_it"].is_f64(), "{report}");
        }
        let errors = row(&report, &json!({ "clients": clients, "measure": "errors" }));
        assert_eq!(errors["programs"][0]["errors"], json!({}), "{report}");
    }
    // The chat template adds to it.
    assert!(report["prompt_tokens"].as_f64().is_some_and(|n| (16.0..64.0).contains(&n)), "{report}");
}

#[test]
fn arrivals_come_at_random_and_refusals_are_counted_by_status() {
    let home = Home::new();
    let limited = ["--rate", "1000", "--requests", "12", "--", "--rate-limit", "0.001", "--rate-burst", "5"];
    let text = bench(&home, &limited);
    assert_eq!(text.code, Some(0), "{text:?}");
    // One of the five was the first, which warms up.
    assert!(text.stdout.contains("1000 requests/s") && text.stdout.contains("8 x 429"), "{text:?}");
}

#[test]
fn what_cannot_be_served_is_told() {
    let home = Home::new();
    bench(&home, &["--peer", "llama:/nowhere/llama-bench"]).fails(1, "llama-server is not there");
    bench(&home, &["--clients", "100000"]).fails(2, "--clients: expected at most 1024");
    bench(&home, &["--rate", "0"]).fails(2, "above 0");
    let ran = bench(&home, &["--clients", "1", "--", "--kernels", "abacus"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("failed: ballast ended with"), "{ran:?}");
}

#[test]
fn an_overloaded_server_is_judged_and_the_exit_code_follows_the_gates() {
    let home = Home::new();
    let small = ["--prompt-tokens", "8", "--max-tokens", "8", "--requests", "2", "--time", "0.2", "--threads", "1"];
    let sizes = ["--slow-readers", "2", "--parallel", "2", "--context", "256", "--free-max", "1e-9", "--json"];
    let ran = home.ballast(&[&["bench", "overload", home.model()], &small[..], &sizes[..]].concat());
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let gates = report["gates"].as_array().unwrap();
    let gate = |name: &str| gates.iter().find(|gate| gate["name"] == name).unwrap_or_else(|| panic!("no gate {name}"));
    for name in
        ["overload, refused otherwise than clients retry", "overload, broken off", "running or waiting at the end"]
    {
        assert_eq!((gate(name)["value"].as_f64(), gate(name)["verdict"].as_str()), (Some(0.0), Some("pass")), "{name}");
    }
    assert!(gate("overload, tokens/s over peak")["value"].as_f64().is_some_and(|share| share > 0.0), "{report}");
    // Nobody is forgotten in no time.
    let left = gate("left in decode, streamed: free after, ms");
    assert_eq!((left["verdict"].as_str(), left["value"].as_f64().is_some()), (Some("FAIL"), true), "{left}");
    assert_eq!((&report["passes"], ran.code), (&json!(false), Some(1)), "{ran:?}");
    assert!(ran.stderr.contains("left in decode, streamed"), "{ran:?}");
    let many = ["bench", "overload", home.model(), "--slow-readers", "100000"];
    home.ballast(&many).fails(2, "--slow-readers: expected at most 200");
}
