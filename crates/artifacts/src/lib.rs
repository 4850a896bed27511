//! Prepared models on disk: the compile cache.
//!
//! - [`CacheKey`]: everything a prepared model depends on, as one text; its digest names the entry's directory.
//! - [`ArtifactCache::get_or_build`]: the entry of a key, built at most once at a time over all threads and processes.
//! - [`Entry`]: an intact entry, which stays on disk as long as it is held.
//! - [`digest_file`], [`digest_tree`]: what a model's content is called; [`DigestBook`] remembers it.
//!
//! An entry is complete or it is not there: it is written to a directory of its own, synced, described by a manifest
//! that is written last, and renamed into its place. What is found in that place is never trusted: the manifest's
//! version, key, file list, lengths and digests are compared before an [`Entry`] is made, and whatever differs is
//! removed and built again, with a log line that says why.
//!
//! Whoever can write to the root while an entry is in use can alter what is used; the root is made for its owner alone.
//!
//! ```no_run
//! use ballast_artifacts::{ArtifactCache, CacheKey, CacheOptions, KeyParts, Until, digest_file};
//! use ballast_backend::{Clock, CompiledMeta, ComputeUnits, Pulse, Quantization};
//! use std::path::Path;
//!
//! # fn prepare(clock: &dyn Clock) -> Result<(), Box<dyn std::error::Error>> {
//! let pulse = Pulse::new();
//! let until = Until { clock, deadline: None, pulse: &pulse };
//! let cache = ArtifactCache::open(Path::new("cache"), CacheOptions::default())?;
//! let key = CacheKey::new(&KeyParts {
//!     sha256: digest_file(Path::new("model.gguf"), &until)?.sha256,
//!     engine_version: "llm-cpu.1",
//!     backend: "x86_64-avx2",
//!     compute_units: ComputeUnits::CpuOnly,
//!     quantization: Quantization::AsStored,
//!     shapes: &[],
//!     build: "linux-x86_64",
//! })?;
//! let meta = CompiledMeta {
//!     platform: "linux-x86_64".into(),
//!     engine_version: "llm-cpu.1".into(),
//!     backend: "x86_64-avx2".into(),
//! };
//! let entry = cache.get_or_build(&key, &meta, &until, |dir| std::fs::write(dir.join("weights"), b"repacked"))?;
//! let _opened = std::fs::File::open(entry.path().join("weights"))?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod cache;
mod digest;
mod digest_book;
mod entry;
mod error;
mod key;
mod lru;
mod manifest;
mod root;
mod stamp;
mod stats;
mod tree;
mod until;

pub use cache::{ArtifactCache, CacheOptions};
pub use digest::{FileDigest, TreeDigest, digest_file, digest_files, digest_parts, digest_tree};
pub use digest_book::{DIGESTS_MAX, DigestBook, DigestNote, RACY_AGE};
pub use entry::{Entry, ListedEntry, Origin, Rejection, Verification};
pub use error::{CacheError, GetError};
pub use key::{CacheKey, KEY_BYTES_MAX, KeyError, KeyParts};
pub use manifest::{FORMAT_VERSION, MANIFEST_BYTES_MAX};
pub use stamp::FileStamp;
pub use stats::CacheStats;
pub use tree::{DEPTH_MAX, FILES_MAX, PATH_BYTES_MAX, TreeError};
pub use until::Until;
