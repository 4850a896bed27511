//! The routes of llama.cpp's server: completion, tokens and text, templates, properties.

use crate::client::{Answer, Event};
use crate::house::{House, MODEL, Plan, over};
use ballast_testkit::{ASSISTANT_TURN, CHATML, IM_END};
use serde_json::{Value, json};

async fn complete(house: &House, extra: Value) -> Answer {
    house.post("/completion", &over(json!({"prompt": ASSISTANT_TURN, "temperature": 0}), extra)).await
}

#[tokio::test]
async fn a_completion_has_llamacpps_shape() {
    let house = House::open(Plan::default()).await;
    let body = complete(&house, json!({"return_tokens": true, "n_probs": 2})).await.json();
    assert_eq!(
        (&body["content"], &body["stop"], &body["stop_type"]),
        (&json!("Hi there!"), &json!(true), &json!("eos"))
    );
    assert_eq!(
        (&body["tokens_predicted"], &body["truncated"], &body["model"]),
        (&json!(10), &json!(false), &json!(MODEL))
    );
    assert_eq!(body["tokens"].as_array().unwrap().len(), 9, "the end is not part of the answer");
    let first = &body["completion_probabilities"][0];
    assert_eq!((&first["token"], first["top_logprobs"].as_array().unwrap().len()), (&json!("H"), 2));
    assert!(body["timings"]["predicted_ms"].is_number());
}

#[tokio::test]
async fn why_a_completion_ended_is_told() {
    let house = House::open(Plan { answer: "one two three", ..Plan::default() }).await;
    let cases = [
        (json!({"n_predict": 5}), "one t", "limit", ""),
        (json!({"stop": ["zzz", " th"]}), "one two", "word", " th"),
        (json!({"n_predict": -1}), "one two three", "eos", ""),
    ];
    for (extra, text, kind, word) in cases {
        let body = complete(&house, extra.clone()).await.json();
        let told = (&body["content"], &body["stop_type"], &body["stopping_word"]);
        assert_eq!(told, (&json!(text), &json!(kind), &json!(word)), "{extra}");
        let events = complete(&house, over(extra.clone(), json!({"stream": true}))).await.events();
        let streamed: String = events.iter().map(|event| event.json()["content"].as_str().unwrap()).collect();
        assert_eq!(streamed, text, "{extra}");
        let (last, before) = events.split_last().map(|(last, before)| (last.json(), before)).unwrap();
        assert!(before.iter().all(|event| event.json()["stop"] == false) && last["stop"] == true);
        assert_eq!((&last["stop_type"], &last["tokens_predicted"]), (&json!(kind), &body["tokens_predicted"]));
        assert!(events.iter().all(|event| matches!(event, Event::Json(_))), "this wire has no [DONE]");
    }
}

#[tokio::test]
async fn text_becomes_tokens_and_tokens_text() {
    let house = House::open(Plan::default()).await;
    let text = format!("h\u{e9}{IM_END}");
    let tokens = house.post("/tokenize", &json!({ "content": text })).await.json()["tokens"].clone();
    assert_eq!(tokens.as_array().unwrap().len(), 4, "three bytes and a control token");
    assert_eq!(house.post("/detokenize", &json!({ "tokens": tokens })).await.json()["content"], text);
    let as_text = json!({"content": IM_END, "parse_special": false, "with_pieces": true});
    let pieces = house.post("/tokenize", &as_text).await.json()["tokens"].clone();
    assert_eq!((pieces.as_array().unwrap().len(), &pieces[0]["piece"]), (IM_END.len(), &json!("<")));
    let half = house.post("/tokenize", &json!({"content": "\u{e9}", "with_pieces": true})).await.json();
    assert_eq!(half["tokens"][0]["piece"], json!([0xc3]), "half a character is its bytes");
    for wrong in [json!({}), json!({"tokens": 1}), json!({"tokens": [-1]}), json!({"tokens": [4_000_000_000_u32]})] {
        let refused = house.post("/detokenize", &wrong).await;
        assert_eq!((refused.status, refused.error("param").as_str()), (400, "tokens"), "{wrong}");
    }
}

#[tokio::test]
async fn a_conversation_becomes_its_prompt() {
    let house = House::open(Plan::default()).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let prompt = house.post("/apply-template", &json!({ "messages": messages })).await.json();
    assert_eq!(prompt["prompt"], format!("<|im_start|>user\nhello{IM_END}\n{ASSISTANT_TURN}"));
    let props = house.get("/props").await.json();
    assert_eq!((&props["chat_template"], &props["model_alias"]), (&json!(CHATML), &json!(MODEL)));
    assert!(props["default_generation_settings"]["n_ctx"].as_u64().unwrap() > 0 && props["total_slots"].is_number());
}

#[tokio::test]
async fn life_and_readiness_are_told_to_anybody() {
    let mut house = House::open(Plan {
        script: |mut s| {
            s.held = true;
            s
        },
        ..Plan::default()
    })
    .await;
    let of = async |house: &House, path: &str| {
        let answer = crate::client::exchange(house.address, &crate::client::request("GET", path, &[], "")).await;
        (answer.status, answer.json())
    };
    for path in ["/health/live", "/health/ready", "/healthz", "/livez", "/readyz"] {
        assert_eq!(of(&house, path).await, (200, json!({"status": "ok"})), "{path}");
    }
    house.shut_down();
}
