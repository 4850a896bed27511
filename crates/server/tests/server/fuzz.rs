//! Whatever comes over the socket: an answer or the end of the connection, never a panic, never a silence.
//!
//! ```text
//! bytes      requests of every route, broken anywhere       nothing_that_comes_over_the_socket_..
//! JSON       bodies that are good, with parts replaced      no_body_of_any_route_..
//! HTTP/1     what parsers are known to disagree about       heads_that_parsers_disagree_about_..
//! HTTP/2     its preface, and frames of noise               noise_behind_the_preface_..
//! ```

use crate::client::{exchange, request};
use crate::house::{Hands, House, KEY, MODEL, Plan, bearer, chat_body};
use crate::routes::path_of;
use crate::tensors::Recipe;
use ballast_backend::{DType, Dim, Pooling};
use ballast_server::{Route, RouteMethod, ServedModels, ServedTensors, ServerOptions, TensorHouseOptions, routes};
use ballast_testkit::{PATIENCE, SplitMix, VirtualClock};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Mutations of each good body.
const MUTANTS: usize = 12;

fn impatient(o: &mut ServerOptions) {
    // Long enough for a machine that is busy; what is cut off says that no more will come.
    o.header_timeout = Duration::from_secs(5);
    o.body_timeout = Duration::from_secs(5);
    o.idle_timeout = Duration::from_secs(5);
    o.body_bytes_max = 10_000;
    o.tensor_body_bytes_max = 10_000;
    o.failed_logins_per_minute = None;
    o.slot_dir = Some(std::env::temp_dir().join("ballast-no-such-folder"));
}

/// A server of a model that generates, one that embeds and one that ranks.
async fn house() -> House {
    let plan = Plan { options: impatient, ..Plan::default() };
    let encoders = tokio::task::spawn_blocking(|| {
        [("embedder", Pooling::Mean), ("ranker", Pooling::Rank)].map(|(id, pool)| crate::embeddings::model(id, pool))
    });
    let clock = VirtualClock::new();
    let (model, control) = plan.model(MODEL, plan.answer, &clock);
    let mut kept = vec![model];
    kept.extend(encoders.await.unwrap());
    let models = ServedModels::loaded(kept.clone(), Arc::new(clock.clone())).unwrap();
    let tensors = ServedTensors::new(TensorHouseOptions::default(), Arc::new(clock.clone()), None);
    let shape = [Dim::Any, Dim::Fixed(2)];
    let model = tokio::task::spawn_blocking(move || Recipe::of(DType::F32, &shape).model("x", 1));
    tensors.add(model.await.unwrap()).unwrap();
    House::open_of(plan, |o| o.tensors = Some(tensors), models, Hands { clock, control, kept }).await
}

/// A body that the route takes, for each that takes one.
fn good_body(path: &str) -> Option<Value> {
    let said = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}});
    Some(match path {
        "/v1/chat/completions" | "/chat/completions" => json!({
            "model": MODEL, "messages": said, "stream": true, "stream_options": {"include_usage": true}, "n": 2,
            "max_tokens": 3, "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "logit_bias": {"5": 1.5}, "seed": 1,
            "logprobs": true, "top_logprobs": 2, "user": "u", "tools": [tool], "tool_choice": "auto",
            "timeout": 20, "priority": 3,
        }),
        "/v1/chat/completions/input_tokens" | "/chat/completions/input_tokens" => {
            json!({"model": MODEL, "messages": said, "tools": [tool]})
        }
        "/v1/completions" => json!({
            "model": MODEL, "prompt": ["<|im_start|>assistant\n"], "max_tokens": 3, "logprobs": 2, "user": "u",
        }),
        "/v1/responses" | "/responses" => json!({
            "model": MODEL, "input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
            "instructions": "Be brief.", "max_output_tokens": 20, "metadata": {"a": "b"}, "store": true,
            "text": {"format": {"type": "json_schema", "name": "s", "schema": schema}},
        }),
        "/v1/responses/{id}/cancel" => json!({}),
        "/v1/messages" => json!({
            "model": MODEL, "max_tokens": 3, "system": "Be brief.", "stream": true, "stop_sequences": ["x"],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}], "metadata": {"user_id": "u"},
            "tools": [{"name": "f", "description": "d", "input_schema": schema}], "tool_choice": {"type": "auto"},
        }),
        "/v1/messages/count_tokens" => json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}),
        "/completion" | "/completions" => json!({
            "prompt": "<|im_start|>assistant\n", "n_predict": 3, "json_schema": schema, "id_slot": -1, "n_probs": 2,
            "cache_prompt": true, "stop": ["x"], "logit_bias": [[5, false]],
        }),
        "/infill" => json!({"input_prefix": "a", "input_suffix": "b", "input_extra": [{"filename": "f", "text": "t"}]}),
        "/slots/{id_slot}" => json!({"filename": "name"}),
        "/tokenize" => json!({"content": "hello", "add_special": true, "with_pieces": true}),
        "/detokenize" => json!({"tokens": [104, 105]}),
        "/apply-template" => json!({"messages": said}),
        "/api/chat" => json!({
            "model": MODEL, "messages": said, "options": {"temperature": 0, "num_predict": 3, "stop": ["x"]},
            "keep_alive": "5m", "tools": [tool],
        }),
        "/api/generate" => json!({"model": MODEL, "prompt": "hello", "options": {"num_predict": 3}, "format": schema}),
        "/api/show" => json!({"model": MODEL}),
        "/api/pull" => json!({"model": "hf:a/b", "insecure": false, "stream": true}),
        "/api/copy" => json!({"source": MODEL, "destination": "x"}),
        "/models/load" | "/models/unload" => json!({"model": "embedder"}),
        "/v1/embeddings" => json!({"model": "embedder", "input": ["a", "cat"], "dimensions": 2, "user": "u"}),
        "/embedding" | "/embeddings" => json!({"model": "embedder", "content": ["a", "cat"], "embd_normalize": 2}),
        "/api/embed" => json!({"model": "embedder", "input": ["a"], "truncate": true, "options": {}}),
        "/api/embeddings" => json!({"model": "embedder", "prompt": "a", "keep_alive": "5m"}),
        "/v1/rerank" | "/v2/rerank" | "/rerank" => {
            json!({"model": "ranker", "query": "a", "documents": ["a", {"text": "cat"}], "top_n": 1})
        }
        "/v2/models/{model}/infer" | "/v2/models/{model}/versions/{version}/infer" => json!({
            "id": "i", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1, 2.5]]}],
            "outputs": [{"name": "y", "parameters": {"classification": 1}}],
            "parameters": {"priority": 1, "timeout": 1_000_000, "binary_data_output": false},
        }),
        "/v2/repository/index" => json!({"ready": true}),
        path if path.starts_with("/v2/") => json!({"parameters": {}}),
        _ => return None,
    })
}

/// Something that a field is not meant to be.
fn odd(random: &mut SplitMix) -> Value {
    let odds = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(1e308),
        json!(-0.0),
        json!(0.5),
        json!(""),
        json!("\u{0}\u{ffff}\u{1f600}"),
        json!("x".repeat(3000)),
        json!([]),
        json!({}),
        json!([[[[[[]]]]]]),
        json!({"type": {"type": {"type": "object"}}}),
        json!(vec![0; 500]),
        json!([null, "a", 1, {}]),
        json!({"$ref": "#", "": "", "\u{0}": null}),
    ];
    odds[usize::from(random.next_u8()) % odds.len()].clone()
}

/// The places of a value and of everything in it.
fn places(value: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, value) in inner {
        places.extend(places_below(&name, value));
    }
    places
}

fn places_below(name: &str, value: &Value) -> Vec<String> {
    places(value).into_iter().map(|place| format!("/{name}{place}")).collect()
}

/// The body with one part replaced, left out, doubled or under another name.
fn mutated(good: &Value, random: &mut SplitMix) -> String {
    let mut body = good.clone();
    for _ in 0..=random.next_u8() % 2 {
        let all = places(&body);
        let at = usize::from(random.next_u8()) * 256 + usize::from(random.next_u8());
        let place = body.pointer_mut(&all[at % all.len()]).expect("it is there");
        match (random.next_u8() % 5, &mut *place) {
            (0, Value::Object(fields)) if !fields.is_empty() => {
                let name = fields.keys().nth(usize::from(random.next_u8()) % fields.len()).cloned();
                name.into_iter().for_each(|name| drop(fields.remove(&name)));
            }
            (1, Value::Object(fields)) => drop(fields.insert("not_a_field".to_owned(), odd(random))),
            (0 | 1, Value::Array(items)) => items.extend(items.clone()),
            (2, Value::String(text)) => *text = format!("{text}\"{text}\\"),
            (3, Value::Number(number)) => *place = json!(number.as_f64().unwrap_or(0.0) * -1e6),
            _ => *place = odd(random),
        }
    }
    let text = body.to_string();
    match random.next_u8() % 8 {
        0 => text.replacen('{', "{\"model\":\"m\",\"model\":\"m\",", 1),
        1 => text[..text.floor_char_boundary(text.len() / 2)].to_owned(),
        _ => text,
    }
}

/// Sends `bytes` and reads to the end.
async fn answered(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    exchanged(address, bytes, false).await
}

/// The same, saying that no more will come: to a server, that is a client that leaves.
async fn answered_or_left(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    exchanged(address, bytes, true).await
}

async fn exchanged(address: SocketAddr, bytes: &[u8], leaves: bool) -> Vec<u8> {
    let exchanged = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        // The server may hang up before all has been sent.
        drop(socket.write_all(bytes).await);
        if leaves {
            drop(socket.shutdown().await);
        }
        drop(socket.read_to_end(&mut answer).await);
        answer
    };
    tokio::time::timeout(PATIENCE, exchanged).await.expect("the connection ends")
}

fn status_of(answer: &[u8]) -> Option<u16> {
    answer.starts_with(b"HTTP/1.").then(|| String::from_utf8_lossy(&answer[9..12]).parse().expect("a status"))
}

/// Nothing is at work, and the server answers.
async fn is_well(house: &House) {
    house.wait_health(0, 0).await;
    assert_eq!(house.chat(json!({})).await.status, 200);
}

/// The requests of a route that takes a body: the method and path that it needs.
fn ask(route: &Route, body: &str) -> Vec<u8> {
    let path = path_of(route).replace("/slots/x", "/slots/0?action=save");
    let key = bearer(KEY);
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    request(route.method.as_str(), &path, &headers, body).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_body_of_any_route_is_more_than_refused() {
    let house = house().await;
    let taking = routes().iter().filter(|route| route.method == RouteMethod::Post);
    for (seed, route) in (1..).zip(taking) {
        let good = good_body(route.path).unwrap_or_else(|| panic!("{route:?}: a body for it is to stand above"));
        let mut random = SplitMix::new(seed);
        let bodies = (0..MUTANTS).map(|_| mutated(&good, &mut random));
        for body in [good.to_string()].into_iter().chain(bodies) {
            let answer = answered(house.address, &ask(route, &body)).await;
            let head = String::from_utf8_lossy(&answer);
            let status = status_of(&answer).unwrap_or_else(|| panic!("{route:?}: no answer to {body}: {head}"));
            // What is not done is said so; what is being loaded is asked for again.
            let is_told = status < 500 || [501, 503].contains(&status);
            assert!(is_told && !head.contains("server_error"), "{route:?}: {head} to {body}");
            if status >= 400 {
                let said = head.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
                assert!(serde_json::from_str::<Value>(said).is_ok(), "{route:?}: {said} to {body}");
            }
        }
    }
    is_well(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_that_mutants_are_made_of_is_taken() {
    let house = house().await;
    for route in routes().iter().filter(|route| route.method == RouteMethod::Post) {
        let good = good_body(route.path).unwrap_or_else(|| panic!("{route:?}: a body for it is to stand above"));
        // The model of the test has no words for the middle, there is no such response, no folder of slots, and no stock.
        let refused = ["/infill", "/v1/responses/{id}/cancel", "/slots/{id_slot}", "/api/pull", "/api/copy"];
        // Nor is there a version of the name of a path's part, a stock of tensor models, or what is never served.
        let of_tensors =
            route.path.starts_with("/v2/") && !["/v2/rerank", "/v2/repository/index"].contains(&route.path);
        let refused = refused.contains(&route.path) || (of_tensors && route.path != "/v2/models/{model}/infer");
        let answer = answered(house.address, &ask(route, &good.to_string())).await;
        let head = String::from_utf8_lossy(&answer);
        assert_eq!(status_of(&answer).is_some_and(|status| status < 300), !refused, "{route:?}: {head}");
    }
}

/// A request to some route, whole.
fn whole(seed: &mut SplitMix) -> Vec<u8> {
    let pick = |random: u8, n: usize| usize::from(random) % n;
    let route = &routes()[pick(seed.next_u8(), routes().len())];
    let bodies = [
        String::new(),
        "[".repeat(5000),
        chat_body(json!({"stream": true, "n": 2, "max_tokens": 3})),
        good_body(route.path).unwrap_or_default().to_string(),
    ];
    let body = &bodies[pick(seed.next_u8(), bodies.len())];
    let methods = [route.method.as_str(), route.method.as_str(), "HEAD", "OPTIONS", "PUT", "\u{7f}"];
    let key = bearer(KEY);
    let keys = ["", key.as_str(), key.as_str(), "Bearer", "Bearer a.b.c", "\t"];
    let (method, key) = (methods[pick(seed.next_u8(), methods.len())], keys[pick(seed.next_u8(), keys.len())]);
    let headers = [("authorization", key), ("content-type", "application/json"), ("traceparent", "00-0-0-0")];
    request(method, &path_of(route), &headers, body).into_bytes()
}

#[test]
fn nothing_that_comes_over_the_socket_ends_or_hangs_the_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let house = runtime.block_on(house());
    let cases = ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(cases, |(seed in any::<u64>(), breaks in 0_usize..6, noise in prop::collection::vec(any::<u8>(), 0..300))| {
        let mut random = SplitMix::new(seed);
        let mut bytes = whole(&mut random);
        for _ in 0..breaks {
            let at = (usize::from(random.next_u8()) * 256 + usize::from(random.next_u8())) % bytes.len();
            match random.next_u8() % 4 {
                0 => bytes[at] = random.next_u8(),
                1 => bytes.insert(at, b"\r\n :{}\"\0"[usize::from(random.next_u8() % 8)]),
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.splice(at..at, noise.iter().copied())),
            }
        }
        let answer = runtime.block_on(answered_or_left(house.address, &bytes));
        if !answer.is_empty() {
            let status = status_of(&answer).expect("a status");
            let is_told = status < 500 || [501, 503].contains(&status);
            prop_assert!(is_told, "{} to {:?}", String::from_utf8_lossy(&answer), String::from_utf8_lossy(&bytes));
        }
    });
    for seed in 0..20 {
        let mut random = SplitMix::new(seed);
        let noise: Vec<u8> = (0..2000).map(|_| random.next_u8()).collect();
        runtime.block_on(answered_or_left(house.address, &noise));
    }
    runtime.block_on(is_well(&house));
    assert_eq!(runtime.block_on(exchange(house.address, &request("GET", "/livez", &[], ""))).status, 200);
}

/// Heads from which a proxy and a server may take different requests, and others that are none.
const HEADS: &[&str] = &[
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n{}{}",
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\n",
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ncontent-length: +2\r\n\r\n{}",
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ncontent-length: 0x2\r\n\r\n{}",
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ncontent-length: 99999999999999999999\r\n\r\n{}",
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ntransfer-encoding: gzip\r\n\r\n0\r\n\r\n",
    "POST /tokenize HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "POST /tokenize HTTP/1.0\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /livez HTTP/1.1\r\nhost : t\r\n\r\n",
    "GET /livez HTTP/1.1\r\nhost: t\r\n folded\r\n\r\n",
    "GET /livez HTTP/1.1\r\nhost: t\r\nno colon\r\n\r\n",
    "GET /livez HTTP/1.1\r\nhost: t\r\nx: a\0b\r\n\r\n",
    "GET /livez HTTP/3.0\r\nhost: t\r\n\r\n",
    "GET /livez HTTP/1.1 x\r\nhost: t\r\n\r\n",
    "GET  /livez HTTP/1.1\r\nhost: t\r\n\r\n",
    "GET /li\u{0}vez HTTP/1.1\r\nhost: t\r\n\r\n",
    "GET http:// HTTP/1.1\r\nhost: t\r\n\r\n",
    "GET /livez\r\n\r\n",
    "{\"model\":1}\r\n\r\n",
];

#[tokio::test]
async fn heads_that_parsers_disagree_about_are_refused_or_end_the_connection() {
    let house = house().await;
    for head in HEADS {
        // Were the rest taken for a request of its own, it would be answered.
        let text = format!("{head}GET /livez HTTP/1.1\r\nhost: smuggled\r\nconnection: close\r\n\r\n");
        let answer = String::from_utf8_lossy(&answered(house.address, text.as_bytes()).await).into_owned();
        assert!(!answer.contains(" 200 "), "{answer} to {text:?}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{answer} to {text:?}");
        assert!(answer.is_empty() || answer[9..12].parse::<u16>().is_ok_and(|status| status < 500), "{answer}");
    }
    is_well(&house).await;
}

/// Bodies in pieces, each broken in its own way, to a route that takes bodies.
#[tokio::test]
async fn pieces_of_bodies_that_are_broken_are_refused() {
    let house = house().await;
    let head = format!(
        "POST /tokenize HTTP/1.1\r\nhost: t\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         connection: close\r\n",
        bearer(KEY)
    );
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let good = "12\r\n{\"content\": \"abc\"}\r\n0\r\n\r\n";
    let cases = [
        (format!("{chunked}{good}"), Some(200)),
        (format!("{chunked}12;ext=1\r\n{{\"content\": \"abc\"}}\r\n0\r\ntrailer: x\r\n\r\n"), Some(200)),
        (format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n"), None),
        (format!("{chunked}-1\r\n{{}}\r\n0\r\n\r\n"), None),
        (format!("{chunked}ffffffffffffffff\r\n{{}}\r\n0\r\n\r\n"), None),
        (format!("{chunked}fffffffffffffffff\r\n{{}}\r\n0\r\n\r\n"), None),
        (format!("{chunked}2\r\n{{}}xx0\r\n\r\n"), None),
        (format!("{chunked}2;{}\r\n{{}}\r\n0\r\n\r\n", "e".repeat(100_000)), None),
        (format!("{chunked}{}0\r\n\r\n", "1\r\nx\r\n".repeat(20_000)), Some(413)),
        (format!("{chunked}2\r\n{{"), None),
        ("content-length: 18\r\nexpect: 100-continue\r\n\r\n{\"content\": \"abc\"}".to_owned(), Some(200)),
        ("content-length: 18\r\nexpect: a miracle\r\n\r\n{\"content\": \"abc\"}".to_owned(), Some(200)),
        ("content-length: 40\r\n\r\n{\"content\": \"abc\"}".to_owned(), None),
    ];
    for (rest, expected) in cases {
        let text = format!("{head}{rest}");
        let answer = match expected {
            Some(_) => answered(house.address, text.as_bytes()).await,
            None => answered_or_left(house.address, text.as_bytes()).await,
        };
        let answer = String::from_utf8_lossy(&answer).replacen("HTTP/1.1 100 Continue\r\n\r\n", "", 1);
        let status = status_of(answer.as_bytes());
        match expected {
            Some(expected) => assert_eq!(status, Some(expected), "{answer} to {:?}", &rest[..rest.len().min(120)]),
            None => assert!(status.is_none_or(|status| (400..500).contains(&status)), "{answer} to {rest:?}"),
        }
    }
    is_well(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_behind_the_preface_of_http_2_ends_the_connection() {
    let house = house().await;
    let (preface, settings) = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for seed in 0..60 {
        let mut random = SplitMix::new(seed);
        let mut bytes = [preface.as_slice(), &settings].concat();
        if seed % 7 == 0 {
            bytes.truncate(3 + usize::from(random.next_u8() % 20));
        }
        for _ in 0..random.next_u8() % 12 {
            let n = random.next_u8() % 40;
            let (kind, flags, stream) = (random.next_u8() % 12, random.next_u8(), random.next_u8() % 6);
            bytes.extend([0, 0, n, kind, flags, 0, 0, 0, stream]);
            bytes.extend((0..n).map(|_| random.next_u8()));
        }
        answered_or_left(house.address, &bytes).await;
    }
    is_well(&house).await;
}
