//! A GGUF file's contents as JSON. The shape is described in `oracles/gguf_reader.py`, which compares it with what
//! another reader reads.

use ballast::gguf::{Array, Gguf, TensorInfo, Value};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The whole file's metadata and tensor table; arrays as digests unless `full`.
pub(super) fn file(gguf: &Gguf, full: bool) -> Json {
    let metadata: Map<String, Json> =
        gguf.metadata().iter().map(|(key, value)| (key.to_owned(), entry(value, full))).collect();
    let tensors: Vec<Json> = gguf.tensors().iter().map(tensor).collect();
    json!({ "version": gguf.version(), "file_bytes": gguf.file_bytes(), "metadata": metadata, "tensors": tensors })
}

fn tensor(tensor: &TensorInfo) -> Json {
    json!({
        "name": tensor.name,
        "shape": tensor.shape,
        "type": tensor.tensor_type.name(),
        "offset": tensor.offset,
        "n_bytes": tensor.n_bytes,
        "shard": tensor.shard_idx,
    })
}

fn entry(value: &Value, full: bool) -> Json {
    let Value::Array(array) = value else {
        return json!({ "type": value.value_type().name(), "value": scalar(value) });
    };
    let mut entry = json!({ "type": "array", "item": array.item_type().name(), "len": array.len() });
    if full {
        entry["value"] = items(array);
    } else {
        entry["sha256"] = hex(&Sha256::digest(array.encoded_elements())).into();
    }
    entry
}

/// An array's elements.
pub(super) fn items(array: &Array) -> Json {
    array.iter().map(|item| scalar(&item)).collect()
}

/// One value; text that is not UTF-8 becomes `{"hex": ..}`, numbers that JSON lacks become strings.
pub(super) fn scalar(value: &Value) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => float(f64::from(*v)),
        Value::F64(v) => float(*v),
        Value::Bool(v) => json!(v),
        Value::String(text) => match text.to_str() {
            Ok(text) => json!(text),
            Err(_) => json!({ "hex": hex(text.as_bytes()) }),
        },
        Value::Array(array) => items(array),
    }
}

fn float(value: f64) -> Json {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
