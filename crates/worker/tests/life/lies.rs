//! A process that lies to its parent, and a parent that lies to its worker: typed errors, no panic, no hang.

use crate::support::{beside, cause, command_at, is_there, spawn, spec, step};
use ballast_backend::{EngineError, ErrorKind, Generator, Predictor, Pulse, TensorMap};
use ballast_worker::{
    FrameError, HowEnded, LinkError, MARKER, TEXT_BYTES_MAX, Worker, WorkerError, WorkerLimits, WorkerSpec,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], body].concat()
}

fn write(stream: &mut UnixStream, message: &Value) {
    // A parent that has given up has closed its end.
    drop(stream.write_all(&frame(message.to_string().as_bytes())));
}

fn read(stream: &mut UnixStream) -> Option<Value> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// Entered by its name: a process that speaks the protocol up to the lie its argument names.
#[test]
fn __ballast_liar() {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, lie] = &args[..] else { return };
    if name == "__ballast_liar" {
        let mut liar = Liar::start();
        liar.lie(lie);
        // Waits for the parent's reaction.
        while read(&mut liar.calls).is_some() {}
    }
}

struct Liar {
    calls: UnixStream,
    life: Option<UnixStream>,
    shared: File,
    token: Value,
}

impl Liar {
    fn start() -> Self {
        let mut calls = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        rustix::net::recvmsg(&calls, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty()).unwrap();
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            let RecvAncillaryMessage::ScmRights(rights) = message else { continue };
            fds.extend(rights);
        }
        let [life, shared] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        let token = read(&mut calls).unwrap()["token"].clone();
        Self { calls, life: Some(life.into()), shared: shared.into(), token }
    }

    fn say(&mut self, message: &Value) {
        write(&mut self.calls, message);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.calls.write_all(bytes).unwrap();
    }

    fn welcome(&mut self) {
        self.say(&json!({"version": 1, "token": self.token}));
    }

    fn open_generator(&mut self) {
        self.welcome();
        self.say(&json!({"Generator": shape(64)}));
        read(&mut self.calls);
    }

    fn open_predictor(&mut self) {
        self.welcome();
        let output = json!({"name": "y", "dtype": "F32", "dims": [null], "batch_capable": false});
        self.say(&json!({"Predictor": {"inputs": [], "outputs": [output]}}));
        read(&mut self.calls);
    }

    fn reply(&mut self, call: u64, outcome: &Value) {
        self.say(&json!({"call": call, "outcome": outcome}));
    }

    fn lie(&mut self, lie: &str) {
        match lie {
            "no-json" => self.bytes(&frame(b"hello")),
            "long-frame" => self.bytes(&[0xff; 8]),
            "version" => self.say(&json!({"version": 2, "token": self.token})),
            "token" => self.say(&json!({"version": 1, "token": 0})),
            "no-vocabulary" => {
                self.welcome();
                self.say(&json!({"Generator": shape(0)}));
            }
            "large-vocabulary" => {
                self.welcome();
                self.say(&json!({"Generator": shape(1 << 40)}));
            }
            "negative-vocabulary" => {
                self.welcome();
                self.say(&json!({"Generator": shape(-1)}));
            }
            "talks-while-opening" => {
                self.welcome();
                write(self.life.as_mut().unwrap(), &json!({"call": 0, "beats": 1}));
            }
            "open-failed-at-length" => {
                self.welcome();
                self.say(&json!({"Failed": {"kind": "Denied", "text": "é".repeat(20_000), "crashed": false}}));
            }
            other => self.lie_in_call(other),
        }
    }

    fn lie_in_call(&mut self, lie: &str) {
        let predicted = |name: &str, len: u64| {
            let head = json!({"name": name, "dtype": "F32", "shape": [len]});
            json!({"Predicted": {"outputs": [head], "dispatch": null}})
        };
        match lie {
            "other-call" => {
                self.open_generator();
                self.reply(7, &json!({"Stepped": {"n_rows": 1}}));
            }
            "more-rows" => {
                self.open_generator();
                self.reply(1, &json!({"Stepped": {"n_rows": 1_u64 << 60}}));
            }
            "cut-memory" => {
                self.open_generator();
                self.shared.set_len(0).unwrap();
                self.reply(1, &json!({"Stepped": {"n_rows": 1}}));
            }
            "tensors-for-a-step" => {
                self.open_generator();
                self.reply(1, &predicted("y", 1));
            }
            "unasked-beats" => {
                self.open_generator();
                for beats in 1..9 {
                    write(self.life.as_mut().unwrap(), &json!({"call": 1, "beats": beats}));
                }
            }
            "leaves-a-child" => {
                self.open_generator();
                // It holds both sockets, and ends when the parent closes its own.
                let mut heir = Command::new("cat");
                heir.stdin(OwnedFd::from(self.calls.try_clone().unwrap()));
                heir.stdout(OwnedFd::from(self.life.take().unwrap())).stderr(Stdio::null()).spawn().unwrap();
                std::process::abort();
            }
            "closes-and-fails" => {
                self.open_generator();
                self.life = None;
                self.calls = UnixStream::pair().unwrap().0;
                panic!("it ends by itself");
            }
            "life-closed" => {
                self.open_generator();
                self.life = None;
            }
            "large-tensor" => {
                self.open_predictor();
                self.reply(1, &predicted("y", 1 << 50));
            }
            "other-tensor" => {
                self.open_predictor();
                self.shared.set_len(64).unwrap();
                self.reply(1, &predicted("z", 1));
            }
            "logits-for-tensors" => {
                self.open_predictor();
                self.reply(1, &json!({"Stepped": {"n_rows": 0}}));
            }
            other => panic!("no lie {other:?}"),
        }
    }
}

fn shape(vocab_size: i64) -> Value {
    json!({
        "vocab_size": vocab_size, "context_len": 64, "block_len": 16, "n_blocks": 4, "max_batch_tokens": 8,
        "max_batch_sequences": 2
    })
}

fn spawn_liar(lie: &str) -> Result<Worker, WorkerError> {
    let command = command_at("__ballast_liar", lie);
    spawn(&WorkerSpec { command, limits: WorkerLimits::default(), ..spec("") })
}

#[test]
fn a_worker_that_lies_while_it_opens_is_an_error() {
    type Check = fn(&WorkerError) -> bool;
    let protocol: Check = |error| matches!(error, WorkerError::Protocol { .. });
    let malformed: Check = |e| matches!(e, WorkerError::Link(LinkError::Frame(FrameError::Malformed { .. })));
    let too_long: Check = |e| matches!(e, WorkerError::Link(LinkError::Frame(FrameError::TooLong { .. })));
    let cases: [(&str, Check); 9] = [
        ("no-json", malformed),
        ("long-frame", too_long),
        ("version", |error| matches!(error, WorkerError::Version { expected: 1, got: 2 })),
        ("token", protocol),
        ("no-vocabulary", protocol),
        ("large-vocabulary", protocol),
        ("negative-vocabulary", malformed),
        ("talks-while-opening", protocol),
        ("open-failed-at-length", |error| {
            error.kind() == ErrorKind::Denied && error.to_string().len() == TEXT_BYTES_MAX
        }),
    ];
    for (lie, is_right) in cases {
        let error = beside(move || spawn_liar(lie).unwrap_err()).wait();
        assert!(is_right(&error), "{lie}: {error:?}");
    }
}

#[track_caller]
fn check_lie_in_call(lie: &str, error: &EngineError, pid: u32) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{lie}: {error:?}");
    let cause = cause(error);
    let is_right = match lie {
        "cut-memory" => matches!(cause, WorkerError::Shared { .. }),
        "life-closed" | "leaves-a-child" => matches!(cause, WorkerError::Ended { .. }),
        _ => matches!(cause, WorkerError::Protocol { .. }),
    };
    assert!(is_right, "{lie}: {error:?}");
    assert!(!is_there(pid), "{lie}");
}

#[test]
fn a_generator_that_lies_in_a_step_is_an_error() {
    for lie in [
        "other-call",
        "more-rows",
        "cut-memory",
        "tensors-for-a-step",
        "unasked-beats",
        "life-closed",
        "leaves-a-child",
    ] {
        let mut worker = spawn_liar(lie).unwrap().into_generator().unwrap();
        let pid = worker.pid();
        assert_eq!(worker.shape().vocab_size, 64);
        let error = beside(move || step(&mut worker, &[1], &Pulse::new()).unwrap_err()).wait();
        check_lie_in_call(lie, &error, pid);
    }
}

#[test]
fn a_worker_that_closes_first_is_left_the_time_to_end() {
    let mut worker = spawn_liar("closes-and-fails").unwrap().into_generator().unwrap();
    let error = beside(move || step(&mut worker, &[1], &Pulse::new()).unwrap_err()).wait();
    assert!(matches!(cause(&error), WorkerError::Ended { how: HowEnded::Code(101) }), "{error:?}");
}

#[test]
fn a_predictor_that_lies_in_a_call_is_an_error() {
    for lie in ["large-tensor", "other-tensor", "logits-for-tensors"] {
        let mut worker = spawn_liar(lie).unwrap().into_predictor().unwrap();
        let pid = worker.pid();
        let mut outputs = TensorMap::new();
        let error = worker.predict(&TensorMap::new(), &mut outputs, &Pulse::new()).unwrap_err();
        check_lie_in_call(lie, &error, pid);
        assert!(outputs.is_empty(), "{lie}");
    }
}

/// A worker of this executable, started by hand; what it is told is `bytes`.
fn told(bytes: &[u8], hand_over: bool) -> Option<i32> {
    let (mut calls, far) = UnixStream::pair().unwrap();
    let (_life, life_far) = UnixStream::pair().unwrap();
    let shared = tempfile::tempfile().unwrap();
    if hand_over {
        let fds = [life_far.as_fd(), shared.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        rustix::net::sendmsg(&calls, &[IoSlice::new(&[0xba])], &mut control, SendFlags::empty()).unwrap();
    }
    calls.write_all(bytes).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(MARKER).stdin(Stdio::from(OwnedFd::from(far))).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    beside(move || child.wait().unwrap().code()).wait()
}

#[test]
fn a_worker_refuses_a_parent_that_lies() {
    let hello = |version: u32| {
        let hello = json!({
            "version": version, "token": 1, "payload": "successor", "shared_bytes_max": 4096, "memory_bytes_max": null
        });
        frame(hello.to_string().as_bytes())
    };
    let then = |request: Value| [hello(1), frame(request.to_string().as_bytes())].concat();
    assert_eq!(told(&then(json!("End")), true), Some(0), "an honest one");
    for (bytes, hand_over) in [
        (hello(1), false),
        (hello(2), true),
        (frame(b"{}"), true),
        (frame(b"no json"), true),
        (vec![0xff; 16], true),
        (then(json!("Begin")), true),
        (then(json!({"Predict": {"call": 1, "inputs": []}})), true),
    ] {
        assert_eq!(told(&bytes, hand_over), Some(101), "{}", String::from_utf8_lossy(&bytes));
    }
    // An engine that panics, as this one does at a step of nothing, ends a worker that nobody asks to end.
    assert_eq!(told(&then(json!({"Step": {"call": 1, "n_sequences": 0, "n_words": 0}})), true), Some(0));
    // What is wrong with one call fails that call: more words than may be, more than there are, no step.
    for (n_sequences, n_words) in [(1, 1_u64 << 62), (1, 1000), (1, 0), (1_u64 << 40, 0)] {
        let step = json!({"Step": {"call": 1, "n_sequences": n_sequences, "n_words": n_words}});
        let bytes = [then(step), frame(b"\"End\"")].concat();
        assert_eq!(told(&bytes, true), Some(0), "{n_sequences} sequences in {n_words} words");
    }
}
