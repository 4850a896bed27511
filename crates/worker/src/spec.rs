//! What a worker is started with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// First argument of a process that is a worker. A plain word, so that a test of this name can be entered by it.
pub const MARKER: &str = "__ballast_worker";

/// Whether a process with these arguments, its own name first, was started as a worker.
#[must_use]
pub fn is_worker(args: impl IntoIterator<Item = OsString>) -> bool {
    args.into_iter().nth(1).is_some_and(|arg| arg == MARKER)
}

/// What is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The file.
    pub executable: PathBuf,
    /// Its arguments, by which it knows that it is to call [`crate::serve()`].
    pub args: Vec<OsString>,
}

impl WorkerCommand {
    /// An executable whose main function looks at [`is_worker`].
    #[must_use]
    pub fn marked(executable: PathBuf) -> Self {
        Self { executable, args: vec![MARKER.into()] }
    }
}

/// Where the memory is that both processes see. It never has a name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedPlace {
    /// In no file system. Linux only.
    Memory,
    /// In a file system: one in memory, or files are written for nothing.
    Directory(PathBuf),
}

/// Bounds of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Longest time from the start of the process until its instance is open.
    pub open_max: Duration,
    /// How long a worker that was asked to end may take before it is killed.
    pub end_max: Duration,
    /// Most bytes of shared memory: of what a call takes, and of what it gives.
    pub shared_bytes_max: u64,
    /// Most bytes of address space, mapped files and the executable itself among them; `None`: what the system gives.
    pub memory_bytes_max: Option<u64>,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            open_max: Duration::from_secs(300),
            end_max: Duration::from_secs(1),
            shared_bytes_max: 1 << 30,
            memory_bytes_max: None,
        }
    }
}

/// A worker to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// What is executed.
    pub command: WorkerCommand,
    /// What is to be opened, in words that the `open` given to [`crate::serve()`] understands.
    pub payload: String,
    /// Where the shared memory is.
    pub shared: SharedPlace,
    /// Its bounds.
    pub limits: WorkerLimits,
}

#[cfg(test)]
mod tests {
    use super::{MARKER, is_worker};
    use std::ffi::OsString;

    #[test]
    fn a_worker_is_known_by_its_first_argument_only() {
        for (args, expected) in
            [(vec!["x"], false), (vec!["x", MARKER], true), (vec![MARKER], false), (vec!["x", "run", MARKER], false)]
        {
            assert_eq!(is_worker(args.iter().map(OsString::from)), expected, "{args:?}");
        }
    }
}
