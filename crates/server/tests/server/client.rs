//! A client that shows everything: status, headers, body as it came.

use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn error(&self, field: &str) -> String {
        self.json()["error"][field].as_str().unwrap_or_default().to_owned()
    }

    /// The events of a stream, without comments.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.body.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')).map(Event::parse).collect()
    }
}

/// A server-sent event.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Json(Value),
    Done,
}

impl Event {
    fn parse(text: &str) -> Self {
        // Some wires name their events in a line before.
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        let data = data.unwrap_or_else(|| panic!("not a data event: {text}"));
        if data == "[DONE]" { Self::Done } else { Self::Json(serde_json::from_str(data).unwrap()) }
    }

    pub(crate) fn json(&self) -> &Value {
        match self {
            Self::Json(value) => value,
            Self::Done => panic!("expected JSON, got [DONE]"),
        }
    }
}

/// One request's text; the server is to close the connection after it.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + &format!("content-length: {}\r\n\r\n{body}", body.len())
}

/// Sends `text` and reads until the server closes.
pub(crate) async fn exchange(address: SocketAddr, text: &str) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    read_answer(&mut socket).await
}

pub(crate) async fn read_answer(socket: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.unwrap();
    parse(&bytes)
}

/// Reads until `text` has come.
pub(crate) async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    let mut buffer = [0; 1024];
    while !read.contains(text) {
        let n = socket.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the connection ended before {text:?} came: {read}");
        read += &String::from_utf8_lossy(&buffer[..n]);
    }
    read
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8(bytes.to_vec()).expect("answers are text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        text += &rest[..size];
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}
