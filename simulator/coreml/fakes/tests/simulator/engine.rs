//! The engine as the runtime sees it: cache, plan, capabilities, report.

use crate::house::{House, inputs};
use crate::packages::network;
use ballast_backend::{
    ComputeUnits, InferenceEngine, Instance, ModelArtifact, ModelFmt, PrepareOptions, Quantization, Sha256,
};
use ballast_coreml::{
    CoreMlEngine, CoreMlError, CoreMlOptions, DeviceKind, Hints, ReshapeFrequency, Specialization, VerifyOptions,
    VerifyParts, verify_mac,
};
use coreml_simulator::{Fault, Knobs, set_knobs, start};
use std::fs;
use std::sync::Arc;

#[test]
fn a_package_is_compiled_once_and_found_after_a_restart() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let prepared = house.prepared();
    let ModelArtifact::Compiled { path, .. } = &prepared.artifact else { panic!("{prepared:?}") };
    assert!(path.starts_with(house.cache_dir()) && path.join("coremldata.bin").is_file());
    set_knobs(Knobs { compile: Fault::Error(0), ..Knobs::default() });
    let again = CoreMlEngine::new(CoreMlOptions::default(), Arc::clone(&house.clock) as _);
    let found = again.prepare(&house.artifact(), &house.options()).unwrap();
    assert_eq!((found.cache_key.as_str(), &found.artifact), (prepared.cache_key.as_str(), &prepared.artifact));
    assert_eq!(again.get_metrics().compile_cache_hits, 1);
    let other = PrepareOptions { compute_units: ComputeUnits::CpuAndNe, ..house.options() };
    assert!(again.prepare(&house.artifact(), &other).is_err(), "other units are another bundle");
}

#[test]
fn the_key_names_content_units_and_system() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let key = house.prepared().cache_key;
    let parts: Vec<_> = key.split(':').collect();
    assert_eq!((parts.len(), &parts[1..6]), (7, &["coreml.1", "mlmodelc", "all", "as_stored", "any"][..]), "{key}");
    assert_ne!(parts[6], "unknown", "the system's build is part of it");
}

#[test]
fn other_formats_wishes_and_contents_are_refused() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let refused = |artifact: &ModelArtifact, options: &PrepareOptions| {
        house.engine.prepare(artifact, options).unwrap_err().downcast::<CoreMlError>().unwrap()
    };
    let onnx = ModelArtifact::Authoring { path: house.package(), format: ModelFmt::Onnx, sha256: Sha256([0; 32]) };
    assert!(matches!(refused(&onnx, &house.options()), CoreMlError::Format { got: "onnx" }));
    let altered =
        ModelArtifact::Authoring { path: house.package(), format: ModelFmt::MlPackage, sha256: Sha256([0; 32]) };
    assert!(matches!(refused(&altered, &house.options()), CoreMlError::Digest { .. }));
    let int8 = PrepareOptions { quantization: Quantization::Int8, ..house.options() };
    assert!(matches!(refused(&house.artifact(), &int8), CoreMlError::Quantization { wanted: "int8" }));
    let small = PrepareOptions { memory_budget_bytes: Some(10), ..house.options() };
    assert!(matches!(refused(&house.artifact(), &small), CoreMlError::OverBudget { budget_bytes: 10, .. }));
    let shape = PrepareOptions { shapes: vec![("x".into(), vec![2, 4])], ..house.options() };
    assert!(matches!(refused(&house.artifact(), &shape), CoreMlError::Shape { .. }));
}

#[test]
fn without_a_cache_the_bundle_goes_with_the_engine() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let prepared = house.engine.prepare(&house.artifact(), &PrepareOptions::default()).unwrap();
    assert!(house.engine.open(&prepared).is_ok());
    let path = prepared.artifact.path().to_owned();
    assert!(path.exists());
    drop(house);
    assert!(!path.exists());
}

#[test]
fn the_plan_is_told_as_planned_by_count_and_by_cost() {
    let _turn = start();
    let house = House::with(CoreMlOptions::default(), &network());
    let prepared = house.prepared();
    let Instance::Predictor(model) = house.engine.open(&prepared).unwrap() else { panic!("a predictor") };
    let dispatch = model.dispatch().unwrap();
    assert!(
        (dispatch.ane - 0.8).abs() < 1e-5 && (dispatch.gpu - 0.1).abs() < 1e-5 && (dispatch.cpu - 0.1).abs() < 1e-5
    );
    let plan = house.engine.compute_plan(&prepared).unwrap();
    assert_eq!((plan.basis, plan.n_operations, plan.n_unplaced), ("planned", 3, 1));
    let by_count = plan.by_count.unwrap();
    assert!((by_count.ane_pct - 33.333).abs() < 0.01, "{by_count:?}");
    let report = house.engine.capabilities(&prepared);
    assert_eq!((report.compute_units_requested, report.compute_units_actual), (ComputeUnits::All, ComputeUnits::All));
    assert!(report.ane_op_coverage_pct.is_some());
    let metrics = house.engine.get_metrics();
    assert!((metrics.ane_dispatch_pct.unwrap() - 80.0).abs() < 1e-3, "{metrics:?}");
    assert!(house.engine.summary().contains("planned dispatch: ane 80.0 %"));
}

#[test]
fn devices_and_their_cores_are_listed() {
    let _turn = start();
    let kinds: Vec<_> = ballast_coreml::devices().iter().map(|device| (device.kind, device.n_cores)).collect();
    assert_eq!(kinds, [(DeviceKind::Cpu, None), (DeviceKind::Gpu, None), (DeviceKind::NeuralEngine, Some(16))]);
    let facts = ballast_coreml::machine_facts();
    assert!(facts.has_neural_engine() && facts.n_cpus.is_some_and(|n| n > 0) && facts.os_version.is_some());
}

#[test]
fn hints_and_functions_are_passed_on() {
    let _turn = start();
    let hints =
        Hints { specialization: Some(Specialization::FastPrediction), reshape: Some(ReshapeFrequency::Infrequent) };
    let house = House::new(CoreMlOptions { hints, function: Some("main".into()), ..CoreMlOptions::default() });
    drop(house.open());
}

#[test]
fn the_report_measures_loads_units_plan_and_parity_and_is_intact() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let artifact = house.artifact();
    let expected = house.open().predict_shared(&crate::house::shared(&[1.0; 4]), &Default::default()).unwrap();
    let reference = move |_: &_| Some(expected.clone());
    let parts = VerifyParts {
        engine: &house.engine,
        artifact: &artifact,
        prepare: house.options(),
        inputs: inputs(&[1.0; 4]),
        reference: Some(&reference),
        clock: Arc::clone(&house.clock) as _,
    };
    let options = VerifyOptions { n_loads: 5, n_warm_up: 2, n_predictions: 20, ..VerifyOptions::default() };
    let report = verify_mac(&parts, &options).unwrap();
    assert_eq!((report.loads.n_failed, report.loads.cache_hit_pct, report.units.len()), (0, Some(100.0), 4));
    for unit in &report.units {
        assert_eq!((unit.n_failed, &unit.error, unit.latency.map(|latency| latency.n)), (0, &None, Some(20)));
        assert_eq!(unit.parity.map(|parity| (parity.n_elements, parity.l_inf)), Some((4, 0.0)));
        assert!(unit.plan.is_some() && unit.memory.growth_bytes().is_some());
    }
    assert!(report.is_intact());
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["sha256"].as_str().map(str::len), Some(64));

    set_knobs(Knobs { error: 0.25, ..Knobs::default() });
    let off = verify_mac(&parts, &options).unwrap();
    assert!(off.units.iter().all(|unit| unit.parity.is_some_and(|parity| parity.l_inf == 0.25)));
    set_knobs(Knobs { predict: Fault::Error(0), ..Knobs::default() });
    let broken = verify_mac(&parts, &options).unwrap();
    assert!(broken.units.iter().all(|unit| unit.error.is_some() && unit.latency.is_none()));
}

#[test]
fn a_bundle_that_is_gone_is_no_model() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let prepared = house.prepared();
    fs::remove_dir_all(prepared.artifact.path()).unwrap();
    let Err(error) = house.engine.open(&prepared) else { panic!("it opened") };
    assert_eq!(error.kind(), ballast_backend::ErrorKind::Unavailable);
}
