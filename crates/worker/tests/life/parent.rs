//! A worker outlives no parent: this executable as a process in between, killed.

use crate::support::{beside, generator, step};
use ballast_backend::Pulse;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

/// Entered by its name: has a worker at the engine its argument names, says so, and never ends by itself.
#[test]
fn __ballast_parent() {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, _, payload] = &args[..] else { return };
    if name != "__ballast_parent" {
        return;
    }
    let mut worker = generator(payload);
    writeln!(std::io::stdout(), "\nworker ready").unwrap();
    drop(step(&mut worker, &[1], &Pulse::new()));
    loop {
        std::thread::park();
    }
}

/// A parent whose standard error is a pipe: the worker has inherited it, so its end is the end of both.
fn parent(payload: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["__ballast_parent", "--nocapture", payload]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = beside(move || lines.any(|line| line.unwrap().contains("worker ready")));
    assert!(ready.wait());
    child
}

#[test]
fn a_worker_ends_at_once_when_its_parent_is_killed() {
    // Between calls, in a call that beats, and in one that hangs.
    for payload in ["successor", "beat", "hang"] {
        let mut parent = parent(payload);
        let mut errors = parent.stderr.take().unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        beside(move || errors.read_to_end(&mut Vec::new()).unwrap()).wait();
    }
}
