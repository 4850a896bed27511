//! Clients that leave and requests that run out of time: the work ends.

use crate::client::read_until;
use crate::house::{House, Plan, chat_request};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A server whose steps the test allows, with one request at work.
async fn at_work(extra: serde_json::Value) -> (House, TcpStream) {
    let plan = Plan {
        answer: "a long answer that nobody will read to its end",
        script: |mut s| {
            s.held = true;
            s
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(chat_request(extra).as_bytes()).await.unwrap();
    house.wait_health(1, 0).await;
    (house, socket)
}

/// The engine must not have gone on to the end of the answer by itself.
fn assert_stopped_early(house: &House) {
    assert!(house.control.steps().len() < 20, "{} steps", house.control.steps().len());
}

#[tokio::test]
async fn leaving_an_answer_in_one_piece_stops_the_work() {
    let (house, socket) = at_work(json!({})).await;
    drop(socket);
    stops(&house).await;
}

#[tokio::test]
async fn leaving_a_stream_stops_the_work() {
    let (house, mut socket) = at_work(json!({"stream": true})).await;
    read_until(&mut socket, "assistant").await;
    drop(socket);
    stops(&house).await;
}

/// Allows steps one at a time until nothing is at work.
async fn stops(house: &House) {
    let stopped = async {
        while house.health().await["active_sequences"] != 0 {
            house.control.allow(1);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ballast_testkit::PATIENCE, stopped).await.expect("the work ends");
    assert_stopped_early(house);
}

#[tokio::test]
async fn leaving_the_queue_gives_the_place_back() {
    let plan = Plan {
        script: |mut s| {
            s.held = true;
            s.shape.max_batch_sequences = 1;
            s
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let mut working = TcpStream::connect(house.address).await.unwrap();
    working.write_all(chat_request(json!({})).as_bytes()).await.unwrap();
    house.wait_health(1, 0).await;
    let mut waiting = TcpStream::connect(house.address).await.unwrap();
    waiting.write_all(chat_request(json!({})).as_bytes()).await.unwrap();
    house.wait_health(1, 1).await;
    drop(waiting);
    let left = async {
        while house.health().await["waiting_requests"] != 0 {
            house.control.allow(1);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ballast_testkit::PATIENCE, left).await.expect("the place is given back");
    house.control.release();
    drop(working);
}

#[tokio::test]
async fn a_deadline_is_a_504_or_an_error_event() {
    for (extra, expected) in [(json!({"timeout": 5}), "HTTP/1.1 504"), (json!({"timeout": 5, "stream": true}), "error")]
    {
        let (house, mut socket) = at_work(extra).await;
        house.clock.advance(Duration::from_secs(6));
        house.control.allow(1);
        let mut read = read_until(&mut socket, expected).await;
        if !read.contains("cancelled_by_timeout") {
            read += &read_until(&mut socket, "cancelled_by_timeout").await;
        }
        assert!(!read.contains("[DONE]"), "{read}");
        house.control.release();
    }
}

#[tokio::test]
async fn an_engine_that_hangs_past_the_deadline_does_not_keep_the_caller() {
    let plan = Plan {
        script: |mut s| {
            s.held = true;
            s
        },
        options: |o| o.deadline_grace = Duration::ZERO,
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let answer = house.chat(json!({"timeout": 0.05})).await;
    assert_eq!((answer.status, answer.error("code").as_str()), (504, "cancelled_by_timeout"));
    assert_eq!(answer.header("x-ballast-reason"), Some("CANCELLED_BY_TIMEOUT"));
    house.control.release();
}

#[tokio::test]
async fn silence_is_filled_with_comments() {
    let plan = Plan {
        script: |mut s| {
            s.held = true;
            s
        },
        options: |o| o.keep_alive = Duration::from_millis(5),
        ..Plan::default()
    };
    let house = House::open(plan).await;
    let mut socket = TcpStream::connect(house.address).await.unwrap();
    socket.write_all(chat_request(json!({"stream": true})).as_bytes()).await.unwrap();
    read_until(&mut socket, ": ping\n\n").await;
    house.control.release();
    read_until(&mut socket, "[DONE]").await;
}
