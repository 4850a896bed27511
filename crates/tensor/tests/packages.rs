//! Core ML packages: read, refused, run, and what is made of hostile ones.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "packages/writer.rs"]
mod writer;

use ballast_backend::{ErrorKind, Pulse, Tensor, TensorData, TensorMap};
use ballast_tensor::package::WeightsSurvey;
use ballast_tensor::{Executor, ExecutorOptions, GraphError, Model, Package, PackageLimits, PredictionRule};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use writer::*;

type Files = BTreeMap<String, Vec<u8>>;

fn files(bytes: Vec<u8>) -> Files {
    Files::from([("weights/weight.bin".to_owned(), bytes)])
}

fn read(model: &[u8], weights: &Files) -> Result<Model, GraphError> {
    Package::from_bytes(model, weights, PackageLimits::default())?.model(None)
}

fn run(executor: &mut Executor, input: &[f32]) -> Result<Vec<f32>, GraphError> {
    let tensor = Tensor::new(vec![input.len()], TensorData::F32(input.to_vec())).unwrap();
    let outputs = executor.run(TensorMap::from([("x".to_owned(), tensor)]), &Pulse::new(), None)?;
    Ok(outputs["y"].as_f32().unwrap().to_vec())
}

/// `y = x + b`, with `b` in a file of f16.
fn sum_of_weights() -> Vec<u8> {
    let of = tensor(F32, &[2]);
    let operations = [
        constant("b", &tensor(F16, &[2]), &filed(F16, &[2], 64)),
        operation("add", &[("x", "x"), ("y", "b")], &[("y", of.clone())]),
    ];
    model(&program(&[named("x", &of)], &operations, &["y"]))
}

fn f16s() -> Vec<u8> {
    weights(1, &[0x00, 0x3c, 0x00, 0xc0])
}

#[test]
fn runs_a_program_with_weights_of_f16() {
    let model = read(&sum_of_weights(), &files(f16s())).unwrap();
    let mut executor = Executor::new(&model, ExecutorOptions::default()).unwrap();
    assert_eq!(run(&mut executor, &[1.0, 1.0]).unwrap(), [2.0, -1.0]);
}

/// The state is `total`; a run adds `x` to it.
fn running_total() -> Vec<u8> {
    let of = tensor(F32, &[2]);
    let operations = [
        operation("read_state", &[("input", "total")], &[("before", of.clone())]),
        operation("add", &[("x", "before"), ("y", "x")], &[("after", of.clone())]),
        operation("write_state", &[("input", "total"), ("data", "after")], &[]),
        operation("read_state", &[("input", "total")], &[("y", of.clone())]),
    ];
    model(&program(&[named("x", &of), named("total", &state(&[2]))], &operations, &["y"]))
}

#[test]
fn keeps_states_from_run_to_run_until_they_are_reset() {
    let model = read(&running_total(), &Files::new()).unwrap();
    let mut executor = Executor::new(&model, ExecutorOptions::default()).unwrap();
    assert_eq!(executor.state_bytes(), 8);
    assert_eq!(run(&mut executor, &[1.0, 2.0]).unwrap(), [1.0, 2.0]);
    assert_eq!(run(&mut executor, &[1.0, 2.0]).unwrap(), [2.0, 4.0]);
    let kept = executor.state("total").unwrap();
    assert_eq!((kept.shape(), kept.data()), (&[2][..], &TensorData::F32(vec![2.0, 4.0])));
    assert!(executor.state("x").is_none());
    assert!(run(&mut executor, &[1.0]).is_err(), "another shape");
    assert_eq!(run(&mut executor, &[1.0, 2.0]).unwrap(), [3.0, 6.0], "a run that fails changes nothing");
    executor.reset_states();
    assert_eq!(run(&mut executor, &[1.0, 2.0]).unwrap(), [1.0, 2.0]);
}

#[test]
fn expands_blocks_of_four_bits() {
    let of = tensor(F32, &[4]);
    let operations = [
        constant("data", &tensor(I4, &[4]), &filed(I4, &[4], 64)),
        constant("scale", &tensor(F32, &[2]), &floats(&[2], &[0.5, 2.0])),
        operation("constexpr_blockwise_shift_scale", &[("data", "data"), ("scale", "scale")], &[("w", of.clone())]),
        operation("add", &[("x", "x"), ("y", "w")], &[("y", of.clone())]),
    ];
    let bytes = model(&program(&[named("x", &of)], &operations, &["y"]));
    // 1, -1 and 7, -8: low halves first.
    let model = read(&bytes, &files(weights(8, &[0xf1, 0x87]))).unwrap();
    let mut executor = Executor::new(&model, ExecutorOptions::default()).unwrap();
    assert_eq!(run(&mut executor, &[0.0; 4]).unwrap(), [0.5, -0.5, 14.0, -16.0]);
}

#[test]
fn names_all_that_is_not_known_in_one_error() {
    let of = tensor(F32, &[2]);
    let operations = [
        operation("telepathy", &[("x", "x")], &[("a", of.clone())]),
        operation("relu", &[("x", "a")], &[("b", of.clone())]),
        constant("how", &tensor(TEXT, &[]), &text("SOMEHOW")),
        operation("gelu", &[("x", "x"), ("mode", "how")], &[("c", of.clone())]),
        operation("relu", &[("x", "x"), ("haste", "x")], &[("y", of.clone())]),
    ];
    let bytes = model(&program(&[named("x", &of)], &operations, &["y"]));
    let Err(GraphError::Unsupported { what }) = read(&bytes, &Files::new()) else { panic!("it is refused") };
    assert_eq!(what.len(), 3, "{what:?}");
    assert!(what[0].contains("telepathy") && what[1].contains("SOMEHOW") && what[2].contains("haste"), "{what:?}");
}

#[test]
fn refuses_models_that_are_no_programs_by_name() {
    for (field, name) in [(500, "neural network"), (202, "pipeline"), (402, "tree ensemble classifier")] {
        let bytes = Proto::default().int(1, 4).message(field, &Proto::default()).0;
        let mut package = Package::from_bytes(&bytes, &Files::new(), PackageLimits::default()).unwrap();
        assert_eq!(package.survey().kind, name);
        let error = package.model(None).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn surveys_what_a_package_says_and_predicts() {
    let package = Package::from_bytes(&sum_of_weights(), &files(f16s()), PackageLimits::default()).unwrap();
    let survey = package.survey();
    assert_eq!((survey.kind, survey.minimum_os), ("ML Program", Some("iOS 18, macOS 15")));
    assert_eq!((survey.metadata.author.as_str(), survey.metadata.license.as_str()), ("A. Uthor", "CC0"));
    assert_eq!(survey.metadata.user_defined["key"], "value");
    let function = &survey.functions[0];
    assert_eq!(function.operations.keys().collect::<Vec<_>>(), ["add"]);
    let add = &function.operations["add"];
    assert_eq!((add.count, add.is_known, &add.results), (1, true, &BTreeMap::from([("fp32", 1)])));
    assert_eq!(function.weights["fp16"], WeightsSurvey { n_tensors: 1, n_elements: 2, bytes: 4 });
    assert_eq!((function.forecast.n_operations, function.forecast.share_pct()), (1, Some(0.0)));
    let found = &function.forecast.predictions[0];
    assert_eq!((found.rule, found.examples.as_slice()), (PredictionRule::NotF16, &["add (y)".to_owned()][..]));
}

/// What the rules say of one operation that takes `x` and gives `y`.
fn broken(kind: &str, x: (i64, &[i64]), y: (i64, &[i64])) -> Vec<PredictionRule> {
    let (x, y) = (tensor(x.0, x.1), tensor(y.0, y.1));
    let operations = [operation(kind, &[("x", "x")], &[("y", y)])];
    let bytes = model(&program(&[named("x", &x)], &operations, &["y"]));
    let survey = Package::from_bytes(&bytes, &Files::new(), PackageLimits::default()).unwrap().survey();
    survey.functions[0].forecast.predictions.iter().map(|found| found.rule).collect()
}

/// An operation, the shapes of what it takes and gives, and the rules that it breaks.
type RuleCase = (&'static str, &'static [i64], &'static [i64], &'static [PredictionRule]);

#[test]
fn each_rule_is_broken_by_what_it_names_and_by_nothing_less() {
    use PredictionRule::*;
    let cases: [RuleCase; 10] = [
        ("relu", &[1, 2, 3, 4], &[1, 2, 3, 4], &[]),
        ("relu", &[1, 1, 1, 1, 2, 2], &[1, 1, 1, 1, 2, 2], &[TooManyDims]),
        ("relu", &[1, 1, 1, 2, 2], &[1, 1, 1, 2, 2], &[]),
        ("relu", &[1, 1, 16385, 1], &[1, 1, 16385, 1], &[ExtentTooLarge]),
        ("reduce_argmax", &[1, 2049], &[1], &[ArgReduceTooLong]),
        ("reduce_argmax", &[1, 2048], &[1], &[]),
        ("reduce_argmax", &[2049, 2], &[2049, 1], &[]),
        ("reduce_prod", &[4], &[], &[NoPath]),
        ("lstm", &[4], &[4], &[NoPath]),
        ("relu", &[1 << 20, 1, 2], &[1 << 20, 1, 2], &[OperandTooLarge]),
    ];
    for (kind, x, y, expected) in cases {
        assert_eq!(broken(kind, (F16, x), (F16, y)), expected, "{kind} {x:?}");
    }
    assert_eq!(broken("relu", (F32, &[1]), (F32, &[1])), [NotF16]);
    assert_eq!(broken("cast", (F32, &[1]), (F16, &[1])), [], "what comes out counts");
    assert_eq!(broken("relu", (F16, &[1]), (F16, &[OPEN])), [OpenExtents]);
}

#[test]
fn weights_are_told_by_the_way_they_are_stored() {
    let of = tensor(F32, &[4]);
    let expand = |kind: &str, inputs: &[(&str, &str)], output: &str| operation(kind, inputs, &[(output, of.clone())]);
    let operations = [
        constant("data", &tensor(I4, &[4]), &filed(I4, &[4], 64)),
        constant("scale", &tensor(F32, &[2]), &floats(&[2], &[0.5, 2.0])),
        expand("constexpr_blockwise_shift_scale", &[("data", "data"), ("scale", "scale")], "blocks"),
        constant("indices", &tensor(U4, &[4]), &filed(U4, &[4], 64)),
        constant("lut", &tensor(F32, &[2, 16, 1]), &filed(F32, &[2, 16, 1], 64)),
        expand("constexpr_lut_to_dense", &[("indices", "indices"), ("lut", "lut")], "palette"),
        constant("mask", &tensor(U1, &[4]), &filed(U1, &[4], 64)),
        constant("set", &tensor(F16, &[3]), &filed(F16, &[3], 64)),
        expand("constexpr_sparse_to_dense", &[("mask", "mask"), ("nonzero_data", "set")], "sparse"),
        constant("plain", &tensor(F16, &[4]), &filed(F16, &[4], 64)),
        operation("add", &[("x", "x"), ("y", "plain")], &[("y", of.clone())]),
    ];
    let bytes = model(&program(&[named("x", &of)], &operations, &["y"]));
    let survey = Package::from_bytes(&bytes, &Files::new(), PackageLimits::default()).unwrap().survey();
    let weights = |n_elements, bytes| WeightsSurvey { n_tensors: 1, n_elements, bytes };
    let expected = [
        ("fp16", weights(4, 8)),
        ("int4 affine per channel", weights(4, 2 + 8)),
        ("lut4 grouped", weights(4, 2 + 128)),
        ("sparse fp16", weights(4, 1 + 6)),
    ];
    let expected = expected.map(|(storage, weights)| (storage.to_owned(), weights));
    assert_eq!(survey.functions[0].weights, BTreeMap::from(expected));
}

#[test]
fn an_input_with_a_value_of_its_own_may_be_left_out() {
    let of = tensor(F32, &[2]);
    let operations = [operation("add", &[("x", "x"), ("y", "z")], &[("y", of.clone())])];
    let program = program(&[named("x", &of), named("z", &of)], &operations, &["y"]);
    let array = Proto::default().int(1, 2).int(2, 0x1_0020);
    let feature = |name: &str, kind: &Proto| Proto::default().text(1, name).message(3, kind);
    let needed = feature("x", &Proto::default().message(5, &array));
    let optional = Proto::default().message(5, &array.clone().float(51, 0.5)).int(1000, 1);
    let description = Proto::default().message(1, &needed).message(1, &feature("z", &optional));
    let bytes = Proto::default().int(1, 9).message(2, &description).message(502, &program).0;
    let model = read(&bytes, &Files::new()).unwrap();
    let mut executor = Executor::new(&model, ExecutorOptions::default()).unwrap();
    assert_eq!(run(&mut executor, &[1.0, 2.0]).unwrap(), [1.5, 2.5]);
    let given = |values: &[f32]| Tensor::new(vec![2], TensorData::F32(values.to_vec())).unwrap();
    let both = [("x", given(&[1.0, 2.0])), ("z", given(&[3.0, 4.0]))].map(|(name, tensor)| (name.to_owned(), tensor));
    let outputs = executor.run(TensorMap::from(both), &Pulse::new(), None).unwrap();
    assert_eq!(outputs["y"].as_f32().unwrap(), [4.0, 6.0], "what is given counts");
    let only = TensorMap::from([("z".to_owned(), given(&[3.0, 4.0]))]);
    assert!(executor.run(only, &Pulse::new(), None).is_err(), "the other has no value of its own");
}

#[test]
fn a_function_is_run_by_its_name_and_another_is_refused() {
    let of = tensor(F32, &[1]);
    let function = |by: f32| {
        let operations = [
            constant("b", &of, &floats(&[1], &[by])),
            operation("add", &[("x", "x"), ("y", "b")], &[("y", of.clone())]),
        ];
        function(&[named("x", &of)], &operations, &["y"])
    };
    let program = Proto::default().int(1, 1).entry(2, "one", &function(1.0)).entry(2, "ten", &function(10.0));
    let of_function = |name: &str| Proto::default().text(1, name);
    let description =
        Proto::default().message(20, &of_function("one")).message(20, &of_function("ten")).text(21, "ten");
    let bytes = Proto::default().int(1, 9).message(2, &description).message(502, &program).0;
    let mut package = Package::from_bytes(&bytes, &Files::new(), PackageLimits::default()).unwrap();
    assert_eq!(package.default_function(), Some("ten"));
    for (name, expected) in [(None, 10.0), (Some("one"), 1.0), (Some("ten"), 10.0)] {
        let mut executor = Executor::new(&package.model(name).unwrap(), ExecutorOptions::default()).unwrap();
        assert_eq!(run(&mut executor, &[0.0]).unwrap(), [expected], "{name:?}");
    }
    assert!(package.model(Some("two")).unwrap_err().to_string().contains("two"));
}

fn lay_out(folder: &Path, manifest: &str) {
    fs::create_dir_all(folder.join("Data/com.apple.CoreML/weights")).unwrap();
    fs::write(folder.join("Manifest.json"), manifest).unwrap();
    fs::write(folder.join("Data/com.apple.CoreML/model.mlmodel"), sum_of_weights()).unwrap();
    fs::write(folder.join("Data/com.apple.CoreML/weights/weight.bin"), f16s()).unwrap();
}

fn manifest(path: &str) -> String {
    format!(
        r#"{{"fileFormatVersion":"1.0.0","itemInfoEntries":{{"A":{{"path":"{path}"}}}},"rootModelIdentifier":"A"}}"#
    )
}

#[test]
fn opens_folders_and_stays_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("model.mlpackage");
    lay_out(&package, &manifest("com.apple.CoreML/model.mlmodel"));
    fs::write(folder.path().join("outside.mlmodel"), sum_of_weights()).unwrap();
    let open = || Model::open_package(&package, PackageLimits::default());
    open().unwrap();
    Model::open_package(&package.join("Data/com.apple.CoreML/model.mlmodel"), PackageLimits::default()).unwrap();
    let outside = folder.path().join("outside.mlmodel");
    for path in ["../../outside.mlmodel", outside.to_str().unwrap(), "com.apple.CoreML/nothing", ""] {
        lay_out(&package, &manifest(path));
        assert!(open().is_err(), "{path:?}");
    }
    for text in ["", "{}", "[]", &"[".repeat(100_000)] {
        lay_out(&package, text);
        assert_eq!(open().unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn weights_that_lie_are_refused() {
    let good = f16s();
    let mut cases: Vec<(&str, Vec<u8>)> = (0..good.len()).map(|len| ("truncated", good[..len].to_vec())).collect();
    for (what, at, byte) in [
        ("version", 4, 3),
        ("sentinel", 64, 0),
        ("type", 68, 2),
        ("type that is none", 68, 99),
        ("length", 72, 5),
        ("length beyond the file", 79, 0x7f),
        ("place beyond the file", 87, 0x7f),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        cases.push((what, bytes));
    }
    for (what, bytes) in cases {
        assert!(read(&sum_of_weights(), &files(bytes)).is_err(), "{what}");
    }
}

#[test]
fn bounds_hold() {
    let limits = PackageLimits::default();
    let open = |limits| Package::from_bytes(&sum_of_weights(), &files(f16s()), limits)?.model(None);
    open(limits).unwrap();
    for (what, limits) in [
        ("operations", PackageLimits { operations_max: 1, ..limits }),
        ("parts", PackageLimits { parts_max: 3, ..limits }),
        ("bytes of the file", PackageLimits { model_bytes_max: 10, ..limits }),
        ("bytes of a tensor", PackageLimits { tensor_bytes_max: 7, ..limits }),
        ("bytes of constants", PackageLimits { constants_bytes_max: 7, ..limits }),
    ] {
        assert!(open(limits).is_err(), "{what}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let mut block = Proto::default();
    for _ in 0..1000 {
        block = Proto::default().message(3, &Proto::default().text(1, "cond").message(4, &block));
    }
    let function = Proto::default().text(2, "CoreML8").entry(3, "CoreML8", &block);
    let bytes = model(&Proto::default().entry(2, "main", &function));
    assert!(matches!(read(&bytes, &Files::new()), Err(GraphError::TooMany { .. })));
}

#[test]
fn values_that_come_too_late_are_refused() {
    let of = tensor(F32, &[2]);
    let operations = [
        operation("relu", &[("x", "b")], &[("a", of.clone())]),
        operation("relu", &[("x", "a")], &[("b", of.clone())]),
    ];
    let bytes = model(&program(&[named("x", &of)], &operations, &["b"]));
    assert!(matches!(read(&bytes, &Files::new()), Err(GraphError::Malformed { .. })));
}

proptest! {
    #[test]
    fn whatever_the_bytes_nothing_panics(which in 0_usize..2, at in 0.0_f64..1.0, byte: u8, cut in 0.0_f64..1.0) {
        let bytes = [sum_of_weights(), running_total()][which].clone();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
        let place = |share: f64| (share * bytes.len() as f64) as usize;
        let mut mutated = bytes.clone();
        mutated[place(at)] = byte;
        for bytes in [mutated, bytes[..place(cut)].to_vec()] {
            if let Ok(model) = read(&bytes, &files(f16s())) {
                drop(Executor::new(&model, ExecutorOptions::default()));
            }
        }
    }
}
