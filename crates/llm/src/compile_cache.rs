//! Packed models on disk: opening one that was packed before packs nothing.
//!
//! ```text
//! known digest, intact bundle     read or map it                                ready
//! else                            pack in memory                                ready, and then on a thread of its own:
//!                                 read the digest unless known, write the bundle
//! ```
//!
//! What goes wrong here is logged and costs the speed of the next start, never an answer.

mod writer;

pub(crate) use writer::{Job, Writer};

use crate::bundle::{Bundle, FILE_NAME, Table, layout};
use crate::packing::{Mapped, Memory, OnPacked};
use crate::weights::Weights;
use crate::{ENGINE_VERSION, LlamaConfig, LlmError};
use ballast_artifacts::{
    ArtifactCache, CacheError, CacheKey, CacheOptions, CacheStats, Entry, FileStamp, KeyError, KeyParts, ListedEntry,
    Origin, Until, Verification, digest_parts,
};
use ballast_backend::{Clock, CompiledMeta, ComputeUnits, Pulse, Quantization, Sha256};
use ballast_gguf::{Gguf, GgufError};
use ballast_threads::ComputePool;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

/// Most bytes of all packed models together unless asked for otherwise.
pub const COMPILE_CACHE_BYTES_MAX: u64 = 64 << 30;

/// Where packed models are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileCacheOptions {
    /// The directory; everything below it is the cache's.
    pub dir: PathBuf,
    /// Most bytes of all models together; the one used longest ago makes room. Default [`COMPILE_CACHE_BYTES_MAX`].
    pub bytes_max: u64,
}

impl CompileCacheOptions {
    /// A cache below `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, bytes_max: COMPILE_CACHE_BYTES_MAX }
    }
}

/// Packed models below one directory. Any number of threads and processes may open the same.
pub struct CompileCache {
    options: CompileCacheOptions,
    artifacts: ArtifactCache,
    clock: Arc<dyn Clock>,
    /// Held by the thread that writes: one at a time, so that a process that opens many models does not fill the disk's
    /// queue and the CPUs.
    turn: Mutex<()>,
}

impl fmt::Debug for CompileCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileCache").field("artifacts", &self.artifacts).finish_non_exhaustive()
    }
}

/// A model's file in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledBundle {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

/// A model that was packed ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledModel {
    /// What was made, or found.
    pub bundle: CompiledBundle,
    /// Whether it was there already.
    pub was_there: bool,
    /// Whether the next start knows the model without reading it: not if its file was written to a moment ago.
    pub is_remembered: bool,
}

impl CompileCache {
    /// Opens the cache. What is below the directory is checked when it is used.
    ///
    /// # Errors
    /// If the directory cannot be made, read or locked.
    pub fn open(options: &CompileCacheOptions, clock: Arc<dyn Clock>) -> Result<Self, CacheError> {
        let CompileCacheOptions { dir, bytes_max } = options;
        let cache_options = CacheOptions { bytes_max: *bytes_max, verification: Verification::OnceOnDisk };
        let artifacts = ArtifactCache::open(dir, cache_options)?;
        Ok(Self { options: options.clone(), artifacts, clock, turn: Mutex::default() })
    }

    /// How it was opened.
    #[must_use]
    pub fn options(&self) -> &CompileCacheOptions {
        &self.options
    }

    /// The models in the cache, those that are not intact left out: the digest of each model's content, and its bundle.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn models(&self) -> Result<Vec<(String, CompiledBundle)>, CacheError> {
        let listed = self.artifacts.list()?.into_iter();
        let model = |found: ListedEntry| {
            let sha256 = found.key.split(':').next().unwrap_or_default().to_owned();
            (sha256, CompiledBundle { path: found.path.join(FILE_NAME), bytes: found.bytes })
        };
        Ok(listed.map(model).collect())
    }

    /// What was done since the cache was opened.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.artifacts.stats()
    }

    /// Whether opening `gguf` would map a bundle, as far as can be told without opening one.
    #[must_use]
    pub fn holds(&self, gguf: &Gguf) -> bool {
        self.known_digest(gguf).and_then(|sha256| key(sha256).ok()).is_some_and(|key| self.artifacts.holds(&key))
    }

    /// Packs a model ahead, unless it is there, and waits until it is on the disk.
    ///
    /// # Errors
    /// If the file is not a model of this engine, changes meanwhile, or the disk refuses.
    pub fn compile(
        &self,
        gguf: &Gguf,
        n_threads: NonZeroUsize,
        until: &Until<'_>,
        on_packed: Option<&OnPacked>,
    ) -> Result<CompiledModel, LlmError> {
        let weights = Weights::find(gguf, &LlamaConfig::from_gguf(gguf)?)?;
        let known = self.known_digest(gguf);
        if let Some(found) = known.and_then(|sha256| self.find(sha256, &weights)) {
            return Ok(compiled(&found.entry, true));
        }
        let (sha256, memory) = thread::scope(|scope| {
            let digest = scope.spawn(|| known.map_or_else(|| self.digest(gguf, until), Ok));
            let memory = Memory::pack(gguf, &weights, &mut ComputePool::new(n_threads), on_packed)?;
            let sha256 = digest.join().expect("reading does not panic")?;
            Ok::<_, LlmError>((sha256, memory))
        })?;
        gguf.check_intact()?;
        gguf.release();
        let is_remembered = self.known_digest(gguf) == Some(sha256);
        // The same content under another name or date may have been packed before.
        if let Some(found) = self.find(sha256, &weights) {
            return Ok(compiled(&found.entry, is_remembered));
        }
        Ok(compiled(&self.store(sha256, &Table::new(&weights), &memory, until)?, is_remembered))
    }

    /// The digest of a model that was read before and has not changed since.
    pub(crate) fn known_digest(&self, gguf: &Gguf) -> Option<Sha256> {
        self.artifacts.digests().digest(&stamps(gguf).ok()?)
    }

    /// Reads a model's digest, and remembers it.
    ///
    /// # Errors
    /// If the files changed since they were opened, or time is up.
    pub(crate) fn digest(&self, gguf: &Gguf, until: &Until<'_>) -> Result<Sha256, LlmError> {
        let note = self.artifacts.digests().note(stamps(gguf)?);
        let sha256 = content_digest(gguf, until)?;
        let after = stamps(gguf)?;
        match note.and_then(|note| note.remember(sha256, &after)) {
            Ok(true) => {}
            Ok(false) => tracing::debug!("compile cache: the model is too young to be known by its date"),
            Err(error) => tracing::warn!(%error, "compile cache: a digest is not remembered"),
        }
        Ok(sha256)
    }

    /// Maps the bundle of the model with this digest, if there is one. What is there and is none is removed.
    pub(crate) fn find(&self, sha256: Sha256, weights: &Weights) -> Option<Mapped> {
        let pulse = Pulse::new();
        let until = Until { clock: &*self.clock, deadline: None, pulse: &pulse };
        let key = key(sha256).ok()?;
        let entry = match self.artifacts.get(&key, &until) {
            Ok(entry) => entry?,
            Err(error) => {
                tracing::warn!(%error, "compile cache: cannot be read; packing in memory");
                return None;
            }
        };
        match Bundle::open(&entry.path().join(FILE_NAME), sha256, weights) {
            Ok(bundle) => Some(Mapped { bundle, entry }),
            Err(reason) => {
                tracing::warn!(%key, %reason, "compile cache: an entry is not this model's bundle and is built again");
                drop(entry);
                if let Err(error) = self.artifacts.discard(&key, &until) {
                    tracing::warn!(%error, "compile cache: cannot remove an entry");
                }
                None
            }
        }
    }

    /// Writes a bundle unless it is there; over all processes one writes, and the others wait.
    fn store(&self, sha256: Sha256, table: &Table, memory: &Memory, until: &Until<'_>) -> Result<Entry, LlmError> {
        writer::store(&self.artifacts, (sha256, table), memory, until)
    }
}

fn compiled(entry: &Entry, is_remembered: bool) -> CompiledModel {
    let was_there = match entry.origin() {
        Origin::Hit | Origin::Waited => true,
        Origin::Built | Origin::Rebuilt(_) => false,
    };
    let bundle = CompiledBundle { path: entry.path().join(FILE_NAME), bytes: entry.bytes() };
    CompiledModel { bundle, was_there, is_remembered }
}

/// The key of a model's bundle: it depends on the model and the layout, and on nothing of the machine or the options.
pub(crate) fn key(sha256: Sha256) -> Result<CacheKey, KeyError> {
    CacheKey::new(&KeyParts {
        sha256,
        engine_version: ENGINE_VERSION,
        backend: &layout(),
        compute_units: ComputeUnits::CpuOnly,
        quantization: Quantization::AsStored,
        shapes: &[],
        build: "any",
    })
}

fn meta() -> CompiledMeta {
    CompiledMeta { platform: "any".to_owned(), engine_version: ENGINE_VERSION.to_owned(), backend: layout() }
}

/// The stamps of a model's files as they are mapped, whatever has taken their names since.
pub(crate) fn stamps(gguf: &Gguf) -> Result<Vec<FileStamp>, GgufError> {
    let stamp = |file: &ballast_gguf::MappedFile| {
        let path = file.path().to_owned();
        let metadata = file.metadata().map_err(|source| GgufError::Io { path: path.clone(), source })?;
        // The same file by another name is the same model.
        Ok(FileStamp::new(&fs::canonicalize(&path).unwrap_or(path), &metadata))
    };
    gguf.files().iter().map(stamp).collect()
}

/// The digest of what is mapped, read to its end.
///
/// # Errors
/// If a file changed since it was opened, or time is up.
pub(crate) fn content_digest(gguf: &Gguf, until: &Until<'_>) -> Result<Sha256, LlmError> {
    let files = gguf.files();
    let digest = digest_parts(files.iter().map(|file| file.bytes()), until, |idx, range| files[idx].release(range))?;
    gguf.check_intact()?;
    Ok(digest.sha256)
}
