//! Ctrl-C and termination: the first asks, the second insists.

use ballast::Canceller;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What a signal ends, if anything is on its way.
static CURRENT: Mutex<Option<Work>> = Mutex::new(None);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// Exit code of a process ended by SIGINT, as shells give it.
const EXIT_INTERRUPTED: i32 = 130;

/// Work that can be asked to end.
enum Work {
    Answer(Canceller),
    Flag(&'static AtomicBool),
}

impl Work {
    /// Asks; `false` if it was asked before.
    fn cancel(&self) -> bool {
        match self {
            Self::Answer(canceller) if canceller.is_cancelled() => false,
            Self::Answer(canceller) => {
                canceller.cancel();
                true
            }
            Self::Flag(flag) => !flag.swap(true, Ordering::Relaxed),
        }
    }
}

/// From now on a signal cancels `canceller`'s request; a second one, or one without a request, ends the program.
pub(crate) fn watch(canceller: Canceller) -> Watch {
    start(Work::Answer(canceller))
}

/// From now on a signal sets `flag`; a second one ends the program.
pub(crate) fn watch_flag(flag: &'static AtomicBool) -> Watch {
    start(Work::Flag(flag))
}

fn start(work: Work) -> Watch {
    if !INSTALLED.get_or_init(|| ctrlc::set_handler(on_signal).is_ok()) {
        tracing::warn!("signals cannot be handled; Ctrl-C ends the program at once");
    }
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    Watch
}

/// Ends the watch when dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[expect(clippy::exit, reason = "the signal handler's thread has no other way to end the program")]
fn on_signal() {
    let asked = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Work::cancel);
    if !asked {
        std::process::exit(EXIT_INTERRUPTED);
    }
}
