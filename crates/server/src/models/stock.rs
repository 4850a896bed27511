//! Where models come from and where their files go. The server opens no connection to anybody and deletes no file: who
//! starts it may give it somebody who does.

use super::KnownModel;
use ballast_backend::ErrorKind;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Files of a pull whose newest steps wait to be told; a reader that is slower misses the oldest.
pub const PULL_STEPS_MAX: usize = 16;

/// Somebody who fetches and deletes models.
pub trait ModelStock: Send + Sync {
    /// Brings a model to this machine, checks it against its digest, and says how it is loaded. Takes as long as it takes, ends
    /// soon after its watch is cancelled, and goes on from there when it is called again.
    ///
    /// # Errors
    /// What is to be told to who asked.
    fn pull(&self, name: &str, watch: &PullWatch) -> Result<KnownModel, StockError>;

    /// Deletes the file of a model that is served no longer, if it is this stock's own.
    ///
    /// # Errors
    /// If it cannot be deleted.
    fn delete(&self, id: &str) -> Result<(), StockError>;
}

/// Why a model did not come or go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StockError {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// For whoever asked: no path and no address.
    pub message: String,
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullStep {
    /// The file.
    pub label: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all of it, where that is known.
    pub total: Option<u64>,
}

/// Who waits for a pull. Whatever a slow reader misses, the last step of a file is not among it.
#[derive(Debug, Default)]
pub struct PullWatch {
    cancelled: AtomicBool,
    /// At most one for each file.
    steps: Mutex<VecDeque<PullStep>>,
    told: Notify,
}

impl PullWatch {
    /// True once nobody waits any more.
    #[must_use]
    pub fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// Tells how far it is.
    pub fn tell(&self, step: PullStep) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match steps.back_mut().filter(|newest| newest.label == step.label) {
            Some(newest) => *newest = step,
            None => {
                if steps.len() == PULL_STEPS_MAX {
                    steps.pop_front();
                }
                steps.push_back(step);
            }
        }
        drop(steps);
        self.told.notify_one();
    }

    /// The next step. Dropping the future loses none.
    pub(crate) async fn step(&self) -> PullStep {
        loop {
            let step = self.steps.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match step {
                Some(step) => return step,
                None => self.told.notified().await,
            }
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{PULL_STEPS_MAX, PullStep, PullWatch};

    #[tokio::test]
    async fn a_slow_reader_misses_steps_but_never_the_last_of_a_file() {
        let watch = PullWatch::default();
        let step = |label: usize, done| PullStep { label: label.to_string(), done, total: Some(100) };
        for done in 0..=100 {
            watch.tell(step(0, done));
        }
        watch.tell(step(1, 100));
        assert_eq!((watch.step().await, watch.step().await), (step(0, 100), step(1, 100)));
        for label in 0..=PULL_STEPS_MAX {
            watch.tell(step(label, 100));
        }
        assert_eq!(watch.step().await, step(1, 100), "the oldest goes");
    }
}
