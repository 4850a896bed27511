//! A body of HTTP as a question: JSON, and the bytes of tensors behind it.

use super::outline::{InputOutline, outline};
use super::question::{self, Declared, Question, asks, declared, gathered, wanted};
use super::{raw, values};
use crate::api_error::ApiError;
use crate::fields::{Fields, ParamError};
use axum::http::{HeaderMap, HeaderName};
use ballast_backend::{DType, Dim, IoSchema, Tensor, TensorData, TensorSpec};
use serde_json::Value;
use std::time::Duration;

/// Bytes of the JSON at the beginning of a body.
pub(super) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Where the JSON ends.
///
/// # Errors
/// If it would end behind the body.
pub(super) fn json_length(headers: &HeaderMap, n_bytes: usize) -> Result<Option<usize>, ParamError> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse::<usize>().ok()).filter(|length| *length <= n_bytes);
    length.map(Some).ok_or_else(|| ParamError::Wrong {
        param: JSON_LENGTH.to_string(),
        expected: format!("a length within the body's {n_bytes} bytes"),
        got: "something else".to_owned(),
    })
}

/// The question of a body whose JSON has this length; `None`: it is all JSON.
///
/// # Errors
/// Names what is wrong.
pub(super) fn question(
    body: &[u8],
    json_length: Option<usize>,
    schema: &IoSchema,
    timeout_max: Duration,
) -> Result<Question, ApiError> {
    if json_length == Some(0) {
        return Ok(whole(body, schema)?);
    }
    let (json, mut rest) = body.split_at(json_length.unwrap_or(body.len()).min(body.len()));
    let outline = outline(json).map_err(ApiError::Json)?;
    let mut fields = Fields::new(String::new(), Value::Object(outline.fields))?;
    let id = question::id(fields.string("id")?)?;
    let asks = asks(fields.take("parameters"), timeout_max)?;
    let outputs = wanted(fields.take("outputs"), asks, schema)?;
    fields.finish()?;
    let missing = || ParamError::Missing { param: "inputs".to_owned(), expected: "a list of inputs" };
    let mut tensors = Vec::new();
    for (idx, input) in outline.inputs.ok_or_else(missing)?.into_iter().enumerate() {
        tensors.push(tensor(idx, input, &mut rest, schema)?);
    }
    if !rest.is_empty() {
        let expected = "no bytes behind those of the inputs".to_owned();
        return Err(ParamError::Wrong { param: "body".to_owned(), expected, got: rest.len().to_string() }.into());
    }
    Ok(Question { id, inputs: gathered(tensors, schema)?, outputs, asks })
}

/// One input; takes its bytes from the front of `rest`.
fn tensor(
    idx: usize,
    input: InputOutline<'_>,
    rest: &mut &[u8],
    schema: &IoSchema,
) -> Result<(String, Tensor), ParamError> {
    let declared = declared(format!("inputs[{idx}]"), Value::Object(input.fields))?;
    declared.check(schema)?;
    let data = match (declared.n_bytes, input.data) {
        (Some(n_bytes), None) => {
            let bytes = take(&declared, n_bytes, rest)?;
            raw::read(declared.dtype, declared.n_elements, bytes).map_err(|error| declared.wrong(error))?
        }
        (None, Some(json)) => {
            values::read(declared.dtype, &declared.shape, json.get()).map_err(|e| declared.wrong(e))?
        }
        (Some(_), Some(_)) => {
            let supported = "an input has either data or binary_data_size";
            return Err(ParamError::Unsupported { param: format!("{}.data", declared.place), supported });
        }
        (None, None) => {
            let expected = "values, or binary_data_size and bytes behind the JSON";
            return Err(ParamError::Missing { param: format!("{}.data", declared.place), expected });
        }
    };
    declared.tensor(data)
}

fn take<'a>(declared: &Declared, n_bytes: usize, rest: &mut &'a [u8]) -> Result<&'a [u8], ParamError> {
    let n_left = rest.len();
    let (bytes, left) = rest.split_at_checked(n_bytes).ok_or_else(|| ParamError::Wrong {
        param: format!("{}.parameters.binary_data_size", declared.place),
        expected: format!("at most the {n_left} bytes that are left behind the JSON"),
        got: n_bytes.to_string(),
    })?;
    *rest = left;
    Ok(bytes)
}

/// A body that is one tensor's bytes and nothing else, for a model with one input, at most one of whose extents is open.
fn whole(body: &[u8], schema: &IoSchema) -> Result<Question, ParamError> {
    let wrong = |expected: &str| ParamError::Wrong {
        param: JSON_LENGTH.to_string(),
        expected: expected.to_owned(),
        got: "0".to_owned(),
    };
    let [spec] = &schema.inputs[..] else {
        return Err(wrong("the length of the JSON: only a model with one input takes bytes alone"));
    };
    let shape =
        shape_of(spec, body.len()).ok_or_else(|| wrong("bytes that fill the shape of the model's one input"))?;
    let data = if spec.dtype == DType::Str {
        let text = std::str::from_utf8(body).map_err(|_| wrong("bytes that are a text in UTF-8"))?;
        TensorData::Str(vec![text.to_owned()])
    } else {
        raw::read(spec.dtype, shape.iter().product(), body).map_err(|_| wrong("bytes of the input's datatype"))?
    };
    let tensor = Tensor::new(shape, data).map_err(|_| wrong("bytes that fill the shape of the input"))?;
    let asks = question::Asks { is_binary: true, ..question::Asks::default() };
    let outputs = wanted(None, asks, schema)?;
    Ok(Question { id: String::new(), inputs: [(spec.name.clone(), tensor)].into(), outputs, asks })
}

/// The shape that so many bytes have; a text is one element.
fn shape_of(spec: &TensorSpec, n_bytes: usize) -> Option<Vec<usize>> {
    let n_elements = match super::datatype::size_bytes(spec.dtype) {
        None => 1,
        Some(size) => n_bytes.is_multiple_of(size).then_some(n_bytes / size)?,
    };
    let fixed = spec.shape.iter().map(|dim| match dim {
        Dim::Fixed(extent) => Some(*extent),
        Dim::Any => None,
    });
    let known: usize = fixed.clone().flatten().try_fold(1_usize, usize::checked_mul)?;
    let n_open = fixed.clone().filter(Option::is_none).count();
    let open = if n_open == 0 { 1 } else { n_elements.checked_div(known)? };
    // A first open extent of 1 stands for the batch where another one is open, too.
    let mut n_left = n_open;
    let shape: Vec<usize> = fixed
        .map(|extent| {
            extent.unwrap_or_else(|| {
                n_left -= 1;
                if n_left == 0 { open } else { 1 }
            })
        })
        .collect();
    (n_open <= 2 && shape.iter().product::<usize>() == n_elements).then_some(shape)
}

#[cfg(test)]
mod tests;
