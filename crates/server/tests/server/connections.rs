//! Connections: how many, slow ones, and how the server goes down.

use crate::client::{read_answer, read_until, request};
use crate::house::{House, Plan, chat_request};
use ballast_server::{HEADER_BYTES_MAX, HEADERS_MAX, ServerError};
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
        let status = tokio::time::timeout(ballast_testkit::PATIENCE, asked).await.expect("it gets a place");
        assert_eq!(status, 200);
    }
    for dribbler in dribbling {
        tokio::time::timeout(ballast_testkit::PATIENCE, dribbler).await.expect("it was dropped").unwrap();
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
