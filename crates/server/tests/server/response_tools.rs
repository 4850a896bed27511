//! Responses with tools: offered, called, answered; streamed as in one piece.

use crate::house::{MODEL, over};
use crate::responses::{events_from, kinds};
use crate::tools::house;
use serde_json::{Value, json};

const TALK_AND_TWO: &str = "Well.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"sky\"}}\n</tool_call>\n\
    <tool_call>\n{\"name\": \"go\", \"arguments\": {}}\n</tool_call>";

fn asked(extra: Value) -> Value {
    let look = json!({"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]});
    let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let tool = |name: &str, parameters: Value| json!({"type": "function", "name": name, "parameters": parameters});
    let tools = json!([tool("look", look), tool("go", nothing)]);
    over(json!({"model": MODEL, "input": "hello", "temperature": 0, "max_output_tokens": 400, "tools": tools}), extra)
}

#[tokio::test]
async fn an_answer_with_calls_has_an_item_for_each() {
    let house = house(TALK_AND_TWO).await;
    let answer = house.post("/v1/responses", &asked(json!({}))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let response = answer.json();
    assert_eq!((&response["status"], &response["tools"][0]["name"]), (&json!("completed"), &json!("look")));
    let output = response["output"].as_array().unwrap();
    let types: Vec<_> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["message", "function_call", "function_call"], "{}", response["output"]);
    assert!(output[0]["content"][0]["text"].as_str().unwrap().starts_with("Well."));
    assert_eq!((&output[1]["name"], &output[1]["status"]), (&json!("look"), &json!("completed")));
    let arguments: Value = serde_json::from_str(output[1]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"at": "sky"}));
    assert_eq!(output[2]["name"], "go");
    assert!(output[1]["id"].as_str().unwrap().starts_with("fc_"));
    assert!(output[1]["call_id"].as_str().unwrap().starts_with("call_"));
    assert_ne!(output[1]["call_id"], output[2]["call_id"]);

    let streamed = house.post("/v1/responses", &asked(json!({"stream": true}))).await;
    let events = events_from(0, &streamed.body);
    let last = &events.last().unwrap()["response"];
    let unnamed = |output: &Value| {
        let mut output = output.clone();
        for item in output.as_array_mut().unwrap() {
            item["id"] = Value::Null;
            item["call_id"] = Value::Null;
        }
        output
    };
    assert_eq!(unnamed(&last["output"]), unnamed(&response["output"]));
    let deltas = |idx: usize| -> String {
        let of_call = |event: &&Value| event["type"] == "response.function_call_arguments.delta";
        let mine = events.iter().filter(of_call).filter(|event| event["output_index"] == idx);
        mine.filter_map(|event| event["delta"].as_str()).collect()
    };
    assert_eq!((json!(deltas(1)), json!(deltas(2))), (output[1]["arguments"].clone(), output[2]["arguments"].clone()));
    let count = |kind: &str| kinds(&events).iter().filter(|name| **name == kind).count();
    assert_eq!((count("output_item.added"), count("output_item.done")), (3, 3));
    assert_eq!((count("function_call_arguments.done"), count("content_part.done")), (2, 1));
    let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done").unwrap();
    assert_eq!((&done["arguments"], &done["item_id"]), (&last["output"][1]["arguments"], &last["output"][1]["id"]));
}

#[tokio::test]
async fn a_call_is_answered_by_an_item() {
    let house = house(TALK_AND_TWO).await;
    let first = house.post("/v1/responses", &asked(json!({}))).await.json();
    let output = |call_id: &Value| json!({"type": "function_call_output", "call_id": call_id, "output": "dark"});
    let answers = json!([output(&first["output"][1]["call_id"]), output(&first["output"][2]["call_id"])]);
    let continued = asked(json!({"input": answers, "previous_response_id": first["id"]}));
    let continued = house.post("/v1/responses", &continued).await;
    assert_eq!(continued.status, 200, "{}", continued.body);
    let mut items = vec![json!({"role": "user", "content": "hello"})];
    items.extend(first["output"].as_array().unwrap().clone());
    items.extend(answers.as_array().unwrap().clone());
    let sent = house.post("/v1/responses", &asked(json!({"input": items}))).await.json();
    assert_eq!(sent["usage"]["input_tokens"], continued.json()["usage"]["input_tokens"]);
    let unknown = house.post("/v1/responses", &asked(json!({"input": [output(&json!("call_x"))]}))).await;
    assert_eq!((unknown.status, unknown.error("param").as_str()), (400, "input[0].call_id"));
}

#[tokio::test]
async fn a_call_that_is_too_long_is_incomplete() {
    let house = house(TALK_AND_TWO).await;
    let cut = json!({"max_output_tokens": 60, "tool_choice": "required"});
    for n_tokens in 20..50 {
        let response =
            house.post("/v1/responses", &asked(over(cut.clone(), json!({"max_output_tokens": n_tokens})))).await;
        let response = response.json();
        let last = response["output"].as_array().unwrap().last().unwrap().clone();
        if last["type"] == "function_call" && last["status"] == "incomplete" {
            assert_eq!(response["status"], "incomplete");
            return;
        }
    }
    panic!("no answer was cut within a call");
}
