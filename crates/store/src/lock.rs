//! One download of a file at a time, across processes: an advisory lock that ends with its holder.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::StoreError;
use crate::places::{Clock, Limits};
use crate::retry;

const POLL: Duration = Duration::from_millis(250);

/// The lock; dropping it lets the next process in.
#[derive(Debug)]
pub(crate) struct Held {
    _file: File,
}

/// Takes the lock now, if it is free.
pub(crate) fn try_acquire(path: &Path) -> Result<Option<Held>, StoreError> {
    let open = File::options().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(StoreError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

/// Takes the lock, waiting for its holder; `label` names the file in errors.
pub(crate) fn acquire(
    path: &Path,
    label: &str,
    clock: &Clock,
    limits: &Limits,
    cancel: &AtomicBool,
) -> Result<Held, StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(held) = try_acquire(path)? {
            return Ok(held);
        }
        if waited >= limits.lock {
            return Err(StoreError::Busy { file: label.to_owned() });
        }
        retry::pause(clock, POLL, cancel)?;
        waited += POLL;
    }
}
