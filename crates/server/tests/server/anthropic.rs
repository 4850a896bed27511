//! Messages: what is answered, in one piece and streamed, what is counted, and what is refused.

use crate::client::Answer;
use crate::house::{House, MODEL, Plan, over};
use ballast_testkit::Script;
use serde_json::{Value, json};

fn body(extra: Value) -> Value {
    let messages = json!([{"role": "user", "content": "hello"}]);
    over(json!({"model": MODEL, "max_tokens": 100, "messages": messages, "temperature": 0}), extra)
}

async fn ask(house: &House, extra: Value) -> Answer {
    house.post("/v1/messages", &body(extra)).await
}

/// The events of a stream: names and data.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    let parse = |event: &str| {
        let (name, data) = event.split_once('\n').expect("a name and data");
        let name = name.strip_prefix("event: ").expect("a name").to_owned();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(data["type"], name);
        (name, data)
    };
    answer.body.split("\n\n").filter(|event| !event.is_empty()).map(parse).collect()
}

#[tokio::test]
async fn a_message_has_anthropics_shape() {
    let house = House::open(Plan::default()).await;
    let answer = ask(&house, json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let message = answer.json();
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&message["type"], &message["role"], &message["model"]),
        (&json!("message"), &json!("assistant"), &json!(MODEL))
    );
    assert_eq!(message["content"], json!([{"type": "text", "text": "Hi there!"}]));
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    assert_eq!(message["usage"]["output_tokens"], 10);
    let counting = json!({"model": MODEL, "messages": body(json!({}))["messages"]});
    let counted = house.post("/v1/messages/count_tokens", &counting).await;
    assert_eq!(counted.json(), json!({"input_tokens": message["usage"]["input_tokens"]}));
}

#[tokio::test]
async fn a_stream_has_the_same_text_in_named_events() {
    let house = House::open(Plan::default()).await;
    let answer = ask(&house, json!({"stream": true})).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events = events(&answer);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let n_deltas = names.iter().filter(|name| **name == "content_block_delta").count();
    let expected = [
        vec!["message_start", "content_block_start"],
        vec!["content_block_delta"; n_deltas],
        vec!["content_block_stop", "message_delta", "message_stop"],
    ];
    assert_eq!(names, expected.concat());
    let text: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(text, "Hi there!");
    let started = &events[0].1["message"];
    assert_eq!((&started["content"], &started["stop_reason"]), (&json!([]), &Value::Null));
    let (_, ended) = &events[events.len() - 2];
    assert_eq!((&ended["delta"]["stop_reason"], &ended["usage"]["output_tokens"]), (&json!("end_turn"), &json!(10)));
    assert_eq!(started["usage"]["input_tokens"], ended["usage"]["input_tokens"]);
}

#[tokio::test]
async fn why_an_answer_ended_is_told() {
    let house = House::open(Plan { answer: "one two three", ..Plan::default() }).await;
    let cases = [
        (json!({"max_tokens": 5}), "one t", "max_tokens", Value::Null),
        (json!({"stop_sequences": ["zzz", " th"]}), "one two", "stop_sequence", json!(" th")),
    ];
    for (extra, text, reason, sequence) in cases {
        let message = ask(&house, extra.clone()).await.json();
        assert_eq!(message["content"][0]["text"], text);
        assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!(reason), &sequence), "{extra}");
        let events = events(&ask(&house, over(extra.clone(), json!({"stream": true}))).await);
        let delta = &events[events.len() - 2].1["delta"];
        assert_eq!((&delta["stop_reason"], &delta["stop_sequence"]), (&json!(reason), &sequence), "{extra}");
    }
}

#[tokio::test]
async fn an_answer_goes_on_from_what_the_assistant_is_given_to_begin_with() {
    let house = House::open(Plan::default()).await;
    let messages = json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hi"}]);
    let counted = async |messages: &Value| {
        let answer = house.post("/v1/messages/count_tokens", &json!({"model": MODEL, "messages": messages})).await;
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let without = counted(&json!([messages[0]])).await;
    assert_eq!(counted(&messages).await, without + 2, "a token for each byte");
}

#[tokio::test]
async fn refusals_and_failures_are_anthropics_too() {
    let house = House::open(Plan::default()).await;
    let unknown = ask(&house, json!({"model": "other"})).await;
    assert_eq!((unknown.status, unknown.error("type").as_str()), (404, "not_found_error"));
    let long = ask(&house, json!({"system": "x".repeat(100_000)})).await;
    assert_eq!((long.status, long.error("type").as_str()), (400, "invalid_request_error"));
    let failing = House::open(Plan { script: |script| Script { fail_at: Some(2), ..script }, ..Plan::default() }).await;
    let failed = ask(&failing, json!({})).await;
    assert_eq!((failed.status, failed.error("type").as_str()), (500, "api_error"));
}

#[tokio::test]
async fn a_server_that_is_too_busy_says_529() {
    let plan = Plan {
        queue_max: 1,
        script: |mut script| {
            script.held = true;
            script.shape.max_batch_sequences = 1;
            script
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let body = body(json!({}));
    let second = async {
        house.wait_health(1, 0).await;
        house.post("/v1/messages", &body).await
    };
    let third = async {
        house.wait_health(1, 1).await;
        let refused = house.post("/v1/messages", &body).await;
        house.control.release();
        refused
    };
    let running = tokio::join!(house.post("/v1/messages", &body), second, third);
    assert_eq!((running.0.status, running.1.status), (200, 200));
    assert_eq!((running.2.status, running.2.error("type").as_str()), (529, "overloaded_error"));
    assert!(running.2.header("retry-after").is_some());
}
