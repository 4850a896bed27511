//! Where models come from and where their files go. The server opens no connection to anybody and deletes no file: who
//! starts it may give it somebody who does.

use super::KnownModel;
use ballast_backend::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Steps of a pull that wait to be told; a reader that is slower misses some.
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

/// Who waits for a pull.
#[derive(Debug)]
pub struct PullWatch {
    cancelled: AtomicBool,
    steps: mpsc::Sender<PullStep>,
}

impl PullWatch {
    pub(crate) fn new() -> (Self, mpsc::Receiver<PullStep>) {
        let (steps, receiver) = mpsc::channel(PULL_STEPS_MAX);
        (Self { cancelled: AtomicBool::new(false), steps }, receiver)
    }

    /// True once nobody waits any more.
    #[must_use]
    pub fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// Tells how far it is.
    pub fn tell(&self, step: PullStep) {
        if self.steps.try_send(step).is_err() {
            tracing::trace!("a step of a pull is not told");
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}
