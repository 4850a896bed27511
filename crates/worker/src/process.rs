//! A worker process as its parent holds it: started, greeted, asked to end, killed, reaped.
//!
//! `Opening => (Open | Ended), Open => (Open | Ended)`; `Ended` is for ever.

use crate::link::{Link, wait_either};
use crate::shared::SharedArea;
use crate::wire::{Hello, Opening, Request, VERSION, Welcome};
use crate::{FrameError, HowEnded, LinkError, WorkerCommand, WorkerError, WorkerSpec, handover};
use ballast_backend::Clock;
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Longest wait of the parent before it looks at its caller's pulse and at the process again.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// How long a killed process may take to vanish before a thread of its own waits for it: one that hangs in a device's
/// driver must not take its server along.
const KILL_MAX: Duration = Duration::from_secs(1);

/// Wait between two looks at a process that is ending.
const REAP_STEP: Duration = Duration::from_millis(1);

/// A worker and the parent's ends of what connects them.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    /// `None` once it is reaped.
    child: Option<Child>,
    pid: u32,
    how: HowEnded,
    pub(crate) calls: Link,
    pub(crate) life: Link,
    pub(crate) shared: SharedArea,
    end_max: Duration,
}

impl WorkerProcess {
    /// Starts a worker and waits until its instance is open.
    pub(crate) fn start(spec: &WorkerSpec, clock: &dyn Clock) -> Result<(Self, Opening), WorkerError> {
        let deadline = clock.now().saturating_add(spec.limits.open_max);
        let mut process = Self::launch(spec)?;
        let opened = process.greet(spec, &|| clock.now() >= deadline);
        match opened {
            Ok(Opening::Failed(failure)) => {
                process.end(Duration::ZERO);
                Err(failure.into_error())
            }
            Ok(opening) => Ok((process, opening)),
            Err(error) => Err(process.lose(error)),
        }
    }

    fn launch(spec: &WorkerSpec) -> Result<Self, WorkerError> {
        let spawn = |source| WorkerError::Spawn { source };
        let shared = SharedArea::create(&spec.shared, spec.limits.shared_bytes_max)?;
        let (calls, calls_far) = UnixStream::pair().map_err(spawn)?;
        let (life, life_far) = UnixStream::pair().map_err(spawn)?;
        handover::send(&calls, &life_far, shared.file()).map_err(spawn)?;
        let calls = Link::new(calls).map_err(spawn)?;
        let life = Link::new(life).map_err(spawn)?;
        let child = command(&spec.command, calls_far).spawn().map_err(spawn)?;
        let pid = child.id();
        Ok(Self { child: Some(child), pid, how: HowEnded::Unknown, calls, life, shared, end_max: spec.limits.end_max })
    }

    fn greet(&mut self, spec: &WorkerSpec, is_late: &dyn Fn() -> bool) -> Result<Opening, WorkerError> {
        // A token shows that the other side understood; it is no secret.
        let token = RandomState::new().hash_one(self.pid);
        let hello = Hello {
            version: VERSION,
            token,
            payload: spec.payload.clone(),
            shared_bytes_max: spec.limits.shared_bytes_max,
            memory_bytes_max: spec.limits.memory_bytes_max,
        };
        self.calls.send(&hello).map_err(|error| match error {
            LinkError::Frame(FrameError::TooLong { got }) => WorkerError::CallTooLong { got },
            LinkError::Frame(FrameError::Malformed { .. }) | LinkError::Closed | LinkError::Io(_) => error.into(),
        })?;
        let check = |process: &mut Self, life| match life {
            LifeReady::Yes => {
                process.life.fill()?;
                Err(WorkerError::Protocol { expected: "silence while it opens", got: "more".to_owned() })
            }
            LifeReady::No if is_late() => Err(WorkerError::OpenTimeout { max: spec.limits.open_max }),
            LifeReady::No => Ok(()),
        };
        let welcome: Welcome = self.wait_for(check)?;
        if welcome.version != VERSION {
            return Err(WorkerError::Version { expected: VERSION, got: welcome.version });
        }
        if welcome.token != token {
            return Err(WorkerError::Protocol { expected: "the token it was given", got: "another".to_owned() });
        }
        self.wait_for(check)
    }

    /// Waits for the next message on `calls`, and lets `meanwhile` look after every wait of at most [`TICK`]; it is
    /// told whether `life` has something to take.
    pub(crate) fn wait_for<T: DeserializeOwned>(
        &mut self,
        mut meanwhile: impl FnMut(&mut Self, LifeReady) -> Result<(), WorkerError>,
    ) -> Result<T, WorkerError> {
        let mut has_exited = false;
        loop {
            if let Some(message) = self.calls.next().map_err(LinkError::from)? {
                return Ok(message);
            }
            let ready = wait_either(&self.calls, &self.life, TICK).map_err(LinkError::from)?;
            if ready.first {
                self.calls.fill()?;
                continue;
            }
            if has_exited {
                // What it had said is read, and a process it left behind may keep the connection open.
                return Err(LinkError::Closed.into());
            }
            has_exited = self.has_exited();
            meanwhile(self, if ready.second { LifeReady::Yes } else { LifeReady::No })?;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    fn has_exited(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// How the process ended, if it has; reaps it then.
    pub(crate) fn how_ended(&mut self) -> Option<HowEnded> {
        self.has_exited().then(|| self.end(Duration::ZERO))
    }

    /// Gives the process up and returns why, with how it ended where that is the reason.
    pub(crate) fn lose(&mut self, error: WorkerError) -> WorkerError {
        let is_closed = matches!(error, WorkerError::Link(LinkError::Closed));
        // A process that dies by itself is left the time to do so: its own status tells more than our signal.
        let how = self.end(if is_closed { self.end_max } else { Duration::ZERO });
        tracing::warn!(pid = self.pid, %how, %error, "worker lost");
        if is_closed { WorkerError::Ended { how } } else { error }
    }

    /// Waits for the end for `grace`, then kills. Leaves no zombie.
    fn end(&mut self, grace: Duration) -> HowEnded {
        let Some(mut child) = self.child.take() else { return self.how };
        let mut status = wait_bounded(&mut child, grace);
        if status.is_none() {
            // An error means that it has just ended.
            drop(child.kill());
            status = wait_bounded(&mut child, KILL_MAX);
        }
        self.how = status.map_or(HowEnded::Unknown, how_of);
        if status.is_none() {
            let reap = std::thread::Builder::new().name("ballast-reaper".to_owned()).spawn(move || child.wait());
            drop(reap);
        }
        self.how
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.child.is_some() {
            let asked = self.calls.send(&Request::End);
            self.end(if asked.is_ok() { self.end_max } else { Duration::ZERO });
        }
    }
}

/// Whether the socket of the watch has something to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeReady {
    Yes,
    No,
}

/// The process to be. It has a group of its own: an interruption from the terminal is the server's to obey, which may
/// want to drain.
fn command(command: &WorkerCommand, calls: UnixStream) -> Command {
    let mut process = Command::new(&command.executable);
    process.args(&command.args).stdin(Stdio::from(OwnedFd::from(calls))).stdout(Stdio::null()).process_group(0);
    process
}

fn wait_bounded(child: &mut Child, max: Duration) -> Option<ExitStatus> {
    let mut waited = Duration::ZERO;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return None,
            Ok(None) | Err(_) if waited >= max => return None,
            Ok(None) | Err(_) => {
                std::thread::sleep(REAP_STEP);
                waited += REAP_STEP;
            }
        }
    }
}

fn how_of(status: ExitStatus) -> HowEnded {
    match (status.signal(), status.code()) {
        (Some(signal), _) => HowEnded::Signal(signal),
        (None, Some(code)) => HowEnded::Code(code),
        (None, None) => HowEnded::Unknown,
    }
}
