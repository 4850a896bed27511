//! A cache in a directory of its own, keys by number, builds that write known files.

use ballast_artifacts::{ArtifactCache, CacheKey, CacheOptions, Entry, GetError, KeyParts, Until, Verification};
use ballast_backend::{Clock, CompiledMeta, ComputeUnits, Pulse, Quantization, Sha256};
use ballast_testkit::VirtualClock;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Files of a build: at two depths, one of them empty.
pub(crate) const FILES: [&str; 3] = ["weights.bin", "nested/deep/table", "nested/empty"];

pub(crate) struct House {
    pub(crate) dir: TempDir,
    pub(crate) clock: VirtualClock,
    pub(crate) pulse: Pulse,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: VirtualClock::new(), pulse: Pulse::new() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub(crate) fn open(&self) -> ArtifactCache {
        self.open_with(CacheOptions::default())
    }

    pub(crate) fn open_with(&self, options: CacheOptions) -> ArtifactCache {
        ArtifactCache::open(&self.root(), options).unwrap()
    }

    pub(crate) fn open_verifying(&self, verification: Verification) -> ArtifactCache {
        self.open_with(CacheOptions { verification, ..CacheOptions::default() })
    }

    pub(crate) fn until(&self) -> Until<'_> {
        Until { clock: &self.clock, deadline: None, pulse: &self.pulse }
    }

    pub(crate) fn until_after(&self, time: Duration) -> Until<'_> {
        Until { deadline: Some(self.clock.now() + time), ..self.until() }
    }

    /// The entry of key `n`, built by [`fill`].
    pub(crate) fn get(&self, cache: &ArtifactCache, n: u8) -> Result<Entry, GetError<io::Error>> {
        cache.get_or_build(&key(n), &meta(), &self.until(), |dir| fill(dir, n))
    }

    /// The directory of the only entry.
    pub(crate) fn entry_dir(&self) -> PathBuf {
        let mut dirs = listed(&self.root().join("entries"));
        assert_eq!(dirs.len(), 1, "{dirs:?}");
        dirs.remove(0)
    }

    /// Asserts that nothing but entries is left.
    pub(crate) fn assert_clean(&self) {
        for name in ["temp", "trash", "builds"] {
            assert_eq!(listed(&self.root().join(name)), Vec::<PathBuf>::new(), "{name}");
        }
    }
}

pub(crate) fn listed(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
    paths.sort();
    paths
}

pub(crate) fn key(n: u8) -> CacheKey {
    CacheKey::new(&KeyParts {
        sha256: Sha256([n; 32]),
        engine_version: "test.1",
        backend: "generic",
        compute_units: ComputeUnits::CpuOnly,
        quantization: Quantization::AsStored,
        shapes: &[],
        build: "any-machine",
    })
    .unwrap()
}

pub(crate) fn meta() -> CompiledMeta {
    CompiledMeta { platform: "any".to_owned(), engine_version: "test.1".to_owned(), backend: "generic".to_owned() }
}

/// Content of file `name` in the entry of key `n`.
pub(crate) fn content(name: &str, n: u8) -> Vec<u8> {
    if name.ends_with("empty") { Vec::new() } else { name.bytes().cycle().take(40).map(|byte| byte ^ n).collect() }
}

pub(crate) fn fill(dir: &Path, n: u8) -> io::Result<()> {
    for name in FILES {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(path, content(name, n))?;
    }
    Ok(())
}

pub(crate) fn assert_content(entry: &Entry, n: u8) {
    for name in FILES {
        assert_eq!(fs::read(entry.path().join(name)).unwrap(), content(name, n), "{name}");
    }
}
