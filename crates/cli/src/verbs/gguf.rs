//! `ballast gguf`: what a GGUF file holds, and its tensors as numbers.

mod npy;

use crate::failure::Failure;
use crate::output;
use ballast::gguf::{Array, Gguf, TensorInfo, Value};
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Map, Value as Json, json};
use std::path::{Path, PathBuf};

/// Arrays up to this length are printed whole without being asked.
const SHORT_ARRAY_LEN: usize = 16;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print a file's metadata and tensor table.
    Show {
        /// A GGUF file; of several shards, any one.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Print arrays whole, however long.
        #[arg(long)]
        full: bool,
    },
    /// Write a tensor's elements as f32 to a NumPy file.
    Dequantize {
        /// A GGUF file; of several shards, any one.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The file to write.
        #[arg(long, value_name = "FILE.npy")]
        out: PathBuf,
    },
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Show { file, json: true, full } => output::json(&to_json(&open(&file)?, full)),
            Verb::Show { file, json: false, full } => show(&open(&file)?, full),
            Verb::Dequantize { file, tensor, out } => dequantize(&file, &tensor, &out),
        }
    }
}

fn open(path: &Path) -> Result<Gguf, Failure> {
    Ok(Gguf::open(path).map_err(ballast::Error::from)?)
}

fn dequantize(file: &Path, name: &str, out: &Path) -> Result<(), Failure> {
    let gguf = open(file)?;
    let tensor = gguf
        .tensor(name)
        .ok_or_else(|| Failure::failed(format!("no tensor {name:?} in the file")).try_this("ballast gguf show FILE"))?;
    let values = ballast::wiring::tensor_to_f32(&gguf, tensor)?;
    npy::write(out, &tensor.shape, &values)
        .map_err(|error| Failure::failed(format!("{} cannot be written", out.display())).because(error.to_string()))
}

fn show(gguf: &Gguf, full: bool) -> Result<(), Failure> {
    output::line(&format!(
        "GGUF version {}, {} bytes, {} tensors",
        gguf.version(),
        gguf.file_bytes(),
        gguf.tensors().len()
    ))?;
    for (key, value) in gguf.metadata().iter() {
        output::line(&format!("{key} = {}", value_to_text(value, full)))?;
    }
    for tensor in gguf.tensors() {
        let TensorInfo { name, shape, tensor_type, n_bytes, .. } = tensor;
        output::line(&format!("{name}  {shape:?}  {}  {n_bytes} bytes", tensor_type.name()))?;
    }
    Ok(())
}

fn value_to_text(value: &Value, full: bool) -> String {
    let json = value_to_json(value, full);
    match (&json["values"], &json["len"]) {
        (Json::Null, Json::Null) => json["value"].to_string(),
        (Json::Null, len) => format!("{len} x {}", json["item"].as_str().unwrap_or_default()),
        (values, _) => values.to_string(),
    }
}

fn to_json(gguf: &Gguf, full: bool) -> Json {
    let metadata: Map<String, Json> =
        gguf.metadata().iter().map(|(key, value)| (key.to_owned(), value_to_json(value, full))).collect();
    let tensors: Vec<Json> = gguf.tensors().iter().map(tensor_to_json).collect();
    json!({ "version": gguf.version(), "file_bytes": gguf.file_bytes(), "metadata": metadata, "tensors": tensors })
}

fn tensor_to_json(tensor: &TensorInfo) -> Json {
    json!({
        "name": tensor.name,
        "shape": tensor.shape,
        "type": tensor.tensor_type.name(),
        "offset": tensor.offset,
        "n_bytes": tensor.n_bytes,
        "shard": tensor.shard_idx,
    })
}

fn value_to_json(value: &Value, full: bool) -> Json {
    match value {
        Value::Array(array) => array_to_json(array, full),
        scalar => json!({ "type": scalar.value_type().name(), "value": scalar_to_json(scalar, full) }),
    }
}

fn array_to_json(array: &Array, full: bool) -> Json {
    let mut object = json!({ "type": "array", "item": array.item_type().name(), "len": array.len() });
    if full || array.len() <= SHORT_ARRAY_LEN {
        object["values"] = array.iter().map(|item| scalar_to_json(&item, full)).collect();
    }
    object
}

/// Text that is not UTF-8 is shown with replacement characters; numbers that JSON does not have are null.
fn scalar_to_json(value: &Value, full: bool) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(String::from_utf8_lossy(v.as_bytes())),
        Value::Array(v) => array_to_json(v, full),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F64(v) => json!(v),
    }
}
