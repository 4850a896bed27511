//! Servers that are listed, stopped, told to read their files again, and given their socket.
#![cfg(unix)]

use crate::http::get;
use crate::serve::Server;
use crate::support::Home;
use serde_json::Value;
use std::process::{Command, Stdio};

const FIRST: &str = "sk-quokka-0123456789";
const SECOND: &str = "sk-wombat-0123456789";

fn list(home: &Home, key: Option<&str>) -> Vec<Value> {
    let mut command = home.command(&["ps", "--json"]);
    if let Some(key) = key {
        command.env("BALLAST_API_KEY", key);
    }
    let ran = crate::support::Ran::from(command.output().unwrap());
    ran.json().as_array().unwrap().clone()
}

#[test]
fn servers_are_listed_with_their_models_and_stopped() {
    let home = Home::new();
    assert_eq!(home.ballast(&["ps"]).stdout, "");
    home.ballast(&["stop"]).fails(1, "no server of this user runs");
    let socket = home.path("s.sock").to_str().unwrap().to_owned();
    let open = Server::start(&home, &["--no-auth", "--alias", "first"]).ready();
    let closed = Server::start(&home, &["--api-key", FIRST, "--alias", "second"]).ready();
    let unix = home.command(&["serve", home.model(), "--no-auth", "--alias", "third", "--socket", &socket]).spawn();
    let mut unix = unix.unwrap();
    while !list(&home, None).iter().any(|server| server["models"][0]["name"] == "third") {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let servers = list(&home, None);
    let of = |pid: u32| servers.iter().find(|server| server["pid"] == pid).unwrap_or_else(|| panic!("{servers:?}"));
    assert_eq!(of(open.pid())["place"], format!("http://{}", open.address()));
    assert_eq!(of(open.pid())["models"][0]["name"], "first");
    assert_eq!(of(unix.id())["place"], format!("unix:{socket}"));
    assert!(of(closed.pid())["error"].as_str().unwrap().contains("asks for a key"));
    let known = list(&home, Some(FIRST));
    assert!(known.iter().any(|server| server["models"][0]["name"] == "second"), "{known:?}");
    let at = home.ballast(&["ps", "--at", &format!("http://{}", open.address())]);
    assert!(at.stdout.starts_with(&format!("-\thttp://{}\tfirst\t", open.address())), "{at:?}");

    home.ballast(&["stop"]).fails(2, "3 servers run: which one?");
    home.ballast(&["stop", "1"]).fails(1, "1 is no server of this user");
    let one = home.ballast(&["stop", &open.pid().to_string()]);
    assert_eq!(one.code, Some(0), "{one:?}");
    assert_eq!(open.wait().code, Some(0), "it was asked, not killed");
    assert_eq!(list(&home, None).len(), 2);
    let all = home.ballast(&["stop", "--all"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    assert_eq!((closed.wait().code, unix.wait().unwrap().code()), (Some(0), Some(0)));
    assert!(list(&home, None).is_empty());
}

#[test]
fn a_hangup_has_keys_and_limits_read_again_and_tells_what_needs_a_start() {
    let home = Home::new();
    let keys = home.file("keys.txt", FIRST);
    let file = home.file("c.toml", "[server]\nrate_limit = 0\n");
    let mut server = Server::start(&home, &["--config", &file, "--api-key-file", &keys, "--alias", "tiny"]);
    let ask = |address, key| get(address, "/v1/models", Some(key)).status;
    let address = server.address();
    assert_eq!((ask(address, FIRST), ask(address, SECOND)), (200, 401));
    home.file("keys.txt", SECOND);
    home.file("c.toml", "[server]\nrate_limit = 0.001\nrate_burst = 2\nalias = \"other\"\n");
    let said = server.hang_up();
    assert!(said.contains("server.alias has changed: it takes effect with the next start"), "{said}");
    assert_eq!((ask(address, FIRST), ask(address, SECOND), ask(address, SECOND)), (401, 200, 200));
    assert_eq!(ask(address, SECOND), 429, "two at once, and then one in a thousand seconds");
    home.file("keys.txt", "short");
    home.file("c.toml", "[server]\nrate_limit = \"often\"\n");
    let said = server.hang_up();
    assert!(said.contains("the keys: ") && said.contains("the settings: "), "{said}");
    assert_eq!(ask(address, SECOND), 429, "what was read before stays");
    assert_eq!(server.end("-TERM").code, Some(0));
}

#[test]
fn a_hangup_does_not_wait_for_the_next_look_at_files() {
    let home = Home::new();
    let file = home.file("keys.json", "{\"version\": 1, \"keys\": []}");
    let made = home.ballast(&["key", "create", "reader", "--key-file", &file, "--scope", "read"]);
    let mut server = Server::start(&home, &["--key-file", &file, "--reload-interval", "3600"]);
    let (address, key) = (server.address(), made.stdout.trim());
    assert_eq!(get(address, "/v1/models", Some(key)).status, 200);
    let id = made.stderr.split_whitespace().nth(1).unwrap().trim_end_matches(';').to_owned();
    assert_eq!(home.ballast(&["key", "revoke", &id, "--key-file", &file]).code, Some(0));
    assert_eq!(get(address, "/v1/models", Some(key)).status, 200, "nobody has looked");
    server.hang_up();
    assert_eq!(get(address, "/v1/models", Some(key)).status, 401);
}

/// Starts the server as a service manager does that has opened its socket: it is number 3, and the process is named.
fn given(home: &Home, socket: impl Into<Stdio>, pid: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID={pid}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ballast"), "serve", home.model()]).args(args);
    command.env_clear().env("HOME", home.path("")).env("BALLAST_HOME", home.data_dir()).env("PATH", "/usr/bin:/bin");
    command.stdin(socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_socket_that_the_service_manager_opened_is_served() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let owned = std::os::fd::OwnedFd::from(listener.try_clone().unwrap());
    let server = Server::spawn(&mut given(&home, owned, "$$", &["--no-auth", "--alias", "tiny"]));
    assert_eq!(server.address(), address);
    assert_eq!(get(address, "/v1/models", None).json()["data"][0]["id"], "tiny");
    assert_eq!(server.end("-TERM").code, Some(0));
    // Between two servers, the manager's socket holds who comes.
    let waiting = std::net::TcpStream::connect(address).unwrap();
    let owned = std::os::fd::OwnedFd::from(listener);
    let server = Server::spawn(&mut given(&home, owned, "$$", &["--no-auth", "--alias", "tiny"]));
    assert_eq!(crate::http::ask(waiting, "GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").status, 200);
    assert_eq!(server.end("-TERM").code, Some(0));
}

#[test]
fn a_socket_in_the_file_system_may_be_given_and_others_are_refused() {
    let home = Home::new();
    let path = home.path("given.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut server = given(&home, std::os::fd::OwnedFd::from(listener), "$$", &["--no-auth", "--alias", "tiny"]);
    let mut server = server.spawn().unwrap();
    let at = format!("unix:{}", path.display());
    while !home.ballast(&["ps", "--at", &at]).stdout.contains("tiny") {
        assert!(server.try_wait().unwrap().is_none(), "the server has ended");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let everybody = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let open = given(&home, std::os::fd::OwnedFd::from(everybody), "$$", &["--no-auth"]).output().unwrap();
    crate::support::Ran::from(open).fails(3, "--no-auth");
    let file = std::fs::File::open(home.model()).unwrap();
    let unfit = given(&home, file, "$$", &["--no-auth"]).output().unwrap();
    crate::support::Ran::from(unfit).fails(1, "cannot be listened on");
    // The variables were meant for another process: the server opens its own port.
    let others = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, fd) = (others.local_addr().unwrap(), std::os::fd::OwnedFd::from(others));
    let own = Server::spawn(&mut given(&home, fd, "1", &["--no-auth", "--port", "0"]));
    assert_ne!(own.address(), address);
    assert_eq!(home.ballast(&["stop", "--all"]).code, Some(0));
    assert_eq!(server.wait().unwrap().code(), Some(0));
}
