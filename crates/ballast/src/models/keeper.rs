//! The thread that does what time asks for: it sleeps until something is due.

use super::lease::Housed;
use ballast_backend::Clock;
use ballast_runtime::lifecycle::ModelHouse;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

/// Longest time between two looks at the clock: keep-alives that begin meanwhile are seen then.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Holds the thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Keeper {
    /// `None` only while dropping.
    alive: Option<Arc<()>>,
    thread: Thread,
}

impl Keeper {
    /// # Panics
    /// If the system refuses the thread.
    pub(super) fn start(house: ModelHouse<Housed>, clock: Arc<dyn Clock>) -> Option<Self> {
        let alive = Arc::new(());
        let watch = Arc::downgrade(&alive);
        let keep = move || {
            while watch.strong_count() > 0 {
                let due_in = house.tick().map_or(SLEEP_MAX, |at| at.saturating_sub(clock.now()));
                thread::park_timeout(due_in.min(SLEEP_MAX));
            }
        };
        let thread = thread::Builder::new().name("ballast-keeper".to_owned()).spawn(keep);
        let thread = thread.expect("the system must grant the keeper its thread").thread().clone();
        Some(Self { alive: Some(alive), thread })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.alive = None;
        self.thread.unpark();
    }
}
