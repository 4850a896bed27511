//! The thread that puts a model that was packed in memory on the disk, when its engine is ready already.

use super::{CompileCache, key, meta};
use crate::LlmError;
use crate::bundle::{FILE_NAME, Table};
use crate::packing::Memory;
use ballast_artifacts::{ArtifactCache, CacheError, Entry, GetError, Until};
use ballast_backend::{Pulse, Sha256};
use ballast_gguf::Gguf;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes written between two looks at whether to go on.
const CHUNK_BYTES: usize = 1 << 20;

/// How long a writer may go on when its engine is closed. What is not written then is given up: the next start packs
/// again. A model of some hundred megabytes is written in less; a short run of it is not for nothing.
pub(crate) const FINISH_MAX: Duration = Duration::from_secs(5);

/// How long to wait between two looks at whether it is this thread's turn.
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// A model to be written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) gguf: Arc<Gguf>,
    /// `None`: to be read.
    pub(crate) sha256: Option<Sha256>,
    pub(crate) table: Table,
    pub(crate) memory: Arc<Memory>,
}

/// The thread, and the right to end it. Dropping it waits [`FINISH_MAX`] at most for the disk.
#[derive(Debug)]
pub(crate) struct Writer {
    pulse: Pulse,
    /// Disconnected when the thread is done.
    done: Receiver<()>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts writing; `None` if the system refuses the thread.
    pub(crate) fn start(cache: &Arc<CompileCache>, job: Job) -> Option<Self> {
        let (pulse, cache) = (Pulse::new(), Arc::clone(cache));
        let (guard, done) = sync_channel(0);
        let watched = pulse.clone();
        let write = move || {
            let _guard = guard;
            match write(&cache, job, &watched) {
                Ok(entry) => tracing::debug!(origin = ?entry.origin(), "compile cache: the model is on the disk"),
                Err(error) => {
                    tracing::warn!(%error, "compile cache: the model is not kept; the next start packs again")
                }
            }
        };
        match thread::Builder::new().name("ballast-compile".to_owned()).spawn(write) {
            Ok(thread) => Some(Self { pulse, done, thread: Some(thread) }),
            Err(error) => {
                tracing::warn!(%error, "compile cache: the model is not kept; the next start packs again");
                None
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nothing is ever sent: either the thread is done or the time is over.
        if self.done.recv_timeout(FINISH_MAX).is_err() {
            self.pulse.interrupt();
        }
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("compile cache: the writer panicked");
        }
    }
}

fn write(cache: &CompileCache, job: Job, pulse: &Pulse) -> Result<Entry, LlmError> {
    let Job { gguf, sha256, table, memory } = job;
    let until = Until { clock: &*cache.clock, deadline: None, pulse };
    let _turn = turn(&cache.turn, &until)?;
    let sha256 = match sha256 {
        Some(sha256) => sha256,
        None => cache.digest(&gguf, &until)?,
    };
    drop(gguf);
    cache.store(sha256, &table, &memory, &until)
}

/// Waits until no other thread of this process writes.
fn turn<'a>(turn: &'a Mutex<()>, until: &Until<'_>) -> Result<MutexGuard<'a, ()>, CacheError> {
    loop {
        until.check()?;
        match turn.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(TURN_PAUSE),
        }
    }
}

/// Why a bundle cannot be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Until(#[from] CacheError),
}

/// Writes the bundle of the model with this digest and table unless it is there.
pub(super) fn store(
    artifacts: &ArtifactCache,
    (sha256, table): (Sha256, &Table),
    memory: &Memory,
    until: &Until<'_>,
) -> Result<Entry, LlmError> {
    let build = |dir: &Path| -> Result<(), WriteError> {
        let mut file = File::create_new(dir.join(FILE_NAME))?;
        file.write_all(&table.head(sha256))?;
        for chunk in memory.bytes().chunks(CHUNK_BYTES) {
            until.check()?;
            file.write_all(chunk)?;
        }
        Ok(())
    };
    match artifacts.get_or_build(&key(sha256)?, &meta(), until, build) {
        Ok(entry) => Ok(entry),
        Err(GetError::Cache(error) | GetError::Build(WriteError::Until(error))) => Err(error.into()),
        Err(GetError::Build(WriteError::Disk(source))) => Err(LlmError::BundleWrite { source }),
    }
}
