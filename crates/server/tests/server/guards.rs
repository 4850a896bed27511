//! Who looks after the door: tokens, other origins, traces, the audit log and what is counted.

use crate::client::{exchange, read_until, request};
use crate::house::{House, KEY, MODEL, Plan, bearer, chat_body, chat_request};
use ballast_server::{AuditLog, JwtAlgorithm, JwtOptions, JwtVerifier, ServerOptions};
use ballast_testkit::PATIENCE;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Signed with HS256 and the secret below: alice, scopes `read` and `metrics`, until a minute after the server's date.
const TOKEN: &str = concat!(
    "eyJhbGciOiJIUzI1NiJ9",
    ".eyJpc3MiOiJ1cyIsImF1ZCI6ImJhbGxhc3QiLCJzdWIiOiJhbGljZSIsImV4cCI6MTcwMDAwMDA2MCwic2NvcGUiOiJyZWFkIG1ldHJpY3MifQ",
    ".85xsGPK0m_fTH5Rzri3F6IsAm9U-Sk_xIlkUqoqKpk8",
);
const SECRET: &str = "a secret of more than thirty-two bytes";

#[tokio::test]
async fn a_token_opens_what_its_scopes_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let verifier = JwtVerifier::open(JwtOptions {
        issuer: "us".to_owned(),
        audience: "ballast".to_owned(),
        jwks: None,
        secret: Some(folder.path().join("secret")),
        algorithms: [JwtAlgorithm::Hs256].into_iter().collect(),
        leeway: Duration::ZERO,
    });
    let verifier = Arc::new(verifier.unwrap());
    let house = House::open_with(Plan::default(), |o| o.jwt = Some(verifier)).await;
    let ask = async |token: &str, method: &str, path: &str| {
        let token = bearer(token);
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        exchange(house.address, &request(method, path, &headers, &chat_body(json!({})))).await.status
    };
    assert_eq!(ask(TOKEN, "GET", "/v1/models").await, 200);
    assert_eq!(ask(TOKEN, "POST", "/v1/chat/completions").await, 403);
    assert_eq!(ask(&TOKEN.replace(".eyJpc3", ".eyJpc4"), "GET", "/v1/models").await, 401);
    assert_eq!(ask(KEY, "GET", "/v1/models").await, 200, "keys go on to open the server");
}

fn cors(o: &mut ServerOptions) {
    o.cors_origins = vec!["https://app.example".parse().unwrap()];
}

#[tokio::test]
async fn pages_of_named_origins_may_ask_and_others_learn_nothing() {
    let house = House::open(Plan { options: cors, ..Plan::default() }).await;
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        exchange(house.address, &request(method, path, headers, "")).await
    };
    let (ours, other) = (("origin", "https://app.example"), ("origin", "https://app.example.evil"));
    let wants = ("access-control-request-method", "POST");
    for path in ["/v1/chat/completions", "/nothing", "/metrics"] {
        let preflight = ask("OPTIONS", path, &[ours, wants]).await;
        assert_eq!((preflight.status, preflight.body.as_str()), (200, ""), "{path}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
        assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
        assert_eq!(preflight.header("access-control-allow-credentials"), None);
        let refused = ask("OPTIONS", path, &[other, wants]).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (200, None));
        assert_eq!(refused.header("access-control-allow-methods"), None);
    }
    assert_eq!(ask("OPTIONS", "/metrics", &[ours]).await.status, 401, "no preflight");
    let key = bearer(KEY);
    let read = ask("GET", "/v1/models", &[ours, ("authorization", &key)]).await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, Some("https://app.example")));
    assert_eq!(read.header("vary"), Some("origin"));
    let unread = ask("GET", "/v1/models", &[other, ("authorization", &key)]).await;
    assert_eq!((unread.status, unread.header("access-control-allow-origin")), (200, None));
    assert_eq!(
        ask("GET", "/v1/models", &[ours]).await.header("access-control-allow-origin"),
        Some("https://app.example")
    );
}

#[tokio::test]
async fn no_origin_is_allowed_unless_it_is_named() {
    let house = House::open(Plan::default()).await;
    let headers = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
    let answer = exchange(house.address, &request("OPTIONS", "/v1/chat/completions", &headers, "")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, None));
}

#[tokio::test]
async fn a_trace_goes_on_through_the_answer() {
    let house = House::open(Plan::default()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{trace}-00f067aa0ba902b7-01");
    let ask = async |header: &str| {
        let answer = exchange(house.address, &request("GET", "/livez", &[("traceparent", header)], "")).await;
        answer.header("traceparent").unwrap().to_owned()
    };
    let told = ask(&given).await;
    assert!(told.starts_with(&format!("00-{trace}-")) && told.ends_with("-01") && told != given, "{told}");
    let made = ask("not a trace").await;
    assert!(made.len() == 55 && !made.contains(trace), "{made}");
}

/// Lines of the audit log of requests, once there are `n`.
async fn lines(path: &Path, n: usize) -> Vec<Value> {
    let all = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap();
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if lines.len() >= n {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the lines are written")
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_and_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Arc::new(AuditLog::open(&path).unwrap());
    let house = House::open_with(Plan::default(), |o| o.audit = Some(audit)).await;
    let answer = house.chat(json!({"stream": true, "stream_options": {"include_usage": true}})).await;
    let usage = answer.events().iter().rev().nth(1).unwrap().json()["usage"].clone();
    let lines_now = lines(&path, 1).await;
    let line = &lines_now[0];
    assert_eq!((&line["status"], &line["route"]), (&json!(200), &json!("/v1/chat/completions")));
    assert_eq!((&line["method"], &line["model"]), (&json!("POST"), &json!(MODEL)));
    assert_eq!((&line["address"], &line["is_complete"]), (&json!("127.0.0.1"), &json!(true)));
    assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"));
    assert!(answer.header("traceparent").unwrap().contains(line["trace_id"].as_str().unwrap()));
    assert_eq!(line["prompt_tokens"], usage["prompt_tokens"]);
    assert_eq!(line["completion_tokens"], usage["completion_tokens"]);
    assert!(line["key"].as_str().unwrap().starts_with("key-") && line["key"] == line["tenant"]);
    assert_eq!((&line["time"], &line["reason"]), (&json!("2023-11-14T22:13:20Z"), &Value::Null));
    exchange(house.address, &request("POST", "/v1/messages", &[], "")).await;
    house.get("/v1/made-up-by-a-caller").await;
    let all = lines(&path, 3).await;
    assert_eq!(
        (&all[1]["status"], &all[1]["reason"], &all[1]["key"]),
        (&json!(401), &json!("invalid_api_key"), &Value::Null)
    );
    assert_eq!((&all[2]["status"], &all[2]["route"]), (&json!(404), &json!("")));
}

#[tokio::test]
async fn the_audit_log_says_that_a_client_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Arc::new(AuditLog::open(&path).unwrap());
    let plan = Plan {
        script: |mut script| {
            script.held = true;
            script
        },
        ..Plan::default()
    };
    let house = House::open_with(plan, |o| o.audit = Some(audit)).await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(chat_request(json!({"stream": true})).as_bytes()).await.unwrap();
    read_until(&mut socket, "assistant").await;
    drop(socket);
    let lines = lines(&path, 1).await;
    house.control.release();
    assert_eq!((&lines[0]["status"], &lines[0]["is_complete"]), (&json!(200), &json!(false)), "{lines:?}");
}

#[tokio::test]
async fn what_guards_look_for_is_counted() {
    let house = House::open(Plan { options: |o| o.body_bytes_max = 2000, ..Plan::default() }).await;
    exchange(house.address, &request("GET", "/v1/models", &[], "")).await;
    exchange(house.address, &request("GET", "/v1/models", &[("x-api-key", "wrong")], "")).await;
    assert_eq!(house.chat(json!({"user": "x".repeat(3000)})).await.status, 413);
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let headers = [("authorization", bearer(KEY)), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(exchange(house.address, &request("POST", "/tokenize", &headers, &deep)).await.status, 400);
    let text = house.get("/metrics").await.body;
    for (event, n) in [("auth_failed", 2), ("body_too_long", 1), ("json_refused", 1), ("scope_refused", 0)] {
        let line = format!("ballast_security_events_total{{event=\"{event}\"}} {n}\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
}
