//! Bounds of a server that was started with them: the options do what they say.

use crate::http::{get, post};
use crate::serve::{CHAT, Server, question};
use crate::support::Home;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Shorter than every default of the bounds below: what ends within it ends for the option's sake.
const LIMIT: Duration = Duration::from_secs(12);

fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket
}

/// What comes until the server hangs up.
#[track_caller]
fn ends(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        ended => drop(ended.expect("the server hangs up in time")),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn bodies_and_answers_are_as_long_as_the_options_say() {
    let home = Home::new();
    let server =
        Server::start(&home, &["--no-auth", "--alias", "tiny", "--body-size", "2K", "--max-tokens", "3"]).ready();
    let long = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "x".repeat(3000) }] });
    assert_eq!(post(server.address(), CHAT, None, &long).status, 413);
    let mut open = question("hello");
    open.as_object_mut().unwrap().remove("max_tokens");
    let answer = post(server.address(), CHAT, None, &open).json();
    assert_eq!(answer["usage"]["completion_tokens"], 3, "{answer}");
}

#[test]
fn clients_have_the_time_that_the_options_give() {
    let home = Home::new();
    let times = [
        ["--header-timeout", "0.2"],
        ["--body-timeout", "0.2"],
        ["--idle-timeout", "0.4"],
        ["--stall-timeout", "0.3"],
        ["--request-timeout-max", "7"],
        ["--request-timeout", "6"],
    ];
    let server =
        Server::start(&home, &[&["--no-auth", "--rate-limit", "0", "--alias", "tiny"][..], &times.concat()].concat())
            .ready();
    let address = server.address();
    assert_eq!(ends(connect(address, "GET /livez HTTP/1.1\r\nhost:")), "", "half a head");
    assert_eq!(ends(connect(address, "")), "", "nothing at all");
    let half =
        format!("POST {CHAT} HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{");
    assert!(ends(connect(address, &half)).starts_with("HTTP/1.1 408"), "half a body");
    let mut patient = question("hello");
    patient["timeout"] = json!(8);
    let refused = post(address, CHAT, None, &patient);
    assert!(refused.status == 400 && refused.body.contains("at most 7 seconds"), "{refused:?}");
    // Who asks again and again and reads no answer: once the sockets are full, nothing more is taken.
    let mut greedy = connect(address, "");
    let ask = "GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n".repeat(50);
    let stopped = (0..100_000).find_map(|_| greedy.write_all(ask.as_bytes()).err()).expect("it is cut");
    let is_cut = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&stopped.kind());
    assert!(is_cut, "{stopped}");
}

/// The engine's process is stopped, and with it the answer.
#[cfg(target_os = "linux")]
#[test]
fn requests_end_in_the_time_that_the_option_gives() {
    let home = Home::new();
    let line = ["--no-auth", "--alias", "tiny", "--isolation", "process", "--request-timeout", "1"];
    let server = Server::start(&home, &line).ready();
    assert_eq!(post(server.address(), CHAT, None, &question("hello")).status, 200);
    let worker = crate::serve::child_of(server.pid());
    let signal = |name: &str| std::process::Command::new("kill").args([name, &worker]).status().unwrap().success();
    assert!(signal("-STOP"));
    let late = post(server.address(), CHAT, None, &question("hello again"));
    // It may have been given up meanwhile.
    signal("-CONT");
    assert_eq!((late.status, &late.json()["error"]["code"]), (504, &json!("cancelled_by_timeout")), "{late:?}");
}

#[test]
fn an_address_that_guesses_keys_waits() {
    let home = Home::new();
    let server = Server::start(&home, &["--api-key", "sk-quokka-0123456789", "--failed-logins", "2"]);
    let ask = |key| get(server.address(), "/v1/models", Some(key)).status;
    assert_eq!([ask("sk-wrong"), ask("sk-wrong"), ask("sk-wrong")], [401, 401, 429]);
    let server = Server::start(&home, &["--api-key", "sk-quokka-0123456789", "--failed-logins", "0"]);
    let ask = |key| get(server.address(), "/v1/models", Some(key)).status;
    for _ in 0..40 {
        assert_eq!(ask("sk-wrong"), 401);
    }
    assert_eq!(ask("sk-quokka-0123456789"), 200);
}

/// As many connections as the machine lets one process have, up to ten thousand, each on both sides in a process of its
/// own. The server starts under the usual soft bound of files, and raises it by itself.
#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_idle_connections_hold_and_hold_nobody_up() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let home = Home::new();
    let server = Server::start(&home, &["--no-auth", "--alias", "tiny"]).ready();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let files = maximum.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let n_idle = files.saturating_sub(500).min(10_000);
    assert!(n_idle >= 1000, "the machine allows {files} files, too few for this test");
    let mut idle: Vec<TcpStream> = (0..n_idle).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    for _ in 0..5 {
        assert_eq!(post(server.address(), CHAT, None, &question("hello")).status, 200);
    }
    for socket in idle.iter_mut().step_by(97) {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "it held: {answer}");
    }
}
