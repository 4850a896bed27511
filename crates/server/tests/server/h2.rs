//! HTTP/2 with prior knowledge, on the port of HTTP/1.

use crate::house::{House, KEY, Plan, bearer, chat_body};
use ballast_testkit::PATIENCE;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;

/// A client whose window for an answer's bytes is `window`, if that is not the usual.
async fn connect(house: &House, window: Option<u32>) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(house.address).await.unwrap();
    let mut builder = Builder::new(TokioExecutor::new());
    let (client, connection) =
        builder.initial_stream_window_size(window).handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn chat(client: &mut SendRequest<Full<Bytes>>, extra: Value) -> Response<Incoming> {
    let request = Request::post("http://test/v1/chat/completions")
        .header("authorization", bearer(KEY))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(chat_body(extra))));
    client.send_request(request.unwrap()).await.unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn held(mut script: ballast_testkit::Script) -> ballast_testkit::Script {
    script.held = true;
    script
}

#[tokio::test]
async fn requests_share_a_connection_of_http_2() {
    let house = House::open(Plan::default()).await;
    let mut client = connect(&house, None).await;
    let mut other = client.clone();
    let (whole, streamed) = tokio::join!(chat(&mut client, json!({})), chat(&mut other, json!({"stream": true})));
    assert_eq!((whole.status().as_u16(), streamed.status().as_u16()), (200, 200));
    let whole: Value = serde_json::from_str(&text(whole).await).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "Hi there!");
    assert!(text(streamed).await.ends_with("data: [DONE]\n\n"));
    assert_eq!(house.chat(json!({})).await.status, 200, "HTTP/1 is spoken on the same port");
}

#[tokio::test]
async fn leaving_one_request_of_http_2_stops_its_work_alone() {
    let plan = Plan { answer: "a long answer that nobody will read to its end", script: held, ..Plan::default() };
    let house = House::open(plan).await;
    let mut client = connect(&house, None).await;
    let left = chat(&mut client, json!({"stream": true})).await;
    let kept = chat(&mut client, json!({"stream": true})).await;
    let goes_to = async |n_active: u64| {
        while house.health().await["active_sequences"] != n_active {
            house.control.allow(1);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, goes_to(2)).await.expect("both are at work");
    drop(left);
    tokio::time::timeout(PATIENCE, goes_to(1)).await.expect("the work of one ends");
    house.control.release();
    assert!(text(kept).await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_client_of_http_2_that_takes_nothing_loses_its_connection() {
    let options = |o: &mut ballast_server::ServerOptions| o.stall_timeout = Duration::from_millis(50);
    let house = House::open(Plan { options, ..Plan::default() }).await;
    let mut client = connect(&house, Some(1)).await;
    let answer = chat(&mut client, json!({"stream": true})).await;
    let ended = tokio::time::timeout(PATIENCE, client.ready()).await.map(|_| ());
    let closed = async {
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the connection ends");
    drop((answer, ended));
    house.wait_health(0, 0).await;
}
