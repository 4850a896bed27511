//! A model's outputs as an answer: JSON, and the bytes of tensors behind it.

use super::body::JSON_LENGTH;
use super::classes::classes;
use super::datatype;
use super::packed::Packing;
use super::question::{Question, Wanted};
use super::raw;
use super::values::Values;
use crate::api_error::ApiError;
use crate::fields::ParamError;
use crate::tensors::Served;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use ballast_backend::{Tensor, TensorMap};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// An output as it is told, whatever wire tells it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) is_binary: bool,
    pub(super) tensor: Tensor,
}

/// The outputs that are wanted, in their order.
///
/// # Errors
/// If one cannot be told as it is wanted, or the model did not give it.
pub(super) fn told(model: &Served, wanted: &[Wanted], mut outputs: TensorMap) -> Result<Vec<Told>, ApiError> {
    let none = Vec::new();
    let mut all = Vec::with_capacity(wanted.len());
    for Wanted { name, is_binary, n_classes } in wanted {
        let output = outputs.remove(name).ok_or(ApiError::Panicked)?;
        let tensor = match n_classes {
            None => output,
            Some(n_classes) => {
                let labels = model.model.labels.get(name).unwrap_or(&none);
                let has_batches = model.model.batching.max_batch > 0;
                classes((name, &output), *n_classes, has_batches, labels)?
            }
        };
        all.push(Told { name: name.clone(), is_binary: *is_binary, tensor });
    }
    Ok(all)
}

#[derive(Debug, Serialize)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    model_name: &'a str,
    model_version: String,
    outputs: Vec<Output>,
}

#[derive(Debug, Serialize)]
struct Output {
    name: String,
    datatype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Values>,
}

#[derive(Debug, Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// The whole answer.
///
/// # Errors
/// If an output cannot be told as it is wanted.
pub(super) fn reply(
    model: &Served,
    question: &Question,
    outputs: TensorMap,
    packing: Option<Packing>,
) -> Result<Response, ApiError> {
    let mut bytes = Vec::new();
    let mut has_bytes = false;
    let mut outputs_told = Vec::new();
    for Told { name, is_binary, tensor } in told(model, &question.outputs, outputs)? {
        let (datatype, (shape, data)) = (datatype::name(tensor.dtype()), tensor.into_parts());
        let mut output = Output { name, datatype, shape, parameters: None, data: None };
        if is_binary {
            let tensor_bytes = raw::write(&data);
            output.parameters = Some(Parameters { binary_data_size: tensor_bytes.len() });
            bytes.extend(tensor_bytes);
            has_bytes = true;
        } else {
            let values = Values(data);
            values.check().map_err(|supported| untold(&output.name, supported))?;
            output.data = Some(values);
        }
        outputs_told.push(output);
    }
    let version = model.model.version.to_string();
    let reply =
        Reply { id: &question.id, model_name: &model.model.name, model_version: version, outputs: outputs_told };
    let mut body = serde_json::to_vec(&reply).map_err(ApiError::Json)?;
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON), (VARY, ENCODING)]);
    if has_bytes {
        // Of the body as it is when it is unpacked.
        headers.insert(CONTENT_TYPE, BYTES);
        headers.insert(JSON_LENGTH, HeaderValue::from(body.len()));
        body.extend(bytes);
    }
    if let Some(packing) = packing {
        body = packing.pack(&body).map_err(|_| ApiError::Panicked)?;
        headers.insert(CONTENT_ENCODING, packing.header());
    }
    Ok((headers, body).into_response())
}

fn untold(name: &str, supported: &'static str) -> ParamError {
    ParamError::Unsupported { param: format!("output '{name}'"), supported }
}
