//! Keys, routes, bodies and headers.

use crate::client::{exchange, request};
use crate::house::{House, KEY, MODEL, Plan, bearer, chat_body};
use ballast_server::REQUEST_ID_BYTES_MAX;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A path that the router takes to this route.
pub(crate) fn path_of(route: &ballast_server::Route) -> String {
    let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
    route.path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn liveness_is_told_to_everybody() {
    let house = House::open(Plan::default()).await;
    for route in ballast_server::routes().iter().filter(|route| route.scope.is_none()) {
        let answer = exchange(house.address, &request(route.method.as_str(), &path_of(route), &[], "")).await;
        assert_eq!(answer.status, 200, "{route:?}");
    }
}

#[tokio::test]
async fn every_route_needs_a_key_unless_it_is_liveness() {
    let house = House::open(Plan { options: |o| o.failed_logins_per_minute = None, ..Plan::default() }).await;
    let body = chat_body(json!({}));
    let known = ballast_server::routes().iter().filter(|route| route.scope.is_some());
    let known = known.map(|route| (route.method.as_str(), path_of(route)));
    let unknown = [("GET", "/v1/nothing"), ("GET", "/"), ("DELETE", "/v1/models"), ("POST", "/health")];
    let routes = known.chain(unknown.map(|(method, path)| (method, path.to_owned())));
    let wrong = bearer("another-key-of-some-length");
    let basic = format!("Basic {KEY}");
    for (method, path) in routes {
        for key in [None, Some(wrong.as_str()), Some("Bearer"), Some(basic.as_str())] {
            let headers: Vec<_> = [JSON].into_iter().chain(key.map(|key| ("authorization", key))).collect();
            let answer = exchange(house.address, &request(method, &path, &headers, &body)).await;
            assert_eq!(answer.status, 401, "{method} {path} {key:?}");
            let message = answer.json().to_string();
            assert!(message.contains("a valid API key is needed"), "{method} {path}: {message}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(house.health().await["status"], "ok");
    assert!(house.control.steps().is_empty());
}

#[tokio::test]
async fn a_key_may_come_as_anthropics_clients_send_it() {
    let house = House::open(Plan::default()).await;
    let ask = async |key: &str| exchange(house.address, &request("GET", "/v1/models", &[("x-api-key", key)], "")).await;
    assert_eq!((ask(KEY).await.status, ask("another-key-of-some-length").await.status), (200, 401));
}

#[tokio::test]
async fn prefixes_are_found_again_by_the_same_key_only() {
    let keys = |o: &mut ballast_server::ServerOptions| {
        let keys = vec![KEY.to_owned(), "another-key-of-some-length".to_owned()];
        o.keys = Some(ballast_server::ApiKeys::new(keys).unwrap());
    };
    let house = House::open(Plan { options: keys, ..Plan::default() }).await;
    let body = chat_body(json!({"messages": [{"role": "user", "content": "x".repeat(200)}]}));
    let cached = async |key: &str| {
        let key = bearer(key);
        let headers = [("authorization", key.as_str()), JSON];
        let answer = exchange(house.address, &request("POST", "/v1/chat/completions", &headers, &body)).await;
        answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached(KEY).await, 0);
    assert!(cached(KEY).await > 0);
    assert_eq!(cached("another-key-of-some-length").await, 0);
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait_in_the_words_of_its_wire() {
    let hourly = |o: &mut ballast_server::ServerOptions| {
        let keys = vec![KEY.to_owned(), "another-key-of-some-length".to_owned()];
        o.keys = Some(ballast_server::ApiKeys::new(keys).unwrap());
        let interval = std::time::Duration::from_secs(3600);
        o.rate_limit = Some(ballast_server::RateLimit { interval, burst: std::num::NonZeroU32::new(2).unwrap() });
    };
    let house = House::open(Plan { options: hourly, ..Plan::default() }).await;
    let first = house.get("/v1/models").await;
    let told = |name: &str| first.header(name).map(str::to_owned);
    assert_eq!(told("x-ratelimit-limit-requests").as_deref(), Some("2"));
    assert_eq!(told("x-ratelimit-remaining-requests").as_deref(), Some("1"));
    assert_eq!(house.chat(json!({})).await.status, 200);
    let refused = house.chat(json!({})).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("x-ballast-reason"), Some("RATE_LIMITED"));
    assert!((1800..=3600).contains(&refused.header("retry-after").unwrap().parse::<u32>().unwrap()));
    let anthropic = house.post("/v1/messages", &json!({})).await;
    assert_eq!((anthropic.status, anthropic.error("type").as_str()), (429, "rate_limit_error"));
    let other = bearer("another-key-of-some-length");
    let other = exchange(house.address, &request("GET", "/v1/models", &[("authorization", &other)], "")).await;
    assert_eq!(other.status, 200, "each key has its own");
    let stranger = exchange(house.address, &request("GET", "/v1/models", &[], "")).await;
    assert_eq!(stranger.status, 401, "who has no key uses up nobody's");
    assert_eq!(house.health().await["status"], "ok");
}

#[tokio::test]
async fn without_keys_addresses_are_told_apart() {
    let hourly = |o: &mut ballast_server::ServerOptions| {
        o.keys = None;
        let interval = std::time::Duration::from_secs(3600);
        o.rate_limit = Some(ballast_server::RateLimit { interval, burst: std::num::NonZeroU32::MIN });
    };
    let house = House::open(Plan { options: hourly, ..Plan::default() }).await;
    let ask = async || exchange(house.address, &request("GET", "/v1/models", &[], "")).await.status;
    assert_eq!((ask().await, ask().await), (200, 429));
}

#[tokio::test]
async fn errors_have_the_shape_of_the_routes_wire() {
    let house = House::open(Plan::default()).await;
    let nothing = json!({});
    let openai = house.post("/v1/chat/completions", &nothing).await;
    assert_eq!(openai.json()["error"]["type"], "invalid_request_error");
    let anthropic = house.post("/v1/messages", &nothing).await;
    let body = anthropic.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    let ollama = house.post("/api/chat", &nothing).await;
    assert_eq!(ollama.json(), json!({"error": "model: expected the name of the model, got nothing"}));
    for answer in [openai, anthropic, ollama] {
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")));
    }
    assert_eq!(house.get("/api/nothing").await.json(), json!({"error": "there is no such route"}));
    assert_eq!(house.get("/v1/messages").await.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn an_open_server_asks_for_no_key() {
    let house = House::open(Plan { options: |o| o.keys = None, ..Plan::default() }).await;
    assert_eq!(exchange(house.address, &request("GET", "/v1/models", &[], "")).await.status, 200);
}

#[tokio::test]
async fn the_model_is_listed_and_shown() {
    let house = House::open(Plan::default()).await;
    let list = house.get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!(MODEL)));
    assert_eq!(house.get(&format!("/v1/models/{MODEL}")).await.json(), list["data"][0]);
    let other = house.get("/v1/models/other").await;
    assert_eq!((other.status, other.error("code").as_str()), (404, "model_not_found"));
}

#[tokio::test]
async fn unknown_routes_and_methods_have_errors_in_the_same_shape() {
    let house = House::open(Plan::default()).await;
    let answer = house.get("/v1/nothing").await;
    assert_eq!((answer.status, answer.error("code").as_str()), (404, "route_not_found"));
    let answer = house.get("/v1/chat/completions").await;
    assert_eq!((answer.status, answer.error("code").as_str()), (405, "method_not_allowed"));
}

#[tokio::test]
async fn every_answer_tells_browsers_to_keep_their_hands_off() {
    let house = House::open(Plan::default()).await;
    let streamed = house.chat(json!({"stream": true})).await;
    assert_eq!(streamed.header("cache-control"), Some("no-cache"), "what a stream says of itself stays");
    let whole = house.chat(json!({})).await;
    assert_eq!(whole.header("cache-control"), Some("no-store"));
    for answer in [streamed, whole, house.get("/nothing").await, house.get("/metrics").await] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

/// One request at a time; the last to come goes first if it says that it is urgent.
#[tokio::test]
async fn priorities_decide_who_is_next() {
    let plan = Plan {
        answer: "fine",
        script: |mut script| {
            script.held = true;
            script.shape.max_batch_sequences = 1;
            script
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let key = bearer(KEY);
    let said = |letter: &str| json!([{"role": "user", "content": letter}]);
    let ask = |path: &str, body: String, priority: &str| {
        let headers = [("authorization", key.as_str()), JSON, ("x-ballast-priority", priority)];
        let (address, text) = (house.address, request("POST", path, &headers, &body));
        tokio::spawn(async move { exchange(address, &text).await.status })
    };
    let chat = "/v1/chat/completions";
    let first = ask(chat, chat_body(json!({"messages": said("F")})), "normal");
    house.wait_health(1, 0).await;
    let low = ask(chat, chat_body(json!({"messages": said("L")})), "low");
    house.wait_health(1, 1).await;
    let by_body = ask(chat, chat_body(json!({"messages": said("B"), "priority": 5})), "low");
    house.wait_health(1, 2).await;
    let message = json!({"model": MODEL, "max_tokens": 9, "messages": said("H")});
    let highest = ask("/v1/messages", message.to_string(), "10");
    house.wait_health(1, 3).await;
    house.control.release();
    for asked in [first, low, by_body, highest] {
        assert_eq!(asked.await.unwrap(), 200);
    }
    let run: Vec<u32> = house.control.steps().iter().flatten().flat_map(|share| &share.tokens).map(|t| t.0).collect();
    let letters: Vec<char> = run.into_iter().filter_map(char::from_u32).filter(|c| "FLBH".contains(*c)).collect();
    assert_eq!(letters, ['F', 'H', 'B', 'L'], "the order in which the engine saw them");
    assert_eq!(ask(chat, chat_body(json!({})), "urgent").await.unwrap(), 400);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let house = House::open(Plan::default()).await;
    let ask = async |id: &str| {
        let headers = [("x-request-id", id)];
        let answer = exchange(house.address, &request("GET", "/health", &headers, "")).await;
        answer.header("x-request-id").expect("an id").to_owned()
    };
    assert_eq!(ask("abc-1.2_3").await, "abc-1.2_3");
    let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
    assert_eq!(ask(&longest).await, longest);
    for unusable in ["a b", "a\"b", &"x".repeat(REQUEST_ID_BYTES_MAX + 1)] {
        assert!(ask(unusable).await.starts_with("req-"), "{unusable}");
    }
    assert!(house.get("/v1/nothing").await.header("x-request-id").is_some());
}

#[tokio::test]
async fn bodies_are_json_and_bounded() {
    let house = House::open(Plan { options: |o| o.body_bytes_max = 1000, ..Plan::default() }).await;
    let (key, long) = (bearer(KEY), "x".repeat(2000));
    let key = ("authorization", key.as_str());
    let valid = chat_body(json!({}));
    let cases = [
        (vec![key, JSON], "{", 400, "invalid_json"),
        (vec![key, JSON], "[]", 400, "invalid_value"),
        (vec![key, JSON], "{\"model\":1,\"model\":2}", 400, "invalid_json"),
        (vec![key, JSON], long.as_str(), 413, "body_too_long"),
        (vec![key], valid.as_str(), 200, ""),
        (vec![key, ("origin", "https://a.example")], valid.as_str(), 415, "content_type_not_json"),
        (vec![key, ("origin", "null")], valid.as_str(), 415, "content_type_not_json"),
        (vec![key, ("origin", "https://a.example"), JSON], valid.as_str(), 200, ""),
        (vec![key, ("content-type", "")], valid.as_str(), 415, "content_type_not_json"),
        (vec![key, ("content-type", "text/plain")], valid.as_str(), 415, "content_type_not_json"),
        (vec![key, ("content-type", "Application/JSON; charset=utf-8")], valid.as_str(), 200, ""),
    ];
    for (headers, body, status, code) in cases {
        let answer = exchange(house.address, &request("POST", "/v1/chat/completions", &headers, body)).await;
        let got = if answer.status == 200 { String::new() } else { answer.error("code") };
        assert_eq!((answer.status, got.as_str()), (status, code), "{headers:?}");
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let plan = Plan {
        queue_max: 1,
        script: |mut s| {
            s.held = true;
            s.shape.max_batch_sequences = 1;
            s
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let first = tokio::spawn(exchange_owned(house.address));
    house.wait_health(1, 0).await;
    let second = tokio::spawn(exchange_owned(house.address));
    house.wait_health(1, 1).await;
    let refused = house.chat(json!({})).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (429, "backpressure_queue_full"));
    assert_eq!((refused.header("retry-after"), refused.header("retry-after-ms")), (Some("1"), Some("100")));
    house.control.release();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (200, 200));
    assert_eq!(house.chat(json!({})).await.status, 200);
}

async fn exchange_owned(address: std::net::SocketAddr) -> u16 {
    exchange(address, &crate::house::chat_request(json!({}))).await.status
}
