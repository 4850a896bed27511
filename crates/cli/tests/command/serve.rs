//! `ballast serve` and `ballast demo`: who may ask, what comes back, and how it ends.

use crate::http::{get, post};
use crate::support::{Home, Ran};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command};

const KEY: &str = "sk-quokka-0123456789";
pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A running server, ended with the test.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
    /// What standard error said so far.
    said: String,
}

impl Server {
    /// Starts a server on any free port and waits until it says where.
    pub(crate) fn start(home: &Home, args: &[&str]) -> Self {
        Self::spawn(&mut home.command(&[&["serve", home.model(), "--port", "0"], args].concat()))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let before = said.len();
            let n_bytes = stderr.read_line(&mut said).unwrap();
            assert!(n_bytes > 0, "the server has ended: {said}");
            let line = &said[before..];
            if let Some((_, url)) = line.split_once(" at http://") {
                break url.trim().strip_suffix("/v1").unwrap().parse().unwrap();
            }
        };
        Self { child, address, stderr, said }
    }

    /// The same server, once its first model is loaded.
    pub(crate) fn ready(self) -> Self {
        while get(self.address, "/readyz", None).status != 200 {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGHUP and returns what the server says until it has read everything again.
    pub(crate) fn hang_up(&mut self) -> String {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let mut said = String::new();
        while !said.contains("were read again") {
            assert!(self.stderr.read_line(&mut said).unwrap() > 0, "the server has ended: {said}");
        }
        said
    }

    /// The key it made, from its next line.
    fn made_key(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line.trim().strip_prefix("clients need this key: ").unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(self, signal: &str) -> Ran {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Ran {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut self.said).unwrap();
        let code = self.child.wait().unwrap().code();
        Ran { code, stdout, stderr: std::mem::take(&mut self.said) }
    }
}

/// A test that failed leaves nothing running.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn question(content: &str) -> Value {
    json!({
        "model": "tiny", "messages": [{ "role": "user", "content": content }],
        "temperature": 0, "max_tokens": 6, "logit_bias": { "120": 100, "121": 100, "122": 100 },
    })
}

#[test]
fn a_key_is_made_told_and_needed() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--alias", "tiny"]);
    let key = server.made_key();
    assert!(key.starts_with("sk-") && key.len() > 40, "{key}");
    for wrong in [None, Some("sk-wrong")] {
        let refused = post(server.address, CHAT, wrong, &question("hello"));
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.json()["error"]["message"].is_string());
    }
    let answer = post(server.address, CHAT, Some(&key), &question("hello"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(get(server.address, "/health", None).json()["status"], "ok");
    let ended = server.end("-TERM");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
}

#[test]
fn an_answer_over_http_is_the_answer_of_run() {
    let home = Home::new();
    let server = Server::start(&home, &["--alias", "tiny", "--api-key", KEY]);
    let whole = post(server.address, CHAT, Some(KEY), &question("hello")).json();
    let args = ["hello", "--temperature", "0", "-n", "6", "--json", "--logit-bias=120=100", "--logit-bias=121=100"];
    let run = home.json("run", &[&args[..], &["--logit-bias=122=100"]].concat());
    let choice = &whole["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&run["text"], &run["finish_reason"]));
    assert_eq!((&whole["usage"]["prompt_tokens"], &whole["model"]), (&run["usage"]["prompt_tokens"], &json!("tiny")));

    let mut streamed = question("hello");
    streamed["stream"] = json!(true);
    let stream = post(server.address, CHAT, Some(KEY), &streamed).body;
    let events: Vec<&str> = stream.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    let piece = |chunk: &&str| -> String {
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(chunks.iter().map(piece).collect::<String>(), run["text"].as_str().unwrap());
    assert_eq!(server.end("-INT").code, Some(0));
}

#[test]
fn keys_come_from_a_file_or_the_environment() {
    let home = Home::new();
    let file = home.file("keys", format!("# ours\n\n{KEY}\n sk-second-0123456789 \n"));
    let server = Server::start(&home, &["--api-key-file", &file]);
    for (key, status) in [(KEY, 200), ("sk-second-0123456789", 200), ("# ours", 401), ("sk-second", 401)] {
        assert_eq!(get(server.address, "/v1/models", Some(key)).status, status, "{key}");
    }
    let mut command = home.command(&["serve", home.model(), "--port", "0"]);
    let server = Server::spawn(command.env("BALLAST_API_KEY", KEY));
    assert_eq!(get(server.address, "/v1/models", Some(KEY)).status, 200);
    assert_eq!(get(server.address, "/v1/models", None).status, 401);
    let empty = home.file("empty", "# none\n");
    let mut server = Server::start(&home, &["--api-key-file", &empty]);
    assert!(server.made_key().starts_with("sk-"), "a file without keys is no open door");
}

#[test]
fn a_key_of_the_file_opens_what_it_may() {
    let home = Home::new();
    let file = home.file("keys.json", "{\"version\": 1, \"keys\": []}");
    let made = home.ballast(&["key", "create", "reader", "--key-file", &file, "--scope", "read"]);
    let server = Server::start(&home, &["--key-file", &file, "--alias", "tiny"]);
    let key = Some(made.stdout.trim());
    assert_eq!(get(server.address, "/v1/models", key).status, 200);
    assert_eq!(get(server.address, "/v1/models", Some(KEY)).status, 401);
    assert_eq!(post(server.address, CHAT, key, &question("hello")).status, 403);
}

#[test]
fn without_a_key_only_this_machine_may_ask() {
    let home = Home::new();
    let server = Server::start(&home, &["--no-auth"]);
    assert_eq!(get(server.address, "/v1/models", None).status, 200);
    assert_eq!(server.end("-TERM").code, Some(0));
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let ran = home.ballast(&["serve", home.model(), "--port", "0", "--no-auth", "--host", host]);
        ran.fails(3, "--no-auth");
    }
}

#[test]
fn several_models_are_served_by_name() {
    let home = Home::new();
    let second = format!("second={}", home.model());
    let server = Server::start(&home, &[&second, "--alias", "tiny", "--no-auth"]);
    for (model, status) in [("tiny", 200), ("second", 200), ("third", 404)] {
        let mut body = question("hi");
        body["model"] = model.into();
        assert_eq!(post(server.address, CHAT, None, &body).status, status, "{model}");
    }
    assert_eq!(server.end("-TERM").code, Some(0));
    let twice = home.ballast(&["serve", home.model(), home.model()]);
    twice.fails(1, "another name for each model");
}

#[test]
fn an_address_in_use_is_told() {
    let home = Home::new();
    let server = Server::start(&home, &["--no-auth"]);
    let port = server.address.port().to_string();
    home.ballast(&["serve", home.model(), "--port", &port, "--no-auth"]).fails(1, "cannot be listened on");
}

#[test]
fn neither_keys_nor_prompts_nor_answers_are_in_the_log() {
    let home = Home::new();
    for format in ["text", "json"] {
        let args = ["--alias", "tiny", "--api-key", KEY, "--log", "trace", "--log-format", format];
        let server = Server::start(&home, &args);
        let answer = post(server.address, CHAT, Some(KEY), &question("zanzibar marmalade")).json();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        post(server.address, CHAT, Some("sk-wrong-numbat"), &question("zanzibar"));
        post(server.address, CHAT, Some(KEY), &question(&"marmalade ".repeat(100)));
        let ended = server.end("-TERM");
        assert!(ended.stderr.contains("request ended"), "{}", ended.stderr);
        for word in ["quokka", "numbat", "zanzibar", "marmalade", &text] {
            assert!(!ended.stderr.contains(word), "{word:?} in {}", ended.stderr);
        }
    }
}

#[test]
fn the_demo_does_the_whole_job_with_a_model_of_ones_own() {
    let home = Home::new();
    let ran = home.ballast(&["demo", "hello", "--model", home.model()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let run = home.ballast(&["run", home.model(), "hello", "--temperature", "0", "-n", "128"]);
    assert_eq!(ran.stdout, run.stdout);
    let next = format!("chat {}", home.model());
    assert!(ran.stderr.contains("128 generated") && ran.stderr.contains(&next), "{ran:?}");
}

/// The only process that `pid` has started.
#[cfg(target_os = "linux")]
pub(crate) fn child_of(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    let children: String = children.collect();
    assert_eq!(children.split_whitespace().count(), 1, "{children:?}");
    children.trim().to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_worker_costs_neither_the_server_nor_a_request() {
    let home = Home::new();
    let server = Server::start(&home, &["--no-auth", "--alias", "tiny", "--isolation", "process"]);
    assert_eq!(post(server.address, CHAT, None, &question("hello")).status, 200);
    let worker = child_of(server.child.id());
    assert!(Command::new("kill").args(["-KILL", &worker]).status().unwrap().success());
    let rescued = post(server.address, CHAT, None, &question("hello"));
    assert_eq!(rescued.status, 200, "{rescued:?}");
    assert_ne!(child_of(server.child.id()), worker, "another worker answers");
    assert_eq!(get(server.address, "/v1/models", None).status, 200);
    assert_eq!(server.end("-TERM").code, Some(0));
}

/// Whether a process has a file of packed weights mapped.
#[cfg(target_os = "linux")]
fn maps_weights(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().contains("weights.bundle")
}

#[cfg(target_os = "linux")]
#[test]
fn cached_weights_are_mapped_by_the_process_that_computes() {
    let home = Home::new();
    home.age_model();
    home.json("compile", &["--json"]);
    for (args, is_mapped) in [(&["--no-auth"][..], false), (&["--no-auth", "--map-weights"], true)] {
        let server = Server::start(&home, args).ready();
        assert_eq!(maps_weights(&server.child.id().to_string()), is_mapped, "{args:?}");
        server.end("-TERM");
        let server = Server::start(&home, &[args, &["--isolation", "process"]].concat()).ready();
        assert_eq!(maps_weights(&child_of(server.child.id())), is_mapped, "{args:?} in a worker");
        server.end("-TERM");
    }
}

#[test]
fn what_was_done_is_written_to_the_audit_log() {
    let home = Home::new();
    let path = home.file("audit.jsonl", "");
    let server = Server::start(&home, &["--api-key", KEY, "--alias", "tiny", "--audit-log", &path]);
    assert_eq!(get(server.address, "/v1/models", Some(KEY)).status, 200);
    assert_eq!(get(server.address, "/v1/models", None).status, 401);
    assert_eq!(server.end("-TERM").code, Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["status"], &lines[1]["reason"]), (&json!(200), &json!("invalid_api_key")));
    assert!(!text.contains(KEY));
}

#[test]
fn half_of_a_guard_is_wrong_usage() {
    let home = Home::new();
    for args in [&["--tls-cert", "x"][..], &["--jwt-issuer", "x"], &["--jwt-secret-file", "x"], &["--cors-origin", "x"]]
    {
        let ran = home.ballast(&[&["serve", home.model()], args].concat());
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_model_that_could_never_be_loaded_is_told_before_the_server_listens() {
    let home = Home::new();
    let whole = std::fs::read(home.model()).unwrap();
    let mut wrong_version = whole.clone();
    wrong_version[4] = 99;
    let broken = [
        ("garbage.gguf", b"no model at all".to_vec()),
        ("cut.gguf", whole[..whole.len() / 2].to_vec()),
        ("newer.gguf", wrong_version),
        ("empty.gguf", Vec::new()),
    ];
    for (name, bytes) in broken {
        // The second is loaded on demand: nobody has asked for it yet, and nobody would get it.
        let second = format!("second={}", home.file(name, bytes));
        let ran = home.ballast(&["serve", home.model(), &second, "--port", "0", "--no-auth"]);
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        assert!(!ran.stderr.contains("serving") && !ran.stderr.contains("panicked"), "{name}: {ran:?}");
    }
}
