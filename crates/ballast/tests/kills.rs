//! Workers killed with SIGKILL while four readers read: nobody is lost, nobody is stuck, every victim is run again with
//! the same answer or told. Alone in its executable: it counts what the process has.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast::gguf::TensorType;
use ballast::soak::workers;
use ballast::tokens::SamplingParams;
use ballast::{
    Answer, Engine, FinishReason, Generate, Isolation, LoadOptions, Prompt, ReasonCode, RuntimeOptions, TokenId,
};
use ballast_runtime::retry::Backoff;
use ballast_testkit::{PATIENCE, TinyLlama};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{ScopedJoinHandle, scope};
use std::time::Duration;

const N_READERS: u32 = 4;
const MAX_TOKENS: usize = 48;
/// Tokens that are answered between two kills: so that each meets a worker at work.
const TOKENS_BETWEEN: u64 = 12;
/// Kills before memory is looked at the first time.
const N_WARM: usize = 4;

/// Entered by its name when this executable is started as a worker; otherwise nothing happens.
#[test]
fn __ballast_worker() {
    ballast::worker_main();
}

#[test]
fn workers_killed_under_load_lose_nobody() {
    println!("{}", assert_nobody_is_lost(12));
}

#[test]
#[ignore = "takes minutes; scripts/soak-smoke.sh runs it"]
fn a_hundred_workers_killed_under_load_lose_nobody() {
    println!("{}", assert_nobody_is_lost(100));
}

/// How requests ended.
#[derive(Debug, Default)]
struct Ends {
    n_whole: AtomicU64,
    n_retried: AtomicU64,
    n_told: AtomicU64,
    n_tokens: AtomicU64,
    is_over: AtomicBool,
}

fn ask(reader: u32) -> Generate {
    Generate {
        prompt: Prompt::Tokens((1..20).map(|idx| TokenId(reader * 40 + idx)).collect()),
        sampling: SamplingParams::greedy(),
        max_tokens: Some(MAX_TOKENS),
        ignore_eos: true,
        ..Generate::default()
    }
}

fn said(answer: &Answer) -> Vec<TokenId> {
    answer.tokens.iter().map(|token| token.id).collect()
}

impl Ends {
    /// Asks the same again and again. A whole answer is `expected`; another is an error that says why.
    fn read(&self, engine: &Engine, reader: u32, expected: &[TokenId]) {
        while !self.is_over.load(Ordering::Acquire) {
            let mut stream = engine.stream(&ask(reader)).unwrap();
            let mut tokens = Vec::new();
            let summary = loop {
                match stream.next_blocking().expect("a summary comes") {
                    ballast::Event::Token(event) => {
                        tokens.push(event.token);
                        self.n_tokens.fetch_add(1, Ordering::AcqRel);
                    }
                    ballast::Event::Progress(_) => {}
                    ballast::Event::Done(summary) => break summary,
                }
            };
            assert_eq!(stream.next_blocking(), None, "one end is enough");
            assert_eq!(tokens, expected[..tokens.len()], "reader {reader}");
            assert_eq!(summary.engine, "llm-cpu", "the owner itself says how it ended: {summary:?}");
            let is_retried = summary.degraded.contains(&ReasonCode::Retried);
            self.n_retried.fetch_add(u64::from(is_retried), Ordering::AcqRel);
            match (summary.finish_reason, summary.reason) {
                (FinishReason::Length, None) => {
                    assert_eq!(tokens.len(), MAX_TOKENS);
                    self.n_whole.fetch_add(1, Ordering::AcqRel);
                }
                (FinishReason::Error, Some(ReasonCode::EngineCrashed)) => {
                    assert!(is_retried, "who is given up was tried before: {summary:?}");
                    self.n_told.fetch_add(1, Ordering::AcqRel);
                }
                other => panic!("reader {reader} ended with {other:?}"),
            }
        }
    }
}

/// Waits for a condition of the outside.
#[track_caller]
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let (step, mut waited) = (Duration::from_millis(1), Duration::ZERO);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(waited < PATIENCE * 3, "{what} does not come");
        std::thread::sleep(step);
        waited += step;
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Quick restarts, and a breaker that leaves the engine to be asked: this is about the engine's own supervision.
fn runtime() -> RuntimeOptions {
    let mut options = RuntimeOptions::default();
    options.supervision.restart =
        Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(20), ..Backoff::default() };
    options.breaker.samples_min = u32::MAX;
    options
}

/// What it counted, in words.
fn assert_nobody_is_lost(n_kills: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyLlama::new(TensorType::F32).write_file(&path).unwrap();
    let options = LoadOptions {
        n_threads: Some(1),
        kv_len: Some(1024),
        isolation: Isolation::Process,
        runtime: runtime(),
        ..LoadOptions::default()
    };
    let engine = Engine::load(&path, &options).unwrap();
    let expected: Vec<_> = (0..N_READERS).map(|reader| said(&engine.generate(&ask(reader)).unwrap())).collect();
    let (ends, mut killed, mut before_kib) = (Ends::default(), BTreeSet::new(), 0);
    scope(|scope| {
        let readers: Vec<ScopedJoinHandle<'_, ()>> = (0..N_READERS)
            .zip(&expected)
            .map(|(reader, expected)| {
                let (ends, engine) = (&ends, &engine);
                scope.spawn(move || ends.read(engine, reader, expected))
            })
            .collect();
        while killed.len() < n_kills && !readers.iter().any(ScopedJoinHandle::is_finished) {
            let n_tokens = ends.n_tokens.load(Ordering::Acquire);
            until("work between two kills", || {
                let is_worked = ends.n_tokens.load(Ordering::Acquire) >= n_tokens + TOKENS_BETWEEN;
                (is_worked || readers.iter().any(ScopedJoinHandle::is_finished)).then_some(())
            });
            let pid = until("another worker", || workers().into_iter().find(|pid| !killed.contains(pid)));
            kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
            killed.insert(pid);
            if killed.len() == N_WARM {
                before_kib = resident_kib();
            }
        }
        until("the last replacement", || (n_restarts(&engine) >= n_kills as u64).then_some(()));
        ends.is_over.store(true, Ordering::Release);
    });
    let after_kib = resident_kib();
    let counted = format!(
        "{n_kills} workers killed, {} opened again; {} whole answers, {} requests run again, {} told; \
         memory {before_kib} KiB before, {after_kib} KiB after",
        n_restarts(&engine),
        ends.n_whole.load(Ordering::Acquire),
        ends.n_retried.load(Ordering::Acquire),
        ends.n_told.load(Ordering::Acquire),
    );
    assert_nothing_is_held(&engine);
    assert!(ends.n_whole.load(Ordering::Acquire) > 0 && ends.n_retried.load(Ordering::Acquire) > 0);
    // 5 %, and what an allocator may keep of a process as small as this one.
    assert!(after_kib <= before_kib + before_kib / 20 + 4096, "{before_kib} KiB became {after_kib} KiB");
    counted
}

fn n_restarts(engine: &Engine) -> u64 {
    engine.runtime().health().engines[0].restarts
}

#[track_caller]
fn assert_nothing_is_held(engine: &Engine) {
    until("the end of all sequences", || {
        let health = engine.runtime().health();
        let is_free = health.engines[0].available_blocks == health.engines[0].blocks;
        (health.active_sequences == 0 && health.waiting_requests == 0 && is_free).then_some(())
    });
    let requests = engine.metrics().unwrap().requests;
    assert_eq!(requests.ended.iter().map(|end| end.count).sum::<u64>(), requests.admitted, "each ended exactly once");
}
