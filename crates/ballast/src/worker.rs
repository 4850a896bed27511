//! Models in worker processes: what a worker is told, and the entry of a process that is one.

mod tensors;

pub(crate) use tensors::{IsolatedTensors, WorkerEngine};

use crate::wiring::{open_compile_cache, open_generator};
use crate::{CacheType, CachedWeights, CompileCache, CompileCacheOptions, Error, Isolation, LoadOptions, SystemClock};
use ballast_backend::{EngineError, ErrorKind, Generator, Instance};
use ballast_gguf::Gguf;
use ballast_worker::{SharedPlace, Worker, WorkerCommand, WorkerError, WorkerLimits, WorkerSpec, is_worker, serve};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this executable's main function began with [`worker_main`]. Set once. No argument could tell it: libraries are
/// called by executables that know nothing of workers, and those must not be started again.
static CAN_BE_ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether a process of this executable would be a worker if it is started as one.
pub(crate) fn can_be_entered() -> bool {
    CAN_BE_ENTERED.load(Ordering::Relaxed)
}

/// To be called first in the main function of an executable that loads models with [`Isolation::Process`]: the process
/// may be a worker of itself. Then it serves its parent and never returns; otherwise it returns at once.
#[expect(clippy::exit, reason = "a worker is done here; its executable's main function is not its own")]
pub fn worker_main() {
    CAN_BE_ENTERED.store(true, Ordering::Relaxed);
    if is_worker(std::env::args_os()) {
        let served = serve(open_payload);
        std::process::exit(i32::from(served.is_err()));
    }
}

/// What a worker is to open.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Job {
    Language(Payload),
    Tensor(tensors::TensorPayload),
}

impl Job {
    fn spawn(&self, limits: WorkerLimits) -> Result<Worker, Error> {
        if is_worker(std::env::args_os()) {
            // It was started as a worker and went on with what it is otherwise: it would start itself for ever.
            let got = "an executable that goes on".to_owned();
            return Err(WorkerError::Protocol { expected: "a main function that begins with worker_main", got }.into());
        }
        let spawn = |source| WorkerError::Spawn { source };
        let spec = WorkerSpec {
            command: WorkerCommand::marked(this_executable().map_err(spawn)?),
            payload: serde_json::to_string(self).map_err(|error| spawn(error.into()))?,
            shared: shared_place(),
            limits,
        };
        Ok(Worker::spawn(&spec, &SystemClock::start())?)
    }
}

/// Which model, and how: what a worker needs of [`LoadOptions`].
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    /// The path, as the system's bytes: it need not be text.
    path: Vec<u8>,
    context_len: Option<usize>,
    kv_len: Option<usize>,
    #[serde(with = "PayloadCacheType")]
    cache_type: CacheType,
    n_parallel: usize,
    max_batch_tokens: usize,
    n_threads: Option<usize>,
    kernels: Option<String>,
    compile_cache: Option<PayloadCache>,
    maps_cached_weights: bool,
}

/// [`CacheType`], of which its crate makes no text.
#[derive(Serialize, Deserialize)]
#[serde(remote = "CacheType")]
enum PayloadCacheType {
    F16,
    BF16,
    Q8_0,
}

/// Where the worker keeps packed weights.
#[derive(Debug, Serialize, Deserialize)]
struct PayloadCache {
    dir: Vec<u8>,
    bytes_max: u64,
}

impl PayloadCache {
    fn new(cache: &CompileCache) -> Self {
        let CompileCacheOptions { dir, bytes_max } = cache.options();
        Self { dir: dir.as_os_str().as_encoded_bytes().to_vec(), bytes_max: *bytes_max }
    }

    /// The parent's cache, opened again. One that cannot be opened costs the speed of the start.
    fn open(self) -> Option<Arc<CompileCache>> {
        let options = CompileCacheOptions { dir: path_of(self.dir), bytes_max: self.bytes_max };
        open_compile_cache(&options)
            .inspect_err(|error| tracing::warn!(%error, "the compile cache cannot be used"))
            .ok()
    }
}

impl Payload {
    fn new(path: &Path, options: &LoadOptions) -> Self {
        Self {
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            context_len: options.context_len,
            kv_len: options.kv_len,
            cache_type: options.cache_type,
            n_parallel: options.n_parallel,
            max_batch_tokens: options.max_batch_tokens,
            n_threads: options.n_threads,
            kernels: options.kernels.clone(),
            compile_cache: options.compile_cache.as_deref().map(PayloadCache::new),
            maps_cached_weights: options.cached_weights == CachedWeights::Mapped,
        }
    }

    fn into_parts(self) -> (PathBuf, LoadOptions) {
        let options = LoadOptions {
            context_len: self.context_len,
            kv_len: self.kv_len,
            cache_type: self.cache_type,
            n_parallel: self.n_parallel,
            max_batch_tokens: self.max_batch_tokens,
            n_threads: self.n_threads,
            kernels: self.kernels,
            compile_cache: self.compile_cache.and_then(PayloadCache::open),
            cached_weights: if self.maps_cached_weights { CachedWeights::Mapped } else { CachedWeights::Copied },
            isolation: Isolation::InProcess,
            ..LoadOptions::default()
        };
        (path_of(self.path), options)
    }
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    OsString::from(String::from_utf8_lossy(&bytes).into_owned()).into()
}

/// Opens the model at `path` in a worker of this executable.
pub(crate) fn open(path: &Path, options: &LoadOptions) -> Result<Box<dyn Generator>, Error> {
    Ok(Box::new(Job::Language(Payload::new(path, options)).spawn(WorkerLimits::default())?.into_generator()?))
}

/// The file to execute. One that was replaced while it runs is still the one to enter again, if the system has it.
fn this_executable() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let running = Path::new("/proc/self/exe");
    Ok(if path.exists() || !running.exists() { path } else { running.to_owned() })
}

fn shared_place() -> SharedPlace {
    if cfg!(target_os = "linux") { SharedPlace::Memory } else { SharedPlace::Directory(std::env::temp_dir()) }
}

fn open_payload(payload: &str) -> Result<Instance, EngineError> {
    let job: Job = serde_json::from_str(payload).map_err(|error| EngineError::new(ErrorKind::Invalid, error))?;
    let opened = match job {
        Job::Language(payload) => {
            let (path, options) = payload.into_parts();
            let gguf = Gguf::open(&path).map_err(Error::from);
            gguf.and_then(|gguf| open_generator(&Arc::new(gguf), &options)).map(Instance::Generator)
        }
        Job::Tensor(payload) => payload.open(),
    };
    opened.map_err(|error| EngineError::new(error.kind(), error))
}
