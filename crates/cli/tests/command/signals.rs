//! Ctrl-C: it ends the answer that is on its way; in a chat it does not end the chat.

use crate::support::{Home, LETTERS};
use ballast_gguf::TensorType;
use ballast_testkit::TinyLlama;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// A model with so much room that its answer is not over before the signal comes.
fn talkative() -> Home {
    Home::with(TinyLlama { context_len: 1 << 15, ..TinyLlama::new(TensorType::F32) })
}

fn start(home: &Home, args: &[&str]) -> Child {
    let endless = ["--ctx-size", "0", "--ignore-eos"];
    let args = [&[args[0], home.model()], &args[1..], &endless, &LETTERS].concat();
    home.command(&args).stdin(Stdio::piped()).spawn().unwrap()
}

/// Waits for the answer's first byte, then interrupts it.
fn interrupt(child: &mut Child) {
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn an_interrupted_run_keeps_what_was_said_and_fails() {
    let home = talkative();
    let mut child = start(&home, &["run", "hello"]);
    interrupt(&mut child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the answer was cancelled") && stderr.contains("CANCELLED_BY_CALLER"), "{stderr}");
    assert!(output.stdout.ends_with(b"\n"));
}

#[test]
fn an_interrupted_answer_leaves_the_chat_going() {
    let home = talkative();
    let mut child = start(&home, &["chat"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    interrupt(&mut child);
    // Given before the first answer ends or after: lines wait for their turn.
    stdin.write_all(b"/max-tokens 2\nhello\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), "[CANCELLED_BY_CALLER]\nset\n[length]\n"));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines.len(), lines[1].len()), (2, 2), "{lines:?}");
}

#[test]
fn a_chat_whose_reader_has_gone_ends_quietly() {
    let home = talkative();
    let mut child = start(&home, &["chat"]);
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
