//! `ballast soak`: gates as text and JSON, and an exit code that follows them.

use crate::support::Home;
use serde_json::Value;

#[test]
fn a_soak_tells_its_gates_and_its_exit_code_follows_them() {
    let home = Home::new();
    let ran = home.ballast(&["soak", home.model(), "--minutes", "0.02", "--rps", "20", "--json", "-t", "1"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let gates = report["gates"].as_array().unwrap();
    let gate = |name: &str| gates.iter().find(|gate| gate["name"] == name).unwrap_or_else(|| panic!("no gate {name}"));
    for name in ["lost", "stuck", "not counted exactly once"] {
        assert_eq!((gate(name)["value"].as_f64(), gate(name)["verdict"].as_str()), (Some(0.0), Some("pass")), "{name}");
    }
    assert_eq!(gate("memory growth, MB/h")["value"], Value::Null, "a second shows no growth by the hour");
    assert_eq!(gate("buffer hit rate, %")["verdict"], "not measured");
    let n_failed = gates.iter().filter(|gate| gate["verdict"] == "FAIL").count();
    assert_eq!(report["passes"], n_failed == 0);
    assert_eq!(ran.code, Some(i32::from(n_failed > 0)), "{ran:?}");
}

#[test]
fn strikes_want_a_worker() {
    let home = Home::new();
    home.ballast(&["soak", home.model(), "--strikes", "2"]).fails(2, "--isolation process");
    home.ballast(&["soak", home.model(), "--rps", "4y"]).fails(2, "requests a second");
}
