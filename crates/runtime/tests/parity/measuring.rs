//! What is measured of two outputs, and how it is judged.

use ballast_backend::{DType, ErrorKind, ReasonCode, Tensor, TensorData, TensorMap};
use ballast_runtime::parity::{
    EngineLabel, InputsLabel, Measure, ParityError, ParityReport, ParityTally, Precision, ReportHead, Tolerances,
    Value, compare_rows, compare_tensors,
};
use half::f16;
use proptest::prelude::*;

const STRICT: Tolerances = Tolerances { l_inf_max: 0.0, rmse_max: 0.0, cosine_min: None };
const LAX: Tolerances = Tolerances { l_inf_max: f64::MAX, rmse_max: f64::MAX, cosine_min: None };

fn label(engine: &str) -> EngineLabel {
    EngineLabel {
        engine: engine.to_owned(),
        version: "1".to_owned(),
        model_sha256: "ab".repeat(32),
        cache_key: Some("key".to_owned()),
    }
}

pub(crate) fn head(tolerances: Tolerances) -> ReportHead {
    ReportHead {
        reference: label("reference"),
        candidate: label("candidate"),
        inputs: InputsLabel::Given("a test".to_owned()),
        precision: Precision::F32,
        tolerances,
        machine: "a test's".to_owned(),
    }
}

/// The report on one sample of rows.
fn judged(tolerances: Tolerances, reference: &[f32], candidate: &[f32]) -> ParityReport {
    let mut tally = ParityTally::new(tolerances).unwrap();
    let is_within = tally.add_row("y", reference, candidate).unwrap();
    let report = tally.finish(head(tolerances)).unwrap();
    assert_eq!(report.is_within(), is_within);
    assert_eq!(report.reason, (!is_within).then_some(ReasonCode::ParityExceeded));
    report
}

fn measures(report: &ParityReport) -> Vec<Measure> {
    report.exceeded.iter().map(|exceeded| exceeded.measure).collect()
}

fn tensor(shape: &[usize], data: TensorData) -> Tensor {
    Tensor::new(shape.to_vec(), data).unwrap()
}

/// Plainly, in two passes.
fn oracle(a: &[f32], b: &[f32]) -> (f64, f64, Option<f64>) {
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    let (a, b) = (wide(a), wide(b));
    let apart: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).collect();
    let l_inf = apart.iter().copied().fold(0.0, f64::max);
    let rmse = (apart.iter().map(|d| d.powi(2)).sum::<f64>() / a.len().max(1) as f64).sqrt();
    let norm = |values: &[f64]| values.iter().map(|v| v.powi(2)).sum::<f64>().sqrt();
    let dot: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    let cosine = match (norm(&a) > 0.0, norm(&b) > 0.0) {
        (true, true) => Some(dot / (norm(&a) * norm(&b))),
        (false, false) => None,
        (true, false) | (false, true) => Some(0.0),
    };
    (l_inf, rmse, cosine)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #[test]
    fn rows_are_measured_as_the_oracle_measures(
        pairs in proptest::collection::vec((-1e6_f32..1e6, -1.0_f32..1.0), 0..60),
        is_near in any::<bool>(),
    ) {
        let a: Vec<f32> = pairs.iter().map(|(a, _)| *a).collect();
        let b: Vec<f32> = pairs.iter().map(|(a, d)| if is_near { a + d * 1e-3 } else { *d }).collect();
        let got = compare_rows("y", &a, &b).unwrap();
        let (l_inf, rmse, cosine) = oracle(&a, &b);
        prop_assert_eq!(got.l_inf, l_inf);
        prop_assert!(close(got.rmse, rmse), "{} {}", got.rmse, rmse);
        prop_assert!(got.cosine.zip(cosine).map_or(got.cosine == cosine, |(x, y)| close(x, y)));
        prop_assert!(got.rmse <= got.l_inf * (1.0 + 1e-12));
        prop_assert_eq!(got.n_elements, a.len());
        prop_assert_eq!(got.worst.is_some(), l_inf > 0.0);
        if let Some(worst) = got.worst {
            prop_assert_eq!(worst.reference, Value::Float(f64::from(a[worst.index])));
            prop_assert_eq!(worst.candidate, Value::Float(f64::from(b[worst.index])));
            prop_assert_eq!(worst.difference, Some(l_inf));
        }
        // It does not matter which side counts as right.
        let turned = compare_rows("y", &b, &a).unwrap();
        prop_assert_eq!((turned.l_inf, turned.rmse, turned.cosine), (got.l_inf, got.rmse, got.cosine));
    }

    #[test]
    fn a_row_is_as_itself(row in proptest::collection::vec(any::<f32>(), 1..40)) {
        let got = compare_rows("y", &row, &row).unwrap();
        prop_assert_eq!((got.l_inf, got.rmse, got.n_unmatched, got.worst), (0.0, 0.0, 0, None));
        prop_assert!(got.cosine.is_none_or(|cosine| cosine == 1.0));
        let strict = Tolerances { cosine_min: Some(1.0), ..STRICT };
        prop_assert!(judged(strict, &row, &row).is_within());
    }

    #[test]
    fn f16_is_measured_as_its_values(pairs in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..40)) {
        let finite = |bits: u16| if f16::from_bits(bits).is_finite() { bits } else { 0 };
        let (a, b): (Vec<u16>, Vec<u16>) = pairs.iter().map(|(a, b)| (finite(*a), finite(*b))).unzip();
        let wide = |bits: &[u16]| bits.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect::<Vec<_>>();
        let expected = compare_rows("y", &wide(&a), &wide(&b)).unwrap();
        let shape = [a.len()];
        let got = compare_tensors("y", &tensor(&shape, TensorData::F16(a)), &tensor(&shape, TensorData::F16(b)));
        prop_assert_eq!(got.unwrap(), expected);
    }
}

#[test]
fn nan_and_infinity_agree_with_themselves_only() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let same = compare_rows("y", &[nan, inf, -inf, 1.0], &[-nan, inf, -inf, 2.0]).unwrap();
    assert_eq!((same.n_same_nonfinite, same.n_unmatched, same.l_inf, same.rmse), (3, 0, 1.0, 1.0));
    assert_eq!(same.cosine, Some(1.0), "only the last element counts");
    for (a, b) in [(nan, 1.0), (1.0, nan), (inf, 1.0), (inf, -inf), (nan, inf), (f32::MAX, inf)] {
        let got = compare_rows("y", &[1000.0, a], &[0.0, b]).unwrap();
        assert_eq!((got.n_unmatched, got.l_inf), (1, 1000.0), "{a} {b}");
        let worst = got.worst.unwrap();
        assert_eq!((worst.index, worst.difference), (1, None), "{a} {b} is worse than any number");
        let got = compare_rows("y", &[a, 1000.0, a], &[b, 0.0, b]).unwrap();
        assert_eq!((got.n_unmatched, got.worst.unwrap().index), (2, 0));
        assert_eq!(measures(&judged(LAX, &[a], &[b])), [Measure::Unmatched], "{a} {b} fails at any tolerance");
    }
}

#[test]
fn integers_are_compared_exactly() {
    let big = |values: Vec<i64>| tensor(&[values.len()], TensorData::I64(values));
    // As f64 these two are equal.
    let got = compare_tensors("y", &big(vec![i64::MAX, 5]), &big(vec![i64::MAX - 1, 5])).unwrap();
    assert_eq!(got.l_inf, 1.0);
    assert_eq!(got.worst.unwrap().candidate, Value::Int(i128::from(i64::MAX) - 1));
    let got = compare_tensors("y", &big(vec![i64::MIN]), &big(vec![i64::MAX])).unwrap();
    assert_eq!(got.l_inf, u64::MAX as f64);
    let pairs = [
        (TensorData::I32(vec![-3]), TensorData::I32(vec![4]), 7.0),
        (TensorData::I8(vec![-128]), TensorData::I8(vec![127]), 255.0),
        (TensorData::U8(vec![255]), TensorData::U8(vec![0]), 255.0),
        (TensorData::Bool(vec![true]), TensorData::Bool(vec![false]), 1.0),
        (TensorData::F32(vec![1.5]), TensorData::F32(vec![1.0]), 0.5),
    ];
    for (a, b, apart) in pairs {
        assert_eq!(compare_tensors("y", &tensor(&[1], a), &tensor(&[1], b)).unwrap().l_inf, apart);
    }
}

#[test]
fn outputs_that_do_not_match_are_errors() {
    let f32s = |len: usize| tensor(&[len], TensorData::zeros(DType::F32, len));
    let error = compare_tensors("y", &f32s(2), &f32s(3)).unwrap_err();
    assert!(matches!(&error, ParityError::ShapeMismatch { name, .. } if name == "y"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let column = tensor(&[2, 1], TensorData::zeros(DType::F32, 2));
    assert!(matches!(compare_tensors("y", &f32s(2), &column), Err(ParityError::ShapeMismatch { .. })));
    for dtype in DType::EVERY.into_iter().filter(|dtype| *dtype != DType::F32) {
        let other = tensor(&[2], TensorData::zeros(dtype, 2));
        assert!(matches!(compare_tensors("y", &f32s(2), &other), Err(ParityError::DTypeMismatch { .. })), "{dtype}");
        assert!(matches!(compare_tensors("y", &other, &f32s(2)), Err(ParityError::DTypeMismatch { .. })), "{dtype}");
    }
    let mut torn = f32s(2);
    *torn.data_mut() = TensorData::F32(vec![0.0; 3]);
    assert!(matches!(compare_tensors("y", &f32s(2), &torn), Err(ParityError::ShapeMismatch { .. })));
    let ints = |len| tensor(&[len], TensorData::zeros(DType::I32, len));
    let mut torn = ints(2);
    *torn.data_mut() = TensorData::I32(vec![0]);
    assert!(matches!(compare_tensors("y", &ints(2), &torn), Err(ParityError::ShapeMismatch { .. })));
    assert!(matches!(compare_rows("y", &[0.0], &[]), Err(ParityError::ShapeMismatch { .. })));
    let map = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), f32s(1))).collect::<TensorMap>();
    let mut tally = ParityTally::new(STRICT).unwrap();
    for (a, b) in [(&["x", "y"][..], &["x"][..]), (&["x"], &["x", "y"])] {
        let error = tally.add_outputs(&map(a), &map(b)).unwrap_err();
        assert!(matches!(&error, ParityError::OutputMissing { name } if name == "y"), "{error}");
    }
    assert!(matches!(tally.finish(head(STRICT)), Err(ParityError::NothingCompared)));
}

#[test]
fn nothing_compared_is_no_agreement() {
    let mut tally = ParityTally::new(STRICT).unwrap();
    assert!(tally.add_row("y", &[], &[]).unwrap());
    assert!(matches!(tally.finish(head(STRICT)), Err(ParityError::NothingCompared)));
}

#[test]
fn each_tolerance_is_checked_by_itself_and_met_exactly_is_kept() {
    // Differences 3 and 4 of four elements: l_inf 4, rmse 2.5, cosine of (3, 4, 0, 0) with nothing 0.
    let (a, b) = ([3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]);
    let with = |l_inf_max, rmse_max, cosine_min| Tolerances { l_inf_max, rmse_max, cosine_min };
    assert!(judged(with(4.0, 2.5, Some(0.0)), &a, &b).is_within());
    assert_eq!(measures(&judged(with(3.9, 9.0, None), &a, &b)), [Measure::LInf]);
    assert_eq!(measures(&judged(with(9.0, 2.4, None), &a, &b)), [Measure::Rmse]);
    assert_eq!(measures(&judged(with(9.0, 9.0, Some(0.1)), &a, &b)), [Measure::Cosine]);
    assert_eq!(measures(&judged(with(0.0, 0.0, Some(1.0)), &a, &b)), [Measure::LInf, Measure::Rmse, Measure::Cosine]);
    let exceeded = &judged(with(3.9, 9.0, None), &a, &b).exceeded[0];
    assert_eq!((exceeded.output.as_str(), exceeded.limit, exceeded.got), ("y", 3.9, 4.0));
}

#[test]
fn precisions_have_their_tolerances() {
    let expected = [(1e-5, 1e-6), (1e-2, 1e-3), (5e-2, 5e-3)];
    for (precision, (l_inf_max, rmse_max)) in Precision::ALL.into_iter().zip(expected) {
        assert_eq!(precision.tolerances(), Tolerances { l_inf_max, rmse_max, cosine_min: None }, "{precision:?}");
    }
}

#[test]
fn tolerances_that_are_no_bounds_are_refused() {
    for bad in [
        Tolerances { l_inf_max: f64::NAN, ..STRICT },
        Tolerances { l_inf_max: -1.0, ..STRICT },
        Tolerances { rmse_max: f64::NAN, ..STRICT },
        Tolerances { rmse_max: -1.0, ..STRICT },
        Tolerances { cosine_min: Some(1.1), ..STRICT },
        Tolerances { cosine_min: Some(f64::NAN), ..STRICT },
    ] {
        assert!(matches!(ParityTally::new(bad), Err(ParityError::Tolerance { .. })), "{bad:?}");
    }
}

#[test]
fn a_bad_sample_or_a_small_output_is_not_hidden_by_good_ones() {
    let map = |large: f32, small: f32| {
        TensorMap::from([
            ("large".to_owned(), tensor(&[1000], TensorData::F32(vec![large; 1000]))),
            ("small".to_owned(), tensor(&[1], TensorData::F32(vec![small]))),
        ])
    };
    let tolerances = Tolerances { l_inf_max: 1.0, rmse_max: 0.1, cosine_min: None };
    let mut tally = ParityTally::new(tolerances).unwrap();
    for sample in 0..20 {
        let (large, small) = if sample == 7 { (1.05, 3.0) } else { (1.0, 2.0) };
        assert_eq!(tally.add_outputs(&map(1.0, 2.0), &map(large, small)).unwrap(), sample != 7);
    }
    let report = tally.finish(head(tolerances)).unwrap();
    assert_eq!(report.n_samples, 20);
    assert_eq!(report.exceeded.len(), 1);
    assert_eq!((report.exceeded[0].output.as_str(), report.exceeded[0].measure), ("small", Measure::Rmse));
    let worst = report.worst.unwrap();
    assert_eq!((worst.output.as_str(), worst.sample, worst.index), ("small", 7, 0));
    assert_eq!((worst.reference, worst.candidate), (Value::Float(2.0), Value::Float(3.0)));
    let names: Vec<_> = report.outputs.iter().map(|output| (output.name.as_str(), output.n_elements)).collect();
    assert_eq!(names, [("large", 20_000), ("small", 20)]);
}

#[test]
fn the_worst_of_many_samples_is_kept() {
    let mut tally = ParityTally::new(STRICT).unwrap();
    for (a, b) in [([1.0, 0.0], [1.0, 0.5]), ([1.0, 0.0], [1.0, 2.0]), ([1.0, 0.0], [1.0, 0.25])] {
        tally.add_row("y", &a, &b).unwrap();
    }
    let report = tally.clone().finish(head(STRICT)).unwrap();
    assert_eq!((report.outputs[0].l_inf, report.worst.unwrap().sample), (2.0, 1));
    assert_eq!(report.outputs[0].rmse, (4.0_f64 / 2.0).sqrt());
    let got: Vec<_> = report.exceeded.iter().map(|exceeded| exceeded.got).collect();
    assert_eq!(got, [2.0, (4.0_f64 / 2.0).sqrt()]);
    assert_eq!(report.outputs[0].cosine, Some(1.0 / 5.0_f64.sqrt()));
    tally.add_row("y", &[1.0, f32::NAN], &[1.0, 1.0]).unwrap();
    tally.add_row("y", &[1.0, 9.0], &[1.0, 1.0]).unwrap();
    assert_eq!(tally.finish(head(STRICT)).unwrap().worst.unwrap().sample, 3, "one side has no number");
}

#[test]
fn the_worst_cosine_is_the_smallest() {
    let tolerances = Tolerances { cosine_min: Some(0.99), ..LAX };
    let mut tally = ParityTally::new(tolerances).unwrap();
    for candidate in [[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]] {
        assert!(!tally.add_row("y", &[1.0, 0.0], &candidate).unwrap());
    }
    let report = tally.finish(head(tolerances)).unwrap();
    assert_eq!((report.exceeded.len(), report.exceeded[0].got, report.outputs[0].cosine), (1, 0.0, Some(0.0)));
}

#[test]
fn a_report_is_json_with_everything_it_depends_on() {
    let mut tally = ParityTally::new(Precision::Int8.tolerances()).unwrap();
    tally.add_row("logits", &[1.0, 2.0], &[f32::NAN, 2.0]).unwrap();
    let report = tally.finish(ReportHead { precision: Precision::Int8, ..head(STRICT) }).unwrap();
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    let expected = serde_json::json!({
        "format": 1,
        "reference": { "engine": "reference", "version": "1", "model_sha256": "ab".repeat(32), "cache_key": "key" },
        "candidate": { "engine": "candidate", "version": "1", "model_sha256": "ab".repeat(32), "cache_key": "key" },
        "inputs": { "given": "a test" },
        "precision": "int8",
        "tolerances": { "l_inf_max": 0.05, "rmse_max": 0.005, "cosine_min": null },
        "machine": "a test's",
        "n_samples": 1,
        "outputs": [{
            "name": "logits", "l_inf": 0.0, "rmse": 0.0, "cosine": 1.0,
            "n_elements": 2, "n_same_nonfinite": 0, "n_unmatched": 1,
        }],
        "worst": { "output": "logits", "sample": 0, "index": 0, "reference": 1.0, "candidate": "NaN" },
        "exceeded": [{ "output": "logits", "measure": "unmatched", "limit": 0.0, "got": 1.0 }],
        "reason": "PARITY_EXCEEDED",
    });
    assert_eq!(json, expected, "the tolerances are those that were judged by");
}
