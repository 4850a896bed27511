//! Servers as processes: how ours and a peer's are started for one model, until they are ready.

use super::process;
use ballast::SystemClock;
use ballast_backend::Clock;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a server may take to become ready, and then to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// How long one question about readiness may take, and the pause before the next.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_PAUSE: Duration = Duration::from_millis(1);

/// What the server calls the model.
pub(super) const MODEL: &str = "bench";

/// What a server is to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerPlan<'a> {
    pub(super) model: &'a Path,
    pub(super) n_threads: usize,
    /// Sequences at a time.
    pub(super) n_parallel: usize,
    /// Positions of each.
    pub(super) context_len: usize,
    /// What clients must send; `None`: nothing.
    pub(super) key: Option<&'a str>,
    /// Of ours only: a peer chooses its own.
    pub(super) kernels: Option<&'a str>,
    /// Of ours only: further options, as they are.
    pub(super) more: &'a [String],
}

/// A server's command line, for a port that is free.
#[derive(Debug)]
pub(super) struct ServerCommand {
    command: Command,
    address: SocketAddr,
}

impl ServerCommand {
    /// `ballast serve`, which keeps its own under `home`.
    pub(super) fn ballast(path: &Path, plan: &ServerPlan<'_>, home: &Path) -> Result<Self, String> {
        let address = free_address()?;
        let mut command = Command::new(path);
        command.arg("serve").arg(plan.model).args(["--alias", MODEL, "--port"]).arg(address.port().to_string());
        let sizes = [
            ("--parallel", plan.n_parallel),
            ("--ctx-size", plan.context_len),
            ("--kv-size", plan.n_parallel * plan.context_len),
            ("--threads", plan.n_threads),
        ];
        for (flag, size) in sizes {
            command.args([flag, &size.to_string()]);
        }
        command.args(plan.kernels.into_iter().flat_map(|kernels| ["--kernels", kernels]));
        match plan.key {
            None => command.arg("--no-auth"),
            Some(key) => command.env("BALLAST_API_KEY", key),
        };
        command.args(plan.more.iter().map(OsString::from)).env("BALLAST_HOME", home);
        Ok(Self { command, address })
    }

    /// `llama-server`.
    pub(super) fn llama(path: &Path, plan: &ServerPlan<'_>) -> Result<Self, String> {
        let address = free_address()?;
        let mut command = Command::new(path);
        command.arg("-m").arg(plan.model).args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        let sizes = [
            ("-np", plan.n_parallel),
            ("-t", plan.n_threads),
            ("-tb", plan.n_threads),
            ("-c", plan.n_parallel * plan.context_len),
        ];
        for (flag, size) in sizes {
            command.args([flag, &size.to_string()]);
        }
        if let Some(key) = plan.key {
            command.env("LLAMA_API_KEY", key);
        }
        Ok(Self { command, address })
    }
}

/// A loopback port that nobody listens on now.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

/// A directory that is empty at first and gone in the end.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static N_MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("ballast-bench-{}-{}", std::process::id(), N_MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server that is ready. It is ended with this value.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    clock: SystemClock,
    /// Time from its start until it was ready.
    pub(super) ready: Duration,
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// If it cannot be run, ends, or takes longer than [`PATIENCE`].
    pub(super) fn start(server: Result<ServerCommand, String>) -> Result<Self, String> {
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

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Time since its start.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Sends a request as it is; what comes back is read within `timeout`.
    pub(super) fn send(&self, request: &str, timeout: Duration) -> std::io::Result<BufReader<TcpStream>> {
        let mut socket = TcpStream::connect_timeout(&self.address, timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.write_all(request.as_bytes())?;
        Ok(BufReader::new(socket))
    }

    /// The most memory it has held, in bytes.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        process::peak_bytes(self.child.id())
    }

    /// The memory it holds now, in bytes.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        process::resident_bytes(self.child.id())
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

#[cfg(test)]
mod tests {
    use super::is_success;

    #[test]
    fn only_200_is_ready() {
        assert!(is_success("HTTP/1.1 200 OK\r\n"));
        for not in ["HTTP/1.1 503 Service Unavailable\r\n", "", "HTTP/1.1"] {
            assert!(!is_success(not), "{not:?}");
        }
    }
}
