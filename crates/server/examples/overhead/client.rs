//! Clients that do as little as they can: the same bytes sent again and again, answers of a told length thrown away.

use crate::{CLIENTS, SystemClock, ours};
use ballast_backend::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How clients ask.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Without a pause, for so long.
    Saturated { time: Duration },
    /// At this rate, all together.
    Paced { time: Duration, per_second: f64 },
    /// Without a pause, so many requests.
    Count(usize),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of every answer, sorted.
    pub(crate) latencies: Vec<Duration>,
    time: Duration,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// The time that `percent` of all do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied().unwrap_or_default()
    }
}

fn thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread can be had")
}

/// One answer with its head.
///
/// # Panics
/// If it is no success.
pub(crate) fn answer(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    thread().block_on(async {
        let mut client = Client::open(address).await;
        client.ask(request).await;
        assert!(client.buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&client.buffer));
        client.buffer
    })
}

/// Puts a server under load.
///
/// # Panics
/// If an answer is no success, or there is none.
pub(crate) fn run(address: SocketAddr, clock: SystemClock, load: Load) -> Outcome {
    let request: Arc<[u8]> = ours::request().into();
    let n_asked = Arc::new(AtomicUsize::new(0));
    thread().block_on(async {
        let (begin, mut tasks) = (clock.now(), JoinSet::new());
        for idx in 0..CLIENTS {
            let (request, n_asked) = (Arc::clone(&request), Arc::clone(&n_asked));
            tasks.spawn(async move {
                let mut client = Client::open(address).await;
                let mut latencies = Vec::new();
                for turn in 0.. {
                    let is_over = match load {
                        Load::Count(n) => n_asked.fetch_add(1, Ordering::Relaxed) >= n,
                        Load::Saturated { time } | Load::Paced { time, .. } => clock.now() - begin >= time,
                    };
                    if is_over {
                        break;
                    }
                    if let Load::Paced { per_second, .. } = load {
                        // Clients take turns, evenly.
                        let due = Duration::from_secs_f64((turn * CLIENTS + idx) as f64 / per_second);
                        tokio::time::sleep(due.saturating_sub(clock.now() - begin)).await;
                    }
                    let sent = clock.now();
                    client.ask(&request).await;
                    latencies.push(clock.now() - sent);
                }
                latencies
            });
        }
        let mut latencies = tasks.join_all().await.concat();
        latencies.sort_unstable();
        Outcome { latencies, time: clock.now() - begin }
    })
}

struct Client {
    socket: TcpStream,
    /// The last answer.
    buffer: Vec<u8>,
}

impl Client {
    async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        socket.set_nodelay(true).expect("a socket can be told");
        Self { socket, buffer: Vec::with_capacity(4096) }
    }

    async fn ask(&mut self, request: &[u8]) {
        self.socket.write_all(request).await.expect("the connection stands");
        self.buffer.clear();
        loop {
            let n_bytes = self.socket.read_buf(&mut self.buffer).await.expect("the connection stands");
            assert!(n_bytes > 0, "the server has gone");
            if length(&self.buffer).is_some_and(|length| self.buffer.len() >= length) {
                break;
            }
        }
        assert_eq!(&self.buffer[9..12], b"200", "{}", String::from_utf8_lossy(&self.buffer));
    }
}

/// Bytes of a whole answer, once its head is here.
fn length(bytes: &[u8]) -> Option<usize> {
    const FIELD: &[u8] = b"content-length: ";
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let at = bytes[..body].windows(FIELD.len()).position(|field| field == FIELD)? + FIELD.len();
    let digits = bytes[at..body].iter().take_while(|byte| byte.is_ascii_digit());
    Some(body + digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}
