//! The Open Inference Protocol by HTTP: every route, every datatype both ways, and what is hostile.

use crate::tensors::{Recipe, Shop, Tensors};
use ballast_backend::{DType, Dim};
use ballast_server::{Batching, RouteMethod};
use ballast_testkit::{Fault, FaultPlan, Hang};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OPEN: [Dim; 2] = [Dim::Any, Dim::Any];

/// A datatype by its name, two values of it as JSON, where it has any, and their bytes.
fn datatypes() -> Vec<(DType, &'static str, Option<Value>, Vec<u8>)> {
    let le = |numbers: &[u64], size: usize| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()[..size].to_vec()).collect()
    };
    vec![
        (DType::Bool, "BOOL", Some(json!([true, false])), vec![1, 0]),
        (DType::U8, "UINT8", Some(json!([0, 255])), vec![0, 255]),
        (DType::U16, "UINT16", Some(json!([1, 65535])), le(&[1, 65535], 2)),
        (DType::U32, "UINT32", Some(json!([1, 4_294_967_295_u32])), le(&[1, 4_294_967_295], 4)),
        (DType::U64, "UINT64", Some(json!([1, u64::MAX])), le(&[1, u64::MAX], 8)),
        (DType::I8, "INT8", Some(json!([1, -1])), vec![1, 255]),
        (DType::I16, "INT16", Some(json!([1, -2])), le(&[1, 65534], 2)),
        (DType::I32, "INT32", Some(json!([1, -2])), le(&[1, 4_294_967_294], 4)),
        (DType::I64, "INT64", Some(json!([1, i64::MIN])), le(&[1, 1 << 63], 8)),
        (DType::F16, "FP16", None, vec![0, 60, 0, 192]),
        (DType::Bf16, "BF16", None, vec![128, 63, 0, 192]),
        (DType::F32, "FP32", Some(json!([0.1, -2.5])), [0.1_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat()),
        (DType::F64, "FP64", Some(json!([0.1, 1e300])), [0.1_f64.to_le_bytes(), 1e300_f64.to_le_bytes()].concat()),
        (DType::Str, "BYTES", Some(json!(["ä", ""])), vec![2, 0, 0, 0, 195, 164, 0, 0, 0, 0]),
    ]
}

fn input(datatype: &str, extra: Value) -> Value {
    let mut input = json!({"name": "x", "datatype": datatype, "shape": [1, 2]});
    for (name, value) in extra.as_object().unwrap() {
        input[name] = value.clone();
    }
    input
}

#[tokio::test]
async fn every_datatype_goes_both_ways_as_json_and_as_bytes() {
    let models = datatypes().into_iter().map(|(dtype, name, ..)| Recipe::of(dtype, &OPEN).model(name, 1)).collect();
    let server = Tensors::open(models).await;
    for (_, name, values, bytes) in datatypes() {
        let path = format!("/v2/models/{name}/infer");
        let sent = |outputs: Value| {
            let binary = input(name, json!({"parameters": {"binary_data_size": bytes.len()}}));
            json!({"id": "7", "inputs": [binary], "outputs": outputs})
        };
        let binary_output = json!([{"name": "y", "parameters": {"binary_data": true}}]);
        let answer = server.post_bytes(&path, &sent(binary_output.clone()), &bytes).await;
        assert_eq!(answer.status, 200, "{name}: {:?}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
        let told: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
        assert_eq!(answer.body[length..], bytes, "{name}");
        let expected = json!({
            "id": "7", "model_name": name, "model_version": "1",
            "outputs": [{
                "name": "y", "datatype": name, "shape": [1, 2], "parameters": {"binary_data_size": bytes.len()},
            }],
        });
        assert_eq!(told, expected);
        let plain = server.post_bytes(&path, &sent(json!([{"name": "y"}])), &bytes).await;
        let Some(values) = values else {
            assert_eq!((plain.status, plain.error().contains("ask for binary_data")), (400, true), "{name}");
            let refused = server.post(&path, &json!({"inputs": [input(name, json!({"data": [1, 2]}))]})).await;
            assert_eq!((refused.status, refused.error().contains("bytes behind the JSON")), (400, true), "{name}");
            continue;
        };
        assert_eq!(plain.json()["outputs"][0]["data"], values, "{name}");
        for data in [values.clone(), json!([values])] {
            let body = json!({"inputs": [input(name, json!({"data": data}))], "outputs": binary_output});
            let answer = server.post(&path, &body).await;
            assert!(answer.body.ends_with(&bytes) && answer.status == 200, "{name} {data}");
        }
        let by_default = json!({
            "inputs": [input(name, json!({"data": values}))], "parameters": {"binary_data_output": true},
        });
        assert!(server.post(&path, &by_default).await.body.ends_with(&bytes), "{name}");
    }
}

#[tokio::test]
async fn a_model_tells_what_it_is() {
    let batched = Recipe {
        batching: Batching {
            max_batch: 4,
            max_wait: Duration::from_micros(7),
            preferred: vec![2],
            queue_max: 9,
            ..Batching::default()
        },
        ..Recipe::of(DType::F32, &[Dim::Any, Dim::Fixed(3)])
    };
    let server = Tensors::open(vec![batched.model("m", 1), batched.model("m", 3)]).await;
    let about = server.get("/v2").await.json();
    assert_eq!(about["name"], "ballast");
    assert!(about["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));
    assert_eq!((server.get("/v2/health/live").await.status, server.get("/v2/health/ready").await.status), (200, 200));
    let tensor = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, 3]});
    let metadata = json!({
        "name": "m", "versions": ["1", "3"], "platform": "test", "inputs": [tensor("x")], "outputs": [tensor("y")],
    });
    assert_eq!(server.get("/v2/models/m").await.json(), metadata);
    assert_eq!(server.get("/v2/models/m/versions/1").await.json(), metadata);
    assert_eq!(server.get("/v2/models/m/ready").await.status, 200);
    assert_eq!(server.get("/v2/models/m/versions/3/ready").await.status, 200);
    let config = server.get("/v2/models/m/config").await.json();
    assert_eq!(config["input"], json!([{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]));
    assert_eq!(config["max_batch_size"], 4);
    assert_eq!(config["dynamic_batching"]["preferred_batch_size"], json!([2]));
    assert_eq!(config["dynamic_batching"]["max_queue_delay_microseconds"], 7);
    assert_eq!(server.get("/v2/models/m/versions/1/config").await.json(), config);
    let body = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]});
    let version = async |path: &str| server.post(path, &body).await.json()["model_version"].clone();
    assert_eq!(version("/v2/models/m/infer").await, "3", "the latest");
    assert_eq!(version("/v2/models/m/versions/1/infer").await, "1");
    for (path, status) in [
        ("/v2/models/none", 404),
        ("/v2/models/none/ready", 404),
        ("/v2/models/m/versions/2", 404),
        ("/v2/models/m/versions/x", 400),
        ("/v2/models/m/versions/2/config", 404),
        ("/v2/nothing", 404),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.error().is_empty()), (status, false), "{path}");
    }
}

#[tokio::test]
async fn what_is_measured_is_told() {
    let batched =
        Recipe { batching: Batching { max_batch: 4, ..Batching::default() }, ..Recipe::of(DType::F32, &OPEN) };
    let server = Tensors::open(vec![batched.model("m", 1), Recipe::of(DType::F32, &OPEN).model("n", 2)]).await;
    let body = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}]});
    assert_eq!(server.post("/v2/models/m/infer", &body).await.status, 200);
    assert_eq!(server.post("/v2/models/m/infer", &json!({"inputs": []})).await.status, 400);
    let told = server.get("/v2/models/m/stats").await.json();
    let told = &told["model_stats"][0];
    assert_eq!((&told["name"], &told["version"]), (&json!("m"), &json!("1")));
    assert_eq!((&told["inference_count"], &told["execution_count"]), (&json!(3), &json!(1)));
    assert_eq!(told["last_inference"], 1_700_000_000_000_u64);
    for part in ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output"] {
        let figure = &told["inference_stats"][part];
        assert_eq!(figure["count"], 1, "{part}");
        assert!(figure["ns"].as_u64().unwrap() > 0, "{part}: {told}");
    }
    assert_eq!(told["batch_stats"][0]["batch_size"], 3);
    assert_eq!(told["batch_stats"][0]["compute_infer"]["count"], 1);
    let all = server.get("/v2/models/stats").await.json();
    assert_eq!(all["model_stats"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/v2/models/n/versions/2/stats").await.json()["model_stats"][0]["inference_count"], 0);
}

#[tokio::test]
async fn the_highest_values_are_told_with_their_labels() {
    let batched =
        Recipe { batching: Batching { max_batch: 4, ..Batching::default() }, ..Recipe::of(DType::F32, &OPEN) };
    let server = Tensors::open(vec![batched.model("m", 1)]).await;
    let outputs = json!([{"name": "y", "parameters": {"classification": 2}}]);
    let input = json!({"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [0.5, 1, 0, 3, 2, 4]});
    let answer = server.post("/v2/models/m/infer", &json!({"inputs": [input], "outputs": outputs})).await.json();
    let output = &answer["outputs"][0];
    assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([2, 2])));
    assert_eq!(output["data"], json!(["1.000000:1:dog", "0.500000:0:cat", "4.000000:2:fox", "3.000000:0:cat"]));
}

#[tokio::test]
async fn requests_that_wait_are_joined_and_each_gets_its_own() {
    let recipe = Recipe {
        batching: Batching { max_batch: 8, ..Batching::default() },
        plan: FaultPlan::list([Fault::Hang(Hang::Deaf)]),
        ..Recipe::of(DType::F32, &OPEN)
    };
    let server = Arc::new(Tensors::open(vec![recipe.model("m", 1)]).await);
    let ask = |value: u32, n_values: usize| {
        let server = Arc::clone(&server);
        let data = vec![value; n_values];
        let input = json!({"name": "x", "datatype": "FP32", "shape": [1, n_values], "data": data});
        tokio::spawn(async move {
            let answer = server.post("/v2/models/m/infer", &json!({"inputs": [input]})).await;
            let data = answer.json()["outputs"][0]["data"].clone();
            let numbers: Vec<f64> = data.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
            assert_eq!(numbers, vec![f64::from(value); n_values]);
        })
    };
    let first = ask(0, 2);
    let control = recipe.control.clone();
    tokio::task::spawn_blocking(move || control.wait_hanging(1)).await.unwrap();
    let waiting: Vec<_> = (1..=5).map(|value| ask(value, if value == 5 { 3 } else { 2 })).collect();
    let pending = async {
        while !metric(&server, "nv_inference_pending_request_count{model=\"m\",version=\"1\"}").await.eq("5") {}
    };
    tokio::time::timeout(ballast_testkit::PATIENCE, pending).await.expect("five wait");
    recipe.control.release();
    first.await.unwrap();
    for asked in waiting {
        asked.await.unwrap();
    }
    let seen = recipe.seen.lock().unwrap();
    let mut shapes: Vec<&[usize]> = seen.iter().map(|inputs| inputs["x"].shape()).collect();
    shapes.sort_unstable();
    assert_eq!(shapes, [&[1, 2][..], &[1, 3], &[4, 2]], "four that are alike are one run");
}

/// The value of a sample.
async fn metric(server: &Tensors, sample: &str) -> String {
    let text = String::from_utf8(server.get("/metrics").await.body).unwrap();
    let line = text.lines().find(|line| line.starts_with(sample)).unwrap_or_else(|| panic!("no {sample}: {text}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_counted_has_tritons_names_in_the_metrics() {
    let server = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    let body = json!({"inputs": [input("FP32", json!({"data": [1, 2]}))]});
    for _ in 0..3 {
        assert_eq!(server.post("/v2/models/m/infer", &body).await.status, 200);
    }
    assert_eq!(server.post("/v2/models/m/infer", &json!({"inputs": []})).await.status, 400);
    let labels = "{model=\"m\",version=\"1\"}";
    for (name, value) in [
        ("nv_inference_request_success", "3"),
        ("nv_inference_count", "3"),
        ("nv_inference_exec_count", "3"),
        ("nv_inference_pending_request_count", "0"),
    ] {
        assert_eq!(metric(&server, &format!("{name}{labels}")).await, value, "{name}");
    }
    let failed = "nv_inference_request_failure{model=\"m\",version=\"1\",reason=\"OTHER\"}";
    assert_eq!(metric(&server, failed).await, "1");
    for part in ["request", "queue", "compute_input", "compute_infer", "compute_output"] {
        let micros: u64 = metric(&server, &format!("nv_inference_{part}_duration_us{labels}")).await.parse().unwrap();
        assert!(micros > 0, "{part}");
    }
    let accept = [("accept", "application/openmetrics-text")];
    let open = String::from_utf8(server.ask("GET", "/metrics", &accept, b"").await.body).unwrap();
    assert!(open.contains("nv_inference_count{model=\"m\",version=\"1\"} 3\n") && open.ends_with("# EOF\n"), "{open}");
}

#[tokio::test]
async fn models_are_loaded_listed_and_unloaded() {
    let recipe = Recipe::of(DType::F32, &OPEN);
    let shop = Shop(Mutex::new(BTreeMap::from([("a", vec![(1, recipe.clone())]), ("b", vec![(2, recipe.clone())])])));
    let shop = Arc::new(shop);
    let server = Tensors::open_with(Vec::new(), Some(Arc::clone(&shop) as _), |_| {}).await;
    let index = async || server.post("/v2/repository/index", &json!({})).await.json();
    assert_eq!(index().await, json!([{"name": "a"}, {"name": "b"}]));
    assert_eq!(server.get("/v2/models/a").await.status, 404);
    assert_eq!(server.post("/v2/repository/models/a/load", &json!({})).await.status, 200);
    let ready = json!({"name": "a", "version": "1", "state": "READY", "reason": ""});
    assert_eq!(index().await, json!([ready, {"name": "b"}]));
    assert_eq!(server.post("/v2/repository/index", &json!({"ready": true})).await.json(), json!([ready]));
    let body = json!({"inputs": [input("FP32", json!({"data": [1, 2]}))]});
    assert_eq!(server.post("/v2/models/a/infer", &body).await.status, 200);
    // A load brings what the repository has now; what it has no more is drained.
    shop.0.lock().unwrap().insert("a", vec![(2, recipe)]);
    assert_eq!(server.ask("POST", "/v2/repository/models/a/load", &[], b"").await.status, 200);
    assert_eq!(server.post("/v2/models/a/infer", &body).await.json()["model_version"], "2");
    assert_ne!(server.post("/v2/models/a/versions/1/infer", &body).await.status, 200);
    let unload = json!({"parameters": {"unload_dependents": false}});
    assert_eq!(server.post("/v2/repository/models/a/unload", &unload).await.status, 200);
    let gone = server.post("/v2/models/a/infer", &body).await;
    assert_eq!((gone.status, gone.error().as_str()), (503, "model: `a` is not ready: it is unloaded"));
    let rows = index().await;
    let row = rows.as_array().unwrap().iter().find(|row| row["version"] == "2").unwrap();
    assert_eq!((&row["state"], &row["reason"]), (&json!("UNAVAILABLE"), &json!("unloaded")));
    for (path, body, status) in [
        ("/v2/repository/models/none/load", json!({}), 400),
        ("/v2/repository/models/none/unload", json!({}), 404),
        ("/v2/repository/models/a/load", json!({"parameters": {"config": "{}"}}), 400),
        ("/v2/repository/models/a/load", json!({"parameters": {"file:1/model.onnx": "AA=="}}), 400),
        ("/v2/repository/models/a/unload", json!({"parameters": {"unload_dependents": true}}), 400),
        ("/v2/repository/index", json!({"colour": 1}), 400),
    ] {
        let answer = server.post(path, &body).await;
        assert_eq!((answer.status, answer.error().is_empty()), (status, false), "{path} {body}");
    }
    let without = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    assert_eq!(without.post("/v2/repository/models/m/unload", &json!({})).await.status, 501);
    assert_eq!(without.get("/v2/models/m/ready").await.status, 200);
}

#[tokio::test]
async fn an_unload_waits_for_requests_in_progress() {
    let recipe = Recipe { plan: FaultPlan::list([Fault::Hang(Hang::Deaf)]), ..Recipe::of(DType::F32, &OPEN) };
    let shop = Arc::new(Shop(Mutex::new(BTreeMap::from([("a", vec![(1, recipe.clone())])]))));
    let server = Arc::new(Tensors::open_with(Vec::new(), Some(shop), |_| {}).await);
    server.served.load("a").await.unwrap();
    let post = |path: &'static str, body: Value| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.post(path, &body).await.status })
    };
    let body = json!({"inputs": [input("FP32", json!({"data": [1, 2]}))]});
    let asked = post("/v2/models/a/infer", body.clone());
    let control = recipe.control.clone();
    tokio::task::spawn_blocking(move || control.wait_hanging(1)).await.unwrap();
    let unloading = post("/v2/repository/models/a/unload", json!({}));
    let unloads =
        async { while server.post("/v2/repository/index", &json!({})).await.json()[0]["state"] != "UNLOADING" {} };
    tokio::time::timeout(ballast_testkit::PATIENCE, unloads).await.unwrap();
    assert_eq!(server.post("/v2/models/a/infer", &body).await.status, 503, "nobody new comes in");
    assert_eq!(server.post("/v2/repository/models/a/load", &json!({})).await.status, 503, "it is busy");
    assert!(!unloading.is_finished());
    recipe.control.release();
    assert_eq!((asked.await.unwrap(), unloading.await.unwrap()), (200, 200));
}

#[tokio::test]
async fn time_and_room_are_bounded() {
    let recipe = Recipe {
        batching: Batching { max_batch: 1, queue_max: 1, ..Batching::default() },
        plan: FaultPlan::list([Fault::Hang(Hang::Cooperative)]),
        ..Recipe::of(DType::F32, &OPEN)
    };
    let server = Arc::new(Tensors::open(vec![recipe.model("m", 1)]).await);
    let body =
        |parameters: Value| json!({"inputs": [input("FP32", json!({"data": [1, 2]}))], "parameters": parameters});
    let ask = |parameters: Value| {
        let (server, body) = (Arc::clone(&server), body(parameters));
        tokio::spawn(async move { server.post("/v2/models/m/infer", &body).await })
    };
    let first = ask(json!({}));
    let control = recipe.control.clone();
    tokio::task::spawn_blocking(move || control.wait_hanging(1)).await.unwrap();
    let late = ask(json!({"timeout": 1000})).await.unwrap();
    assert_eq!((late.status, late.error().contains("time was over")), (504, true));
    let second = ask(json!({}));
    let waits = async { while metric(&server, "nv_inference_pending_request_count").await != "1" {} };
    tokio::time::timeout(ballast_testkit::PATIENCE, waits).await.unwrap();
    let refused = ask(json!({})).await.unwrap();
    assert_eq!((refused.status, refused.header("x-ballast-reason")), (503, Some("BACKPRESSURE_QUEUE_FULL")));
    recipe.control.release();
    assert_eq!((first.await.unwrap().status, second.await.unwrap().status), (200, 200));
    let items = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}]});
    let many = server.post("/v2/models/m/infer", &items).await;
    assert_eq!((many.status, many.error().contains("1 to 1 items")), (400, true));
}

#[tokio::test]
async fn bodies_that_lie_are_refused() {
    let bound = |options: &mut ballast_server::ServerOptions| options.tensor_body_bytes_max = 10_000;
    let models = vec![Recipe::of(DType::Str, &OPEN).model("texts", 1), Recipe::of(DType::F32, &OPEN).model("m", 1)];
    let server = Tensors::open_with(models, None, bound).await;
    let path = "/v2/models/m/infer";
    let octets = ("content-type", "application/octet-stream");
    let length = |value: &'static str| [octets, ("inference-header-content-length", value)];
    let good = json!({"inputs": [input("FP32", json!({"data": [1, 2]}))]}).to_string();
    for value in ["99999", "-1", "0x10", "18446744073709551616", ""] {
        let answer = server.ask("POST", path, &length(value), good.as_bytes()).await;
        assert_eq!((answer.status, answer.error().contains("inference-header-content-length")), (400, true), "{value}");
    }
    let lies = [
        (json!({"shape": [1, 2], "parameters": {"binary_data_size": 4}}), vec![0; 4]),
        (json!({"shape": [1, 2], "parameters": {"binary_data_size": u64::MAX}}), vec![0; 8]),
        (json!({"shape": [4_000_000_000_u64, 4_000_000_000_u64], "parameters": {"binary_data_size": 8}}), vec![0; 8]),
        (json!({"shape": [1_u64 << 40, 1], "data": [1]}), Vec::new()),
        (json!({"shape": [1, 2], "data": []}), Vec::new()),
    ];
    for (extra, bytes) in lies {
        let answer = server.post_bytes(path, &json!({"inputs": [input("FP32", extra.clone())]}), &bytes).await;
        assert_eq!(answer.status, 400, "{extra}");
    }
    for bytes in [vec![255, 255, 255, 255], vec![1, 0, 0, 0, 65, 255, 255, 255, 127], vec![0; 7], vec![0; 9]] {
        let texts = input("BYTES", json!({"parameters": {"binary_data_size": bytes.len()}}));
        let answer = server.post_bytes("/v2/models/texts/infer", &json!({"inputs": [texts]}), &bytes).await;
        assert_eq!((answer.status, answer.error().contains("inputs[0].data")), (400, true), "{bytes:?}");
    }
    let long = server.ask("POST", path, &[octets], &vec![b' '; 20_000]).await;
    assert_eq!((long.status, long.error().contains("10000 bytes")), (413, true));
    for (encoding, word) in [("gzip", "not well-formed"), ("deflate", "not well-formed"), ("br", "content-encoding")] {
        let packed = [("content-type", "application/json"), ("content-encoding", encoding)];
        let answer = server.ask("POST", path, &packed, good.as_bytes()).await;
        assert_eq!((answer.status, answer.error().contains(word)), (400, true), "{encoding}: {}", answer.error());
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(server.ask("POST", path, &form, good.as_bytes()).await.status, 415);
    let infinite = json!({"inputs": [input("FP32", json!({"parameters": {"binary_data_size": 8}}))]});
    let answer = server.post_bytes(path, &infinite, &[0, 0, 128, 127, 0, 0, 192, 127]).await;
    assert_eq!((answer.status, answer.error().contains("ask for binary_data")), (400, true));
}

/// Packed by gzip.
fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_are_packed_both_ways_where_callers_want_it() {
    let models = vec![Recipe::of(DType::F32, &OPEN).model("m", 1)];
    let server = Tensors::open_with(models, None, |options| options.tensor_body_bytes_max = 10_000).await;
    let path = "/v2/models/m/infer";
    let bytes = [1.0_f32.to_le_bytes(), 2.5_f32.to_le_bytes()].concat();
    let binary = input("FP32", json!({"parameters": {"binary_data_size": bytes.len()}}));
    let sent = json!({"inputs": [binary], "parameters": {"binary_data_output": true}}).to_string().into_bytes();
    let length = sent.len().to_string();
    let body = gzipped(&[&sent[..], &bytes].concat());
    for (accepted, told) in [("gzip", Some("gzip")), ("deflate", Some("deflate")), ("identity", None)] {
        let headers = [
            ("content-type", "application/octet-stream"),
            ("inference-header-content-length", length.as_str()),
            ("content-encoding", "gzip"),
            ("accept-encoding", accepted),
        ];
        let answer = server.ask("POST", path, &headers, &body).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, told), "{:?}", answer.head);
        let mut unpacked = Vec::new();
        match accepted {
            "gzip" => flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut unpacked).unwrap(),
            "deflate" => flate2::read::ZlibDecoder::new(&answer.body[..]).read_to_end(&mut unpacked).unwrap(),
            _ => (&answer.body[..]).read_to_end(&mut unpacked).unwrap(),
        };
        let json_length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
        assert_eq!((&unpacked[json_length..], answer.header("vary")), (&bytes[..], Some("accept-encoding")));
    }
    // A few bytes that would become a thousand times as many.
    let bomb = gzipped(&vec![b' '; 10_001]);
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = server.ask("POST", path, &headers, &bomb).await;
    assert_eq!((bomb.len() < 100, answer.status, answer.error().contains("10000 bytes")), (true, 413, true));
    let whole = gzipped(br#"{"inputs": []}"#);
    assert_eq!(server.ask("POST", path, &headers, &whole[..whole.len() - 1]).await.status, 400);
}

#[tokio::test]
async fn a_body_may_be_one_tensor_and_nothing_else() {
    let models = vec![Recipe::of(DType::Str, &[Dim::Any]).model("texts", 1)];
    let server = Tensors::open(models).await;
    let headers = [("content-type", "application/octet-stream"), ("inference-header-content-length", "0")];
    let answer = server.ask("POST", "/v2/models/texts/infer", &headers, b"hello").await;
    assert!(answer.status == 200 && answer.body.ends_with(b"\x05\0\0\0hello"));
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name() {
    let server = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    for (path, what) in [
        ("/v2/systemsharedmemory/status", "shared memory"),
        ("/v2/cudasharedmemory/region/r/register", "shared memory"),
        ("/v2/trace/setting", "trace settings"),
        ("/v2/models/m/trace/setting", "trace settings"),
        ("/v2/logging", "log settings"),
    ] {
        for answer in [server.get(path).await, server.post(path, &json!({})).await] {
            assert_eq!((answer.status, answer.error().contains(what)), (501, true), "{path}");
        }
    }
}

#[tokio::test]
async fn engines_that_fail_are_told_as_such() {
    let recipe = Recipe { plan: FaultPlan::list([Fault::Fail]), ..Recipe::of(DType::F32, &OPEN) };
    let server = Tensors::open(vec![recipe.model("m", 1)]).await;
    let body = json!({"inputs": [input("FP32", json!({"data": [1, 2]}))]});
    let failed = server.post("/v2/models/m/infer", &body).await;
    assert_eq!((failed.status, failed.error().as_str()), (500, "the engine failed while it worked on this request"));
    assert_eq!(server.post("/v2/models/m/infer", &body).await.status, 200);
}

#[tokio::test]
async fn without_language_models_their_routes_say_so() {
    let server = Tensors::open(vec![Recipe::of(DType::F32, &OPEN).model("m", 1)]).await;
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(server.post("/v1/chat/completions", &chat).await.status, 404);
    assert_eq!(server.post("/completion", &json!({"prompt": "a"})).await.status, 404);
    assert_eq!(server.post("/embedding", &json!({"content": "a"})).await.status, 404);
    assert_eq!((server.get("/v1/models").await.status, server.get("/health").await.status), (200, 200));
    for route in ballast_server::routes().iter().filter(|route| route.method == RouteMethod::Get) {
        let path = crate::routes::path_of(route);
        let answer = server.get(&path).await;
        assert!(answer.status < 500 || answer.status == 501, "{route:?}: {}", answer.status);
    }
}
