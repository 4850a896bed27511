//! Several models by name on one port.

use crate::house::{ALIAS, House, MODEL, OTHER, Plan, over};
use serde_json::{Value, json};

fn two() -> Plan {
    Plan { other: Some("Second."), ..Plan::default() }
}

/// What `path` answers when it is asked for `model`, and where in the answer its words are.
async fn said(house: &House, (path, at): (&str, &str), model: &str) -> String {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": model, "temperature": 0, "messages": messages, "max_tokens": 64});
    let body = match path {
        "/v1/completions" => json!({"model": model, "prompt": "x<|im_start|>assistant\n", "temperature": 0}),
        "/api/chat" => json!({"model": model, "messages": messages, "stream": false, "options": {"temperature": 0}}),
        "/completion" => json!({"model": model, "prompt": "x<|im_start|>assistant\n", "temperature": 0}),
        _ => body,
    };
    let answer = house.post(path, &body).await;
    let text = answer.json().pointer(at).and_then(Value::as_str).map(str::to_owned);
    text.unwrap_or_else(|| panic!("{path}: {}", answer.body))
}

#[tokio::test]
async fn every_wire_asks_the_model_that_is_named() {
    let house = House::open(two()).await;
    let wires = [
        ("/v1/chat/completions", "/choices/0/message/content"),
        ("/v1/completions", "/choices/0/text"),
        ("/v1/messages", "/content/0/text"),
        ("/api/chat", "/message/content"),
        ("/completion", "/content"),
    ];
    for wire in wires {
        assert_eq!(said(&house, wire, MODEL).await, "Hi there!", "{wire:?}");
        assert_eq!(said(&house, wire, ALIAS).await, "Hi there!", "{wire:?}");
        assert_eq!(said(&house, wire, OTHER).await, "Second.", "{wire:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_not_served_is_a_404_that_lists_those_that_are() {
    let house = House::open(two()).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat", "/completion", "/tokenize", "/api/show"] {
        let body = json!({"model": "none"});
        let body = match path {
            "/completion" => over(body, json!({"prompt": "x"})),
            "/tokenize" => over(body, json!({"content": "x"})),
            "/api/show" => body,
            _ => over(body, json!({"messages": messages, "max_tokens": 9})),
        };
        let body = if path == "/api/chat" { json!({"model": "none", "messages": messages}) } else { body };
        let answer = house.post(path, &body).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(answer.body.contains(MODEL) && answer.body.contains(OTHER), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn all_models_are_listed_and_measured() {
    let house = House::open(two()).await;
    let names = |list: &Value, at: &str, name: &str| -> Vec<String> {
        let list = list.pointer(at).and_then(Value::as_array).expect("a list").clone();
        list.iter().map(|model| model[name].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&house.get("/v1/models").await.json(), "/data", "id"), [MODEL, OTHER]);
    assert_eq!(names(&house.get("/api/tags").await.json(), "/models", "name"), [MODEL, ALIAS, OTHER]);
    assert_eq!(names(&house.get("/api/ps").await.json(), "/models", "name"), [MODEL, OTHER]);
    assert_eq!(house.get("/props").await.json()["model_alias"], MODEL, "the first, where none is named");
    assert_eq!(house.get("/props?model=other").await.json()["model_alias"], OTHER);
    said(&house, ("/v1/completions", "/choices/0/text"), OTHER).await;
    let metrics = house.get("/metrics").await.body;
    for (model, n) in [(MODEL, 0), (OTHER, 1)] {
        let line = format!("ballast_requests_admitted_total{{model_name=\"{model}\",engine=\"0\"}} {n}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    let types = metrics.lines().filter(|line| line.starts_with("# TYPE vllm:num_requests_running "));
    assert_eq!(types.count(), 1, "a metric is told once, whatever has it");
}

#[tokio::test]
async fn where_there_is_one_model_clients_of_llama_cpp_may_call_it_anything() {
    let house = House::open(Plan::default()).await;
    let tokens = house.post("/tokenize", &json!({"content": "x", "model": "gpt-3.5-turbo"})).await;
    assert_eq!(tokens.status, 200, "{}", tokens.body);
}
