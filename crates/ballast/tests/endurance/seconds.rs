//! A soak of seconds on a tiny model: every request is accounted for, whatever happens to readers and workers. Figures of
//! time are for `ballast soak` to judge, on a machine that does nothing else.

use crate::support::model;
use ballast::soak::{Rate, SoakOptions, SoakReport, soak, soak_runtime};
use ballast::{Engine, Isolation, LoadOptions};
use std::time::Duration;

/// Entered by its name when this executable is started as a worker; otherwise nothing happens.
#[test]
fn __ballast_worker() {
    ballast::worker_main();
}

fn soaked(isolation: Isolation, options: SoakOptions) -> SoakReport {
    let model = model(2048);
    let load =
        LoadOptions { n_threads: Some(1), n_parallel: 4, isolation, runtime: soak_runtime(), ..LoadOptions::default() };
    let engine = Engine::load(&model.path, &load).unwrap();
    soak(&engine, &options, &mut |_| {})
}

#[track_caller]
fn value(report: &SoakReport, name: &str) -> f64 {
    let row = report.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"));
    row.value.unwrap_or_else(|| panic!("{name} was not measured"))
}

/// What must hold on any machine, however busy.
#[track_caller]
fn accounts_for_all(report: &SoakReport) {
    for zero in [
        "lost",
        "stuck",
        "not counted exactly once",
        "taken less ended, by the runtime's count",
        "refused without a retry hint",
        "slots or blocks held at the end",
        "cached for another tenant, tokens",
    ] {
        assert_eq!(value(report, zero).to_bits(), 0.0_f64.to_bits(), "{zero}: {report:#?}");
    }
    assert!(value(report, "cached for the same tenant, tokens") > 0.0);
    let n_taken = value(report, "requests taken");
    assert!(n_taken > 0.0 && value(report, "whole answers") > 0.0, "{report:#?}");
}

#[test]
fn readers_of_all_kinds_are_accounted_for() {
    let options = SoakOptions {
        duration: Duration::from_secs(3),
        rate: Rate::PerSecond(40.0),
        faults: 0.5,
        ..SoakOptions::default()
    };
    let report = soaked(Isolation::InProcess, options);
    accounts_for_all(&report);
    assert!(value(&report, "ended as their readers wished") > 0.0, "{report:#?}");
}

#[test]
#[cfg(target_os = "linux")]
fn workers_that_are_struck_come_back_and_nothing_is_lost() {
    let options = SoakOptions {
        duration: Duration::from_secs(4),
        rate: Rate::PerSecond(20.0),
        faults: 0.1,
        strikes_per_minute: 90.0,
        ..SoakOptions::default()
    };
    let report = soaked(Isolation::Process, options);
    accounts_for_all(&report);
    let (n_struck, n_restarts) = (value(&report, "workers killed or stopped"), value(&report, "engines opened again"));
    assert!(n_struck > 0.0 && n_restarts >= n_struck, "{report:#?}");
}
