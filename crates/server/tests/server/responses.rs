//! Responses: what is answered, whole, streamed and in the background; what is kept, and for whom.

use crate::client::{Answer, exchange, read_until, request};
use crate::house::{House, KEY, MODEL, Plan, bearer, over};
use ballast_server::{ApiKeys, BACKGROUND_MAX, ServerOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const OTHER_KEY: &str = "another-key-of-some-length";

fn body(extra: Value) -> Value {
    over(json!({"model": MODEL, "input": "hello", "temperature": 0}), extra)
}

fn text_of(method: &str, path: &str, key: &str, body: &str) -> String {
    let key = bearer(key);
    request(method, path, &[("authorization", &key), ("content-type", "application/json")], body)
}

async fn ask(house: &House, method: &str, path: &str, key: &str) -> Answer {
    exchange(house.address, &text_of(method, path, key, "")).await
}

async fn respond(house: &House, extra: Value) -> Answer {
    house.post("/v1/responses", &body(extra)).await
}

/// The response that was made of `extra`.
async fn made(house: &House, extra: Value) -> Value {
    let answer = respond(house, extra).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn id_of(response: &Value) -> &str {
    response["id"].as_str().unwrap()
}

fn path_of(response: &Value) -> String {
    format!("/v1/responses/{}", id_of(response))
}

/// The events of a body: each has a name, which is its data's type, and the next number.
pub(crate) fn events_from(first: u64, body: &str) -> Vec<Value> {
    let texts = body.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
    let events: Vec<Value> = texts
        .map(|text| {
            let (name, data) = text.split_once('\n').unwrap_or_else(|| panic!("{text}"));
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect();
    for (number, event) in (first..).zip(&events) {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    assert!(!body.contains("[DONE]") && !body.contains("id: ") && !body.contains("retry:"), "{body}");
    events
}

pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

/// What a response is but for names and times.
fn without_names(response: &Value) -> Value {
    let mut response = response.clone();
    response["id"] = "".into();
    response["output"][0]["id"] = "".into();
    response["timings"] = Value::Null;
    response["usage"]["input_tokens_details"] = Value::Null;
    response
}

fn held(mut script: ballast_testkit::Script) -> ballast_testkit::Script {
    script.held = true;
    script
}

fn two_keys(options: &mut ServerOptions) {
    options.keys = Some(ApiKeys::new(vec![KEY.to_owned(), OTHER_KEY.to_owned()]).unwrap());
}

/// Asks until the response has this status.
async fn wait_status(house: &House, path: &str, status: &str) -> Value {
    let reached = async {
        loop {
            let response = house.get(path).await.json();
            if response["status"] == status {
                return response;
            }
            house.control.allow(1);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ballast_testkit::PATIENCE, reached).await.expect("it gets there")
}

#[tokio::test]
async fn a_response_in_one_piece_has_openais_shape() {
    let house = House::open(Plan::default()).await;
    let response = made(&house, json!({"metadata": {"a": "b"}, "instructions": "Be brief."})).await;
    assert_eq!((&response["object"], &response["status"]), (&json!("response"), &json!("completed")));
    assert_eq!((&response["model"], &response["created_at"]), (&json!(MODEL), &json!(1_700_000_000)));
    assert_eq!((&response["completed_at"], &response["error"]), (&json!(1_700_000_000), &Value::Null));
    assert_eq!((&response["instructions"], &response["metadata"]), (&json!("Be brief."), &json!({"a": "b"})));
    assert!(id_of(&response).starts_with("resp_"));
    let item = &response["output"][0];
    assert!(item["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&item["type"], &item["role"], &item["status"]),
        (&json!("message"), &json!("assistant"), &json!("completed"))
    );
    let text = json!([{"type": "output_text", "text": "Hi there!", "annotations": [], "logprobs": []}]);
    assert_eq!(item["content"], text);
    let usage = &response["usage"];
    assert_eq!((&usage["output_tokens"], &usage["output_tokens_details"]["reasoning_tokens"]), (&json!(10), &json!(0)));
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 0);
    assert_eq!(usage["total_tokens"], usage["input_tokens"].as_u64().unwrap() + 10);
}

#[tokio::test]
async fn a_stream_tells_of_the_same_response_in_order() {
    let house = House::open(Plan::default()).await;
    let whole = made(&house, json!({})).await;
    let answer = respond(&house, json!({"stream": true})).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let events = events_from(0, &answer.body);
    let names = kinds(&events);
    let n_deltas = names.iter().filter(|name| **name == "output_text.delta").count();
    let before = ["created", "in_progress", "output_item.added", "content_part.added"];
    let after = ["output_text.done", "content_part.done", "output_item.done", "completed"];
    assert_eq!(names, [&before[..], &vec!["output_text.delta"; n_deltas], &after].concat());
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!((deltas.as_str(), n_deltas), ("Hi there!", 9));
    let last = events.last().unwrap()["response"].clone();
    assert_eq!(without_names(&last), without_names(&whole));
    let item = &last["output"][0];
    for event in &events[2..events.len() - 1] {
        assert_eq!(event["output_index"], 0, "{event}");
        assert!(event["item_id"] == item["id"] || event["item"]["id"] == item["id"], "{event}");
    }
    assert_eq!((&events[2]["item"]["content"], &events[2]["item"]["status"]), (&json!([]), &json!("in_progress")));
    assert_eq!(events[events.len() - 2]["item"], *item);
    assert_eq!(events[events.len() - 3]["part"], item["content"][0]);
    assert_eq!(
        (&events[0]["response"]["status"], &events[0]["response"]["output"]),
        (&json!("in_progress"), &json!([]))
    );
    assert_eq!(events[0]["response"]["id"], last["id"]);
    assert_eq!(house.get(&path_of(&last)).await.json(), last, "what was streamed is kept");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_incomplete() {
    let house = House::open(Plan::default()).await;
    for stream in [false, true] {
        let answer = respond(&house, json!({"max_output_tokens": 2, "stream": stream})).await;
        let response = if stream {
            let events = events_from(0, &answer.body);
            assert_eq!(kinds(&events).last(), Some(&"incomplete"));
            events.last().unwrap()["response"].clone()
        } else {
            answer.json()
        };
        assert_eq!(response["status"], "incomplete");
        assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
        let item = &response["output"][0];
        assert_eq!((&item["content"][0]["text"], &item["status"]), (&json!("Hi"), &json!("incomplete")));
        assert!(response.get("completed_at").is_none());
    }
}

#[tokio::test]
async fn log_probabilities_come_where_they_are_included() {
    let house = House::open(Plan::default()).await;
    let extra = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2});
    let whole = made(&house, extra.clone()).await;
    let logprobs = whole["output"][0]["content"][0]["logprobs"].as_array().unwrap().clone();
    assert_eq!(logprobs.len(), 9);
    let words: String = logprobs.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
    assert_eq!((words.as_str(), logprobs[0]["top_logprobs"].as_array().unwrap().len()), ("Hi there!", 2));
    let streamed = respond(&house, over(extra, json!({"stream": true}))).await;
    let events = events_from(0, &streamed.body);
    let told: Vec<Value> = (events.iter())
        .filter(|event| event["type"] == "response.output_text.delta")
        .flat_map(|event| event["logprobs"].as_array().unwrap().clone())
        .collect();
    assert_eq!(told, logprobs);
}

#[tokio::test]
async fn a_conversation_goes_on_from_what_is_kept() {
    let house = House::open(Plan::default()).await;
    let first = made(&house, json!({"instructions": "Be brief.", "input": "one"})).await;
    let second = made(&house, json!({"input": "two", "previous_response_id": first["id"]})).await;
    assert_eq!(second["previous_response_id"], first["id"]);
    let third = json!([
        {"role": "user", "content": "one"}, first["output"][0],
        {"role": "user", "content": [{"type": "input_text", "text": "two"}]}, second["output"][0],
        {"role": "user", "content": "three"},
    ]);
    let sent = made(&house, json!({"input": third})).await;
    let continued = made(&house, json!({"input": "three", "previous_response_id": second["id"]})).await;
    assert_eq!(continued["usage"]["input_tokens"], sent["usage"]["input_tokens"], "instructions are not carried over");
    assert!(continued["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
    let deleted = ask(&house, "DELETE", &path_of(&first), KEY).await;
    assert_eq!(deleted.json(), json!({"id": first["id"], "object": "response", "deleted": true}));
    made(&house, json!({"input": "four", "previous_response_id": continued["id"]})).await;
}

#[tokio::test]
async fn input_items_are_the_whole_conversation_by_pages() {
    let house = House::open(Plan::default()).await;
    let first = made(&house, json!({"input": "one"})).await;
    let second = made(&house, json!({"input": "two", "previous_response_id": first["id"]})).await;
    let list = async |query: &str| house.get(&format!("{}/input_items{query}", path_of(&second))).await;
    let all = list("?order=asc").await.json();
    let texts: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!((texts, &all["has_more"]), (vec!["one", "Hi there!", "two"], &json!(false)));
    let newest = list("?limit=2").await.json();
    assert_eq!((&newest["has_more"], &newest["first_id"]), (&json!(true), &all["last_id"]));
    let rest = list(&format!("?limit=2&after={}", newest["last_id"].as_str().unwrap())).await.json();
    assert_eq!((&rest["data"][0], &rest["has_more"]), (&all["data"][0], &json!(false)));
    for (query, param) in [
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?order=up", "order"),
        ("?after=x", "after"),
        ("?mood=1", "mood"),
    ] {
        let refused = list(query).await;
        assert_eq!((refused.status, refused.error("param").as_str()), (400, param), "{query}");
    }
}

#[tokio::test]
async fn what_is_not_kept_is_not_found() {
    let house = House::open(Plan::default()).await;
    let unkept = made(&house, json!({"store": false})).await;
    let deleted = made(&house, json!({})).await;
    assert_eq!(ask(&house, "DELETE", &path_of(&deleted), KEY).await.status, 200);
    for path in ["/v1/responses/resp_none".to_owned(), path_of(&unkept), path_of(&deleted)] {
        for (method, path) in [
            ("GET", path.clone()),
            ("DELETE", path.clone()),
            ("POST", format!("{path}/cancel")),
            ("GET", format!("{path}/input_items")),
        ] {
            let answer = ask(&house, method, &path, KEY).await;
            assert_eq!((answer.status, answer.error("code").as_str()), (404, "response_not_found"), "{method} {path}");
        }
    }
    let refused = respond(&house, json!({"previous_response_id": unkept["id"]})).await;
    assert_eq!((refused.status, refused.error("param").as_str()), (400, "previous_response_id"));
}

#[tokio::test]
async fn nobody_sees_what_another_key_had_answered() {
    let house = House::open(Plan { options: two_keys, ..Plan::default() }).await;
    let mine = made(&house, json!({})).await;
    let path = path_of(&mine);
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/cancel")),
        ("GET", format!("{path}/input_items")),
    ] {
        assert_eq!(ask(&house, method, &path, OTHER_KEY).await.status, 404, "{method} {path}");
    }
    let theirs = body(json!({"previous_response_id": mine["id"]})).to_string();
    let refused = exchange(house.address, &text_of("POST", "/v1/responses", OTHER_KEY, &theirs)).await;
    assert_eq!((refused.status, refused.error("param").as_str()), (400, "previous_response_id"));
    assert_eq!(house.get(&path).await.json(), mine);
}

#[tokio::test]
async fn the_oldest_response_goes_and_so_does_an_old_one() {
    static NOW: AtomicI64 = AtomicI64::new(1000);
    let bounds = |options: &mut ServerOptions| {
        options.responses.count_max = 2;
        options.responses.age_max = Duration::from_secs(60);
        options.unix_time = Arc::new(|| NOW.load(Ordering::Relaxed));
    };
    let house = House::open(Plan { options: bounds, ..Plan::default() }).await;
    let (a, b, c) = (made(&house, json!({})).await, made(&house, json!({})).await, made(&house, json!({})).await);
    let status = async |response: &Value| house.get(&path_of(response)).await.status;
    assert_eq!((status(&a).await, status(&b).await, status(&c).await), (404, 200, 200));
    NOW.store(1061, Ordering::Relaxed);
    assert_eq!((status(&b).await, status(&c).await), (404, 404));
}

#[tokio::test]
async fn a_response_in_the_background_is_polled_to_its_end() {
    let house = House::open(Plan { script: held, ..Plan::default() }).await;
    let queued = made(&house, json!({"background": true})).await;
    assert_eq!(
        (&queued["status"], &queued["background"], &queued["output"]),
        (&json!("queued"), &json!(true), &json!([]))
    );
    let path = path_of(&queued);
    let refused = respond(&house, json!({"previous_response_id": queued["id"]})).await;
    assert_eq!((refused.status, refused.error("param").as_str()), (400, "previous_response_id"));
    wait_status(&house, &path, "in_progress").await;
    house.control.release();
    let response = wait_status(&house, &path, "completed").await;
    assert_eq!(response["output"][0]["content"][0]["text"], "Hi there!");
    made(&house, json!({"previous_response_id": queued["id"]})).await;
    let cancelled = ask(&house, "POST", &format!("{path}/cancel"), KEY).await;
    assert_eq!(cancelled.json(), response, "what has ended stays as it is");
    let unheard = house.get(&format!("{path}?stream=true")).await;
    assert_eq!((unheard.status, unheard.error("param").as_str()), (400, "stream"));
}

#[tokio::test]
async fn cancelling_ends_the_work_in_the_background() {
    let house = House::open(Plan { script: held, ..Plan::default() }).await;
    let queued = made(&house, json!({"background": true})).await;
    house.wait_health(1, 0).await;
    let path = path_of(&queued);
    let cancelled = ask(&house, "POST", &format!("{path}/cancel"), KEY).await.json();
    assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &queued["id"]));
    assert_eq!(house.get(&path).await.json(), cancelled);
    house.control.release();
    house.wait_health(0, 0).await;
    assert!(house.control.steps().len() < 5, "{} steps", house.control.steps().len());
    let refused = respond(&house, json!({"previous_response_id": queued["id"]})).await;
    assert_eq!(refused.status, 400, "there is no answer to go on from");
}

#[tokio::test]
async fn deleting_ends_the_work_in_the_background() {
    let house = House::open(Plan { script: held, ..Plan::default() }).await;
    let queued = made(&house, json!({"background": true})).await;
    house.wait_health(1, 0).await;
    assert_eq!(ask(&house, "DELETE", &path_of(&queued), KEY).await.status, 200);
    house.control.allow(1);
    house.control.release();
    house.wait_health(0, 0).await;
    assert_eq!(house.get(&path_of(&queued)).await.status, 404);
}

#[tokio::test]
async fn only_responses_in_the_background_are_cancelled() {
    let house = House::open(Plan::default()).await;
    let response = made(&house, json!({})).await;
    let refused = ask(&house, "POST", &format!("{}/cancel", path_of(&response)), KEY).await;
    assert_eq!((refused.status, refused.error("param").as_str()), (400, "response_id"));
}

#[tokio::test]
async fn a_stream_in_the_background_outlives_its_client_and_is_heard_again() {
    let house = House::open(Plan { script: held, ..Plan::default() }).await;
    let text = body(json!({"background": true, "stream": true})).to_string();
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(text_of("POST", "/v1/responses", KEY, &text).as_bytes()).await.unwrap();
    let read = read_until(&mut socket, "response.queued").await;
    let at = read.find("resp_").unwrap();
    let path = format!("/v1/responses/{}", &read[at..at + "resp_".len() + 32]);
    drop(socket);
    house.control.release();
    wait_status(&house, &path, "completed").await;
    let all = events_from(0, &house.get(&format!("{path}?stream=true")).await.body);
    assert_eq!(kinds(&all)[..3], ["created", "queued", "in_progress"]);
    assert_eq!(kinds(&all).last(), Some(&"completed"));
    let rest = events_from(5, &house.get(&format!("{path}?stream=true&starting_after=4")).await.body);
    assert_eq!(rest, all[5..]);
    assert_eq!(house.get(&format!("{path}?starting_after=4")).await.error("param"), "starting_after");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work_and_nothing_is_kept() {
    for stream in [false, true] {
        let house = House::open(Plan { script: held, answer: "a long answer nobody reads", ..Plan::default() }).await;
        let text = body(json!({"stream": stream})).to_string();
        let mut socket = TcpStream::connect(house.address).await.unwrap();
        socket.write_all(text_of("POST", "/v1/responses", KEY, &text).as_bytes()).await.unwrap();
        house.wait_health(1, 0).await;
        drop(socket);
        let stopped = async {
            while house.health().await["active_sequences"] != 0 {
                house.control.allow(1);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(ballast_testkit::PATIENCE, stopped).await.expect("the work ends");
        assert!(house.control.steps().len() < 20, "{} steps", house.control.steps().len());
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_a_failed_response() {
    let fails = |mut script: ballast_testkit::Script| {
        script.fail_at = Some(3);
        script
    };
    let house = House::open(Plan { script: fails, ..Plan::default() }).await;
    let events = events_from(0, &respond(&house, json!({"stream": true})).await.body);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"]["code"], "engine_failed");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    let kept = house.get(&path_of(&last["response"])).await.json();
    assert_eq!(kept, last["response"]);
    let house = House::open(Plan { script: fails, ..Plan::default() }).await;
    let whole = respond(&house, json!({})).await;
    assert_eq!((whole.status, whole.error("code").as_str()), (500, "engine_failed"));
}

#[tokio::test]
async fn a_response_in_the_background_has_a_deadline() {
    let house = House::open(Plan { script: held, ..Plan::default() }).await;
    let queued = made(&house, json!({"background": true, "timeout": 5})).await;
    house.wait_health(1, 0).await;
    house.clock.advance(Duration::from_secs(6));
    let response = wait_status(&house, &path_of(&queued), "failed").await;
    assert_eq!(response["error"]["code"], "cancelled_by_timeout");
}

#[tokio::test]
async fn places_in_the_background_are_bounded() {
    let house = House::open(Plan { script: held, queue_max: 2 * BACKGROUND_MAX, ..Plan::default() }).await;
    for _ in 0..BACKGROUND_MAX {
        made(&house, json!({"background": true})).await;
    }
    let refused = respond(&house, json!({"background": true})).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (429, "backpressure_queue_full"));
    assert!(refused.error("message").contains("background"));
    assert!(refused.header("retry-after").is_some());
    house.control.release();
    made(&house, json!({})).await;
}

#[tokio::test]
async fn a_server_that_ends_does_not_wait_for_the_background() {
    let mut house = House::open(Plan { script: held, ..Plan::default() }).await;
    made(&house, json!({"background": true})).await;
    house.wait_health(1, 0).await;
    house.shut_down();
    house.control.allow(1);
    assert!(house.ended().await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_is_made() {
    let house = House::open(Plan::default()).await;
    let cases = [
        (json!({"model": "none"}), 404, "model"),
        (json!({"tools": [{"type": "web_search"}]}), 400, "tools[0].type"),
        (json!({"truncation": "auto"}), 400, "truncation"),
        (json!({"input": [{"type": "item_reference", "id": "x"}]}), 400, "input[0].type"),
    ];
    for (extra, status, param) in cases {
        let answer = respond(&house, extra.clone()).await;
        assert_eq!((answer.status, answer.error("param").as_str()), (status, param), "{extra}");
        assert_eq!(answer.error("type"), "invalid_request_error");
    }
    assert!(house.control.steps().is_empty());
}
