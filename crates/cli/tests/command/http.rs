//! A client over a plain socket, so that nothing stands between the test and the bytes.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Response {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn get(address: SocketAddr, path: &str, key: Option<&str>) -> Response {
    exchange(address, &format!("GET {path} HTTP/1.1\r\n{}\r\n", common(key)))
}

pub(crate) fn post(address: SocketAddr, path: &str, key: Option<&str>, body: &Value) -> Response {
    let body = body.to_string();
    let head = format!("{}content-type: application/json\r\ncontent-length: {}\r\n", common(key), body.len());
    exchange(address, &format!("POST {path} HTTP/1.1\r\n{head}\r\n{body}"))
}

fn common(key: Option<&str>) -> String {
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    format!("host: localhost\r\nconnection: close\r\n{key}")
}

fn exchange(address: SocketAddr, request: &str) -> Response {
    ask(TcpStream::connect(address).unwrap(), request)
}

/// Asks over a connection that is there.
pub(crate) fn ask(mut socket: TcpStream, request: &str) -> Response {
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Response { status, body: if is_chunked { unchunked(body) } else { body.to_owned() } }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let (chunk, rest) = rest.split_at(usize::from_str_radix(size, 16).unwrap());
        text += chunk;
        body = rest.strip_prefix("\r\n").unwrap();
    }
    text
}
