//! Tools on every wire that has them: offered, called, answered; streamed as in one piece; enforced.

use crate::client::{Answer, Event};
use crate::house::{House, MODEL, Plan, over};
use ballast_backend::TokenId;
use ballast_testkit::{ASSISTANT_TURN, Script, tiny_tokenizer, tokens_of};
use ballast_tokens::ShowSpecial;
use serde_json::{Value, json};
use std::sync::Arc;

const LOOK: &str = "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"<\u{e9}}\"}}\n</tool_call>";
const TALK_AND_TWO: &str = "Well.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"<\u{e9}}\"}}\n</tool_call>\n\
    <tool_call>\n{\"name\": \"go\", \"arguments\": {}}\n</tool_call>";

/// A server whose model says this, with room for tools in its context. Where a grammar leaves one way to go on, it goes
/// there in the longest tokens; so that the script does not lag behind, it sees each of their bytes as a token.
pub(crate) async fn house(answer: &'static str) -> House {
    House::open(Plan { answer, script: byte_by_byte, ..Plan::default() }).await
}

/// See [`house`].
pub(crate) fn byte_by_byte(mut script: Script) -> Script {
    script.shape.context_len = 4096;
    script.shape.n_blocks = 1024;
    let tokenizer = tiny_tokenizer();
    let n_cue = tokens_of(&tokenizer, ASSISTANT_TURN).len();
    let next = Arc::clone(&script.next);
    script.next = Arc::new(move |tokens| {
        let cue = tokens.iter().rposition(|&token| tokenizer.is_special(token)).map_or(0, |at| at + n_cue);
        let (prompt, said) = tokens.split_at(cue.min(tokens.len()));
        let bytes = said.iter().flat_map(|&token| tokenizer.token_bytes(token, ShowSpecial::Yes));
        let seen: Vec<TokenId> = prompt.iter().copied().chain(bytes.map(|&byte| TokenId(byte.into()))).collect();
        next(&seen)
    });
    script
}

fn look() -> Value {
    json!({"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]})
}

fn nothing() -> Value {
    json!({"type": "object", "properties": {}, "additionalProperties": false})
}

fn functions() -> Value {
    let function = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "description": "Does.", "parameters": parameters}});
    json!([function("look", look()), function("go", nothing())])
}

fn with_functions(extra: Value) -> Value {
    over(json!({"tools": functions(), "max_tokens": 400}), extra)
}

/// The choice of a whole answer, with identifiers checked and taken out.
fn choice(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut choice = answer.json()["choices"][0].clone();
    for call in choice["message"].get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let id = call.as_object_mut().unwrap().shift_remove("id").unwrap();
        assert!(id.as_str().unwrap().starts_with("call_") && id.as_str().unwrap().len() == 29, "{id}");
    }
    choice
}

/// The same choice put together from a stream, as OpenAI's clients do.
fn gathered(answer: &Answer) -> Value {
    let mut message = json!({"role": null, "content": null, "refusal": null});
    let mut calls: Vec<Value> = Vec::new();
    let mut reason = Value::Null;
    for event in answer.events() {
        let Event::Json(chunk) = event else { continue };
        let delta = &chunk["choices"][0]["delta"];
        if delta["role"].is_string() {
            message["role"] = delta["role"].clone();
        }
        if let Some(text) = delta["content"].as_str() {
            message["content"] = format!("{}{text}", message["content"].as_str().unwrap_or_default()).into();
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let idx = usize::try_from(call["index"].as_u64().expect("an index is a whole number")).unwrap();
            if idx == calls.len() {
                assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
                assert_eq!((&call["type"], &call["function"]["arguments"]), (&json!("function"), &json!("")));
                calls.push(json!({"type": "function", "function": call["function"]}));
            } else {
                assert_eq!(idx, calls.len() - 1, "calls come one after the other");
                assert_eq!(call.as_object().unwrap().keys().collect::<Vec<_>>(), ["index", "function"]);
                let more = call["function"]["arguments"].as_str().unwrap();
                let arguments = calls[idx]["function"]["arguments"].as_str().unwrap().to_owned() + more;
                calls[idx]["function"]["arguments"] = arguments.into();
            }
        }
        assert!(reason.is_null(), "nothing comes after the reason");
        reason = chunk["choices"][0]["finish_reason"].clone();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason})
}

async fn both(house: &House, extra: Value) -> Value {
    let whole = choice(&house.chat(extra.clone()).await);
    let streamed = gathered(&house.chat(over(extra.clone(), json!({"stream": true}))).await);
    assert_eq!(whole, streamed, "{extra}");
    whole
}

fn called(choice: &Value) -> Vec<(String, Value)> {
    let call = |call: &Value| {
        let arguments = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).expect("JSON");
        (call["function"]["name"].as_str().unwrap().to_owned(), arguments)
    };
    choice["message"]["tool_calls"].as_array().into_iter().flatten().map(call).collect()
}

#[tokio::test]
async fn openai_calls_come_whole_and_streamed_alike() {
    let two = vec![("look".to_owned(), json!({"at": "<\u{e9}}"})), ("go".to_owned(), json!({}))];
    let talk = both(&house(TALK_AND_TWO).await, with_functions(json!({}))).await;
    assert_eq!((&talk["message"]["content"], called(&talk)), (&json!("Well."), two.clone()));
    assert_eq!(talk["finish_reason"], "tool_calls");
    let only = both(&house(LOOK).await, with_functions(json!({}))).await;
    assert_eq!((&only["message"]["content"], called(&only)), (&Value::Null, two[..1].to_vec()));
    let text = both(&house("Just <b>text").await, with_functions(json!({}))).await;
    assert_eq!((&text["message"]["content"], &text["finish_reason"]), (&json!("Just <b>text"), &json!("stop")));
    assert!(text["message"].get("tool_calls").is_none());
}

#[tokio::test]
async fn several_choices_have_their_own_calls() {
    let answer = house(LOOK).await.chat(with_functions(json!({"n": 2}))).await.json();
    let ids: Vec<&str> =
        (0..2).map(|idx| answer["choices"][idx]["message"]["tool_calls"][0]["id"].as_str().unwrap()).collect();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_choice_of_tools_is_kept_to() {
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let plain = house("Hi there!").await;
    let required = both(&plain, with_functions(json!({"tool_choice": "required"}))).await;
    assert!(!called(&required).is_empty(), "{required}");
    let named = both(&plain, with_functions(json!({"tool_choice": function("go")}))).await;
    assert_eq!(called(&named)[0], ("go".to_owned(), json!({})));
    let other = both(&house(LOOK).await, with_functions(json!({"tool_choice": function("go")}))).await;
    assert_eq!(called(&other)[0].0, "go");
    let two = house(TALK_AND_TWO).await;
    let one = both(&two, with_functions(json!({"parallel_tool_calls": false}))).await;
    assert_eq!(called(&one).len(), 1, "{one}");
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("go")]}});
    let allowed = both(&house(LOOK).await, with_functions(json!({"tool_choice": allowed}))).await;
    assert!(called(&allowed).iter().all(|(name, _)| name == "go"), "{allowed}");
}

#[tokio::test]
async fn arguments_keep_to_their_schema() {
    let parameters =
        json!({"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"], "additionalProperties": false});
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": parameters}}]);
    let house = house(LOOK).await;
    let kept = both(&house, json!({"tools": tools, "max_tokens": 400})).await;
    assert_eq!(called(&kept)[0], ("look".to_owned(), json!({"n": 7})));
}

#[tokio::test]
async fn without_a_choice_the_model_is_not_told_of_tools() {
    let house = house(LOOK).await;
    let none = house.chat(with_functions(json!({"tool_choice": "none"}))).await.json();
    let plain = house.chat(json!({"max_tokens": 400})).await.json();
    assert_eq!(none["choices"][0]["message"]["content"], LOOK);
    assert_eq!(none["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"]);
    let told = house.chat(with_functions(json!({}))).await.json();
    assert!(told["usage"]["prompt_tokens"].as_u64() > plain["usage"]["prompt_tokens"].as_u64());
}

#[tokio::test]
async fn a_call_that_is_cut_off_says_so() {
    let house = house(LOOK).await;
    let cut = both(&house, with_functions(json!({"max_tokens": 48}))).await;
    let begun = &cut["message"]["tool_calls"][0]["function"];
    assert_eq!((&cut["finish_reason"], &begun["name"]), (&json!("length"), &json!("look")), "{cut}");
    assert!("{\"at\": \"<".starts_with(begun["arguments"].as_str().unwrap()), "{begun}");
}

#[tokio::test]
async fn what_cannot_be_kept_to_is_refused_by_name() {
    let house = house("Hi").await;
    let tool = |parameters: Value| json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]});
    let unknown = json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}});
    let format = json!({"response_format": {"type": "json_object"}});
    let cases = [
        (tool(unknown), "tools[0].function.parameters.properties.a.uniqueItems", "invalid_value"),
        (with_functions(format), "response_format", "unsupported_parameter"),
        (json!({"functions": [{"name": "f"}]}), "functions", "unsupported_parameter"),
    ];
    for (extra, param, code) in cases {
        let answer = house.chat(extra.clone()).await;
        assert_eq!(
            (answer.status, answer.error("param"), answer.error("code").as_str()),
            (400, param.to_owned(), code),
            "{extra}"
        );
    }
}

#[tokio::test]
async fn what_tools_answered_goes_to_the_model() {
    let house = house("It is clear.").await;
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"x\"}"}});
    let conversation = |answer: &str| {
        json!({"messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": answer},
        ], "max_tokens": 400})
    };
    let answer = house.chat(with_functions(conversation("clear"))).await;
    assert_eq!(choice(&answer)["message"]["content"], "It is clear.");
    let n_tokens = |answer: &Answer| answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    let longer = house.chat(with_functions(conversation("clear sky"))).await;
    assert_eq!(n_tokens(&longer), n_tokens(&answer) + 4);
}

fn blocks(extra: Value) -> Value {
    let tools = json!([
        {"name": "look", "description": "Does.", "input_schema": look()},
        {"name": "go", "input_schema": nothing()},
    ]);
    let messages = json!([{"role": "user", "content": "hello"}]);
    over(json!({"model": MODEL, "max_tokens": 400, "temperature": 0, "messages": messages, "tools": tools}), extra)
}

/// Content and reason of a message, identifiers checked and taken out.
fn message(mut message: Value) -> (Value, Value) {
    for block in message["content"].as_array_mut().unwrap() {
        if let Some(id) = block.as_object_mut().unwrap().shift_remove("id") {
            assert!(id.as_str().unwrap().starts_with("toolu_"), "{id}");
        }
    }
    (message["content"].clone(), message["stop_reason"].clone())
}

/// A message put together from its events, as Anthropic's clients do.
fn streamed(answer: &Answer) -> Value {
    let (mut content, mut open, mut json, mut reason) = (Vec::<Value>::new(), None, String::new(), Value::Null);
    for event in answer.body.split("\n\n").filter(|event| !event.is_empty()) {
        let data: Value = serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
        match data["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open, &data["index"]), (None, &json!(content.len())), "{data}");
                open = Some(content.len());
                json.clear();
                content.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(data["index"], json!(open.expect("a block is open")));
                let block = content.last_mut().unwrap();
                match data["delta"]["type"].as_str().unwrap() {
                    "text_delta" => {
                        let text = block["text"].as_str().unwrap().to_owned();
                        block["text"] = (text + data["delta"]["text"].as_str().unwrap()).into();
                    }
                    "input_json_delta" => json += data["delta"]["partial_json"].as_str().unwrap(),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                assert_eq!(data["index"], json!(open.take().expect("a block is open")));
                let block = content.last_mut().unwrap();
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&json).expect("the pieces are JSON");
                }
            }
            "message_delta" => reason = data["delta"]["stop_reason"].clone(),
            _ => {}
        }
    }
    assert_eq!(open, None);
    json!({"content": content, "stop_reason": reason})
}

#[tokio::test]
async fn anthropic_calls_come_whole_and_streamed_alike() {
    let look = json!({"type": "tool_use", "name": "look", "input": {"at": "<\u{e9}}"}});
    let go = json!({"type": "tool_use", "name": "go", "input": {}});
    let cases = [
        (TALK_AND_TWO, json!([{"type": "text", "text": "Well."}, look, go]), "tool_use"),
        (LOOK, json!([look]), "tool_use"),
        ("Just text", json!([{"type": "text", "text": "Just text"}]), "end_turn"),
    ];
    for (said, content, reason) in cases {
        let house = house(said).await;
        let whole = house.post("/v1/messages", &blocks(json!({}))).await;
        assert_eq!(whole.status, 200, "{}", whole.body);
        assert_eq!(message(whole.json()), (content.clone(), json!(reason)), "{said}");
        let events = house.post("/v1/messages", &blocks(json!({"stream": true}))).await;
        assert_eq!(message(streamed(&events)), (content, json!(reason)), "{said}");
    }
}

#[tokio::test]
async fn anthropic_choices_answers_and_counts_are_kept() {
    let house = house("Hi there!").await;
    let forced = house.post("/v1/messages", &blocks(json!({"tool_choice": {"type": "tool", "name": "go"}}))).await;
    assert_eq!(message(forced.json()).0[0], json!({"type": "tool_use", "name": "go", "input": {}}));
    let any = json!({"tool_choice": {"type": "any", "disable_parallel_tool_use": true}});
    let any = house.post("/v1/messages", &blocks(any)).await;
    assert_eq!(message(any.json()).0.as_array().unwrap().len(), 1);
    let messages = json!([
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"at": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "seen"}]},
    ]);
    let answered = house.post("/v1/messages", &blocks(json!({"messages": messages}))).await;
    assert_eq!(message(answered.json()).0, json!([{"type": "text", "text": "Hi there!"}]));
    let mut counting = blocks(json!({"messages": messages}));
    for field in ["max_tokens", "temperature"] {
        counting.as_object_mut().unwrap().shift_remove(field);
    }
    let counted = house.post("/v1/messages/count_tokens", &counting).await;
    let usage = &answered.json()["usage"];
    let n_prompt = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(counted.json(), json!({ "input_tokens": n_prompt }));
    let unknown = json!({"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}}}]});
    let refused = house.post("/v1/messages", &blocks(unknown)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error("message").starts_with("tools.0.input_schema"), "{}", refused.body);
}

#[tokio::test]
async fn ollama_calls_come_whole_and_line_by_line_alike() {
    let house = house(TALK_AND_TWO).await;
    let messages = json!([
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"at": "x"}}}]},
        {"role": "tool", "tool_name": "look", "content": "seen"},
    ]);
    let options = json!({"temperature": 0, "num_predict": 400});
    let body = |stream: bool| json!({"model": MODEL, "messages": messages, "tools": functions(), "options": options, "stream": stream});
    let calls = json!([
        {"function": {"name": "look", "arguments": {"at": "<\u{e9}}"}}},
        {"function": {"name": "go", "arguments": {}}},
    ]);
    let whole = house.post("/api/chat", &body(false)).await.json();
    assert_eq!(whole["message"], json!({"role": "assistant", "content": "Well.", "tool_calls": calls}));
    let answer = house.post("/api/chat", &body(true)).await;
    let lines: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    let streamed: Vec<Value> =
        lines.iter().flat_map(|line| line["message"]["tool_calls"].as_array().cloned().unwrap_or_default()).collect();
    assert_eq!((text.as_str(), Value::from(streamed)), ("Well.", calls));
    assert_eq!(lines.last().unwrap()["done_reason"], "stop");
}
