//! The package itself: what the framework says of it and computes with it is what the CPU engine does.

use crate::house::House;
use crate::packages::{growing, network, plain, rows, square};
use ballast_backend::{
    ComputeUnits, Dim, ErrorKind, InferenceEngine, IoSchema, PrepareOptions, Pulse, Tensor, TensorData, TensorMap,
    TensorSpec,
};
use ballast_coreml::{CoreMlError, CoreMlModel, CoreMlOptions, SharedTensors};
use ballast_tensor::{Executor, ExecutorOptions, Model, PackageLimits, Rounding};
use ballast_testkit::SplitMix;
use coreml_simulator::{Knobs, set_knobs, start};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn executor(package: &Path, rounding: Rounding) -> Executor {
    let model = Model::open_package(package, PackageLimits::default()).unwrap();
    Executor::new(&model, ExecutorOptions { rounding, ..ExecutorOptions::default() }).unwrap()
}

/// Seeded inputs, three in every dimension that is open.
fn seeded(schema: &IoSchema) -> TensorMap {
    let mut random = SplitMix::new(5);
    let input = |spec: &TensorSpec| {
        let shape: Vec<usize> = spec.shape.iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { 3 }).collect();
        let mut tensor = Tensor::zeros(shape, spec.dtype).unwrap();
        match tensor.data_mut() {
            TensorData::F32(values) => values.iter_mut().for_each(|value| *value = random.next_f32() / 2.0),
            TensorData::I32(values) => values.iter_mut().for_each(|value| *value = i32::from(random.next_u8() % 200)),
            other => panic!("inputs of {}", other.dtype()),
        }
        (spec.name.clone(), tensor)
    };
    schema.inputs.iter().map(input).collect()
}

fn lent(inputs: &TensorMap) -> SharedTensors {
    inputs.iter().map(|(name, tensor)| (name.clone(), Arc::new(tensor.clone()))).collect()
}

fn opened(house: &House, units: ComputeUnits) -> CoreMlModel {
    let options = PrepareOptions { compute_units: units, ..house.options() };
    house.engine.open_model(&house.engine.prepare(&house.artifact(), &options).unwrap()).unwrap()
}

/// Largest difference of any f32 output.
fn l_inf(a: &TensorMap, b: &TensorMap) -> f32 {
    let values =
        |map: &TensorMap| map.values().filter_map(|tensor| tensor.as_f32()).flatten().copied().collect::<Vec<_>>();
    let (a, b) = (values(a), values(b));
    assert!(a.len() == b.len() && !a.is_empty());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn what_a_model_takes_and_gives_is_what_the_cpu_engine_says() {
    let _turn = start();
    for (name, package) in [("plain", plain()), ("square", square()), ("growing", growing()), ("network", network())] {
        let house = House::with(CoreMlOptions::default(), &package);
        let own = house.prepared().io_schema.unwrap();
        let cpu = executor(&house.package(), Rounding::AsTyped).schema().unwrap().clone();
        assert_eq!(own, cpu, "{name}: the links of a chain must agree");
    }
}

#[test]
fn the_numbers_are_those_of_the_cpu_engine_rounded_where_an_accelerator_may_compute() {
    let _turn = start();
    let house = House::with(CoreMlOptions::default(), &network());
    set_knobs(Knobs { accelerator: Rounding::ToF16, row_padding: 3, ..Knobs::default() });
    let [mut exact, mut rounded] = [Rounding::AsTyped, Rounding::ToF16].map(|of| executor(&house.package(), of));
    let inputs = seeded(exact.schema().unwrap());
    let pulse = Pulse::new();
    let [expected, as_f16] = [&mut exact, &mut rounded].map(|of| of.run(inputs.clone(), &pulse, None).unwrap());
    assert!(l_inf(&expected, &as_f16) > 0.0);
    for (units, expected) in [
        (ComputeUnits::CpuOnly, &expected),
        (ComputeUnits::All, &as_f16),
        (ComputeUnits::CpuAndGpu, &as_f16),
        (ComputeUnits::CpuAndNe, &as_f16),
    ] {
        let got = opened(&house, units).predict_shared(&lent(&inputs), &pulse).unwrap();
        assert_eq!(l_inf(&got, expected), 0.0, "{units:?}");
    }
}

#[test]
fn any_number_of_rows_is_taken_and_no_other_length() {
    let _turn = start();
    let house = House::with(CoreMlOptions::default(), &network());
    let mut model = house.open();
    let rows = |n_rows: usize, len: usize| {
        let tensor = Tensor::zeros(vec![n_rows, len], ballast_backend::DType::F32).unwrap();
        SharedTensors::from([("x".to_owned(), Arc::new(tensor))])
    };
    for n_rows in [1, 2, 7] {
        let outputs = model.predict_shared(&rows(n_rows, 4), &Pulse::new()).unwrap();
        assert_eq!(outputs["y"].shape(), [2, 4]);
    }
    let error = model.predict_shared(&rows(1, 5), &Pulse::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn an_output_of_which_no_shape_is_described_has_that_of_the_package() {
    let _turn = start();
    let house = House::with(CoreMlOptions::default(), &rows());
    let mut prepared = house.prepared();
    let cpu = executor(&house.package(), Rounding::AsTyped).schema().unwrap().clone();
    let schema = prepared.io_schema.as_mut().unwrap();
    assert_eq!((&schema.inputs, schema.outputs[0].shape.len()), (&cpu.inputs, 0), "the framework does not say");
    schema.outputs.clone_from(&cpu.outputs);
    let mut model = house.engine.open_model(&prepared).unwrap();
    assert_eq!(model.io_schema().outputs[0].shape, cpu.outputs[0].shape);
    let outputs = model.predict_shared(&lent(&seeded(&cpu)), &Pulse::new()).unwrap();
    assert_eq!(outputs["y"].shape(), [3, 4]);
}

#[test]
fn broken_packages_are_errors_with_the_frameworks_words() {
    let _turn = start();
    let break_file = |file: &str, bytes: &[u8]| {
        let house = House::new(CoreMlOptions::default());
        fs::write(house.package().join(file), bytes).unwrap();
        let error = house.engine.prepare(&house.artifact(), &house.options()).unwrap_err();
        error.downcast::<CoreMlError>().unwrap()
    };
    let cases: [(&str, &[u8], &str); 3] = [
        ("Manifest.json", b"{}", "manifest"),
        ("Data/com.apple.CoreML/model.mlmodel", b"\xff\xff", "model"),
        ("Data/com.apple.CoreML/weights/weight.bin", b"short", "weight.bin"),
    ];
    for (file, bytes, word) in cases {
        let error = break_file(file, bytes);
        let CoreMlError::Framework { description, .. } = &error else { panic!("{file}: {error}") };
        assert!(description.contains(word), "{file}: {description}");
    }
}

#[test]
fn a_package_is_no_compiled_bundle() {
    let _turn = start();
    let house = House::new(CoreMlOptions::default());
    let mut prepared = house.prepared();
    let ballast_backend::ModelArtifact::Compiled { path, .. } = &mut prepared.artifact else { panic!() };
    *path = house.package();
    let error = house.engine.open_model(&prepared).unwrap_err();
    assert!(matches!(error, CoreMlError::Framework { .. }), "{error}");
}

#[test]
fn a_function_that_a_package_does_not_have_is_an_error() {
    let _turn = start();
    let house = House::new(CoreMlOptions { function: Some("other".to_owned()), ..CoreMlOptions::default() });
    let error = house.engine.prepare(&house.artifact(), &house.options()).unwrap_err();
    assert!(error.downcast::<CoreMlError>().unwrap().to_string().contains("other"));
}

/// Packages of real models, one folder each with `model.mlpackage`.
#[test]
#[ignore = "scripts/coreml-simulator.sh names packages"]
fn packages_that_are_named_run_as_on_the_cpu() {
    let _turn = start();
    let folder = std::env::var_os("COREML_SIMULATOR_PACKAGES").map(PathBuf::from).unwrap();
    let mut n_packages = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let package = entry.unwrap().path().join("model.mlpackage");
        if !package.is_dir() {
            continue;
        }
        let house = House::of(CoreMlOptions::default(), &package);
        set_knobs(Knobs { accelerator: Rounding::ToF16, ..Knobs::default() });
        let mut cpu = executor(&package, Rounding::AsTyped);
        let (inputs, pulse) = (seeded(cpu.schema().unwrap()), Pulse::new());
        assert_eq!(house.prepared().io_schema.as_ref(), cpu.schema(), "{}", package.display());
        let expected = cpu.run(inputs.clone(), &pulse, None).unwrap();
        let exact = opened(&house, ComputeUnits::CpuOnly).predict_shared(&lent(&inputs), &pulse).unwrap();
        assert_eq!(l_inf(&exact, &expected), 0.0, "{}", package.display());
        let mut model = opened(&house, ComputeUnits::All);
        let rounded = l_inf(&model.predict_shared(&lent(&inputs), &pulse).unwrap(), &expected);
        let plan = model.plan().unwrap();
        let name = package.parent().unwrap().file_name().unwrap().display().to_string();
        println!("package {name}: {} operations, {rounded:e} from the CPU with f16 rounding", plan.n_operations);
        n_packages += 1;
    }
    assert!(n_packages > 0);
}
