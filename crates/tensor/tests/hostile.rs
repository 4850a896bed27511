//! Hostile models: each gives a typed error that says what was expected, without a panic, without an end that never
//! comes and without much memory.
#![expect(clippy::unwrap_used, reason = "test helpers")]
#![expect(unsafe_code, reason = "a global allocator that counts")]

#[path = "hostile/models.rs"]
mod models;
#[path = "hostile/programs.rs"]
mod programs;
#[path = "hostile/runs.rs"]
mod runs;
#[path = "hostile/wire.rs"]
mod wire;

use ballast_backend::{ErrorKind, Interrupted, Pulse, Tensor, TensorData, TensorMap};
use ballast_tensor::{Executor, ExecutorOptions, GraphError, Model, Package, PackageLimits, ReadLimits, RunLimits};
use programs::Case;
use runs::Given;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use wire::{Parts, Proto, external, file, graph, int, node, numbers, within};

/// The most that refusing one of these files, or stopping its run, may take at any moment.
const PEAK_BYTES_MAX: isize = 48 << 20;
/// The most that a tensor may have here.
const TENSOR_BYTES_MAX: usize = 1 << 20;
/// The most that all tensors of a run may have here.
const RUN_BYTES_MAX: usize = 8 << 20;

/// The system's allocator, counting what each thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` gives, and the most that it held.
fn measured<T>(f: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE.get();
    PEAK.set(before);
    let given = f();
    (given, PEAK.get() - before)
}

fn reading() -> ReadLimits {
    ReadLimits { tensor_bytes_max: 64 << 20, nodes_max: 10_000, ..ReadLimits::default() }
}

fn options() -> ExecutorOptions {
    let limits = RunLimits { tensor_bytes_max: TENSOR_BYTES_MAX, run_bytes_max: RUN_BYTES_MAX, ..RunLimits::default() };
    ExecutorOptions { limits, ..ExecutorOptions::default() }
}

fn planned(bytes: &[u8]) -> Result<Executor, GraphError> {
    Executor::new(&Model::from_onnx(bytes, reading())?, options())
}

/// Checks one outcome: `expected` is a part of the error's words.
fn judge<T>(name: &str, outcome: (Result<T, GraphError>, isize), expected: Option<&str>) -> Option<String> {
    let (got, peak) = outcome;
    if peak > PEAK_BYTES_MAX {
        return Some(format!("{name}: {peak} bytes"));
    }
    match (got, expected) {
        (Ok(_), None) => None,
        (Err(error), Some(expected)) if error.to_string().contains(expected) => None,
        (Ok(_), Some(expected)) => Some(format!("{name}: expected {expected:?}, got none")),
        (Err(error), expected) => Some(format!("{name}: expected {expected:?}, got {error}")),
    }
}

#[track_caller]
fn none_of(failures: Vec<String>) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn each_wrong_file_gives_an_error_that_names_what_was_expected() {
    let failures = models::all().into_iter().filter_map(|case| {
        let outcome = measured(|| planned(&case.bytes));
        judge(case.name, outcome, case.error)
    });
    none_of(failures.collect());
}

/// Reads and plans a package within narrow bounds.
fn packaged(model: &[u8], weights: &[u8]) -> Result<Executor, GraphError> {
    let limits = PackageLimits {
        tensor_bytes_max: TENSOR_BYTES_MAX,
        constants_bytes_max: RUN_BYTES_MAX,
        ..PackageLimits::default()
    };
    let weights = BTreeMap::from([("weights/weight.bin".to_owned(), weights.to_vec())]);
    Executor::new(&Package::from_bytes(model, &weights, limits)?.model(None)?, options())
}

#[test]
fn each_wrong_package_gives_an_error_that_names_what_was_expected() {
    let failures = programs::all().into_iter().filter_map(|case| {
        let outcome = measured(|| packaged(&case.model, &case.weights));
        judge(case.name, outcome, case.error)
    });
    none_of(failures.collect());
}

#[test]
fn a_package_with_any_byte_changed_or_cut_anywhere_is_planned_or_refused() {
    for case in programs::all().into_iter().filter(|case| case.error.is_none()) {
        let Case { name, mut model, mut weights, .. } = case;
        for n_bytes in 0..model.len() {
            assert!(packaged(&model[..n_bytes], &weights).is_err(), "{name} cut to {n_bytes}");
        }
        for idx in 0..model.len() + weights.len() {
            for change in [0x01, 0x80, 0x7f, 0xff] {
                let n_model = model.len();
                let flip = |model: &mut [u8], weights: &mut [u8]| match model.get_mut(idx) {
                    Some(byte) => *byte ^= change,
                    None => weights[idx - n_model] ^= change,
                };
                flip(&mut model, &mut weights);
                let (_, peak) = measured(|| drop(packaged(&model, &weights)));
                assert!(peak < PEAK_BYTES_MAX, "{name} at {idx}: {peak} bytes");
                flip(&mut model, &mut weights);
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_package_whose_links_leave_it_is_refused() {
    let around = tempfile::tempdir().unwrap();
    let package = around.path().join("model.mlpackage");
    let data = package.join("Data");
    let sum = programs::all().into_iter().find(|case| case.name == "sum").unwrap();
    fs::create_dir_all(data.join("weights")).unwrap();
    fs::write(around.path().join("model.mlmodel"), &sum.model).unwrap();
    fs::write(around.path().join("weight.bin"), &sum.weights).unwrap();
    let manifest =
        r#"{"fileFormatVersion":"1.0.0","itemInfoEntries":{"A":{"path":"model.mlmodel"}},"rootModelIdentifier":"A"}"#;
    fs::write(package.join("Manifest.json"), manifest).unwrap();
    let open = || Model::open_package(&package, PackageLimits::default());
    let link = |name: &str| {
        std::os::unix::fs::symlink(around.path().join(Path::new(name).file_name().unwrap()), data.join(name)).unwrap()
    };
    link("model.mlmodel");
    assert!(open().unwrap_err().to_string().contains("a file in the package"));
    fs::remove_file(data.join("model.mlmodel")).unwrap();
    fs::write(data.join("model.mlmodel"), &sum.model).unwrap();
    link("weights/weight.bin");
    assert!(open().unwrap_err().to_string().contains("a file in the model's folder"));
    fs::remove_file(data.join("weights/weight.bin")).unwrap();
    fs::create_dir_all(data.join("weights/weight.bin")).unwrap();
    assert!(open().is_err());
    fs::remove_dir(data.join("weights/weight.bin")).unwrap();
    fs::write(data.join("weights/weight.bin"), &sum.weights).unwrap();
    assert!(open().is_ok());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for case in models::all().into_iter().filter(|case| case.error.is_none()) {
        for n_bytes in 0..case.bytes.len() {
            let (planned, peak) = measured(|| planned(&case.bytes[..n_bytes]));
            assert!(planned.is_err() && peak < PEAK_BYTES_MAX, "{} cut to {n_bytes}", case.name);
        }
    }
}

#[test]
fn a_file_with_any_byte_changed_is_planned_or_refused() {
    for case in models::all().into_iter().filter(|case| case.error.is_none()) {
        let mut bytes = case.bytes;
        for idx in 0..bytes.len() {
            let original = bytes[idx];
            for change in [0x01, 0x80, 0x7f, 0xff] {
                bytes[idx] = original ^ change;
                let (_, peak) = measured(|| drop(planned(&bytes)));
                assert!(peak < PEAK_BYTES_MAX, "{} at {idx}: {peak} bytes", case.name);
            }
            bytes[idx] = original;
        }
    }
}

fn tensor(given: &Given) -> Option<Tensor> {
    let (shape, data) = match given.clone() {
        Given::Ints(values) => (vec![values.len()], TensorData::I64(values)),
        Given::One(value) => (vec![], TensorData::I64(vec![value])),
        Given::Zeros(dims) => {
            let shape: Vec<usize> = dims.iter().map(|&dim| usize::try_from(dim).unwrap()).collect();
            (shape.clone(), TensorData::F32(vec![0.0; shape.iter().product()]))
        }
        Given::Floats(values) => (vec![values.len()], TensorData::F32(values)),
        Given::Float(value) => (vec![], TensorData::F32(vec![value])),
        Given::Truths(values) => (vec![values.len()], TensorData::Bool(values)),
        Given::Texts(n, n_bytes) => (vec![n], TensorData::Str(vec!["a".repeat(n_bytes); n])),
        Given::Left => return None,
    };
    Some(Tensor::new(shape, data).unwrap())
}

#[test]
fn a_node_that_wants_too_much_is_refused_when_it_is_planned_or_run() {
    let mut failures = Vec::new();
    for (idx, greedy) in runs::all().into_iter().enumerate() {
        let name = format!("{idx}: {}", greedy.op);
        let inputs = || -> TensorMap {
            let tensors =
                greedy.given.iter().enumerate().filter_map(|(idx, given)| Some((format!("x{idx}"), tensor(given)?)));
            tensors.collect()
        };
        for are_constants in [true, false] {
            let bytes = greedy.file(are_constants);
            let inputs = if are_constants { TensorMap::new() } else { inputs() };
            let outcome = std::panic::catch_unwind(|| measured(|| planned(&bytes)?.run(inputs, &Pulse::new(), None)));
            match outcome {
                Ok(outcome) => failures.extend(judge(&name, outcome, Some(""))),
                Err(_) => failures.push(format!("{name}: a panic")),
            }
        }
    }
    none_of(failures);
}

#[test]
fn a_node_over_nothing_is_computed_or_refused() {
    let mut failures = Vec::new();
    for greedy in runs::of_nothing() {
        let tensors = greedy.given.iter().enumerate();
        let inputs: TensorMap = tensors.filter_map(|(idx, given)| Some((format!("x{idx}"), tensor(given)?))).collect();
        let bytes = greedy.file(false);
        let outcome = std::panic::catch_unwind(|| {
            measured(|| drop(planned(&bytes).and_then(|mut executor| executor.run(inputs, &Pulse::new(), None)))).1
        });
        if !outcome.is_ok_and(|peak| peak < PEAK_BYTES_MAX) {
            failures.push(format!("{} {:?}: a panic or much memory", greedy.op, greedy.given));
        }
    }
    none_of(failures);
}

/// `n` arrays of a mebibyte, each of its own, that are all there at the end.
fn many(n: i64, are_constants: bool) -> Vec<u8> {
    let names: Vec<String> = (0..n).map(|idx| format!("a{idx}")).collect();
    let mut nodes: Vec<Proto> = names.iter().map(|name| node("ConstantOfShape", &["s"], &[name])).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    nodes.push(node("Max", &all, &["y"]));
    let size = [numbers("s", &[1 << 18])];
    let (constants, inputs) = if are_constants { (&size[..], &[][..]) } else { (&[][..], &["s"][..]) };
    file(&Parts { nodes: &nodes, constants, inputs, outputs: &["y"] })
}

#[test]
fn all_tensors_of_a_run_together_have_a_bound() {
    for are_constants in [false, true] {
        let run = |n: i64| {
            let bytes = many(n, are_constants);
            let size = Tensor::new(vec![1], TensorData::I64(vec![1 << 18])).unwrap();
            let inputs = if are_constants { TensorMap::new() } else { TensorMap::from([("s".to_owned(), size)]) };
            measured(|| planned(&bytes)?.run(inputs, &Pulse::new(), None))
        };
        assert_eq!(judge("few", run(3), None), None);
        assert_eq!(judge("many", run(600), Some("bytes of all tensors together")), None);
    }
}

/// A tensor for each name.
fn given(inputs: &[(&str, Tensor)]) -> TensorMap {
    inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect()
}

fn one(value: i64) -> Tensor {
    Tensor::new(vec![1], TensorData::I64(vec![value])).unwrap()
}

#[test]
fn what_a_loop_gathers_has_a_bound() {
    let floats = Tensor::new(vec![4], TensorData::F32(vec![0.0; 4])).unwrap();
    let texts = Tensor::new(vec![1], TensorData::Str(vec!["ab".to_owned()])).unwrap();
    let doubled = node("Concat", &["s", "s"], &["t"]).message(5, &int("axis", 0));
    let longer = node("StringConcat", &["s", "s"], &["t"]);
    for (body, x) in [(doubled, floats), (longer, texts)] {
        let bytes = models::loop_of(&body);
        let inputs = given(&[("n", one(i64::MAX)), ("x", x)]);
        let outcome = measured(|| planned(&bytes)?.run(inputs, &Pulse::new(), None));
        assert_eq!(judge("loop", outcome, Some("bytes")), None);
    }
}

#[test]
fn a_sequence_that_grows_in_a_loop_has_a_bound() {
    let body = [node("Identity", &["go"], &["again"]), node("SequenceInsert", &["s", "x"], &["t"])];
    let body = graph(&Parts { nodes: &body, inputs: &["i", "go", "s"], outputs: &["again", "t"], ..Parts::default() });
    let nodes = [
        node("SequenceConstruct", &["x"], &["first"]),
        node("Loop", &["n", "", "first"], &["all"]).message(5, &within("body", &body)),
        node("SequenceLength", &["all"], &["y"]),
    ];
    let bytes = file(&Parts { nodes: &nodes, inputs: &["n", "x"], outputs: &["y"], ..Parts::default() });
    let x = Tensor::new(vec![1 << 14], TensorData::F32(vec![0.0; 1 << 14])).unwrap();
    let outcome = measured(|| planned(&bytes)?.run(given(&[("n", one(i64::MAX)), ("x", x)]), &Pulse::new(), None));
    assert_eq!(judge("sequence", outcome, Some("bytes of all tensors together")), None);
}

#[test]
fn a_loop_without_an_end_ends_when_nobody_waits() {
    let bytes = models::loop_of(&node("Identity", &["s"], &["t"]));
    let mut executor = planned(&bytes).unwrap();
    let x = Tensor::new(vec![1], TensorData::F32(vec![1.0])).unwrap();
    let pulse = Pulse::new();
    let (stop, stopper) = (pulse.clone(), pulse.clone());
    let stopper = std::thread::spawn(move || {
        // It runs when it has beaten.
        while stopper.beats() < 1000 {
            std::thread::yield_now();
        }
        stop.interrupt();
    });
    let error = executor.run(given(&[("n", one(i64::MAX)), ("x", x)]), &pulse, None).unwrap_err();
    stopper.join().unwrap();
    assert!(matches!(&error, GraphError::Node { interrupted: Some(Interrupted::Call), .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn graphs_within_graphs_have_a_bound_when_they_are_run() {
    let mut executor = planned(&wire::model(&models::nested(8), &[])).unwrap();
    let x = Tensor::new(vec![1], TensorData::F32(vec![1.0])).unwrap();
    let c = Tensor::new(vec![], TensorData::Bool(vec![true])).unwrap();
    let inputs = given(&[("x", x), ("c", c)]);
    assert!(executor.run(inputs.clone(), &Pulse::new(), None).is_ok());
    let outcome = measured(|| planned(&wire::model(&models::nested(9), &[]))?.run(inputs, &Pulse::new(), None));
    assert_eq!(judge("deep", outcome, Some("a nesting of more than 8 graphs")), None);
}

/// Opens a model in a folder whose weight lies where `entries` say.
fn with_elements(folder: &Path, entries: &[(&str, &str)]) -> Result<Model, GraphError> {
    let nodes = [node("Add", &["x", "w"], &["y"])];
    let constants = [external("w", &[2], entries)];
    let path = folder.join("model.onnx");
    fs::write(&path, file(&Parts { nodes: &nodes, constants: &constants, inputs: &["x"], outputs: &["y"] })).unwrap();
    Model::open_onnx(&path, reading())
}

/// What a tensor says of the file of its elements, and a part of the refusal; `None`: they are read.
type ElsewhereCase<'a> = (Vec<(&'a str, &'a str)>, Option<&'a str>);

#[test]
fn elements_in_other_files_stay_in_the_models_folder() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("models");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(around.path().join("secret"), [0; 64]).unwrap();
    for name in ["w.bin", "deep/w.bin", "short"] {
        fs::write(folder.join(name), vec![0; if name == "short" { 7 } else { 64 }]).unwrap();
    }
    let absolute = around.path().join("secret").to_str().unwrap().to_owned();
    let mut cases: Vec<ElsewhereCase<'_>> = vec![
        (vec![("location", "w.bin")], None),
        (vec![("location", "./deep/w.bin"), ("offset", "56"), ("length", "8")], None),
        (vec![("location", "../secret")], Some("a file in the model's folder")),
        (vec![("location", "deep/../../secret")], Some("a file in the model's folder")),
        (vec![("location", &absolute)], Some("a file in the model's folder")),
        (vec![("location", "")], Some("a file in the model's folder")),
        (vec![], Some("a file in the model's folder")),
        (vec![("location", "missing")], Some("missing")),
        (vec![("location", "deep")], Some("a regular file")),
        (vec![("location", "short")], Some("8 bytes of \"short\"")),
        (vec![("location", "w.bin"), ("offset", "57")], Some("8 bytes of \"w.bin\"")),
        (vec![("location", "w.bin"), ("offset", "18446744073709551615")], Some("8 bytes of \"w.bin\"")),
        (vec![("location", "w.bin"), ("offset", "-1")], Some("offset")),
        (vec![("location", "w.bin"), ("offset", "x")], Some("offset")),
        (vec![("location", "w.bin"), ("length", "9")], Some("8 bytes of \"w.bin\"")),
        (vec![("location", "w.bin"), ("length", "9223372036854775808")], Some("8 bytes of \"w.bin\"")),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(around.path().join("secret"), folder.join("out")).unwrap();
        std::os::unix::fs::symlink(folder.join("w.bin"), folder.join("in")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("endless")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status();
        assert!(made.is_ok_and(|status| status.success()));
        cases.push((vec![("location", "out")], Some("a file in the model's folder")));
        cases.push((vec![("location", "in")], None));
        cases.push((vec![("location", "endless")], Some("a file in the model's folder")));
        cases.push((vec![("location", "pipe")], Some("a regular file")));
    }
    let failures = cases.iter().filter_map(|(entries, expected)| {
        judge(&format!("{entries:?}"), measured(|| with_elements(&folder, entries)), *expected)
    });
    none_of(failures.collect());
}

#[test]
fn a_model_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Model::open_onnx(folder.path(), reading()).unwrap_err().to_string().contains("a regular file"));
    let long = folder.path().join("long.onnx");
    fs::write(&long, vec![0; 100]).unwrap();
    let limits = ReadLimits { file_bytes_max: 99, ..reading() };
    assert!(Model::open_onnx(&long, limits).unwrap_err().to_string().contains("at most 99, got 100"));
    #[cfg(unix)]
    assert!(Model::open_onnx(Path::new("/dev/zero"), reading()).unwrap_err().to_string().contains("a regular file"));
}

#[test]
fn many_weights_of_one_file_are_not_read_whole_for_each() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("w.bin"), vec![0; 32 << 20]).unwrap();
    let (read, peak) = measured(|| with_elements(folder.path(), &[("location", "w.bin"), ("offset", "16777216")]));
    assert!(read.is_ok() && peak < 1 << 20, "{peak} bytes");
}
