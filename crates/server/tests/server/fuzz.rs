//! Whatever comes over the socket: an answer or the end of the connection, never a panic, never a silence.

use crate::client::{exchange, request};
use crate::house::{House, KEY, Plan, bearer, chat_body};
use crate::routes::path_of;
use ballast_server::routes;
use ballast_testkit::{PATIENCE, SplitMix};
use proptest::prelude::*;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bodies that a fuzzer begins with.
fn bodies() -> Vec<String> {
    vec![
        String::new(),
        "{}".to_owned(),
        "[".repeat(5000),
        chat_body(json!({"stream": true, "n": 2, "logit_bias": {"5": 1.5}, "max_tokens": 3})),
        json!({"model": "x", "prompt": [1, 2, 3], "input": "text", "query": "q", "documents": ["d"]}).to_string(),
        json!({"content": "text", "tokens": [0, 4_294_967_295_u64], "messages": [{"role": "user", "content": 5}]})
            .to_string(),
    ]
}

/// A request to some route, whole.
fn whole(seed: &mut SplitMix) -> Vec<u8> {
    let pick = |random: u8, n: usize| usize::from(random) % n;
    let route = &routes()[pick(seed.next_u8(), routes().len())];
    let bodies = bodies();
    let body = &bodies[pick(seed.next_u8(), bodies.len())];
    let methods = [route.method.as_str(), "HEAD", "OPTIONS", "PUT", "\u{7f}"];
    let key = bearer(KEY);
    let keys = ["", key.as_str(), "Bearer", "Bearer a.b.c", "\t"];
    let (method, key) = (methods[pick(seed.next_u8(), methods.len())], keys[pick(seed.next_u8(), keys.len())]);
    let headers = [("authorization", key), ("content-type", "application/json"), ("traceparent", "00-0-0-0")];
    request(method, &path_of(route), &headers, body).into_bytes()
}

/// Sends `bytes`, says that no more will come, and reads to the end.
async fn answered(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // The server may hang up before all has been sent.
    drop(socket.write_all(bytes).await);
    drop(socket.shutdown().await);
    drop(socket.read_to_end(&mut answer).await);
    answer
}

#[test]
fn nothing_that_comes_over_the_socket_ends_or_hangs_the_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let plan = Plan {
        options: |o| {
            o.header_timeout = Duration::from_millis(500);
            o.body_timeout = Duration::from_millis(500);
            o.body_bytes_max = 10_000;
        },
        ..Plan::default()
    };
    let house = runtime.block_on(House::open(plan));
    let cases = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(cases, |(seed in any::<u64>(), breaks in 0_usize..6, noise in prop::collection::vec(any::<u8>(), 0..300))| {
        let mut random = SplitMix::new(seed);
        let mut bytes = whole(&mut random);
        for _ in 0..breaks {
            let at = (usize::from(random.next_u8()) * 256 + usize::from(random.next_u8())) % bytes.len();
            match random.next_u8() % 4 {
                0 => bytes[at] = random.next_u8(),
                1 => bytes.insert(at, b"\r\n :{}\"\0"[usize::from(random.next_u8() % 8)]),
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.splice(at..at, noise.iter().copied())),
            }
        }
        let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, answered(house.address, &bytes)).await });
        let answer = answer.expect("the connection ends");
        if !answer.is_empty() {
            let head = String::from_utf8_lossy(&answer);
            let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
            prop_assert!(head.starts_with("HTTP/1.") && status < 500, "{head} to {:?}", String::from_utf8_lossy(&bytes));
        }
    });
    let noise = |seed| {
        let mut random = SplitMix::new(seed);
        (0..2000).map(|_| random.next_u8()).collect::<Vec<_>>()
    };
    for seed in 0..20 {
        let answer =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, answered(house.address, &noise(seed))).await });
        assert!(answer.is_ok(), "noise {seed}");
    }
    let alive = runtime.block_on(exchange(house.address, &request("GET", "/livez", &[], "")));
    assert_eq!(alive.status, 200);
}
