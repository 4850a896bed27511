//! Connections: how many, slow ones, and how the server goes down.

use crate::client::{exchange, read_answer, read_until, request};
use crate::house::{House, Plan, chat_request};
use ballast_server::{HEADER_BYTES_MAX, HEADERS_MAX, ServerError};
use ballast_testkit::PATIENCE;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn send(house: &House, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn connections_over_the_bound_wait_for_a_place() {
    let house = House::open(Plan { options: |o| o.connections_max = 1, ..Plan::default() }).await;
    let mut first = send(&house, "GET /health HTTP/1.1\r\nhost: test\r\n\r\n").await;
    read_until(&mut first, "active_sequences").await;
    let mut second = send(&house, &request("GET", "/health", &[], "")).await;
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(early.is_err(), "there was no place for it");
    drop(first);
    assert_eq!(read_answer(&mut second).await.status, 200);
}

#[tokio::test]
async fn heads_and_bodies_that_do_not_come_end_the_connection() {
    let options = |o: &mut ballast_server::ServerOptions| {
        o.header_timeout = Duration::from_millis(30);
        o.body_timeout = Duration::from_millis(30);
    };
    let house = House::open(Plan { options, ..Plan::default() }).await;
    let mut socket = send(&house, "GET /health HTTP/1.1\r\nhost:").await;
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    let half = chat_request(json!({}));
    let mut socket = send(&house, &half[..half.len() - 5]).await;
    let answer = read_answer(&mut socket).await;
    assert_eq!((answer.status, answer.error("code").as_str()), (408, "body_timeout"));
}

/// All places are taken by clients that send a head byte by byte, or not at all: each loses its place in time.
#[tokio::test]
async fn clients_that_never_finish_a_head_lose_their_places_to_those_that_do() {
    let options = |o: &mut ballast_server::ServerOptions| {
        o.connections_max = 4;
        o.header_timeout = Duration::from_millis(50);
    };
    let house = House::open(Plan { options, ..Plan::default() }).await;
    let mut dribbling = Vec::new();
    for _ in 0..8 {
        let mut socket = send(&house, "GET /health HTTP/1.1\r\nx-slow: ").await;
        dribbling.push(tokio::spawn(async move {
            while socket.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    for _ in 0..3 {
        let asked = async { read_answer(&mut send(&house, &request("GET", "/livez", &[], "")).await).await.status };
        let status = tokio::time::timeout(PATIENCE, asked).await.expect("it gets a place");
        assert_eq!(status, 200);
    }
    for dribbler in dribbling {
        tokio::time::timeout(PATIENCE, dribbler).await.expect("it was dropped").unwrap();
    }
}

#[tokio::test]
async fn heads_of_too_many_or_too_long_lines_are_refused() {
    let house = House::open(Plan::default()).await;
    let many: String = (0..=HEADERS_MAX).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(2 * HEADER_BYTES_MAX));
    for head in [many, long] {
        let text = format!("GET /livez HTTP/1.1\r\nhost: test\r\n{head}\r\n");
        let answer = read_answer(&mut send(&house, &text).await).await;
        assert_eq!(answer.status, 431, "{}", &text[..80]);
    }
    let few: String = (0..HEADERS_MAX - 10).map(|n| format!("x-{n}: y\r\n")).collect();
    let text = format!("GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{few}\r\n");
    assert_eq!(read_answer(&mut send(&house, &text).await).await.status, 200);
}

#[tokio::test]
async fn answers_in_progress_are_finished_on_the_way_down() {
    let mut house = House::open(Plan {
        script: |mut s| {
            s.held = true;
            s
        },
        ..Plan::default()
    })
    .await;
    let mut whole = send(&house, &chat_request(json!({}))).await;
    let mut stream = send(&house, &chat_request(json!({"stream": true}))).await;
    house.control.wait_begun(1);
    read_until(&mut stream, "assistant").await;
    let mut idle = send(&house, "GET /health HTTP/1.1\r\nhost: test\r\n\r\n").await;
    read_until(&mut idle, "active_sequences").await;
    house.shut_down();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(house.address).await.is_err(), "the listener is closed");
    house.control.release();
    assert_eq!(read_answer(&mut whole).await.status, 200);
    read_until(&mut stream, "[DONE]").await;
    house.ended().await.unwrap();
}

/// Connections that one process may have open in a test, both ends of each.
fn n_idle() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let files: usize = files.and_then(|files| files.parse().ok()).unwrap_or(256);
    (files.saturating_sub(200) / 2).clamp(10, 3000)
}

#[tokio::test]
async fn thousands_of_idle_connections_hold_and_hold_nobody_up() {
    let house = House::open(Plan::default()).await;
    let mut idle = Vec::new();
    for _ in 0..n_idle() {
        idle.push(TcpStream::connect(house.address).await.unwrap());
    }
    assert_eq!(house.chat(json!({})).await.status, 200);
    for socket in idle.iter_mut().step_by(100) {
        socket.write_all(request("GET", "/livez", &[], "").as_bytes()).await.unwrap();
        assert_eq!(read_answer(socket).await.status, 200, "it held");
    }
}

#[tokio::test]
async fn a_full_house_ends_the_connection_that_does_nothing() {
    let mut house = House::open(Plan { options: |o| o.connections_max = 1, ..Plan::default() }).await;
    let mut idle = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(house.chat(json!({})).await.status, 200, "it made room");
    let mut rest = Vec::new();
    drop(idle.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    house.shut_down();
    house.ended().await.unwrap();
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_and_connections_on_which_nothing_comes_end() {
    let options = |o: &mut ballast_server::ServerOptions| {
        o.header_timeout = Duration::from_millis(60);
        o.idle_timeout = Duration::from_millis(120);
    };
    let house = House::open(Plan { options, ..Plan::default() }).await;
    let mut silent = TcpStream::connect(house.address).await.unwrap();
    let mut loris = send(&house, "GET /livez HTTP/1.1\r\n").await;
    let dripping = async {
        while loris.write_all(b"x-a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dripping).await.expect("who sends a head for ever is cut");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
    assert_eq!(ended.expect("who says nothing is cut").unwrap(), 0);
}

#[tokio::test]
async fn who_reads_nothing_slows_nobody() {
    let house = House::open(Plan::default()).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(send(&house, &chat_request(json!({"stream": true}))).await);
    }
    for _ in 0..4 {
        assert_eq!(house.chat(json!({})).await.status, 200);
    }
    for socket in &mut slow {
        read_until(socket, "[DONE]").await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_in_the_file_system_is_served_too() {
    let path = std::env::temp_dir().join(format!("ballast-test-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (house, stop) = House::open_at(listener).await;
    let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
    socket.write_all(request("GET", "/livez", &[], "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.send(()).unwrap();
    house.await.unwrap().unwrap();
    drop(std::fs::remove_file(&path));
}

#[tokio::test]
async fn readiness_says_no_before_the_listener_closes() {
    let options = |o: &mut ballast_server::ServerOptions| o.drain_delay = Duration::from_secs(3600);
    let mut house = House::open(Plan { options, ..Plan::default() }).await;
    let before = house.chat(json!({})).await;
    assert_eq!((before.status, before.header("connection")), (200, Some("close")), "the client asked for it");
    let mut kept = send(&house, "GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(!read_until(&mut kept, "status").await.contains("connection: close"));
    house.shut_down();
    let told = async {
        while exchange(house.address, &request("GET", "/readyz", &[], "")).await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("readiness says no");
    let ready = exchange(house.address, &request("GET", "/readyz", &[], "")).await;
    assert_eq!(ready.json()["status"], "draining");
    assert_eq!(exchange(house.address, &request("GET", "/livez", &[], "")).await.status, 200, "it lives");
    assert_eq!(house.chat(json!({})).await.status, 200, "who comes all the same is answered");
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    kept.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("connection: close"), "{rest}");
}

#[tokio::test]
async fn answers_that_take_too_long_are_cut_with_a_reason() {
    let plan = Plan {
        script: |mut s| {
            s.held = true;
            s
        },
        options: |o| o.drain_timeout = Duration::from_millis(20),
        ..Plan::default()
    };
    let mut house = House::open(plan).await;
    let mut whole = send(&house, &chat_request(json!({}))).await;
    let mut stream = send(&house, &chat_request(json!({"stream": true}))).await;
    read_until(&mut stream, "assistant").await;
    house.control.wait_begun(1);
    house.shut_down();
    let answer = read_answer(&mut whole).await;
    assert_eq!((answer.status, answer.header("x-ballast-reason")), (503, Some("DRAINING")));
    read_until(&mut stream, "\"code\":\"draining\"").await;
    house.control.release();
    let error = house.ended().await.unwrap_err();
    assert!(matches!(error, ServerError::DrainTimedOut { n_connections: 2 }), "{error}");
}
