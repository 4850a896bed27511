//! A session's watcher: beats the pulse while ONNX Runtime is at work, and has it end when nobody waits any more.
//!
//! ONNX Runtime tells nothing while it runs, so that a beat says only that the call has not returned; how long it may
//! take is for the deadline to say. It looks between operators whether it is to end.
//!
//! ```text
//! Asleep   => Watching   a call begins: the only time that it has to be woken
//! Watching => Watching   a look every TICK; calls begin and end without a word
//! Watching => Asleep     IDLE_TICKS looks without a call
//! any      => Ended      the session is closed
//! ```

use crate::OrtError;
use ballast_backend::{Interrupted, Pulse};
use ort::session::RunOptions;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How often the pulse is looked at: an interruption is late by at most this and the operator at work.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Looks without a call until the watcher sleeps: one second, so that calls in a row need not wake it.
const IDLE_TICKS: u32 = 200;

/// The watcher's thread, for one session.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    call: Option<Call>,
    is_asleep: bool,
    has_ended: bool,
}

/// A call at work.
struct Call {
    pulse: Pulse,
    options: Arc<RunOptions>,
    interrupted: Option<Interrupted>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let (mut state, mut n_idle) = (self.lock(), 0);
        while !state.has_ended {
            n_idle = if state.look() { 0 } else { n_idle + 1 };
            if n_idle < IDLE_TICKS {
                state = self.wake.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                (state.is_asleep, n_idle) = (true, 0);
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.is_asleep = false;
            }
        }
    }
}

impl State {
    /// Beats for the call at work, and asks for its end once its pulse does. Returns whether there is one.
    fn look(&mut self) -> bool {
        let Some(call) = &mut self.call else { return false };
        if call.interrupted.is_none()
            && let Err(interrupted) = call.pulse.beat()
        {
            call.interrupted = Some(interrupted);
            if let Err(error) = call.options.terminate() {
                tracing::warn!(%error, "ONNX Runtime does not take the order to end a call");
            }
        }
        true
    }
}

impl Watch {
    pub(crate) fn start() -> Result<Self, OrtError> {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let thread = Builder::new().name("ballast-ort".to_owned()).spawn(move || watched.run());
        Ok(Self { shared, thread: Some(thread.map_err(|source| OrtError::Thread { source })?) })
    }

    /// Runs `call`, watched. Also tells whether it was interrupted.
    pub(crate) fn during<T>(
        &self,
        pulse: &Pulse,
        options: &Arc<RunOptions>,
        call: impl FnOnce() -> T,
    ) -> (T, Option<Interrupted>) {
        let mut state = self.shared.lock();
        state.call = Some(Call { pulse: pulse.clone(), options: Arc::clone(options), interrupted: None });
        if state.is_asleep {
            self.shared.wake.notify_one();
        }
        drop(state);
        // Taken back however the call ends: what it is part of may catch a panic and go on.
        let end = EndCall(&self.shared);
        let answer = call();
        (answer, end.interrupted())
    }
}

struct EndCall<'a>(&'a Shared);

impl EndCall<'_> {
    fn interrupted(&self) -> Option<Interrupted> {
        self.0.lock().call.take().and_then(|call| call.interrupted)
    }
}

impl Drop for EndCall<'_> {
    fn drop(&mut self) {
        self.0.lock().call = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watcher of a session panicked");
        }
    }
}
