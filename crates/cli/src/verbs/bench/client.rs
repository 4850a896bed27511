//! A client of a server under load: one connection, streamed chat completions, and when each of their tokens came.

mod answer;

use super::server::MODEL;
use answer::{Answer, Head, take_events};
use ballast::SystemClock;
use ballast_backend::Clock;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longest time for a whole answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(600);
/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;
/// Longest wait that official clients take a server's hint for. (openai-python and anthropic-sdk: above 0, 60 s at most)
const HINT_MAX: Duration = Duration::from_secs(60);

/// How long an answer is to be, and how it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) max_tokens: usize,
    /// Token by token.
    pub(super) streamed: bool,
}

/// Where a server is and how it is asked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) key: String,
    pub(super) clock: SystemClock,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole answer.
    Done,
    /// Another status than 200, and how long to wait before the next try, as official clients read it.
    Refused { status: u16, hint: Option<Duration> },
    /// There is no whole answer, in a word.
    Failed(&'static str),
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) end: End,
    /// When it was sent, or was to be sent.
    pub(super) begin: Duration,
    /// When each piece of text came.
    pub(super) pieces: Vec<Duration>,
    /// As the server counted; 0 where it told nothing.
    pub(super) prompt_tokens: u64,
    pub(super) generated_tokens: u64,
}

impl Target {
    /// A request for a greedy answer that goes on to its last token.
    pub(super) fn chat(&self, prompt: &str, asked: Asked) -> Vec<u8> {
        let mut body = json!({
            "model": MODEL, "messages": [{ "role": "user", "content": prompt }], "max_tokens": asked.max_tokens,
            "temperature": 0, "seed": 1, "ignore_eos": true, "stream": asked.streamed,
        });
        if asked.streamed {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let body = body.to_string();
        let head = self.head("POST", "/v1/chat/completions");
        format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn head(&self, method: &str, path: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n", self.key)
    }

    /// The text of a route.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get(&self, path: &str) -> Result<String, &'static str> {
        let mut connection = Connection::open(self, None).await?;
        connection.send(format!("{}\r\n", self.head("GET", path)).as_bytes()).await?;
        while connection.more().await? {}
        Ok(String::from_utf8_lossy(&connection.answer.body).into_owned())
    }
}

/// A client that keeps its connection from one request to the next.
#[derive(Debug)]
pub(super) struct Client<'a> {
    target: &'a Target,
    connection: Option<Connection>,
}

impl<'a> Client<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self { target, connection: None }
    }

    /// Sends a request and takes its answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Exchange {
        let begin = self.target.clock.now();
        let mut seen = Seen::default();
        let end = match timeout(ANSWER_MAX, self.exchange(request, &mut seen)).await {
            Ok(Ok(end)) => end,
            Ok(Err(why)) => End::Failed(why),
            Err(_) => End::Failed("no end in time"),
        };
        let Seen { pieces, prompt_tokens, generated_tokens, .. } = seen;
        Exchange { end, begin, pieces, prompt_tokens, generated_tokens }
    }

    async fn exchange(&mut self, request: &[u8], seen: &mut Seen) -> Result<End, &'static str> {
        let (mut connection, mut more) = self.begin(request).await?;
        loop {
            let head = connection.answer.head();
            let status = head.map_or(0, |head| head.status);
            if status == 200 {
                seen.read(&mut connection.answer.body, self.target.clock.now(), !more);
            }
            if more {
                more = connection.more().await?;
                continue;
            }
            let head = head_of(&connection.answer)?;
            let end = match status {
                200 => seen.end(),
                status => End::Refused { status, hint: hint(&head) },
            };
            self.connection = head.keeps_open().then_some(connection);
            return Ok(end);
        }
    }

    /// Sends a request and waits for the first bytes of its answer; false if they are all of it. A server may close a
    /// connection that was kept at any time: then the request goes out again on a new one, as HTTP's clients do.
    async fn begin(&mut self, request: &[u8]) -> Result<(Connection, bool), &'static str> {
        if let Some(mut kept) = self.connection.take()
            && kept.send(request).await.is_ok()
            && let Ok(more) = kept.more().await
        {
            return Ok((kept, more));
        }
        let mut new = Connection::open(self.target, None).await?;
        new.send(request).await?;
        let more = new.more().await?;
        Ok((new, more))
    }
}

fn head_of(answer: &Answer) -> Result<Head, &'static str> {
    answer.head().cloned().ok_or("no head")
}

/// How long official clients wait after this answer; `None` where they take no hint. `retry-after-ms` comes before
/// `retry-after`, which counts seconds.
fn hint(head: &Head) -> Option<Duration> {
    let number = |name: &str| head.field(name)?.parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|millis| millis / 1e3).or_else(|| number("retry-after"))?;
    let hint = Duration::try_from_secs_f64(seconds).ok()?;
    (!hint.is_zero() && hint <= HINT_MAX).then_some(hint)
}

/// One connection with the answer that comes in on it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    answer: Answer,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects; with `window`, to a socket that takes no more than so many bytes or as few as the system allows.
    ///
    /// # Errors
    /// If the server takes no connection.
    pub(super) async fn open(target: &Target, window: Option<u32>) -> Result<Self, &'static str> {
        let opened = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = window {
                socket.set_recv_buffer_size(bytes)?;
            }
            let socket = socket.connect(target.address).await?;
            socket.set_nodelay(true)?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = opened.await.map_err(|_| "no connection")?;
        Ok(Self { socket, answer: Answer::new(), buffer: vec![0; READ_BYTES] })
    }

    /// Sends a request; its answer is what comes next.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) async fn send(&mut self, request: &[u8]) -> Result<(), &'static str> {
        self.answer = Answer::new();
        self.socket.write_all(request).await.map_err(|_| "the connection broke off")
    }

    /// Reads what came; false once the answer is whole.
    ///
    /// # Errors
    /// If the connection is gone, or what came is no answer.
    async fn more(&mut self) -> Result<bool, &'static str> {
        if self.answer.is_ended() {
            return Ok(false);
        }
        let n_bytes = self.socket.read(&mut self.buffer).await.map_err(|_| "the connection broke off")?;
        if n_bytes == 0 {
            return Err("the connection broke off");
        }
        self.answer.push(&self.buffer[..n_bytes]).map_err(|malformed| malformed.0)?;
        Ok(!self.answer.is_ended())
    }

    /// Reads one byte and nothing behind it; false at the end of the connection.
    pub(super) async fn take_byte(&mut self) -> bool {
        self.socket.read_u8().await.is_ok()
    }

    /// Waits until the first piece of text of a streamed answer is here.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn first_piece(&mut self) -> Result<(), &'static str> {
        let mut seen = Seen::default();
        while seen.pieces.is_empty() {
            let more = self.more().await?;
            seen.read(&mut self.answer.body, Duration::ZERO, !more);
            if !more && seen.pieces.is_empty() {
                return Err("an answer without text");
            }
        }
        Ok(())
    }
}

/// What was seen of an answer so far.
#[derive(Debug, Default)]
struct Seen {
    pieces: Vec<Duration>,
    prompt_tokens: u64,
    generated_tokens: u64,
    /// A streamed answer said that it is complete, or a whole one is here.
    is_complete: bool,
    is_error: bool,
}

impl Seen {
    /// Reads events out of a body; `is_last`: nothing comes behind it.
    fn read(&mut self, body: &mut Vec<u8>, now: Duration, is_last: bool) {
        if body.first() == Some(&b'{') {
            // An answer in one piece.
            if is_last {
                self.usage(&serde_json::from_slice(body).unwrap_or_default());
                self.is_complete = true;
            }
            return;
        }
        for data in take_events(body) {
            if data == "[DONE]" {
                self.is_complete = true;
                continue;
            }
            let event: Value = serde_json::from_str(&data).unwrap_or_default();
            self.is_error |= !event["error"].is_null();
            let text = event["choices"][0]["delta"]["content"].as_str();
            if text.is_some_and(|text| !text.is_empty()) {
                self.pieces.push(now);
            }
            self.usage(&event);
        }
    }

    fn usage(&mut self, object: &Value) {
        let count = |key: &str| object["usage"][key].as_u64();
        self.prompt_tokens = count("prompt_tokens").unwrap_or(self.prompt_tokens);
        self.generated_tokens = count("completion_tokens").unwrap_or(self.generated_tokens);
    }

    fn end(&self) -> End {
        match (self.is_error, self.is_complete) {
            (true, _) => End::Failed("an error in the stream"),
            (false, false) => End::Failed("an answer without its end"),
            (false, true) => End::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> Head {
        let mut answer = Answer::new();
        answer.push(format!("HTTP/1.1 429 x\r\ncontent-length: 0\r\n{fields}\r\n").as_bytes()).unwrap();
        answer.head().unwrap().clone()
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_is_made_anew() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 4];
                socket.read_exact(&mut request).await.unwrap();
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
        });
        let target = Target { address, key: String::new(), clock: SystemClock::start() };
        let mut client = Client::new(&target);
        for _ in 0..2 {
            assert_eq!(client.ask(b"ask\n").await.end, End::Done);
        }
        server.await.unwrap();
    }

    #[test]
    fn hints_are_read_as_official_clients_read_them() {
        let of = |fields: &str| hint(&head(fields));
        assert_eq!(of("retry-after: 2\r\n"), Some(Duration::from_secs(2)));
        assert_eq!(of("retry-after: 2\r\nretry-after-ms: 1500\r\n"), Some(Duration::from_millis(1500)));
        for none in ["", "retry-after: 0\r\n", "retry-after: 61\r\n", "retry-after: soon\r\n", "retry-after: -1\r\n"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_stream_is_done_with_its_last_word_only() {
        let seen = |body: &str| {
            let mut seen = Seen::default();
            seen.read(&mut body.as_bytes().to_vec(), Duration::from_secs(1), true);
            seen
        };
        let token = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
        let whole = seen(&format!("{token}{usage}data: [DONE]\n\n"));
        assert_eq!((whole.end(), whole.pieces.len()), (End::Done, 1));
        assert_eq!((whole.prompt_tokens, whole.generated_tokens), (3, 1));
        assert_eq!(seen(token).end(), End::Failed("an answer without its end"));
        let failed = format!("{token}data: {{\"error\":{{\"code\":\"x\"}}}}\n\ndata: [DONE]\n\n");
        assert_eq!(seen(&failed).end(), End::Failed("an error in the stream"));
        let single = seen("{\"usage\":{\"completion_tokens\":5}}");
        assert_eq!((single.end(), single.generated_tokens), (End::Done, 5));
    }
}
