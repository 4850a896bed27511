//! Chat completions: what is answered, in one piece and streamed.

use crate::client::Event;
use crate::house::{House, MODEL, Plan};
use serde_json::{Value, json};

#[tokio::test]
async fn an_answer_in_one_piece_has_openais_shape() {
    let house = House::open(Plan::default()).await;
    let answer = house.chat(json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], MODEL);
    assert_eq!(body["system_fingerprint"], "fp");
    assert_eq!(body["created"], 1_700_000_000);
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &body["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "Hi there!", "refusal": null}));
    assert_eq!(
        (&choice["finish_reason"], &choice["index"], &choice["logprobs"]),
        (&json!("stop"), &json!(0), &Value::Null)
    );
    assert_eq!(body["usage"]["completion_tokens"], 10);
    let sum = body["usage"]["prompt_tokens"].as_u64().unwrap() + 10;
    assert_eq!(body["usage"]["total_tokens"], sum);
    assert!(body["timings"]["total_ms"].is_number());
}

#[tokio::test]
async fn a_stream_has_the_same_text_and_ends_in_order() {
    let house = House::open(Plan::default()).await;
    let answer = house.chat(json!({"stream": true, "stream_options": {"include_usage": true}})).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(answer.header("x-request-id").is_some());
    let events = answer.events();
    assert_eq!(events[0].json()["choices"][0]["delta"], json!({"role": "assistant", "content": null, "refusal": null}));
    let deltas: Vec<&str> = events[1..]
        .iter()
        .filter_map(|event| match event {
            Event::Json(chunk) => chunk["choices"][0]["delta"]["content"].as_str(),
            Event::Done => None,
        })
        .collect();
    assert_eq!(deltas.concat(), "Hi there!");
    assert!(deltas.iter().all(|delta| !delta.is_empty()));
    let [.., last, usage, done] = &events[..] else { panic!("{events:?}") };
    assert_eq!(last.json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(last.json()["choices"][0]["delta"], json!({}));
    assert_eq!((&usage.json()["choices"], &usage.json()["usage"]["completion_tokens"]), (&json!([]), &json!(10)));
    assert_eq!(*done, Event::Done);
    let reasons = events.iter().filter(|e| matches!(e, Event::Json(c) if c["choices"][0]["finish_reason"].is_string()));
    assert_eq!(reasons.count(), 1);
    let ids: std::collections::HashSet<_> =
        events[..events.len() - 1].iter().map(|event| event.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert!(!answer.body.contains("id: ") && !answer.body.contains("retry:"));
}

#[tokio::test]
async fn several_answers_come_whole_or_streamed() {
    let house = House::open(Plan::default()).await;
    let whole = house.chat(json!({"n": 3})).await.json();
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    for (idx, choice) in choices.iter().enumerate() {
        assert_eq!((&choice["index"], &choice["message"]["content"]), (&json!(idx), &json!("Hi there!")));
    }
    assert_eq!(whole["usage"]["completion_tokens"], 30);
    let one = house.chat(json!({})).await.json();
    assert_eq!(whole["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"], "the prompt counts once");
    let answer = house.chat(json!({"n": 3, "stream": true})).await;
    for idx in 0..3 {
        let of = |event: &Event| match event {
            Event::Json(chunk) if chunk["choices"][0]["index"] == idx => Some(chunk["choices"][0].clone()),
            Event::Json(_) | Event::Done => None,
        };
        let chunks: Vec<Value> = answer.events().iter().filter_map(of).collect();
        let text: String = chunks.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!((text.as_str(), &chunks[0]["delta"]["role"]), ("Hi there!", &json!("assistant")));
        assert_eq!(chunks.last().unwrap()["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn usage_comes_only_when_asked_for() {
    let house = House::open(Plan::default()).await;
    let answer = house.chat(json!({"stream": true})).await;
    let chunks = answer.events();
    assert!(chunks[..chunks.len() - 1].iter().all(|event| event.json().get("usage").is_none()));
}

#[tokio::test]
async fn bounds_and_stop_strings_end_the_answer() {
    let house = House::open(Plan { answer: "one two three", ..Plan::default() }).await;
    let cases = [
        (json!({"max_tokens": 5}), "one t", "length"),
        (json!({"max_completion_tokens": 3}), "one", "length"),
        (json!({"stop": " th"}), "one two", "stop"),
        (json!({"stop": ["zzz", "tw"]}), "one ", "stop"),
    ];
    for (extra, text, reason) in cases {
        let whole = house.chat(extra.clone()).await.json()["choices"][0].clone();
        assert_eq!((&whole["message"]["content"], &whole["finish_reason"]), (&json!(text), &json!(reason)), "{extra}");
        let mut streamed = extra.clone();
        streamed["stream"] = true.into();
        let answer = house.chat(streamed).await;
        let events = answer.events();
        let chunks =
            || events.iter().filter_map(|e| if let Event::Json(chunk) = e { Some(&chunk["choices"][0]) } else { None });
        let joined: String = chunks().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(joined, text, "{extra}");
        assert_eq!(chunks().filter_map(|choice| choice["finish_reason"].as_str()).collect::<Vec<_>>(), [reason]);
    }
}

#[tokio::test]
async fn the_default_bound_on_tokens_is_the_servers() {
    let house = House::open(Plan { options: |o| o.max_tokens_default = Some(2), ..Plan::default() }).await;
    assert_eq!(house.chat(json!({})).await.json()["choices"][0]["message"]["content"], "Hi");
    assert_eq!(house.chat(json!({"max_tokens": 4})).await.json()["choices"][0]["message"]["content"], "Hi t");
}

#[tokio::test]
async fn logprobs_have_one_entry_for_each_token_of_the_text() {
    let house = House::open(Plan { answer: "ab", ..Plan::default() }).await;
    let extra = json!({"logprobs": true, "top_logprobs": 2});
    let whole = house.chat(extra.clone()).await.json()["choices"][0]["logprobs"]["content"].clone();
    let entries = whole.as_array().unwrap();
    let tokens: Vec<_> = entries.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!(tokens, ["a", "b"]);
    assert_eq!(entries[0]["bytes"], json!([97]));
    assert_eq!(entries[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(entries[0]["top_logprobs"][0]["token"], "a");
    assert!(entries[0]["logprob"].as_f64().unwrap() > -0.01);
    let mut streamed = extra;
    streamed["stream"] = true.into();
    let answer = house.chat(streamed).await;
    let mut gathered = Vec::new();
    for event in answer.events() {
        if let Event::Json(chunk) = event {
            gathered.extend(chunk["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default());
        }
    }
    assert_eq!(Value::from(gathered), whole);
}

#[tokio::test]
async fn a_prompt_over_the_context_is_refused_with_the_counts() {
    let house = House::open(Plan::default()).await;
    let messages = json!([{"role": "user", "content": "x".repeat(600)}]);
    let answer = house.chat(json!({"messages": messages})).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.error("code"), "context_length_exceeded");
    assert_eq!(answer.header("x-ballast-reason"), Some("CONTEXT_LENGTH_EXCEEDED"));
    assert!(answer.error("message").contains("512"), "{}", answer.body);
    assert_eq!(answer.error("param"), "messages");
}

#[tokio::test]
async fn names_of_other_models_and_fields_are_refused() {
    let house = House::open(Plan::default()).await;
    let cases = [
        (json!({"model": "gpt-4"}), 404, "model_not_found", "model"),
        (json!({"tools": [{}]}), 400, "missing_parameter", "tools[0].type"),
        (json!({"made_up": 1}), 400, "unknown_parameter", "made_up"),
        (json!({"stop": ""}), 400, "invalid_value", "stop"),
        (json!({"logit_bias": {"99999": 1}}), 400, "invalid_value", "logit_bias"),
    ];
    for (extra, status, code, param) in cases {
        let answer = house.chat(extra.clone()).await;
        let told = (answer.status, answer.error("code"), answer.error("param"));
        assert_eq!(told, (status, code.to_owned(), param.to_owned()), "{extra}");
        assert_eq!(answer.error("type"), "invalid_request_error");
    }
}

#[tokio::test]
async fn a_failing_engine_is_a_500_that_is_not_to_be_repeated() {
    let plan = || Plan {
        script: |mut s| {
            s.fail_at = Some(3);
            s
        },
        ..Plan::default()
    };
    let house = House::open(plan()).await;
    let answer = house.chat(json!({})).await;
    assert_eq!((answer.status, answer.error("code").as_str()), (500, "engine_failed"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-ballast-reason"), Some("ENGINE_FAILED"));
    let house = House::open(plan()).await;
    let answer = house.chat(json!({"stream": true})).await;
    assert_eq!(answer.status, 200);
    let events = answer.events();
    assert_eq!(events.last().unwrap().json()["error"]["code"], "engine_failed");
    assert!(!events.contains(&Event::Done));
}

#[tokio::test]
async fn a_stopped_engine_shows_in_health_and_refuses() {
    let house = House::open(Plan {
        script: |mut s| {
            s.panic_at = Some(0);
            s
        },
        ..Plan::default()
    })
    .await;
    assert_eq!(house.chat(json!({})).await.status, 500);
    let stopped = async { while house.health().await["status"] != "stopped" {} };
    tokio::time::timeout(ballast_testkit::PATIENCE, stopped).await.unwrap();
    assert_eq!(house.get("/health").await.status, 503);
    let answer = house.chat(json!({})).await;
    assert!(matches!(answer.status, 500 | 503), "{}", answer.body);
    assert_eq!(answer.error("code"), "engine_crashed");
}
