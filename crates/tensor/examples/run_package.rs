//! Runs Core ML packages, or ONNX models, on tensors in files: `run_package [--f16] [--survey]`, with folders from standard
//! input, one a line. Each has `model.mlpackage`, `model.mlmodel` or `model.onnx`, and `inputs.json`: a list of runs, each
//! a list of `{name, dtype, shape, file}`. What comes out is written to `outputs.json` and files in the same form. Used by
//! `oracles/package_parity.py`.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not written here is told by its name")]
#![expect(clippy::print_stdout, reason = "the lines are what the program is for")]

use ballast_backend::{DType, Pulse, Tensor, TensorData, TensorMap};
use ballast_tensor::{Executor, ExecutorOptions, Model, Package, PackageLimits, ReadLimits, Rounding};
use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::io::BufRead as _;
use std::path::Path;

fn main() {
    let is_given = |flag: &str| std::env::args().any(|given| given == flag);
    let rounding = if is_given("--f16") { Rounding::ToF16 } else { Rounding::AsTyped };
    for folder in std::io::stdin().lock().lines().map_while(Result::ok) {
        let folder = Path::new(&folder);
        if is_given("--survey") {
            match Package::open(&folder.join("model.mlpackage"), PackageLimits::default()) {
                Ok(package) => println!("{:#?}", package.survey()),
                Err(error) => println!("{error}"),
            }
            continue;
        }
        let outputs = match run(folder, rounding) {
            Ok(outputs) => outputs,
            Err(error) => json!({ "error": error.to_string() }),
        };
        fs::write(folder.join("outputs.json"), outputs.to_string()).expect("a folder that can be written to");
        println!("{}", folder.display());
    }
}

fn run(folder: &Path, rounding: Rounding) -> Result<Value, Box<dyn Error>> {
    let at = |name: &str| folder.join(name);
    let model = if at("model.onnx").exists() {
        Model::open_onnx(&at("model.onnx"), ReadLimits::default())?
    } else {
        let name = if at("model.mlmodel").exists() { "model.mlmodel" } else { "model.mlpackage" };
        let case: Value = serde_json::from_slice(&fs::read(at("case.json"))?)?;
        Package::open(&at(name), PackageLimits::default())?.model(case["function"].as_str())?
    };
    let mut executor = Executor::new(&model, ExecutorOptions { rounding, ..ExecutorOptions::default() })?;
    let runs: Value = serde_json::from_slice(&fs::read(at("inputs.json"))?)?;
    let mut results = Vec::new();
    for (run, inputs) in runs.as_array().into_iter().flatten().enumerate() {
        let mut given = TensorMap::new();
        for input in inputs.as_array().into_iter().flatten() {
            let (name, tensor) = read(folder, input)?;
            given.insert(name, tensor);
        }
        let outputs = executor.run(given, &Pulse::new(), None)?;
        let written = outputs
            .into_iter()
            .enumerate()
            .map(|(idx, (name, tensor))| write(folder, &format!("output_{run}_{idx}.bin"), &name, &tensor));
        results.push(Value::Array(written.collect::<Result<_, _>>()?));
    }
    Ok(Value::Array(results))
}

fn read(folder: &Path, input: &Value) -> Result<(String, Tensor), Box<dyn Error>> {
    let text = |key: &str| input[key].as_str().unwrap_or_default();
    let bytes = fs::read(folder.join(text("file")))?;
    let shape: Vec<usize> = serde_json::from_value(input["shape"].clone())?;
    let data = match text("dtype") {
        "f32" => TensorData::F32(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        "f64" => TensorData::F64(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        "f16" => TensorData::F16(bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()),
        "i32" => TensorData::I32(bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()),
        "i64" => TensorData::I64(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        "bool" => TensorData::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        other => return Err(format!("no inputs of the type {other:?}").into()),
    };
    Ok((text("name").to_owned(), Tensor::new(shape, data).map_err(|error| error.to_string())?))
}

fn write(folder: &Path, file: &str, name: &str, tensor: &Tensor) -> Result<Value, Box<dyn Error>> {
    let mut bytes = Vec::new();
    match tensor.data() {
        TensorData::F32(values) => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        TensorData::F64(values) => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        TensorData::F16(values) => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        TensorData::I32(values) => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        TensorData::I64(values) => values.iter().for_each(|value| bytes.extend(value.to_le_bytes())),
        TensorData::Bool(values) => bytes.extend(values.iter().map(|value| u8::from(*value))),
        TensorData::Str(values) => return Ok(json!({ "name": name, "dtype": "str", "values": values })),
        _ => return Err(format!("no outputs of the type {}", tensor.dtype()).into()),
    }
    fs::write(folder.join(file), bytes)?;
    let dtype: DType = tensor.dtype();
    Ok(json!({ "name": name, "dtype": dtype.as_str(), "shape": tensor.shape(), "file": file }))
}
