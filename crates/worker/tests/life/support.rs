//! Starting workers of this executable, and stepping them.

use ballast_backend::{BlockId, EngineError, Generator, LogitRows, Logits, Pulse, SequenceStep, TokenId};
use ballast_testkit::{PATIENCE, VirtualClock};
use ballast_worker::{
    MARKER, SharedPlace, Worker, WorkerCommand, WorkerError, WorkerGenerator, WorkerLimits, WorkerSpec,
};
use std::error::Error;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// A worker of this executable that opens the engine `payload`.
pub(crate) fn spec(payload: &str) -> WorkerSpec {
    WorkerSpec {
        command: WorkerCommand::marked(std::env::current_exe().unwrap()),
        payload: payload.to_owned(),
        shared: SharedPlace::Memory,
        limits: WorkerLimits { end_max: Duration::from_secs(10), ..WorkerLimits::default() },
    }
}

/// This executable, entered at the test `name` with one more word.
pub(crate) fn command_at(name: &str, word: &str) -> WorkerCommand {
    assert_ne!(name, MARKER);
    WorkerCommand { executable: std::env::current_exe().unwrap(), args: vec![name.into(), word.into()] }
}

pub(crate) fn spawn(spec: &WorkerSpec) -> Result<Worker, WorkerError> {
    Worker::spawn(spec, &VirtualClock::new())
}

pub(crate) fn generator(payload: &str) -> WorkerGenerator {
    spawn(&spec(payload)).unwrap().into_generator().unwrap()
}

/// Runs `tokens` from position 0 and wants logits for the last.
pub(crate) fn step(engine: &mut dyn Generator, tokens: &[u32], pulse: &Pulse) -> Result<Logits, EngineError> {
    let tokens: Vec<TokenId> = tokens.iter().copied().map(TokenId).collect();
    let mut logits = Logits::default();
    let share = SequenceStep { tokens: &tokens, start: 0, blocks: &[BlockId(0)], logits: LogitRows::Last };
    engine.step(&[share], &mut logits, pulse).map(|()| logits)
}

/// The worker's own error beneath an engine's.
#[track_caller]
pub(crate) fn cause(error: &EngineError) -> &WorkerError {
    error.source().and_then(|source| source.downcast_ref()).expect("a worker's error")
}

/// Runs `work` on a thread of its own; what it gives can be waited for.
pub(crate) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Beside<T> {
    let (done, result) = sync_channel(1);
    std::thread::spawn(move || done.send(work()));
    Beside(result)
}

pub(crate) struct Beside<T>(Receiver<T>);

impl<T> Beside<T> {
    /// The result, within [`PATIENCE`].
    #[track_caller]
    pub(crate) fn wait(self) -> T {
        self.0.recv_timeout(PATIENCE).expect("it ends in time")
    }
}

/// Waits until `pulse` has beaten `n` times, as long as `PATIENCE` allows for so many.
pub(crate) fn wait_beats(pulse: &Pulse, n: u64) {
    let pulse = pulse.clone();
    let waited = beside(move || {
        while pulse.beats() < n {
            std::thread::yield_now();
        }
    });
    waited.wait();
}

/// Whether a process of this number is there, or a zombie of it.
pub(crate) fn is_there(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}
