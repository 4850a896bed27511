//! One call of a worker: the request out, the reply in, and in between the engine's beats to the caller's pulse and
//! the caller's wishes to the engine.

use crate::process::{LifeReady, WorkerProcess};
use crate::wire::{Ask, Beat, Outcome, Reply, Request};
use crate::{FrameError, HowEnded, LinkError, WorkerError};
use ballast_backend::{Interrupted, Pulse};

/// A worker's calls, one at a time.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) process: WorkerProcess,
    /// Why it cannot be called any more.
    ended: Option<HowEnded>,
    n_calls: u64,
    /// A ping was sent and not yet answered; at most one is on its way.
    ping_is_out: bool,
}

/// What is known of the call in progress.
#[derive(Debug, Default)]
struct Progress {
    beats: u64,
    interrupt_is_out: bool,
}

impl Caller {
    pub(crate) fn new(process: WorkerProcess) -> Self {
        Self { process, ended: None, n_calls: 0, ping_is_out: false }
    }

    /// Begins a call: its number, if there is still a worker and a caller who waits.
    pub(crate) fn begin(&mut self, pulse: &Pulse) -> Result<u64, WorkerError> {
        if let Some(how) = self.ended {
            return Err(WorkerError::Ended { how });
        }
        pulse.beat().map_err(|asked| self.obey(asked))?;
        self.n_calls += 1;
        Ok(self.n_calls)
    }

    /// Sends the request of `call` and waits for its outcome. A failure of the engine is an error.
    pub(crate) fn call(&mut self, call: u64, request: &Request, pulse: &Pulse) -> Result<Outcome, WorkerError> {
        match self.process.calls.send(request) {
            Err(LinkError::Frame(FrameError::TooLong { got })) => return Err(WorkerError::CallTooLong { got }),
            sent => sent.map_err(|error| self.lose(error.into()))?,
        }
        let mut progress = Progress::default();
        let ping_is_out = &mut self.ping_is_out;
        let waited = self.process.wait_for::<Reply>(|process, life| {
            if pulse.is_abandoned() {
                return Err(Interrupted::Instance.into());
            }
            match life {
                LifeReady::Yes => take_beats(process, ping_is_out, call, &mut progress, pulse),
                LifeReady::No => ping(process, ping_is_out, call),
            }
        });
        match waited {
            Ok(reply) if reply.call != call => Err(self.lose(WorkerError::Protocol {
                expected: "a reply to the call in progress",
                got: format!("one to call {} of {call}", reply.call),
            })),
            Ok(Reply { outcome: Outcome::Failed(failure), .. }) => {
                let crashed = failure.crashed;
                let error = failure.into_error();
                Err(if crashed { self.lose(error) } else { error })
            }
            Ok(Reply { outcome, .. }) => Ok(outcome),
            Err(error) => Err(self.lose(error)),
        }
    }

    /// Gives the worker up.
    pub(crate) fn lose(&mut self, error: WorkerError) -> WorkerError {
        let error = self.process.lose(error);
        self.ended = Some(self.process.how_ended().unwrap_or(HowEnded::Unknown));
        error
    }

    /// How the worker ended, if it has.
    pub(crate) fn how_ended(&mut self) -> Option<HowEnded> {
        if self.ended.is_none() {
            self.ended = self.process.how_ended();
        }
        self.ended
    }

    fn obey(&mut self, asked: Interrupted) -> WorkerError {
        match asked {
            Interrupted::Call => asked.into(),
            Interrupted::Instance => self.lose(asked.into()),
        }
    }
}

fn ping(process: &mut WorkerProcess, ping_is_out: &mut bool, call: u64) -> Result<(), WorkerError> {
    if !*ping_is_out {
        process.life.send(&Ask::Ping { call })?;
        *ping_is_out = true;
    }
    Ok(())
}

/// Passes the engine's sign of life on, if there is a new one, and the caller's wish back.
fn take_beats(
    process: &mut WorkerProcess,
    ping_is_out: &mut bool,
    call: u64,
    progress: &mut Progress,
    pulse: &Pulse,
) -> Result<(), WorkerError> {
    process.life.fill()?;
    while let Some(beat) = process.life.next::<Beat>().map_err(LinkError::from)? {
        if !std::mem::take(ping_is_out) {
            return Err(WorkerError::Protocol { expected: "one beat for each ping", got: "more".to_owned() });
        }
        if beat.call != call || beat.beats <= progress.beats {
            continue;
        }
        progress.beats = beat.beats;
        match pulse.beat() {
            Ok(()) => {}
            Err(Interrupted::Call) if progress.interrupt_is_out => {}
            Err(Interrupted::Call) => {
                process.life.send(&Ask::Interrupt { call })?;
                progress.interrupt_is_out = true;
            }
            Err(Interrupted::Instance) => return Err(Interrupted::Instance.into()),
        }
    }
    Ok(())
}
