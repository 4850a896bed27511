//! From the start of a server's process until it says that it is ready, and until its first token.

use super::figure::{Figure, RoundTold};
use super::peer::{Program, Question};
use super::process;
use ballast::SystemClock;
use ballast_backend::Clock;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Positions of the server's one sequence.
const CONTEXT_LEN: usize = 2048;

/// How long a server may take to become ready, and then to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one question about readiness may take, and the pause before the next.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_PAUSE: Duration = Duration::from_millis(1);

/// What the server calls the model.
const MODEL: &str = "bench";

/// Twenty words or so.
const PROMPT: &str = "The lighthouse keeper wrote down every ship that passed the cape that winter, and the last one \
    in his book was called";

/// The figures of a start, besides [`Figure::FirstReady`].
const FIGURES: [Figure; 3] = [Figure::Ready, Figure::FirstToken, Figure::ServerMemory];

/// Starts the program's server as often as needed and tells its figures. Programs without a server tell nothing.
pub(super) fn round(program: &Program, question: &Question<'_>) -> RoundTold {
    let mut told = RoundTold::default();
    match program {
        Program::Ballast(path) => {
            let home = Scratch::new();
            let start = || Server::start(ballast(path, question, &home.0));
            let first = start().map(|server| server.ready.as_secs_f64());
            told.samples.push((Figure::FirstReady, first));
            // A server that is killed once it is ready has not kept its packed weights yet.
            told.samples.extend(figures(keep_packed(path, question, &home.0).and_then(|()| start())));
        }
        Program::Llama(bench) => {
            let path = bench.with_file_name("llama-server");
            if path.exists() {
                told.samples.extend(figures(Server::start(llama(&path, question))));
                // It keeps nothing between starts: every one is a first one.
                let ready = told.samples.iter().find(|(figure, _)| *figure == Figure::Ready).map(|(_, s)| s.clone());
                told.samples.extend(ready.map(|sample| (Figure::FirstReady, sample)));
            }
        }
        Program::Candle(_) => {}
    }
    told
}

fn figures(server: Result<Server, String>) -> Vec<(Figure, Result<f64, String>)> {
    match server.and_then(|mut server| Ok((server.ready, server.first_token()?, server.peak_bytes()))) {
        Err(why) => RoundTold::failed(&FIGURES, &why).samples,
        Ok((ready, first_token, peak_bytes)) => {
            let times = [(Figure::Ready, ready), (Figure::FirstToken, first_token)];
            let times = times.map(|(figure, time)| (figure, Ok(time.as_secs_f64())));
            let memory = peak_bytes.map(|bytes| (Figure::ServerMemory, Ok(bytes as f64)));
            times.into_iter().chain(memory).collect()
        }
    }
}

/// A server's command line, for a port that is free.
struct ServerCommand {
    command: Command,
    address: SocketAddr,
}

fn ballast(path: &Path, question: &Question<'_>, home: &Path) -> Result<ServerCommand, String> {
    let address = free_address()?;
    let mut command = Command::new(path);
    command.arg("serve").arg(question.model).args(["--no-auth", "--alias", MODEL, "--parallel", "1", "--port"]);
    command.args([address.port().to_string(), "--ctx-size".to_owned(), CONTEXT_LEN.to_string()]);
    command.args(["--threads".to_owned(), question.n_threads.to_string()]);
    command.args(question.kernels.into_iter().flat_map(|kernels| ["--kernels", kernels]));
    command.args(question.load.iter().map(OsString::from)).env("BALLAST_HOME", home);
    Ok(ServerCommand { command, address })
}

/// Fills the compile cache, so that the next start is a warm one.
fn keep_packed(path: &Path, question: &Question<'_>, home: &Path) -> Result<(), String> {
    let mut command = Command::new(path);
    command.arg("compile").arg(question.model).env("BALLAST_HOME", home);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", process::program_name(&command))),
        Err(error) => Err(format!("{} cannot be run: {error}", process::program_name(&command))),
    }
}

fn llama(path: &Path, question: &Question<'_>) -> Result<ServerCommand, String> {
    let address = free_address()?;
    let threads = question.n_threads.to_string();
    let mut command = Command::new(path);
    command.arg("-m").arg(question.model).args(["-np", "1", "-t", &threads, "-tb", &threads]);
    command.args(["-c", &CONTEXT_LEN.to_string(), "--host", "127.0.0.1", "--port", &address.port().to_string()]);
    Ok(ServerCommand { command, address })
}

/// A loopback port that nobody listens on now.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// A directory that is empty at first and gone in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ballast-bench-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server that is ready. It is ended with this value.
struct Server {
    child: Child,
    address: SocketAddr,
    clock: SystemClock,
    /// Time from its start until it was ready.
    ready: Duration,
}

impl Server {
    fn start(server: Result<ServerCommand, String>) -> Result<Self, String> {
        let ServerCommand { mut command, address } = server?;
        let clock = SystemClock::start();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("{} cannot be run: {error}", process::program_name(&command)))?;
        let mut server = Self { child, address, clock, ready: Duration::ZERO };
        while !server.is_ready() {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("{} ended with {status} before it was ready", process::program_name(&command)));
            }
            if clock.now() > PATIENCE {
                return Err(format!("{} was not ready in {PATIENCE:?}", process::program_name(&command)));
            }
            std::thread::sleep(PROBE_PAUSE);
        }
        server.ready = clock.now();
        Ok(server)
    }

    fn is_ready(&self) -> bool {
        let asked = self.send("GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", PROBE_TIMEOUT);
        let Ok(mut answer) = asked else { return false };
        let mut status = String::new();
        answer.read_line(&mut status).is_ok() && is_success(&status)
    }

    /// Time from the server's start until the first token of a short prompt is here.
    fn first_token(&mut self) -> Result<Duration, String> {
        let messages = json!([{ "role": "user", "content": PROMPT }]);
        let body = json!({ "model": MODEL, "messages": messages, "max_tokens": 4, "temperature": 0, "stream": true });
        let body = body.to_string();
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
            content-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut answer = self.send(&request, PATIENCE).map_err(|error| error.to_string())?;
        match first_text(&mut answer).map_err(|error| error.to_string())? {
            true => Ok(self.clock.now()),
            false => Err("the server's answer had no text".to_owned()),
        }
    }

    fn send(&self, request: &str, timeout: Duration) -> std::io::Result<BufReader<TcpStream>> {
        let mut socket = TcpStream::connect_timeout(&self.address, timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.write_all(request.as_bytes())?;
        Ok(BufReader::new(socket))
    }

    fn peak_bytes(&self) -> Option<u64> {
        process::peak_bytes(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_success(status_line: &str) -> bool {
    status_line.split(' ').nth(1) == Some("200")
}

/// Reads a streamed answer until its first text; false if it ends without. The lines between events are chunk lengths.
fn first_text(answer: &mut impl BufRead) -> std::io::Result<bool> {
    for line in answer.take(1 << 20).lines() {
        let line = line?;
        let event: Option<Value> = line.strip_prefix("data: ").and_then(|data| serde_json::from_str(data).ok());
        let text = event.as_ref().and_then(|event| event["choices"][0]["delta"]["content"].as_str());
        if text.is_some_and(|text| !text.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{first_text, is_success};

    #[test]
    fn only_200_is_ready() {
        assert!(is_success("HTTP/1.1 200 OK\r\n"));
        for not in ["HTTP/1.1 503 Service Unavailable\r\n", "", "HTTP/1.1"] {
            assert!(!is_success(not), "{not:?}");
        }
    }

    #[test]
    fn the_first_text_is_found_behind_empty_events() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n2c\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\r\n\
            30\r\ndata: {\"choices\":[{\"delta\":{\"content\":\" a\"}}]}\n\n";
        assert!(first_text(&mut answer.as_bytes()).unwrap());
        let without = "HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\ndata: [DONE]\n\n";
        assert!(!first_text(&mut without.as_bytes()).unwrap());
    }
}
