//! Messages of inference as questions, and outputs as messages.

use super::messages::{
    Choice, InferParameter, InferTensor, InferTensorContents, ModelInferRequest, ModelInferResponse,
};
use crate::api_error::ApiError;
use crate::fields::ParamError;
use crate::kserve::question::{self, Declared, Question, asks, declared, gathered, wanted};
use crate::kserve::reply::told;
use crate::kserve::{datatype, raw};
use crate::tensors::Served;
use axum::body::Bytes;
use ballast_backend::{DType, IoSchema, TensorData, TensorMap};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Parameters as the other wire has them.
fn parameters(parameters: &BTreeMap<String, InferParameter>) -> Option<Value> {
    let value = |parameter: &InferParameter| match &parameter.choice {
        Some(Choice::Bool(value)) => json!(value),
        Some(Choice::Int64(value)) => json!(value),
        Some(Choice::String(value)) => json!(value),
        Some(Choice::Double(value)) => json!(value),
        Some(Choice::Uint64(value)) => json!(value),
        None => Value::Null,
    };
    let all: Map<String, Value> = parameters.iter().map(|(name, it)| (name.clone(), value(it))).collect();
    (!all.is_empty()).then_some(Value::Object(all))
}

/// The question of a message.
///
/// # Errors
/// Names what is wrong.
pub(super) fn question(
    request: &ModelInferRequest,
    schema: &IoSchema,
    timeout_max: Duration,
) -> Result<Question, ApiError> {
    let id = question::id(Some(request.id.clone()))?;
    let asks = asks(parameters(&request.parameters), timeout_max)?;
    let output = |output: &super::messages::InferRequestedOutput| json!({ "name": output.name, "parameters": parameters(&output.parameters) });
    let outputs = wanted(Some(request.outputs.iter().map(output).collect()), asks, schema)?;
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        return Err(ParamError::Wrong {
            param: "raw_input_contents".to_owned(),
            expected: format!("contents for each of {} inputs", request.inputs.len()),
            got: raw.len().to_string(),
        }
        .into());
    }
    let mut tensors = Vec::new();
    for (idx, input) in request.inputs.iter().enumerate() {
        let fields = json!({
            "name": input.name, "datatype": input.datatype, "shape": input.shape,
            "parameters": parameters(&input.parameters),
        });
        let declared = declared(format!("inputs[{idx}]"), fields)?;
        declared.check(schema)?;
        let data = data(&declared, input.contents.as_ref(), raw.get(idx))?;
        tensors.push(declared.tensor(data)?);
    }
    Ok(Question { id, inputs: gathered(tensors, schema)?, outputs, asks })
}

fn data(
    declared: &Declared,
    contents: Option<&InferTensorContents>,
    raw: Option<&Bytes>,
) -> Result<TensorData, ParamError> {
    let param = || format!("{}.contents", declared.place);
    if declared.n_bytes.is_some() {
        let supported = "bytes come as raw_input_contents";
        return Err(ParamError::Unsupported {
            param: format!("{}.parameters.binary_data_size", declared.place),
            supported,
        });
    }
    match (contents, raw) {
        (None, Some(bytes)) => {
            raw::read(declared.dtype, declared.n_elements, bytes).map_err(|error| declared.wrong(error))
        }
        (Some(contents), None) => typed(declared, contents),
        (Some(_), Some(_)) => {
            Err(ParamError::Unsupported { param: param(), supported: "an input has either these or raw contents" })
        }
        (None, None) if declared.n_elements == 0 => Ok(TensorData::zeros(declared.dtype, 0)),
        (None, None) => Err(ParamError::Missing { param: param(), expected: "contents, or raw_input_contents" }),
    }
}

/// How many values are in each field, by its name.
fn counts(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

/// The field that values of a type are in.
fn field_of(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::Bool => Some("bool_contents"),
        DType::I8 | DType::I16 | DType::I32 => Some("int_contents"),
        DType::I64 => Some("int64_contents"),
        DType::U8 | DType::U16 | DType::U32 => Some("uint_contents"),
        DType::U64 => Some("uint64_contents"),
        DType::F32 => Some("fp32_contents"),
        DType::F64 => Some("fp64_contents"),
        DType::Str => Some("bytes_contents"),
        DType::F16 | DType::Bf16 => None,
    }
}

fn typed(declared: &Declared, contents: &InferTensorContents) -> Result<TensorData, ParamError> {
    let wrong = |expected: String, got: String| ParamError::Wrong {
        param: format!("{}.contents", declared.place),
        expected,
        got,
    };
    let Some(field) = field_of(declared.dtype) else {
        let name = datatype::name(declared.dtype);
        return Err(wrong(format!("{name} as raw_input_contents"), "contents".to_owned()));
    };
    for (name, count) in counts(contents) {
        let expected = if name == field { declared.n_elements } else { 0 };
        if count != expected {
            return Err(wrong(format!("{expected} values in {name}"), count.to_string()));
        }
    }
    let out_of_range = || wrong(format!("values of {}", datatype::name(declared.dtype)), "one beyond it".to_owned());
    let (ints, uints) = (&contents.int_contents, &contents.uint_contents);
    Ok(match declared.dtype {
        DType::Bool => TensorData::Bool(contents.bool_contents.clone()),
        DType::I8 => TensorData::I8(narrowed(ints).ok_or_else(out_of_range)?),
        DType::I16 => TensorData::I16(narrowed(ints).ok_or_else(out_of_range)?),
        DType::I32 => TensorData::I32(ints.clone()),
        DType::I64 => TensorData::I64(contents.int64_contents.clone()),
        DType::U8 => TensorData::U8(narrowed(uints).ok_or_else(out_of_range)?),
        DType::U16 => TensorData::U16(narrowed(uints).ok_or_else(out_of_range)?),
        DType::U32 => TensorData::U32(uints.clone()),
        DType::U64 => TensorData::U64(contents.uint64_contents.clone()),
        DType::F32 => TensorData::F32(contents.fp32_contents.clone()),
        DType::F64 => TensorData::F64(contents.fp64_contents.clone()),
        DType::Str => {
            let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(str::to_owned);
            let texts: Result<Vec<String>, _> = contents.bytes_contents.iter().map(text).collect();
            TensorData::Str(texts.map_err(|_| wrong("texts in UTF-8".to_owned(), "something else".to_owned()))?)
        }
        DType::F16 | DType::Bf16 => unreachable!("they have no field"),
    })
}

fn narrowed<T: TryFrom<S>, S: Copy>(values: &[S]) -> Option<Vec<T>> {
    values.iter().map(|value| T::try_from(*value).ok()).collect()
}

/// The answer, its tensors as bytes.
///
/// # Errors
/// If an output cannot be told as it is wanted.
pub(super) fn response(
    model: &Served,
    question: &Question,
    outputs: TensorMap,
) -> Result<ModelInferResponse, ApiError> {
    let mut response = ModelInferResponse {
        model_name: model.model.name.clone(),
        model_version: model.model.version.to_string(),
        id: question.id.clone(),
        ..ModelInferResponse::default()
    };
    for told in told(model, &question.outputs, outputs)? {
        let datatype = datatype::name(told.tensor.dtype()).to_owned();
        let (shape, data) = told.tensor.into_parts();
        let shape = shape.into_iter().map(|extent| i64::try_from(extent).unwrap_or(i64::MAX)).collect();
        response.outputs.push(InferTensor { name: told.name, datatype, shape, ..InferTensor::default() });
        response.raw_output_contents.push(raw::write(&data).into());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::{Dim, TensorSpec};

    fn asked(dtype: DType, contents: InferTensorContents) -> Result<TensorData, String> {
        let spec = |name: &str| TensorSpec { name: name.to_owned(), dtype, shape: vec![Dim::Any], batch_capable: true };
        let schema = IoSchema { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        let input = InferTensor {
            name: "x".to_owned(),
            datatype: datatype::name(dtype).to_owned(),
            shape: vec![2],
            contents: Some(contents),
            ..InferTensor::default()
        };
        let request = ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() };
        let question = question(&request, &schema, Duration::from_secs(1)).map_err(|error| error.to_string())?;
        Ok(question.inputs["x"].data().clone())
    }

    #[test]
    fn contents_are_in_the_field_of_their_type() {
        let none = InferTensorContents::default;
        let int = |values: [i32; 2]| InferTensorContents { int_contents: values.to_vec(), ..none() };
        let uint = |values: [u32; 2]| InferTensorContents { uint_contents: values.to_vec(), ..none() };
        let texts = |texts: [&'static [u8]; 2]| InferTensorContents {
            bytes_contents: texts.map(Bytes::from_static).to_vec(),
            ..none()
        };
        assert_eq!(asked(DType::I8, int([1, -128])), Ok(TensorData::I8(vec![1, -128])));
        assert_eq!(asked(DType::U16, uint([1, 65535])), Ok(TensorData::U16(vec![1, 65535])));
        assert_eq!(asked(DType::Str, texts([b"a", b""])), Ok(TensorData::Str(vec!["a".into(), String::new()])));
        let wrong = [
            (DType::I8, int([1, 128]), "values of INT8"),
            (DType::U8, uint([1, 256]), "values of UINT8"),
            (DType::I64, int([1, 2]), "0 values in int_contents"),
            (DType::F32, none(), "2 values in fp32_contents"),
            (DType::F16, int([1, 2]), "FP16 as raw_input_contents"),
            (DType::Str, texts([b"a", b"\xff"]), "UTF-8"),
        ];
        for (dtype, contents, expected) in wrong {
            let error = asked(dtype, contents).unwrap_err();
            assert!(error.contains(expected), "{dtype}: {error}");
        }
    }
}
