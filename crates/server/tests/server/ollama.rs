//! Chat and generate line by line and whole, and what is told of the model.

use crate::client::Answer;
use crate::house::{House, MODEL, Plan, over};
use ballast_testkit::ASSISTANT_TURN;
use serde_json::{Value, json};

async fn chat(house: &House, extra: Value) -> Answer {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": MODEL, "messages": messages, "options": {"temperature": 0}});
    house.post("/api/chat", &over(body, extra)).await
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.body.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[tokio::test]
async fn a_chat_comes_line_by_line_unless_it_is_to_come_whole() {
    let house = House::open(Plan::default()).await;
    let answer = chat(&house, json!({})).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let lines = lines(&answer);
    let text: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, "Hi there!");
    let (last, before) = lines.split_last().unwrap();
    assert!(before.iter().all(|line| line["done"] == false && line["message"]["role"] == "assistant"));
    assert_eq!((&last["done"], &last["done_reason"], &last["eval_count"]), (&json!(true), &json!("stop"), &json!(10)));
    assert_eq!((&last["model"], &last["created_at"]), (&json!(MODEL), &json!("2023-11-14T22:13:20Z")));
    let whole = chat(&house, json!({"stream": false})).await.json();
    assert_eq!(whole["message"], json!({"role": "assistant", "content": "Hi there!"}));
    assert_eq!(whole["prompt_eval_count"], last["prompt_eval_count"]);
}

#[tokio::test]
async fn a_prompt_is_a_message_or_raw_text() {
    let house = House::open(Plan::default()).await;
    let generate = async |extra: Value| {
        let body = json!({"model": MODEL, "prompt": "hello", "stream": false, "options": {"temperature": 0}});
        house.post("/api/generate", &over(body, extra)).await.json()
    };
    let chatted = chat(&house, json!({"stream": false})).await.json();
    let generated = generate(json!({})).await;
    assert_eq!(generated["response"], "Hi there!");
    assert_eq!(generated["prompt_eval_count"], chatted["prompt_eval_count"], "it is the same prompt");
    let raw = generate(json!({"prompt": ASSISTANT_TURN, "raw": true})).await;
    assert_eq!(raw["response"], "Hi there!");
    let loaded = generate(json!({"prompt": ""})).await;
    assert_eq!((&loaded["done"], &loaded["done_reason"]), (&json!(true), &json!("load")));
}

#[tokio::test]
async fn bounds_end_an_answer() {
    let house = House::open(Plan::default()).await;
    let of = async |options: Value| chat(&house, json!({"stream": false, "options": options})).await;
    let cut = of(json!({"temperature": 0, "num_predict": 2})).await.json();
    assert_eq!((&cut["message"]["content"], &cut["done_reason"]), (&json!("Hi"), &json!("length")));
    let n_prompt = cut["prompt_eval_count"].as_u64().unwrap();
    let full = of(json!({"temperature": 0, "num_ctx": n_prompt + 3})).await.json();
    assert_eq!((&full["message"]["content"], &full["done_reason"]), (&json!("Hi "), &json!("length")));
    let too_long = of(json!({"num_ctx": n_prompt})).await;
    assert_eq!((too_long.status, too_long.header("x-ballast-reason")), (400, Some("CONTEXT_LENGTH_EXCEEDED")));
    let too_much = of(json!({"num_ctx": 1 << 30})).await;
    assert!(too_much.body.contains("options.num_ctx"), "{}", too_much.body);
}

#[tokio::test]
async fn the_model_is_told_of() {
    let house = House::open(Plan::default()).await;
    let tags = house.get("/api/tags").await.json();
    let model = &tags["models"][0];
    assert_eq!((&model["name"], &model["model"]), (&json!(MODEL), &json!(MODEL)));
    assert_eq!((&model["details"]["family"], &model["details"]["parameter_size"]), (&json!("llama"), &json!("1.50K")));
    assert_eq!(house.get("/api/ps").await.json()["models"][0]["name"], MODEL);
    assert!(house.get("/api/version").await.json()["version"].is_string());
    let shown = house.post("/api/show", &json!({ "model": MODEL })).await.json();
    assert_eq!((&shown["details"], &shown["capabilities"]), (&model["details"], &json!(["completion"])));
    let other = house.post("/api/show", &json!({"model": "other"})).await;
    assert_eq!(other.status, 404);
    assert!(other.json()["error"].as_str().unwrap().contains(MODEL));
}
