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
async fn probabilities_of_the_draw_come_by_their_own_names() {
    let house = House::open(Plan::default()).await;
    let body = complete(&house, json!({"n_probs": 2, "post_sampling_probs": true, "top_k": 1})).await.json();
    let first = &body["completion_probabilities"][0];
    assert_eq!((&first["token"], &first["prob"], &first["logprob"]), (&json!("H"), &json!(1.0), &Value::Null));
    assert_eq!(first["top_probs"].as_array().unwrap().len(), 1, "no other can be drawn");
}

/// What a stream tells of the prompt, and how many of its events have times.
fn told(answer: &Answer) -> (Vec<Value>, usize) {
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let objects: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    let progress = objects.iter().filter_map(|object| object.get("prompt_progress").cloned()).collect();
    (progress, objects.iter().filter(|object| object["timings"]["predicted_n"].is_number()).count())
}

#[tokio::test]
async fn streams_tell_times_and_progress_where_they_are_asked_to() {
    let house = House::open(Plan::default()).await;
    let conversation = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]});
    let wires = [
        ("/completion", json!({"prompt": ASSISTANT_TURN})),
        ("/v1/completions", json!({"model": MODEL, "prompt": ASSISTANT_TURN})),
        ("/v1/chat/completions", conversation),
        ("/responses", json!({"model": MODEL, "input": "hello"})),
    ];
    for (path, body) in wires {
        let ask =
            async |extra: Value| house.post(path, &over(over(body.clone(), json!({"stream": true})), extra)).await;
        let (progress, n_timed) = told(&ask(json!({"timings_per_token": true, "return_progress": true})).await);
        let [first, .., last] = &progress[..] else { panic!("{path}: {progress:?}") };
        assert_eq!(first["processed"], first["cache"], "{path}");
        assert!(first["total"].as_u64() > Some(0) && last["processed"] == last["total"], "{path}: {progress:?}");
        assert!(n_timed >= 9, "{path}: {n_timed}");
        let (progress, n_timed) = told(&ask(json!({})).await);
        assert!(progress.is_empty() && n_timed <= 1, "{path}: {progress:?} {n_timed}");
    }
}

#[tokio::test]
async fn an_answer_goes_on_from_a_last_message_of_the_assistant() {
    let house = House::open(Plan::default()).await;
    let messages = json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hi"}]);
    let prompt = format!("<|im_start|>user\nhello{IM_END}\n{ASSISTANT_TURN}Hi");
    let rendered = house.post("/apply-template", &json!({ "messages": messages })).await.json();
    assert_eq!(rendered["prompt"], prompt);
    let ended =
        house.post("/apply-template", &json!({"messages": messages, "continue_final_message": false})).await.json();
    assert_eq!(ended["prompt"], format!("{prompt}{IM_END}\n{ASSISTANT_TURN}"));
    let told = house.chat(json!({"messages": messages, "verbose": true, "max_tokens": 1})).await.json();
    assert_eq!(told["__verbose"]["prompt"], prompt);
    assert_eq!(told["__verbose"]["generation_settings"]["n_predict"], 1);
    assert_eq!(house.chat(json!({"messages": messages, "max_tokens": 1})).await.json().get("__verbose"), None);
    let both = json!({"messages": messages, "continue_final_message": true, "add_generation_prompt": true});
    let refused = house.chat(both).await;
    assert_eq!((refused.status, refused.error("param").as_str()), (400, "continue_final_message"));
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
async fn what_decided_an_answer_comes_with_it() {
    let house = House::open(Plan::default()).await;
    let body =
        complete(&house, json!({"n_predict": 4, "top_k": 7, "logit_bias": [[5, false], ["h", 1.5]]})).await.json();
    let settings = &body["generation_settings"];
    assert_eq!((&settings["n_predict"], &settings["top_k"], &settings["mirostat"]), (&json!(4), &json!(7), &json!(0)));
    assert_eq!(settings["logit_bias"], json!([{"token": 5, "bias": null}, {"token": 104, "bias": 1.5}]));
    assert_eq!((&body["prompt"], &body["has_new_line"]), (&json!(ASSISTANT_TURN), &json!(false)));
    let by_name = complete(&house, json!({"logit_bias": {"5": -1, "hh": 1}})).await.json();
    let biases = &by_name["generation_settings"]["logit_bias"];
    assert_eq!(*biases, json!([{"token": 5, "bias": -1.0}, {"token": 104, "bias": 1.0}, {"token": 104, "bias": 1.0}]));
    let endless = complete(&house, json!({"ignore_eos": true, "n_predict": 2})).await.json();
    let ends = endless["generation_settings"]["logit_bias"].as_array().unwrap().clone();
    assert!(!ends.is_empty() && ends.iter().all(|entry| entry["bias"].is_null()));
    let fields = json!({"response_fields": ["content", "generation_settings/top_k", "nothing"], "top_k": 3});
    assert_eq!(complete(&house, fields).await.json(), json!({"content": "Hi there!", "generation_settings/top_k": 3}));
}

#[tokio::test]
async fn the_answers_to_a_list_of_prompts_are_a_list() {
    let house = House::open(Plan::default()).await;
    let prompts = json!({"prompt": [ASSISTANT_TURN, {"prompt_string": ASSISTANT_TURN}]});
    let answers = complete(&house, prompts.clone()).await.json();
    let texts: Vec<_> =
        answers.as_array().unwrap().iter().map(|answer| (&answer["index"], &answer["content"])).collect();
    assert_eq!(texts, [(&json!(0), &json!("Hi there!")), (&json!(1), &json!("Hi there!"))]);
    let events = complete(&house, over(prompts, json!({"stream": true}))).await.events();
    for idx in 0..2 {
        let of = |event: &&Event| event.json()["index"] == idx;
        let text: String = events.iter().filter(of).map(|event| event.json()["content"].as_str().unwrap()).collect();
        assert_eq!(text, "Hi there!");
    }
    let streamed = complete(&house, json!({"stream": true})).await.events();
    assert!(streamed[..streamed.len() - 1].iter().all(|event| event.json()["tokens"][0].is_number()));
}

#[tokio::test]
async fn a_full_context_is_told_as_truncated() {
    let house = House::open(Plan { answer: "x", ..Plan::default() }).await;
    let n_ctx = house.get("/props").await.json()["default_generation_settings"]["n_ctx"].as_u64().unwrap();
    let full = complete(&house, json!({"ignore_eos": true})).await.json();
    let n_tokens = full["tokens_evaluated"].as_u64().unwrap() + full["tokens_predicted"].as_u64().unwrap();
    assert_eq!((n_tokens, &full["truncated"], &full["stop_type"]), (n_ctx, &json!(true), &json!("limit")));
    let long = complete(&house, json!({"prompt": "x".repeat(usize::try_from(n_ctx).unwrap())})).await;
    assert_eq!((long.status, long.error("type").as_str()), (400, "exceed_context_size_error"));
    assert_eq!(long.json()["error"]["n_ctx"], n_ctx);
    assert!(long.error("message").contains("exceeds the available context size"));
}

#[tokio::test]
async fn a_gap_is_filled_only_by_models_that_can() {
    let house = House::open(Plan::default()).await;
    let refused = house.post("/infill", &json!({"input_prefix": "a", "input_suffix": "b"})).await;
    assert_eq!((refused.status, refused.error("type").as_str()), (501, "not_supported_error"));
    let wrong = house.post("/infill", &json!({"input_prefix": "a"})).await;
    assert_eq!((wrong.status, wrong.error("param").as_str()), (400, "input_suffix"));
}

#[tokio::test]
async fn what_templates_take_reaches_them() {
    let house = House::open(Plan::default()).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let counted = house.post("/chat/completions/input_tokens", &json!({ "messages": messages })).await.json();
    assert!(counted["input_tokens"].as_u64().unwrap() > 5, "{counted}");
    for (extra, param) in [
        (json!({"tools": 1}), "tools"),
        (json!({"tools": [1]}), "tools"),
        (json!({"chat_template_kwargs": []}), "chat_template_kwargs"),
    ] {
        let refused = house.post("/apply-template", &over(json!({ "messages": messages }), extra)).await;
        assert_eq!((refused.status, refused.error("param").as_str()), (400, param));
    }
    let taken = json!({ "messages": messages, "tools": [], "chat_template_kwargs": {"enable_thinking": false} });
    assert_eq!(house.post("/apply-template", &taken).await.status, 200);
}

#[tokio::test]
async fn any_name_means_the_only_model_where_that_is_wanted() {
    let house = House::open(Plan { options: |o| o.any_model = true, ..Plan::default() }).await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    for path in ["/v1/chat/completions", "/chat/completions"] {
        for model in [json!(null), json!("gpt-3.5-turbo")] {
            let answer = house.post(path, &json!({ "messages": messages, "model": model, "max_tokens": 3 })).await;
            assert_eq!((answer.status, &answer.json()["model"]), (200, &json!(MODEL)), "{path} {model}");
        }
    }
    let strict = House::open(Plan::default()).await;
    assert_eq!(strict.post("/chat/completions", &json!({ "messages": messages, "model": "x" })).await.status, 404);
    assert_eq!(strict.post("/chat/completions", &json!({ "messages": messages })).await.error("param"), "model");
    let several = House::open(Plan { other: Some("no"), options: |o| o.any_model = true, ..Plan::default() }).await;
    assert_eq!(several.post("/chat/completions", &json!({ "messages": messages, "model": "x" })).await.status, 404);
}

#[tokio::test]
async fn what_a_request_does_not_say_the_server_was_told() {
    let plan = || Plan {
        options: |o| {
            o.sampling.seed = Some(11);
            o.sampling.temperature = 0.5;
        },
        ..Plan::default()
    };
    let house = House::open(plan()).await;
    let told =
        house.post("/completion", &json!({"prompt": ASSISTANT_TURN})).await.json()["generation_settings"].clone();
    assert_eq!((&told["seed"], &told["temperature"]), (&json!(11), &json!(0.5)));
    let said = complete(&house, json!({"seed": 3})).await.json()["generation_settings"].clone();
    assert_eq!((&said["seed"], &said["temperature"]), (&json!(3), &json!(0.0)));
    let random = complete(&house, json!({"seed": -1})).await.json()["generation_settings"].clone();
    assert_eq!(random["seed"], -1);
    assert_eq!(house.get("/props").await.json()["default_generation_settings"]["params"]["seed"], 11);
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
