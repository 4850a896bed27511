//! Bodies that are good, and bodies that are not.

use super::*;
use crate::broken;
use serde_json::json;

const DAY: Duration = Duration::from_secs(86_400);

fn schema(dtype: DType, shape: Vec<Dim>) -> IoSchema {
    let spec = |name: &str| TensorSpec { name: name.to_owned(), dtype, shape: shape.clone(), batch_capable: true };
    IoSchema { inputs: vec![spec("x")], outputs: vec![spec("y"), spec("z")] }
}

fn f32s() -> IoSchema {
    schema(DType::F32, vec![Dim::Any, Dim::Fixed(2)])
}

fn ask(value: &Value, bytes: &[u8]) -> Result<Question, ApiError> {
    let json = value.to_string().into_bytes();
    let length = json.len();
    question(&[&json, bytes].concat(), Some(length), &f32s(), DAY)
}

fn x(extra: Value) -> Value {
    let mut input = json!({"name": "x", "datatype": "FP32", "shape": [1, 2]});
    for (name, value) in extra.as_object().unwrap() {
        input[name] = value.clone();
    }
    input
}

fn body() -> Value {
    json!({
        "id": "a", "inputs": [x(json!({"data": [1, 2.5]}))],
        "outputs": [{"name": "z", "parameters": {"binary_data": true}}, {"name": "y", "parameters": {"classification": 2}}],
        "parameters": {"priority": 1, "timeout": 5, "binary_data_output": false, "sequence_id": 0},
    })
}

#[test]
fn everything_that_is_asked_for_is_read() {
    let question = ask(&body(), &[]).unwrap();
    assert_eq!((question.id.as_str(), question.inputs["x"].as_f32()), ("a", Some(&[1.0, 2.5][..])));
    let wanted = |name: &str, is_binary, n_classes| question::Wanted { name: name.to_owned(), is_binary, n_classes };
    assert_eq!(question.outputs, [wanted("z", true, None), wanted("y", false, Some(2))]);
    assert_eq!(question.asks.priority, ballast_runtime::Priority::new(10));
    assert_eq!(question.asks.timeout, Some(Duration::from_micros(5)));
}

#[test]
fn bytes_behind_the_json_are_the_same_tensors() {
    let bytes = [1.0_f32.to_le_bytes(), 2.5_f32.to_le_bytes()].concat();
    let binary = json!({"inputs": [x(json!({"parameters": {"binary_data_size": 8}}))]});
    let plain = json!({"inputs": [x(json!({"data": [[1, 2.5]]}))]});
    assert_eq!(ask(&binary, &bytes).unwrap(), ask(&plain, &[]).unwrap());
    let whole = question(&bytes, Some(0), &f32s(), DAY).unwrap();
    assert_eq!(whole.inputs, ask(&plain, &[]).unwrap().inputs);
}

#[test]
fn a_text_alone_is_a_tensor_of_one() {
    let texts = schema(DType::Str, vec![Dim::Any]);
    let question = question("ä".as_bytes(), Some(0), &texts, DAY).unwrap();
    assert_eq!(question.inputs["x"].data(), &TensorData::Str(vec!["ä".to_owned()]));
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let with = |extra| json!({"inputs": [x(extra)]});
    let parameters = |value: Value| json!({"inputs": [x(json!({"data": [1, 2]}))], "parameters": value});
    let outputs = |value: Value| json!({"inputs": [x(json!({"data": [1, 2]}))], "outputs": value});
    let cases: [(Value, &[u8], &str); 29] = [
        (with(json!({"parameters": {"binary_data_size": 8}})), &[0; 7], "binary_data_size: expected at most the 7"),
        (with(json!({"parameters": {"binary_data_size": 7}})), &[0; 7], "inputs[0].data: expected 8 bytes"),
        (with(json!({"parameters": {"binary_data_size": 8}})), &[0; 9], "body: expected no bytes behind"),
        (with(json!({"parameters": {"binary_data_size": 8}, "data": [1, 2]})), &[0; 8], "either data or"),
        (with(json!({})), &[], "inputs[0].data"),
        (with(json!({"data": [1]})), &[], "inputs[0].data: expected 2 values for the shape, got 1"),
        (with(json!({"data": [1, "2"]})), &[], "inputs[0].data"),
        (with(json!({"shape": [3, 3], "data": [1, 2]})), &[], "FP32 of shape [-1, 2], got FP32 of shape [3, 3]"),
        (with(json!({"datatype": "INT64", "data": [1, 2]})), &[], "got INT64"),
        (with(json!({"datatype": "FP8", "data": [1, 2]})), &[], "inputs[0].datatype"),
        (with(json!({"shape": [-1, 2], "data": [1, 2]})), &[], "inputs[0].shape"),
        (with(json!({"shape": [u64::MAX, 2], "data": [1, 2]})), &[], "inputs[0].shape"),
        (with(json!({"shape": [1, 1, 1, 1, 1, 1, 1, 1, 1], "data": [1]})), &[], "inputs[0].shape"),
        (with(json!({"name": "w", "data": [1, 2]})), &[], "an input of the model: x"),
        (with(json!({"parameters": {"shared_memory_region": "r"}})), &[], "shared_memory_region: not supported"),
        (with(json!({"parameters": {"content_type": "pd"}, "data": [1, 2]})), &[], "content_type: not supported"),
        (with(json!({"colour": 1, "data": [1, 2]})), &[], "inputs[0].colour: there is no such parameter"),
        (json!({"inputs": []}), &[], "input 'x'"),
        (json!({}), &[], "inputs"),
        (json!({"inputs": [x(json!({"data": [1, 2]})), x(json!({"data": [1, 2]}))]}), &[], "each input once"),
        (parameters(json!({"timeout": -1})), &[], "parameters.timeout"),
        (parameters(json!({"timeout": u64::MAX})), &[], "parameters.timeout"),
        (parameters(json!({"priority": 22})), &[], "parameters.priority"),
        (parameters(json!({"sequence_id": 4})), &[], "parameters.sequence_id: not supported"),
        (parameters(json!({"my_own": 4})), &[], "parameters.my_own: there is no such parameter"),
        (outputs(json!([{"name": "w"}])), &[], "outputs[0].name"),
        (outputs(json!([{"name": "y"}, {"name": "y"}])), &[], "outputs[1].name"),
        (outputs(json!([{"name": "y", "parameters": {"classification": -1}}])), &[], "classification"),
        (outputs(json!({"name": "y"})), &[], "outputs"),
    ];
    for (value, bytes, expected) in cases {
        let error = ask(&value, bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{value}: {error}");
        assert_eq!(error.status(), 400, "{value}");
    }
}

#[test]
fn the_json_ends_within_the_body() {
    let length = |value: &str| {
        let headers: HeaderMap = [(JSON_LENGTH, value.parse().unwrap())].into_iter().collect();
        json_length(&headers, 10).ok()
    };
    assert_eq!((length("0"), length("10"), length("11")), (Some(Some(0)), Some(Some(10)), None));
    assert_eq!((length("-1"), length("x"), length("99999999999999999999999")), (None, None, None));
    assert_eq!(json_length(&HeaderMap::new(), 10), Ok(None));
}

#[test]
fn bodies_alone_fill_their_shape() {
    let fixed = |shape: &[Dim], n_bytes| {
        let spec = &schema(DType::F32, shape.to_vec()).inputs[0];
        shape_of(spec, n_bytes)
    };
    assert_eq!(fixed(&[Dim::Any, Dim::Fixed(2)], 16), Some(vec![2, 2]));
    assert_eq!(fixed(&[Dim::Any, Dim::Any], 16), Some(vec![1, 4]));
    assert_eq!(fixed(&[Dim::Fixed(2)], 8), Some(vec![2]));
    for (shape, n_bytes) in [(vec![Dim::Any, Dim::Fixed(2)], 12), (vec![Dim::Fixed(2)], 9), (vec![Dim::Any; 3], 4)] {
        assert_eq!(fixed(&shape, n_bytes), None, "{shape:?}");
    }
    assert_eq!(fixed(&[Dim::Any, Dim::Fixed(0)], 4), None);
}

#[test]
fn broken_bodies_are_refused_without_a_panic() {
    broken::bodies_are_refused_without_a_panic(&body(), |bytes| question(bytes, None, &f32s(), DAY));
}
