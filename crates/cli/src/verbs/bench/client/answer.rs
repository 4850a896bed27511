//! An HTTP/1.1 answer, decoded as its bytes come: a head, then a body of known length or in chunks. It knows no socket.
//!
//! ```text
//! Head      => Sized | ChunkSize | Ended   the head tells how the body ends
//! Sized     => Ended                       the last byte
//! ChunkSize => Chunk | Trailer             a size, 0 for the last
//! Chunk     => ChunkEnd => ChunkSize
//! Trailer   => Ended                       an empty line
//! ```

/// Longest head, and longest line among chunks.
pub(in super::super) const LINE_BYTES_MAX: usize = 64 << 10;

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Malformed(pub(in super::super) &'static str);

/// Status and fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Head {
    pub(in super::super) status: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Sized { left: usize },
    ChunkSize,
    Chunk { left: usize },
    ChunkEnd,
    Trailer,
    Ended,
}

/// An answer that comes in.
#[derive(Debug)]
pub(in super::super) struct Answer {
    state: State,
    /// Came, and was not decoded yet.
    pending: Vec<u8>,
    head: Head,
    /// Decoded, and not taken by the reader yet.
    pub(in super::super) body: Vec<u8>,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self { status, fields: lines.map(field).collect::<Option<_>>()? })
    }

    /// The value of a field, by its name in lower case.
    pub(in super::super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether another request may be sent on the connection.
    pub(in super::super) fn keeps_open(&self) -> bool {
        !self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn body(&self) -> Result<State, Malformed> {
        if self.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(State::ChunkSize);
        }
        let length = self.field("content-length").ok_or(Malformed("a body without an end"))?;
        match length.parse().map_err(|_| Malformed("a content-length that is no number"))? {
            0 => Ok(State::Ended),
            left => Ok(State::Sized { left }),
        }
    }
}

impl Answer {
    pub(in super::super) fn new() -> Self {
        Self { state: State::Head, pending: Vec::new(), head: Head::default(), body: Vec::new() }
    }

    /// The head, once it is here.
    pub(in super::super) fn head(&self) -> Option<&Head> {
        (self.state != State::Head).then_some(&self.head)
    }

    pub(in super::super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Decodes what came.
    ///
    /// # Errors
    /// If it is no answer; nothing can be decoded after that.
    pub(in super::super) fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.pending.extend_from_slice(bytes);
        while self.advance()? {}
        Ok(())
    }

    /// Takes one step; false if more bytes are needed.
    fn advance(&mut self) -> Result<bool, Malformed> {
        match self.state {
            State::Ended => Ok(false),
            State::Head => {
                let Some(text) = self.take_until(b"\r\n\r\n")? else { return Ok(false) };
                self.head = Head::parse(&text).ok_or(Malformed("a head that is none"))?;
                self.state = self.head.body()?;
                Ok(true)
            }
            State::Sized { left } => Ok(self.take_body(left, |left| State::Sized { left }, State::Ended)),
            State::Chunk { left } => Ok(self.take_body(left, |left| State::Chunk { left }, State::ChunkEnd)),
            State::ChunkSize => {
                let Some(line) = self.take_until(b"\r\n")? else { return Ok(false) };
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(digits, 16).map_err(|_| Malformed("a chunk without a size"))?;
                self.state = if size == 0 { State::Trailer } else { State::Chunk { left: size } };
                Ok(true)
            }
            State::ChunkEnd => {
                let Some(line) = self.take_until(b"\r\n")? else { return Ok(false) };
                self.state = State::ChunkSize;
                if line.is_empty() { Ok(true) } else { Err(Malformed("a chunk longer than it said")) }
            }
            State::Trailer => {
                let Some(line) = self.take_until(b"\r\n")? else { return Ok(false) };
                if line.is_empty() {
                    self.state = State::Ended;
                }
                Ok(true)
            }
        }
    }

    /// Moves up to `left` bytes to the body; false if there are none.
    fn take_body(&mut self, left: usize, more: fn(usize) -> State, then: State) -> bool {
        let n = left.min(self.pending.len());
        self.body.extend(self.pending.drain(..n));
        self.state = if n == left { then } else { more(left - n) };
        n > 0
    }

    /// Takes what comes before `end`, and `end` with it.
    fn take_until(&mut self, end: &[u8]) -> Result<Option<String>, Malformed> {
        let Some(at) = self.pending.windows(end.len()).position(|window| window == end) else {
            let is_long = self.pending.len() > LINE_BYTES_MAX;
            return if is_long { Err(Malformed("a line without an end")) } else { Ok(None) };
        };
        let text = String::from_utf8_lossy(&self.pending[..at]).into_owned();
        self.pending.drain(..at + end.len());
        Ok(Some(text))
    }
}

/// Takes the whole events of a stream out of a body: what stands behind `data:`. Comments and other fields are left out.
pub(in super::super) fn take_events(body: &mut Vec<u8>) -> Vec<String> {
    let Some(end) = body.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
    let lines: Vec<u8> = body.drain(..=end).collect();
    let data = |line: &str| Some(line.strip_prefix("data:")?.trim().to_owned());
    String::from_utf8_lossy(&lines).lines().filter_map(data).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n";
    const SIZED: &str = "HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\nRetry-After: 3\r\nconnection: close\r\n\r\n{}";

    #[test]
    fn an_answer_is_the_same_however_its_bytes_come() {
        for step in [1, 2, 7, 1_000] {
            let mut answer = Answer::new();
            CHUNKED.as_bytes().chunks(step).for_each(|bytes| answer.push(bytes).unwrap());
            assert!(answer.is_ended());
            assert_eq!((answer.body.as_slice(), answer.head().unwrap().status), (&b"hello world"[..], 200), "{step}");
            assert!(answer.head().unwrap().keeps_open());
            let mut answer = Answer::new();
            SIZED.as_bytes().chunks(step).for_each(|bytes| answer.push(bytes).unwrap());
            let head = answer.head().unwrap();
            assert_eq!((head.status, head.field("retry-after"), head.keeps_open()), (429, Some("3"), false));
            assert_eq!(answer.body, b"{}");
        }
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let endless = "x".repeat(LINE_BYTES_MAX + 1);
        let cases = [
            "SMTP hello\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
            endless.as_str(),
        ];
        for bad in cases {
            assert!(Answer::new().push(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn events_are_taken_when_they_are_whole() {
        let mut body = b": ping\ndata: {\"a\":1}\n\ndata:[DONE]\n\ndata: {\"b\"".to_vec();
        assert_eq!(take_events(&mut body), ["{\"a\":1}", "[DONE]"]);
        assert_eq!(body, b"data: {\"b\"");
        assert!(take_events(&mut body).is_empty());
    }
}
