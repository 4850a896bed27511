//! One question to a server on this machine: which models it has loaded. Over TCP or a socket in the file system,
//! without TLS: the key does not leave the machine that way unless the place says so.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest wait for any part of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The models that the server at `place` has loaded, in Ollama's words; or why it does not say.
pub(super) fn models(place: &str, key: Option<&str>) -> Result<Vec<Value>, String> {
    let answer = answer_of(place, key)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => {}
        Some("401" | "403") => return Err("it asks for a key: --api-key or BALLAST_API_KEY".to_owned()),
        status => return Err(format!("it answers {}", status.unwrap_or("nothing"))),
    }
    let told: Value = serde_json::from_str(body).map_err(|_| "it answers no JSON")?;
    told["models"].as_array().cloned().ok_or_else(|| "it is no server of models".to_owned())
}

fn answer_of(place: &str, key: Option<&str>) -> Result<String, String> {
    #[cfg(unix)]
    if let Some(path) = place.strip_prefix("unix:") {
        let socket = std::os::unix::net::UnixStream::connect(path).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
        return exchange(socket, key);
    }
    let Some(host) = place.strip_prefix("http://") else {
        return Err("it speaks TLS, and is not asked".to_owned());
    };
    let host = host.trim_end_matches('/').trim_end_matches("/v1");
    let address = host.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("its name leads nowhere")?;
    let socket = TcpStream::connect_timeout(&reachable(address), TIMEOUT).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
    exchange(socket, key)
}

/// A server that listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

fn exchange(mut socket: impl Read + Write, key: Option<&str>) -> Result<String, String> {
    if key.is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err("a key has visible ASCII characters only".to_owned());
    }
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let request = format!("GET /api/ps HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{key}\r\n");
    socket.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    socket.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}
