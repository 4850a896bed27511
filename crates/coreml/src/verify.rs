//! One report over everything that only a Mac can tell: loads, latency by unit, plan, parity, memory, the machine.
//!
//! Every figure is measured by the call that fills it; what was not is `None`. The report carries the digest of its own
//! content and the machine's facts: that shows later that nobody altered it by accident; it proves no author.

use crate::metrics::quantile;
use crate::{
    CoreMlEngine, CoreMlError, CoreMlMetrics, CoreMlModel, MachineFacts, PlanReport, SharedTensors, check_available,
    machine_facts,
};
use ballast_backend::{
    Clock, ComputeUnits, InferenceEngine, ModelArtifact, PrepareOptions, Prepared, Pulse, Sha256, Tensor, TensorData,
    TensorMap,
};
use serde::Serialize;
use sha2::Digest as _;
use std::sync::Arc;
use std::time::Duration;

/// Version of the report's fields.
const FORMAT: &str = "ballast-verify-mac-1";

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Times that the model is compiled (from the cache after the first) and loaded. Gate A asks for 1,000. Default 1,000.
    pub n_loads: usize,
    /// Predictions on each unit that are not counted. Default 20.
    pub n_warm_up: usize,
    /// Predictions on each unit that are. Default 1,000.
    pub n_predictions: usize,
    /// Units that are compared. Default: all four.
    pub units: Vec<ComputeUnits>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { n_loads: 1000, n_warm_up: 20, n_predictions: 1000, units: ComputeUnits::EVERY.to_vec() }
    }
}

/// What another engine answers to inputs; `None` if it cannot.
pub type Reference<'a> = dyn Fn(&TensorMap) -> Option<TensorMap> + 'a;

/// What [`verify_mac`] works with.
pub struct VerifyParts<'a> {
    /// The engine under test.
    pub engine: &'a CoreMlEngine,
    /// The model; an `.mlpackage`.
    pub artifact: &'a ModelArtifact,
    /// How it is prepared; the units are those of [`VerifyOptions::units`].
    pub prepare: PrepareOptions,
    /// Inputs of every prediction.
    pub inputs: TensorMap,
    /// What another engine answers to them, such as the CPU engine on the same package; parity is measured against it.
    pub reference: Option<&'a Reference<'a>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Version of its fields.
    pub format: &'static str,
    /// Version of Ballast that made it.
    pub ballast_version: &'static str,
    /// The machine.
    pub machine: MachineFacts,
    /// Digest of the model's content, where it is an author's package.
    pub model_sha256: Option<String>,
    /// Compiling and loading again and again (gate A).
    pub loads: LoadFigures,
    /// Each choice of units (gates B and C).
    pub units: Vec<UnitReport>,
    /// All that the engine counted.
    pub metrics: CoreMlMetrics,
    /// SHA-256 of this report as JSON with this field empty.
    pub sha256: String,
}

/// Compiling and loading again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadFigures {
    /// Times it was prepared and opened.
    pub n_loads: usize,
    /// Those that failed.
    pub n_failed: usize,
    /// Those whose bundle came from the compile cache, in percent.
    pub cache_hit_pct: Option<f64>,
    /// Time of the first preparation.
    pub first_prepare_ms: Option<f64>,
    /// Times of preparing and opening after it.
    pub again: Option<Figures>,
    /// Memory before and after.
    pub memory: MemoryFigures,
}

/// Quantiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Number of times.
    pub n: usize,
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// Resident memory of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryFigures {
    /// Before.
    pub before_bytes: Option<u64>,
    /// After.
    pub after_bytes: Option<u64>,
}

impl MemoryFigures {
    /// By how much it grew; less than zero where it shrank.
    #[must_use]
    pub fn growth_bytes(&self) -> Option<i64> {
        i64::try_from(self.after_bytes?).ok()?.checked_sub_unsigned(self.before_bytes?)
    }
}

/// One choice of units.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitReport {
    /// What was asked for.
    pub units: &'static str,
    /// Why there are no figures, where there are none.
    pub error: Option<String>,
    /// Predictions that failed.
    pub n_failed: usize,
    /// Time of opening, the canary's prediction included.
    pub open_ms: Option<f64>,
    /// Times of predictions.
    pub latency: Option<Figures>,
    /// What Core ML plans.
    pub plan: Option<PlanReport>,
    /// Differences from the reference.
    pub parity: Option<ParityFigures>,
    /// Memory before and after the predictions.
    pub memory: MemoryFigures,
}

/// Differences from the reference, over all outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ParityFigures {
    /// Elements compared.
    pub n_elements: usize,
    /// Largest difference.
    pub l_inf: f64,
    /// Root mean square of the differences.
    pub rmse: f64,
    /// Elements of which one side is no finite number and the other is.
    pub n_not_finite: usize,
}

impl VerifyReport {
    /// The report as JSON.
    ///
    /// # Panics
    /// Never: it holds nothing that JSON has no word for.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields become JSON")
    }

    /// Whether the digest is that of the content.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.digest() == self.sha256
    }

    fn digest(&self) -> String {
        let bare = Self { sha256: String::new(), ..self.clone() };
        Sha256(sha2::Sha256::digest(bare.to_json().as_bytes()).into()).to_string()
    }
}

/// Measures. Takes minutes.
///
/// # Errors
/// [`CoreMlError::NotOnThisPlatform`] elsewhere. What fails on one choice of units is told in its part of the report.
pub fn verify_mac(parts: &VerifyParts<'_>, options: &VerifyOptions) -> Result<VerifyReport, CoreMlError> {
    check_available()?;
    let model_sha256 = match parts.artifact {
        ModelArtifact::Authoring { sha256, .. } => Some(sha256.to_string()),
        ModelArtifact::Compiled { .. } => None,
    };
    let loads = loads(parts, options);
    let reference = parts.reference.and_then(|reference| reference(&parts.inputs));
    let units = options.units.iter().map(|units| unit_report(parts, options, *units, reference.as_ref())).collect();
    let mut report = VerifyReport {
        format: FORMAT,
        ballast_version: env!("CARGO_PKG_VERSION"),
        machine: machine_facts(),
        model_sha256,
        loads,
        units,
        metrics: parts.engine.get_metrics(),
        sha256: String::new(),
    };
    report.sha256 = report.digest();
    Ok(report)
}

fn prepare(parts: &VerifyParts<'_>, units: ComputeUnits) -> Result<Prepared, String> {
    let options = PrepareOptions { compute_units: units, ..parts.prepare.clone() };
    parts.engine.prepare(parts.artifact, &options).map_err(|error| error.to_string())
}

fn memory(parts: &VerifyParts<'_>) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a number of bytes")]
    parts.engine.get_metrics().memory_current_mb.map(|mb| (mb * 1024.0 * 1024.0) as u64)
}

/// Gate A: nothing grows and nothing fails when a model is prepared and opened again and again.
fn loads(parts: &VerifyParts<'_>, options: &VerifyOptions) -> LoadFigures {
    let units = options.units.first().copied().unwrap_or_default();
    let mut figures = LoadFigures { n_loads: options.n_loads, ..LoadFigures::default() };
    let mut times = Vec::new();
    let hits = || parts.engine.get_metrics().compile_cache_hits;
    let hits_before = hits();
    for nth in 0..options.n_loads {
        let started = parts.clock.now();
        let opened = prepare(parts, units).map(|prepared| {
            if nth == 0 {
                figures.first_prepare_ms = Some(ms(parts.clock.now().saturating_sub(started)));
            }
            parts.engine.open_model(&prepared).map(drop)
        });
        match opened {
            Ok(Ok(())) if nth > 0 => times.push(parts.clock.now().saturating_sub(started)),
            // Whatever the first call sets up for ever is not growth.
            Ok(Ok(())) => figures.memory.before_bytes = memory(parts),
            Ok(Err(_)) | Err(_) => figures.n_failed += 1,
        }
    }
    figures.memory.after_bytes = memory(parts);
    figures.again = self::figures(times);
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let pct = |hits: u64| hits as f64 / options.n_loads as f64 * 100.0;
    figures.cache_hit_pct = (options.n_loads > 0).then(|| pct(hits() - hits_before));
    figures
}

/// Gates B and C: latency, plan and parity of one choice of units.
fn unit_report(
    parts: &VerifyParts<'_>,
    options: &VerifyOptions,
    units: ComputeUnits,
    reference: Option<&TensorMap>,
) -> UnitReport {
    let mut report = UnitReport {
        units: units.as_str(),
        error: None,
        n_failed: 0,
        open_ms: None,
        latency: None,
        plan: None,
        parity: None,
        memory: MemoryFigures::default(),
    };
    let opened = prepare(parts, units).and_then(|prepared| {
        let plan = parts.engine.compute_plan(&prepared).ok();
        let started = parts.clock.now();
        parts.engine.open_model(&prepared).map(|model| (model, plan, started)).map_err(|error| error.to_string())
    });
    let (mut model, plan, started) = match opened {
        Ok(opened) => opened,
        Err(error) => return UnitReport { error: Some(error), ..report },
    };
    (report.plan, report.open_ms) = (plan, Some(ms(parts.clock.now().saturating_sub(started))));
    measure(parts, options, &mut model, reference, &mut report);
    report
}

fn measure(
    parts: &VerifyParts<'_>,
    options: &VerifyOptions,
    model: &mut CoreMlModel,
    reference: Option<&TensorMap>,
    report: &mut UnitReport,
) {
    let inputs: SharedTensors =
        parts.inputs.iter().map(|(name, tensor)| (name.clone(), Arc::new(tensor.clone()))).collect();
    let (pulse, mut times, mut last) = (Pulse::new(), Vec::new(), None);
    for nth in 0..options.n_warm_up + options.n_predictions {
        if nth == options.n_warm_up {
            report.memory.before_bytes = memory(parts);
        }
        let started = parts.clock.now();
        match model.predict_shared(&inputs, &pulse) {
            Ok(outputs) => {
                if nth >= options.n_warm_up {
                    times.push(parts.clock.now().saturating_sub(started));
                }
                last = Some(outputs);
            }
            Err(error) => {
                report.n_failed += 1;
                report.error = Some(error.to_string());
            }
        }
    }
    report.memory.after_bytes = memory(parts);
    report.latency = figures(times);
    report.parity = last.zip(reference).and_then(|(outputs, reference)| parity(&outputs, reference));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn figures(mut times: Vec<Duration>) -> Option<Figures> {
    times.sort();
    let at = |percent| quantile(&times, percent).map(ms);
    Some(Figures { n: times.len(), p50_ms: at(50)?, p95_ms: at(95)?, p99_ms: at(99)? })
}

/// `None` where the outputs have other names, shapes or types that are no numbers.
fn parity(outputs: &TensorMap, reference: &TensorMap) -> Option<ParityFigures> {
    let (mut figures, mut squares) = (ParityFigures::default(), 0.0);
    for (name, expected) in reference {
        let got = outputs.get(name).filter(|got| got.shape() == expected.shape())?;
        for (a, b) in numbers(got)?.into_iter().zip(numbers(expected)?) {
            figures.n_elements += 1;
            let difference = (a - b).abs();
            match (a.is_finite(), b.is_finite()) {
                (true, true) => {
                    figures.l_inf = figures.l_inf.max(difference);
                    squares += difference * difference;
                }
                (false, false) if a == b || (a.is_nan() && b.is_nan()) => {}
                (true | false, false) | (false, true) => figures.n_not_finite += 1,
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let n_elements = figures.n_elements.max(1) as f64;
    figures.rmse = (squares / n_elements).sqrt();
    Some(figures)
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.data() {
        TensorData::F32(values) => Some(values.iter().map(|&value| f64::from(value)).collect()),
        TensorData::F64(values) => Some(values.clone()),
        TensorData::F16(bits) => Some(bits.iter().map(|&bits| f16_value(bits)).collect()),
        TensorData::I32(values) => Some(values.iter().map(|&value| f64::from(value)).collect()),
        TensorData::I8(values) => Some(values.iter().map(|&value| f64::from(value)).collect()),
        TensorData::Bf16(_)
        | TensorData::I64(_)
        | TensorData::I16(_)
        | TensorData::U64(_)
        | TensorData::U32(_)
        | TensorData::U16(_)
        | TensorData::U8(_)
        | TensorData::Bool(_)
        | TensorData::Str(_) => None,
    }
}

/// The value of an IEEE 754 binary16.
fn f16_value(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> TensorMap {
        let tensor = Tensor::new(vec![values.len()], TensorData::F32(values.to_vec())).unwrap();
        TensorMap::from([("y".to_owned(), tensor)])
    }

    #[test]
    fn parity_is_the_largest_difference_and_the_root_mean_square() {
        let figures =
            parity(&tensor(&[1.0, 2.0, f32::NAN, f32::INFINITY]), &tensor(&[1.0, 2.5, f32::NAN, 1.0])).unwrap();
        assert_eq!((figures.n_elements, figures.l_inf, figures.rmse, figures.n_not_finite), (4, 0.5, 0.25, 1));
        assert_eq!(parity(&tensor(&[1.0]), &tensor(&[1.0, 2.0])), None);
        assert_eq!(parity(&TensorMap::new(), &tensor(&[1.0])), None);
    }

    #[test]
    fn half_precision_is_read_exactly() {
        let cases = [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2.0_f64.powi(-24)), (0x7bff, 65504.0), (0x0000, 0.0)];
        for (bits, value) in cases {
            assert_eq!(f16_value(bits), value, "{bits:#x}");
        }
        assert!(f16_value(0x7c01).is_nan() && f16_value(0xfc00) == f64::NEG_INFINITY);
    }

    #[test]
    fn a_report_that_was_altered_is_not_intact() {
        let mut report = VerifyReport {
            format: FORMAT,
            ballast_version: "0",
            machine: MachineFacts::default(),
            model_sha256: None,
            loads: LoadFigures::default(),
            units: Vec::new(),
            metrics: CoreMlMetrics::default(),
            sha256: String::new(),
        };
        report.sha256 = report.digest();
        assert!(report.is_intact());
        report.loads.n_failed = 1;
        assert!(!report.is_intact());
    }

    #[test]
    fn growth_is_told_where_both_ends_were_measured() {
        let memory = |before_bytes, after_bytes| MemoryFigures { before_bytes, after_bytes }.growth_bytes();
        assert_eq!(memory(Some(10), Some(7)), Some(-3));
        assert_eq!(memory(None, Some(7)), None);
    }
}
