//! The gates' rows from a report of [`crate::verify_mac()`]: an accelerator against the CPU, as measured on one Mac.

use super::rows::{Gate, GateReport, GateRow};
use crate::soak::Limit;
use ballast_coreml::{DeviceKind, LoadFigures, MemoryFigures, PlanReport, UnitReport, VerifyReport};
use ballast_runtime::parity::Precision;
use std::time::Duration;

const NONE: &str = "no choice of units but the CPU's answered";
const NO_CPU: &str = "the CPU's units were not measured, or did not answer";
const NO_PLAN: &str = "core ml told no plan";
const NO_MEMORY: &str = "the system does not tell the memory of a process";
const NO_REFERENCE: &str = "there was no reference, or it answers in other shapes";
const RUNTIME: &str = "verify-mac runs core ml alone, without the runtime around it: ballast gate D does";

/// Every gate, with what the report measured.
pub(crate) fn gates(report: &VerifyReport) -> Vec<GateReport> {
    let answered = |unit: &&UnitReport| unit.error.is_none() && unit.latency.is_some();
    let cpu = report.units.iter().filter(answered).find(|unit| unit.units == "cpu_only");
    let others = report.units.iter().filter(answered).filter(|unit| unit.units != "cpu_only");
    let best = others.min_by(|a, b| p99(a).total_cmp(&p99(b)));
    let predictions = best.and_then(|unit| unit.latency).map_or(0, |latency| latency.n);
    let gate = |gate, count, rows| GateReport { gate, count, took: Duration::ZERO, rows };
    vec![
        gate(Gate::A, report.loads.n_loads, loads(&report.loads)),
        gate(Gate::B, predictions, answers(best)),
        gate(Gate::C, predictions, accelerator(report, cpu, best)),
        gate(Gate::D, predictions, endurance(best)),
    ]
}

fn p99(unit: &UnitReport) -> f64 {
    unit.latency.map_or(f64::INFINITY, |latency| latency.p99_ms)
}

fn growth_mb(memory: &MemoryFigures) -> Result<f64, &'static str> {
    memory.growth_bytes().map(|bytes| bytes.max(0) as f64 / f64::from(1 << 20)).ok_or(NO_MEMORY)
}

fn loads(loads: &LoadFigures) -> Vec<GateRow> {
    vec![
        GateRow::new("compiled and opened", None, loads.n_loads as f64),
        GateRow::new("that failed", Some(Limit::Is(0.0)), loads.n_failed as f64),
        GateRow::of(
            "compiling and opening p99, ms",
            Some(Limit::AtMost(5000.0)),
            loads.again.map(|again| again.p99_ms).ok_or("it was opened once"),
        ),
        GateRow::of("growth, MB", Some(Limit::Below(10.0)), growth_mb(&loads.memory)),
        GateRow::of(
            "compile cache hits, %",
            Some(Limit::AtLeast(90.0)),
            loads.cache_hit_pct.ok_or("nothing was compiled"),
        ),
    ]
}

fn answers(best: Option<&UnitReport>) -> Vec<GateRow> {
    let tolerances = Precision::F16.tolerances();
    let of = |figure: fn(&UnitReport) -> Result<f64, &'static str>| best.ok_or(NONE).and_then(figure);
    vec![
        GateRow::of("p99, ms", Some(Limit::AtMost(20.0)), of(|unit| Ok(p99(unit)))),
        GateRow::of(
            "difference from the CPU engine, L-inf",
            Some(Limit::AtMost(tolerances.l_inf_max)),
            of(|unit| unit.parity.map(|parity| parity.l_inf).ok_or(NO_REFERENCE)),
        ),
        GateRow::of(
            "difference from the CPU engine, RMSE",
            Some(Limit::AtMost(tolerances.rmse_max)),
            of(|unit| unit.parity.map(|parity| parity.rmse).ok_or(NO_REFERENCE)),
        ),
        GateRow::of(
            "elements that are finite on one side only",
            Some(Limit::Is(0.0)),
            of(|unit| unit.parity.map(|parity| parity.n_not_finite as f64).ok_or(NO_REFERENCE)),
        ),
        GateRow::unmeasured("deadlines of 1 ns kept, of 10", Some(Limit::Is(10.0)), RUNTIME),
    ]
}

/// The planned share of the neural engine: by cost, or where Core ML estimates none, by number of operations.
fn ane_pct(plan: Option<&PlanReport>) -> Result<f64, &'static str> {
    let shares = plan.and_then(|plan| plan.by_cost.or(plan.by_count)).ok_or(NO_PLAN)?;
    Ok(f64::from(shares.ane_pct))
}

fn accelerator(report: &VerifyReport, cpu: Option<&UnitReport>, best: Option<&UnitReport>) -> Vec<GateRow> {
    let both = |figure: fn(&UnitReport) -> f64| -> Result<(f64, f64), &'static str> {
        Ok((figure(cpu.ok_or(NO_CPU)?), figure(best.ok_or(NONE)?)))
    };
    let p50 = |unit: &UnitReport| unit.latency.map_or(f64::NAN, |latency| latency.p50_ms);
    let per_thousand = |unit: &UnitReport| {
        let n = unit.latency.map_or(0, |latency| latency.n).max(1);
        growth_mb(&unit.memory).map(|mb| mb * 1000.0 / n as f64)
    };
    let memory_now = report.metrics.memory_current_mb.ok_or(NO_MEMORY);
    vec![
        GateRow::of(
            "speed-up over the CPU",
            Some(Limit::AtLeast(2.8)),
            both(p50).map(|(cpu, accelerated)| cpu / accelerated),
        ),
        GateRow::of(
            "work planned for the neural engine, %",
            Some(Limit::AtLeast(70.0)),
            best.ok_or(NONE).and_then(|unit| ane_pct(unit.plan.as_ref())),
        ),
        GateRow::of(
            "p99 over the CPU's",
            Some(Limit::AtMost(0.7)),
            both(p99).map(|(cpu, accelerated)| accelerated / cpu),
        ),
        GateRow::of("p50 on the CPU, ms", None, cpu.ok_or(NO_CPU).map(p50)),
        GateRow::of("p50 accelerated, ms", None, best.ok_or(NONE).map(p50)),
        GateRow::of("memory now, MB", Some(Limit::Below(2048.0)), memory_now),
        GateRow::of(
            "growth in 1000 predictions, MB",
            Some(Limit::Below(100.0)),
            best.ok_or(NONE).and_then(per_thousand),
        ),
    ]
}

fn endurance(best: Option<&UnitReport>) -> Vec<GateRow> {
    let succeeded = |unit: &UnitReport| {
        let n = unit.latency.map_or(0, |latency| latency.n);
        n as f64 * 100.0 / (n + unit.n_failed).max(1) as f64
    };
    vec![
        GateRow::of("that succeeded, %", Some(Limit::Above(99.0)), best.ok_or(NONE).map(succeeded)),
        GateRow::of("p99, ms", Some(Limit::Below(25.0)), best.ok_or(NONE).map(p99)),
        GateRow::of("growth, MB", Some(Limit::Below(10.0)), best.ok_or(NONE).and_then(|unit| growth_mb(&unit.memory))),
        GateRow::of(
            "work planned for the neural engine, %",
            Some(Limit::Above(70.0)),
            best.ok_or(NONE).and_then(|unit| ane_pct(unit.plan.as_ref())),
        ),
        GateRow::unmeasured("breaker trips", Some(Limit::Is(0.0)), RUNTIME),
        GateRow::unmeasured("buffers used again, %", Some(Limit::Above(80.0)), RUNTIME),
    ]
}

/// A row of a matrix of devices, in Markdown: machine, system, units, then for each choice of units what was measured.
pub(crate) fn device_row(report: &VerifyReport) -> String {
    const NOT_TOLD: &str = "not told";
    let machine = &report.machine;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| NOT_TOLD.to_owned());
    let memory = machine.memory_bytes.map_or_else(|| NOT_TOLD.to_owned(), |bytes| format!("{} GiB", bytes >> 30));
    let n_cpus = machine.n_cpus.map_or_else(|| NOT_TOLD.to_owned(), |n| n.to_string());
    let has = |kind| machine.devices.iter().any(|device| device.kind == kind);
    let unit = |kind, word: &'static str| has(kind).then_some(word);
    let kinds = [unit(DeviceKind::Cpu, "CPU"), unit(DeviceKind::Gpu, "GPU"), unit(DeviceKind::NeuralEngine, "ANE")];
    let kinds: Vec<&str> = kinds.into_iter().flatten().collect();
    let kinds = if kinds.is_empty() { NOT_TOLD.to_owned() } else { kinds.join("+") };
    let measured = |unit: &UnitReport| match (unit.latency, &unit.error) {
        (Some(latency), None) => format!("{} p50 {:.3} ms p99 {:.3} ms", unit.units, latency.p50_ms, latency.p99_ms),
        (_, _) => format!("{} not measured", unit.units),
    };
    let units: Vec<String> = report.units.iter().map(measured).collect();
    format!(
        "| {} | {} | {n_cpus} CPUs | {memory} | {} | {kinds} | thermal {} | {} |",
        text(&machine.mac_model),
        text(&machine.chip),
        text(&machine.os_version),
        text(&machine.thermal_state),
        units.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::Verdict;
    use ballast_coreml::{CoreMlMetrics, Figures, MachineFacts, ParityFigures, Shares};

    fn unit(units: &'static str, p50_ms: f64, ane_pct: Option<f32>) -> UnitReport {
        let shares = ane_pct.map(|ane_pct| Shares { ane_pct, gpu_pct: 0.0, cpu_pct: 100.0 - ane_pct });
        UnitReport {
            units,
            error: None,
            n_failed: 0,
            open_ms: Some(1.0),
            latency: Some(Figures { n: 100, p50_ms, p95_ms: p50_ms, p99_ms: p50_ms * 1.5 }),
            plan: Some(PlanReport { by_count: shares, ..PlanReport::default() }),
            parity: Some(ParityFigures { n_elements: 10, l_inf: 0.002, rmse: 0.000_5, n_not_finite: 0 }),
            memory: MemoryFigures { before_bytes: Some(1 << 20), after_bytes: Some(3 << 20) },
        }
    }

    fn report(units: Vec<UnitReport>) -> VerifyReport {
        VerifyReport {
            format: "ballast-verify-mac-1",
            ballast_version: "0",
            machine: MachineFacts { chip: Some("Apple M3".into()), ..MachineFacts::default() },
            model_sha256: None,
            loads: LoadFigures::default(),
            units,
            metrics: CoreMlMetrics::default(),
            sha256: String::new(),
        }
    }

    fn value(gates: &[GateReport], gate: Gate, name: &str) -> (Option<f64>, Verdict) {
        let rows = &gates.iter().find(|found| found.gate == gate).unwrap().rows;
        let figure = &rows.iter().find(|row| row.figure.name == name).unwrap().figure;
        (figure.value, figure.verdict)
    }

    #[test]
    fn rows_of_an_accelerator_are_filled_from_what_was_measured() {
        let gates = gates(&report(vec![
            unit("all", 4.0, Some(90.0)),
            unit("cpu_only", 8.0, Some(0.0)),
            unit("cpu_ane", 2.0, Some(80.0)),
        ]));
        assert_eq!(value(&gates, Gate::C, "speed-up over the CPU"), (Some(4.0), Verdict::Pass));
        assert_eq!(value(&gates, Gate::C, "p99 over the CPU's"), (Some(0.25), Verdict::Pass));
        assert_eq!(value(&gates, Gate::C, "work planned for the neural engine, %"), (Some(80.0), Verdict::Pass));
        assert_eq!(value(&gates, Gate::D, "work planned for the neural engine, %"), (Some(80.0), Verdict::Pass));
        assert_eq!(value(&gates, Gate::B, "difference from the CPU engine, L-inf"), (Some(0.002), Verdict::Pass));
        assert_eq!(value(&gates, Gate::D, "growth, MB"), (Some(2.0), Verdict::Pass));
        assert_eq!(value(&gates, Gate::C, "growth in 1000 predictions, MB"), (Some(20.0), Verdict::Pass));
        assert_eq!(value(&gates, Gate::C, "memory now, MB"), (None, Verdict::NotMeasured));
    }

    #[test]
    fn what_did_not_answer_is_not_measured() {
        let mut broken = unit("cpu_ane", 1.0, None);
        (broken.error, broken.plan) = (Some("it failed".into()), None);
        for units in [vec![], vec![unit("cpu_only", 8.0, None)], vec![broken.clone(), unit("cpu_only", 8.0, None)]] {
            let gates = gates(&report(units));
            for row in gates.iter().filter(|gate| gate.gate != Gate::A).flat_map(|gate| &gate.rows) {
                assert_eq!(row.figure.value.is_none(), row.why_not.is_some(), "{row:?}");
            }
            assert_eq!(value(&gates, Gate::C, "speed-up over the CPU").1, Verdict::NotMeasured);
            assert_eq!(value(&gates, Gate::D, "that succeeded, %").1, Verdict::NotMeasured);
        }
        let row = device_row(&report(vec![broken, unit("cpu_only", 8.0, None)]));
        assert!(row.contains("Apple M3") && row.contains("cpu_ane not measured; cpu_only p50 8.000 ms"), "{row}");
        assert!(row.contains("thermal not told"), "{row}");
    }
}
