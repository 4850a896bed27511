//! Answers that must look like something, through each wire. The engine wants to say something else.

use crate::client::Event;
use crate::house::{House, MODEL, Plan, over};
use ballast_testkit::ASSISTANT_TURN;
use serde_json::{Value, json};

/// The only value that it allows is what an answer has to be.
fn only(text: &str) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "only", "strict": true, "schema": {"enum": [text]}}})
}

#[tokio::test]
async fn an_answer_is_what_its_schema_allows_whatever_the_model_wants_to_say() {
    let house = House::open(Plan::default()).await;
    let answer = house.chat(json!({"response_format": only("yes")})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let choice = &answer.json()["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("\"yes\""), &json!("stop")));
    let plain = house.chat(json!({"response_format": {"type": "text"}})).await.json();
    assert_eq!(plain["choices"][0]["message"]["content"], "Hi there!");
}

#[tokio::test]
async fn what_the_model_wants_to_say_stands_where_it_is_allowed() {
    let house = House::open(Plan { answer: r#"{"a": [1, true]}"#, ..Plan::default() }).await;
    for extra in [
        json!({"response_format": {"type": "json_object"}}),
        json!({"guided_json": {"required": ["a"]}}),
        json!({"guided_regex": r"\{.*\}"}),
        json!({"structured_outputs": {"grammar": "start: %json {\"type\": \"object\"}"}}),
    ] {
        let body = house.chat(extra.clone()).await.json();
        assert_eq!(body["choices"][0]["message"]["content"], r#"{"a": [1, true]}"#, "{extra}");
    }
}

#[tokio::test]
async fn a_stream_keeps_to_it_as_well() {
    let house = House::open(Plan::default()).await;
    let answer = house.chat(json!({"response_format": only("yes"), "stream": true})).await;
    let text = |event: &Event| match event {
        Event::Json(chunk) => chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned),
        Event::Done => None,
    };
    assert_eq!(answer.events().iter().filter_map(text).collect::<String>(), "\"yes\"");
}

#[tokio::test]
async fn every_wire_has_its_words_for_it() {
    let house = House::open(Plan::default()).await;
    let schema = json!({"enum": ["yes"]});
    let ollama =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "format": schema, "stream": false});
    assert_eq!(house.post("/api/chat", &ollama).await.json()["message"]["content"], "\"yes\"");
    let form = json!({"type": "json_schema", "schema": schema});
    for form in [json!({"output_config": {"format": form}}), json!({"output_format": form})] {
        let messages = json!([{"role": "user", "content": "hello"}]);
        let anthropic = over(json!({"model": MODEL, "max_tokens": 100, "messages": messages}), form);
        assert_eq!(house.post("/v1/messages", &anthropic).await.json()["content"][0]["text"], "\"yes\"");
    }
    let llamacpp = json!({"prompt": ASSISTANT_TURN, "json_schema": schema});
    assert_eq!(house.post("/completion", &llamacpp).await.json()["content"], "\"yes\"");
    let completion = json!({"model": MODEL, "prompt": ASSISTANT_TURN, "response_format": only("yes")});
    assert_eq!(house.post("/v1/completions", &completion).await.json()["choices"][0]["text"], "\"yes\"");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_not_said_to_be_complete() {
    let house = House::open(Plan::default()).await;
    let body = house.chat(json!({"response_format": only("yes"), "max_tokens": 2})).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert!("\"yes\"".starts_with(body["choices"][0]["message"]["content"].as_str().unwrap()));
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused_by_its_name() {
    let house = House::open(Plan::default()).await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}});
    let formats = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let cases = [
        (
            json!({"response_format": formats}),
            "response_format.json_schema.schema.properties.a.uniqueItems",
            "invalid_value",
            "`uniqueItems`",
        ),
        (json!({"guided_regex": "a(?=b)"}), "guided_regex", "invalid_value", "regular expression"),
        (json!({"guided_grammar": "start: x"}), "guided_grammar", "invalid_value", "Lark"),
        (json!({"guided_json": {"type": "string", "enum": [1]}}), "guided_json", "invalid_value", "nsatisfiable"),
    ];
    for (extra, param, code, word) in cases {
        let answer = house.chat(extra.clone()).await;
        assert_eq!(answer.status, 400, "{extra}: {}", answer.body);
        let error = &answer.json()["error"];
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{extra}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert_eq!(house.chat(json!({})).await.status, 200, "the server goes on");
}

#[tokio::test]
async fn a_bias_cannot_override_it_and_one_that_leaves_nothing_is_an_error_with_a_reason() {
    let house = House::open(Plan::default()).await;
    let strong = json!({"response_format": only("yes"), "logit_bias": {"33": 100}, "frequency_penalty": 2});
    assert_eq!(house.chat(strong).await.json()["choices"][0]["message"]["content"], "\"yes\"");
    let answer = house.chat(json!({"guided_regex": "a+", "logit_bias": {"97": -100}})).await;
    assert_eq!(answer.status, 200, "a bias of -100 leaves it possible: {}", answer.body);
}
