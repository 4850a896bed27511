//! The worker's second thread: tells the parent how often the engine has beaten, raises the engine's pulse when the
//! parent asks, and ends the process when the parent has gone, whatever the engine is doing.

use crate::link::Link;
use crate::wire::{Ask, Beat};
use ballast_backend::Pulse;
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the engine is doing, as its watch sees it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pulse: Pulse,
    call: Mutex<Call>,
}

#[derive(Debug, Default)]
struct Call {
    /// The call at work, or the last one.
    number: u64,
    /// Beats before it began.
    beats_before: u64,
}

impl Watch {
    /// Starts the thread. It lives as long as the process.
    pub(crate) fn start(mut life: Link) -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let mine = Arc::clone(&watch);
        let run = move || {
            while let Ok(ask) = life.receive() {
                let Some(beat) = mine.answer(&ask) else { continue };
                if life.send(&beat).is_err() {
                    break;
                }
            }
            end_now();
        };
        std::thread::Builder::new().name("ballast-watch".to_owned()).spawn(run)?;
        Ok(watch)
    }

    /// Begins a call and returns the pulse the engine is to beat. A late interruption of an earlier call is past.
    pub(crate) fn begin(&self, number: u64) -> &Pulse {
        let mut call = self.lock();
        *call = Call { number, beats_before: self.pulse.beats() };
        self.pulse.resume();
        &self.pulse
    }

    fn answer(&self, ask: &Ask) -> Option<Beat> {
        let call = self.lock();
        match *ask {
            Ask::Ping { call: number } => {
                let beats = if call.number == number { self.pulse.beats() - call.beats_before } else { 0 };
                Some(Beat { call: number, beats })
            }
            Ask::Interrupt { call: number } => {
                if call.number == number {
                    self.pulse.interrupt();
                }
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends this process at once: no destructor, no exit handler of native code and no core file in between.
fn end_now() -> ! {
    match kill_process(getpid(), Signal::KILL) {
        // The signal comes before the call returns; nothing else may happen here.
        Ok(()) | Err(_) => std::process::abort(),
    }
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use crate::wire::Ask;
    use ballast_backend::Interrupted;

    fn beats(watch: &Watch, call: u64) -> u64 {
        watch.answer(&Ask::Ping { call }).unwrap().beats
    }

    #[test]
    fn beats_are_counted_from_the_beginning_of_the_call() {
        let watch = Watch::default();
        let pulse = watch.begin(1).clone();
        pulse.beat().unwrap();
        pulse.beat().unwrap();
        assert_eq!((beats(&watch, 1), beats(&watch, 2)), (2, 0));
        watch.begin(2);
        assert_eq!((beats(&watch, 1), beats(&watch, 2)), (0, 0));
    }

    #[test]
    fn an_interruption_reaches_its_own_call_only() {
        let watch = Watch::default();
        let pulse = watch.begin(7).clone();
        assert!(watch.answer(&Ask::Interrupt { call: 6 }).is_none());
        assert_eq!(pulse.beat(), Ok(()));
        assert!(watch.answer(&Ask::Interrupt { call: 7 }).is_none());
        assert_eq!(pulse.beat(), Err(Interrupted::Call));
        watch.begin(8);
        assert_eq!(pulse.beat(), Ok(()));
    }
}
