//! Prints what a GGUF file holds, as JSON in the shape that `oracles/gguf_reader.py` describes and compares.
//!
//!     cargo run -p ballast-gguf --example gguf_show -- FILE [--full]
#![expect(clippy::print_stdout, reason = "a command for the terminal")]

use ballast_gguf::{Array, Gguf, TensorInfo, Value};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::path::Path;

fn main() -> Result<(), ballast_gguf::GgufError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let full = args.iter().any(|arg| arg == "--full");
    let path = args.iter().find(|arg| !arg.starts_with("--")).expect("a file is named");
    let gguf = Gguf::open(Path::new(path))?;
    let metadata: Map<_, _> = gguf.metadata().iter().map(|(key, value)| (key.to_owned(), entry(value, full))).collect();
    let tensors: Vec<_> = gguf.tensors().iter().map(tensor).collect();
    println!("{}", json!({ "version": gguf.version(), "metadata": metadata, "tensors": tensors }));
    Ok(())
}

fn tensor(tensor: &TensorInfo) -> serde_json::Value {
    json!({
        "name": tensor.name,
        "shape": tensor.shape,
        "type": tensor.tensor_type.name(),
        "offset": tensor.offset,
        "n_bytes": tensor.n_bytes,
        "shard": tensor.shard_idx,
    })
}

fn entry(value: &Value, full: bool) -> serde_json::Value {
    let Value::Array(array) = value else {
        return json!({ "type": value.value_type().name(), "value": scalar(value) });
    };
    let (item, len) = (array.item_type().name(), array.len());
    if full {
        return json!({ "type": "array", "item": item, "len": len, "value": items(array) });
    }
    let digest: String = Sha256::digest(array.encoded_elements()).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "type": "array", "item": item, "len": len, "sha256": digest })
}

fn items(array: &Array) -> Vec<serde_json::Value> {
    array.iter().map(|item| scalar(&item)).collect()
}

fn scalar(value: &Value) -> serde_json::Value {
    match value {
        Value::U8(value) => json!(value),
        Value::I8(value) => json!(value),
        Value::U16(value) => json!(value),
        Value::I16(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::F32(value) => float(f64::from(*value)),
        Value::F64(value) => float(*value),
        Value::Bool(value) => json!(value),
        Value::String(text) => match text.to_str() {
            Ok(text) => json!(text),
            Err(_) => json!({ "hex": text.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
        },
        Value::Array(array) => json!(items(array)),
    }
}

/// JSON has no infinities and no NaN: they become the strings that Python's `float` reads.
fn float(value: f64) -> serde_json::Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}
