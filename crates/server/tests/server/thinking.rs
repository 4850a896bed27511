//! Thoughts on every wire: taken out of answers, streamed as in one piece, bounded, put back, and left out where nobody asks.

use crate::client::{Answer, Event};
use crate::house::{House, MODEL, Plan, over};
use crate::tools::byte_by_byte;
use serde_json::{Value, json};

/// As Qwen3's: thoughts of earlier turns are shown, and they are closed at once where there are to be none.
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>\n\
    {{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n\
    {% endif %}{% endif %}";
/// As DeepSeek R1's: it opens thoughts, whatever is asked for.
const OPENING: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
const ANSWER: &str = "<think>\nWhy \u{e9}?\n</think>\n\nHi there!";

async fn house(template: &'static str, answer: &'static str) -> House {
    House::open(Plan { answer, template: Some(template), script: byte_by_byte, ..Plan::default() }).await
}

fn body(extra: Value) -> Value {
    let messages = json!([{"role": "user", "content": "hello"}]);
    over(json!({"model": MODEL, "messages": messages, "temperature": 0}), extra)
}

async fn messages(house: &House, extra: Value) -> Answer {
    let answer = house.post("/v1/messages", &over(body(json!({"max_tokens": 200})), extra)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

fn enabled() -> Value {
    json!({"thinking": {"type": "enabled", "budget_tokens": 100}})
}

/// The data of a stream's events with names.
fn named(answer: &Answer) -> Vec<Value> {
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Blocks put together from a stream.
fn blocks(events: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for field in ["thinking", "text", "signature"] {
                    if let Some(text) = event["delta"][field].as_str() {
                        block[field] = (block[field].as_str().unwrap_or_default().to_owned() + text).into();
                    }
                }
            }
            _ => {}
        }
    }
    blocks
}

#[tokio::test]
async fn thoughts_are_blocks_with_signatures_on_anthropics_wire() {
    for (template, is_opened) in [(TEMPLATE, false), (OPENING, true)] {
        let house = house(template, ANSWER).await;
        let whole = messages(&house, enabled()).await.json();
        let content = whole["content"].clone();
        assert_eq!((&content[0]["type"], &content[0]["thinking"]), (&json!("thinking"), &json!("Why \u{e9}?")));
        assert_eq!(content[0]["signature"].as_str().unwrap().len(), 64, "opened: {is_opened}");
        assert_eq!(content[1], json!({"type": "text", "text": "Hi there!"}));
        assert_eq!(content.as_array().unwrap().len(), 2);
        let events = named(&messages(&house, over(enabled(), json!({"stream": true}))).await);
        assert_eq!(Value::from(blocks(&events)), content, "streamed as in one piece");
        let kinds: Vec<_> = events.iter().filter_map(|event| event["delta"]["type"].as_str()).collect();
        let signed = kinds.iter().position(|kind| *kind == "signature_delta").unwrap();
        assert!(kinds[..signed].iter().all(|kind| *kind == "thinking_delta"), "{kinds:?}");
        assert!(kinds[signed + 1..].iter().all(|kind| *kind == "text_delta"), "{kinds:?}");
    }
}

#[tokio::test]
async fn nobody_thinks_who_is_not_asked_to_on_anthropics_wire() {
    // The template, or else the server, closes thoughts at once; the script goes on behind what the prompt has of it.
    let cases = [(TEMPLATE, "<think>\n\n</think>\n\nHi there!"), (OPENING, "<think>\n\n</think>\n\nHi there!")];
    for (template, answer) in cases {
        let house = house(template, answer).await;
        for extra in [json!({}), json!({"thinking": {"type": "disabled"}})] {
            let content = messages(&house, extra).await.json()["content"].clone();
            assert_eq!(content, json!([{"type": "text", "text": "Hi there!"}]));
        }
    }
    let plan = Plan { answer: ANSWER, template: Some(TEMPLATE), script: byte_by_byte, ..Plan::default() };
    let house = House::open_with(plan, |options| options.reasoning = Some(ballast_server::Reasoning::On)).await;
    assert_eq!(messages(&house, json!({})).await.json()["content"][0]["type"], "thinking", "the server says so");
}

#[tokio::test]
async fn thoughts_end_when_their_budget_is_spent() {
    // The script sees what was put into its mouth, and goes on behind as many bytes of its own answer.
    const LONG: &str = "<think>\nabcdefghijklmnopqrstuvwxyz0123456789</think>\n\nHi there, who ever you are!";
    let house = house(TEMPLATE, LONG).await;
    let budget = |n: usize| json!({"thinking": {"type": "enabled", "budget_tokens": n}, "max_tokens": 100});
    let content = messages(&house, budget(5)).await.json()["content"].clone();
    assert_eq!(content[0]["thinking"], "abcd", "a token is a byte, and white space is one");
    assert_eq!(content[1]["type"], "text", "{content}");
    let content = messages(&house, budget(90)).await.json()["content"].clone();
    assert_eq!(content[0]["thinking"], "abcdefghijklmnopqrstuvwxyz0123456789");
    let chat = house.post("/v1/chat/completions", &body(json!({"reasoning_budget_tokens": 5}))).await.json();
    assert_eq!(chat["choices"][0]["message"]["reasoning_content"], "abcd");
    let refused = house.post("/v1/messages", &over(body(budget(100)), json!({"max_tokens": 100}))).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[tokio::test]
async fn thoughts_are_apart_in_chats() {
    let house = house(TEMPLATE, ANSWER).await;
    let message = house.post("/v1/chat/completions", &body(json!({}))).await.json()["choices"][0]["message"].clone();
    assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("Why \u{e9}?"), &json!("Hi there!")));
    let raw = house.post("/v1/chat/completions", &body(json!({"reasoning_format": "none"}))).await.json();
    assert_eq!(raw["choices"][0]["message"]["content"], ANSWER);
    assert_eq!(raw["choices"][0]["message"].get("reasoning_content"), None);
    let streamed = house.post("/v1/chat/completions", &body(json!({"stream": true}))).await;
    let text = |field: &str| {
        let events: Vec<Value> =
            streamed.events().iter().filter(|event| **event != Event::Done).map(|event| event.json().clone()).collect();
        events.iter().filter_map(|event| event["choices"][0]["delta"][field].as_str()).collect::<String>()
    };
    assert_eq!((text("reasoning_content").as_str(), text("content").as_str()), ("Why \u{e9}?", "Hi there!"));
    let off = house.post("/v1/chat/completions", &body(json!({"reasoning_effort": "none"}))).await.json();
    assert_eq!(off["choices"][0]["message"].get("reasoning_content"), None, "the template closes them");
}

#[tokio::test]
async fn what_an_answer_must_look_like_holds_behind_its_thoughts() {
    const LOOKS: &str = "<think>\nHm.\n</think>\n\n{\"a\":1}";
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let asked = json!({"response_format": format, "max_tokens": 200});
    for template in [TEMPLATE, OPENING] {
        let house = house(template, LOOKS).await;
        let answer = house.post("/v1/chat/completions", &body(asked.clone())).await.json();
        let message = &answer["choices"][0]["message"];
        assert_eq!(message["reasoning_content"], "Hm.", "{answer}");
        let said: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
        assert!(said["a"].is_i64(), "{answer}");
    }
}

#[tokio::test]
async fn ollama_has_thoughts_in_a_field_of_their_own() {
    let house = house(TEMPLATE, ANSWER).await;
    let body = |extra: Value| {
        let messages = json!([{"role": "user", "content": "hello"}]);
        over(json!({"model": MODEL, "messages": messages, "options": {"temperature": 0}}), extra)
    };
    let whole = house.post("/api/chat", &body(json!({"stream": false, "think": true}))).await.json();
    assert_eq!(whole["message"]["thinking"], "Why \u{e9}?");
    assert_eq!(whole["message"]["content"], "Hi there!");
    let lines = house.post("/api/chat", &body(json!({"think": true}))).await;
    let lines: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |field: &str| lines.iter().filter_map(|line| line["message"][field].as_str()).collect::<String>();
    assert_eq!((text("thinking").as_str(), text("content").as_str()), ("Why \u{e9}?", "Hi there!"));
    let generate =
        json!({"model": MODEL, "prompt": "hello", "stream": false, "think": "low", "options": {"temperature": 0}});
    let generated = house.post("/api/generate", &generate).await.json();
    assert_eq!((&generated["thinking"], &generated["response"]), (&json!("Why \u{e9}?"), &json!("Hi there!")));
    let plain = House::open(Plan::default()).await;
    let refused = plain.post("/api/chat", &body(json!({"think": true}))).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(plain.post("/api/chat", &body(json!({"think": false}))).await.status, 200);
}

#[tokio::test]
async fn responses_have_items_of_reasoning_and_count_their_tokens() {
    let house = house(TEMPLATE, ANSWER).await;
    let asked = json!({"model": MODEL, "input": "hello", "temperature": 0, "reasoning": {"effort": "low"}});
    let whole = house.post("/v1/responses", &asked).await.json();
    let output = &whole["output"];
    assert_eq!((&output[0]["type"], &output[1]["type"]), (&json!("reasoning"), &json!("message")), "{whole}");
    assert_eq!(output[0]["content"], json!([{"type": "reasoning_text", "text": "Why \u{e9}?"}]));
    assert_eq!(output[1]["content"][0]["text"], "Hi there!");
    assert_eq!(whole["reasoning"]["effort"], "low");
    let (thought, all) =
        (&whole["usage"]["output_tokens_details"]["reasoning_tokens"], &whole["usage"]["output_tokens"]);
    assert!(thought.as_u64().unwrap() > 5 && thought.as_u64() < all.as_u64(), "{whole}");
    let streamed = house.post("/v1/responses", &over(asked.clone(), json!({"stream": true}))).await;
    let events = named(&streamed);
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    let text: String = of("response.reasoning_text.delta").iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(text, "Why \u{e9}?");
    assert_eq!(of("response.reasoning_text.done")[0]["text"], "Why \u{e9}?");
    // They may be sent back, and a response that goes on from this one sees them.
    let back = json!([{"role": "user", "content": "hello"}, output[0], output[1], {"role": "user", "content": "and?"}]);
    assert_eq!(house.post("/v1/responses", &over(asked.clone(), json!({"input": back}))).await.status, 200);
    let next = house.post("/v1/responses", &over(asked, json!({"previous_response_id": whole["id"]}))).await;
    assert_eq!(next.status, 200, "{}", next.body);
}

#[tokio::test]
async fn thoughts_of_earlier_turns_are_put_back() {
    let house = house(TEMPLATE, ANSWER).await;
    let with = |thought: bool| {
        let text = json!({"type": "text", "text": "No."});
        let thinking = json!({"type": "thinking", "thinking": "I should look first.", "signature": "x"});
        let content = if thought { json!([thinking, text]) } else { json!([text]) };
        let assistant = json!({"role": "assistant", "content": content});
        json!([{"role": "user", "content": "a"}, assistant, {"role": "user", "content": "b"}])
    };
    let counted = async |thought: bool| {
        let asked = json!({"model": MODEL, "messages": with(thought)});
        house.post("/v1/messages/count_tokens", &asked).await.json()["input_tokens"].as_u64().unwrap()
    };
    assert!(counted(true).await > counted(false).await);
    let rendered = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "reasoning_content": "I should look first."},
    ]});
    let prompt = house.post("/apply-template", &rendered).await.json()["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.contains("<think>\nI should look first.\n</think>"), "{prompt}");
}
