//! Text completions: prompts of every kind, several answers, log probabilities, streams.

use crate::client::{Answer, Event};
use crate::house::{House, MODEL, Plan, over};
use ballast_testkit::ASSISTANT_TURN;
use serde_json::{Value, json};

/// Asks for the answer to what a chat template would write, with `extra` over it.
async fn complete(house: &House, extra: Value) -> Answer {
    let body = json!({"model": MODEL, "prompt": ASSISTANT_TURN, "temperature": 0, "max_tokens": 100});
    house.post("/v1/completions", &over(body, extra)).await
}

#[tokio::test]
async fn a_completion_has_openais_shape() {
    let house = House::open(Plan::default()).await;
    let answer = complete(&house, json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("text_completion"), &json!(MODEL)));
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-"));
    let expected = json!({"index": 0, "text": "Hi there!", "logprobs": null, "finish_reason": "stop"});
    assert_eq!(body["choices"], json!([expected]));
    assert_eq!(body["usage"]["completion_tokens"], 10);
    let refused = complete(&house, json!({"model": "other"})).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn every_prompt_has_as_many_answers_as_were_asked_for() {
    let house = House::open(Plan::default()).await;
    let prompts = json!([ASSISTANT_TURN, format!("x{ASSISTANT_TURN}")]);
    let body = complete(&house, json!({"prompt": prompts, "n": 2, "max_tokens": 2})).await.json();
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(choices.iter().all(|choice| choice["text"] == "Hi" && choice["finish_reason"] == "length"), "{body}");
    let one = |prompt: Value| json!({"prompt": prompt, "max_tokens": 2});
    let mut prompt_tokens = 0;
    for prompt in prompts.as_array().unwrap() {
        let body = complete(&house, one(prompt.clone())).await.json();
        prompt_tokens += body["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    let usage = &body["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(prompt_tokens), &json!(8)));
}

#[tokio::test]
async fn tokens_are_a_prompt_as_they_are() {
    let house = House::open(Plan::default()).await;
    let format = ballast_testkit::tiny_prompt_format();
    let tokens: Vec<u32> = ballast_testkit::tokens_of(format.tokenizer(), ASSISTANT_TURN).iter().map(|t| t.0).collect();
    assert_eq!(complete(&house, json!({ "prompt": tokens })).await.json()["choices"][0]["text"], "Hi there!");
    let unknown = complete(&house, json!({"prompt": [4_000_000_000_u32]})).await;
    assert_eq!((unknown.status, unknown.error("param").as_str()), (400, "prompt"));
}

#[tokio::test]
async fn the_prompt_is_echoed_on_wish() {
    let house = House::open(Plan::default()).await;
    let echoed = complete(&house, json!({"prompt": format!("ab{ASSISTANT_TURN}"), "echo": true})).await.json();
    assert_eq!(echoed["choices"][0]["text"], "abassistant\nHi there!");
    let answer = complete(&house, json!({"prompt": format!("ab{ASSISTANT_TURN}"), "echo": true, "stream": true})).await;
    assert_eq!(text(&answer.events(), 0), "abassistant\nHi there!");
}

#[tokio::test]
async fn log_probabilities_have_tokens_and_offsets() {
    let house = House::open(Plan::default()).await;
    let whole = complete(&house, json!({"logprobs": 2, "max_tokens": 3})).await.json();
    let logprobs = &whole["choices"][0]["logprobs"];
    assert_eq!((&logprobs["tokens"], &logprobs["text_offset"]), (&json!(["H", "i", " "]), &json!([0, 1, 2])));
    assert_eq!(logprobs["token_logprobs"].as_array().unwrap().len(), 3);
    assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 2);
    let answer = complete(&house, json!({"logprobs": 2, "max_tokens": 3, "stream": true})).await;
    let of = |event: &Event| {
        if let Event::Json(chunk) = event { chunk["choices"][0]["logprobs"].clone() } else { Value::Null }
    };
    let offsets: Vec<Value> =
        answer.events().iter().map(of).flat_map(|l| l["text_offset"].as_array().cloned().unwrap_or_default()).collect();
    assert_eq!(json!(offsets), logprobs["text_offset"]);
}

#[tokio::test]
async fn streams_carry_every_answer_under_its_index() {
    let house = House::open(Plan::default()).await;
    let extra = json!({"n": 3, "stream": true, "stream_options": {"include_usage": true}});
    let answer = complete(&house, extra).await;
    let events = answer.events();
    (0..3).for_each(|idx| assert_eq!(text(&events, idx), "Hi there!"));
    let [.., usage, Event::Done] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&usage.json()["choices"], &usage.json()["usage"]["completion_tokens"]), (&json!([]), &json!(30)));
}

/// The text of one choice.
fn text(events: &[Event], idx: usize) -> String {
    let chunk = |event: &Event| match event {
        Event::Json(chunk) if chunk["choices"][0]["index"] == idx => {
            chunk["choices"][0]["text"].as_str().map(str::to_owned)
        }
        Event::Json(_) | Event::Done => None,
    };
    events.iter().filter_map(chunk).collect()
}
