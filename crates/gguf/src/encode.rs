//! Values as bytes of the file.

use crate::{Array, Value};

/// Appends a value type and the value.
pub(crate) fn value(value: &Value, out: &mut Vec<u8>) {
    out.extend(value.value_type().id().to_le_bytes());
    match value {
        Value::U8(value) => out.push(*value),
        Value::I8(value) => out.extend(value.to_le_bytes()),
        Value::U16(value) => out.extend(value.to_le_bytes()),
        Value::I16(value) => out.extend(value.to_le_bytes()),
        Value::U32(value) => out.extend(value.to_le_bytes()),
        Value::I32(value) => out.extend(value.to_le_bytes()),
        Value::F32(value) => out.extend(value.to_le_bytes()),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::String(text) => string(text.as_bytes(), out),
        Value::Array(items) => array(items, out),
        Value::U64(value) => out.extend(value.to_le_bytes()),
        Value::I64(value) => out.extend(value.to_le_bytes()),
        Value::F64(value) => out.extend(value.to_le_bytes()),
    }
}

/// Appends a length and the bytes.
pub(crate) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn array(array: &Array, out: &mut Vec<u8>) {
    out.extend(array.item_type().id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    elements(array, out);
}

fn elements(array_of: &Array, out: &mut Vec<u8>) {
    match array_of {
        Array::U8(items) => out.extend_from_slice(items),
        Array::I8(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::U16(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::I16(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::U32(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::I32(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::F32(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::Bool(items) => out.extend(items.iter().map(|item| u8::from(*item))),
        Array::String(items) => items.iter().for_each(|item| string(item, out)),
        Array::Array(items) => items.iter().for_each(|item| array(item, out)),
        Array::U64(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::I64(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
        Array::F64(items) => out.extend(items.iter().flat_map(|item| item.to_le_bytes())),
    }
}

impl Array {
    /// The elements as the file has them, without the item type and the length: what a digest of an array is made of.
    #[must_use]
    pub fn encoded_elements(&self) -> Vec<u8> {
        let mut out = Vec::new();
        elements(self, &mut out);
        out
    }
}
