//! The cache: looks for an entry, builds it where it is not there, keeps the bound.

mod build;

use crate::entry::{Depth, Fault, read_compared, read_manifest, verify, write_compared};
use crate::lru::{Candidate, choose};
use crate::root::{Root, RootLock, empty, free_lock, open_lock, read_use, write_use};
use crate::stats::{Counters, count};
use crate::{
    CacheError, CacheKey, CacheStats, DigestBook, Entry, GetError, ListedEntry, Origin, Rejection, Until, Verification,
};
use ballast_backend::{CompiledMeta, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Most entries that are remembered as verified; past it all are verified again.
const VERIFIED_MAX: usize = 4096;

/// How a cache behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Most bytes of all entries together. Entries in use are kept even past it; one that is larger by itself is
    /// refused.
    pub bytes_max: u64,
    /// How much of an entry is compared when it is opened.
    pub verification: Verification,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { bytes_max: 64 << 30, verification: Verification::FirstOpen }
    }
}

/// Prepared models below one directory. Shared between threads; any number of processes may open the same directory.
#[derive(Debug)]
pub struct ArtifactCache {
    root: Root,
    options: CacheOptions,
    digests: DigestBook,
    /// Entries whose content was compared, and the fingerprint of their files then.
    verified: Mutex<BTreeMap<String, Sha256>>,
    counters: Counters,
}

/// What is in an entry's place.
enum Found {
    Entry(Entry),
    Nothing,
    Rejected(Rejection),
}

impl ArtifactCache {
    /// Opens the cache below `root`, which is made if it is not there, for its owner alone. Removes what dead builders
    /// left (a living one holds a lock), what is in an entry's place and can never be loaded, and what is over the bound.
    /// Everything below `root` is the cache's.
    ///
    /// # Errors
    /// If the directories cannot be made, read or locked, or one of them is a link.
    pub fn open(root: &Path, options: CacheOptions) -> Result<Self, CacheError> {
        let root = Root::open(root)?;
        let digests = DigestBook::new(root.digests());
        let cache = Self { root, options, digests, verified: Mutex::default(), counters: Counters::default() };
        let trash = {
            let lock = cache.root.lock(None)?;
            let mut trash = cache.remove_stale(&lock)?;
            trash.extend(cache.evict_locked(&lock)?);
            trash
        };
        empty(&trash);
        Ok(cache)
    }

    /// The digests of models that were read before, kept beside the entries.
    #[must_use]
    pub fn digests(&self) -> &DigestBook {
        &self.digests
    }

    /// Whether something is in the place of `key`. It may still turn out not to be intact.
    #[must_use]
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.root.entry(&key.dir_name()).join("manifest").is_file()
    }

    /// The entries whose manifest can be read, in no order that means anything. Their content is not compared.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> Result<Vec<ListedEntry>, CacheError> {
        let listed = |dir: &PathBuf| {
            let (manifest, _) = read_manifest(dir).ok()?;
            Some(ListedEntry { key: manifest.key, path: dir.join("files"), bytes: manifest.tree.bytes })
        };
        Ok(self.root.list("entries")?.iter().filter_map(listed).collect())
    }

    /// Removes the entry of `key`, for a caller who found that what was built is not what it can use.
    ///
    /// # Errors
    /// If it cannot be moved away, or time is up.
    pub fn discard(&self, key: &CacheKey, until: &Until<'_>) -> Result<(), CacheError> {
        let building = self.lock_build(key, until)?;
        if self.root.entry(&key.dir_name()).exists() {
            self.throw_away(key, until)?;
        }
        building.remove(&self.root.lock(Some(until))?);
        Ok(())
    }

    /// The entry of `key`, if it is there and intact. One that is not is left for [`ArtifactCache::get_or_build`].
    ///
    /// # Errors
    /// If it cannot be read, or time is up.
    pub fn get(&self, key: &CacheKey, until: &Until<'_>) -> Result<Option<Entry>, CacheError> {
        let entry = match self.look(key, until)? {
            Found::Entry(entry) => Some(entry),
            Found::Nothing => None,
            Found::Rejected(reason) => {
                tracing::warn!(%key, %reason, "compile cache: an entry is not intact");
                None
            }
        };
        count(if entry.is_some() { &self.counters.hits } else { &self.counters.misses });
        Ok(entry)
    }

    /// The entry of `key`; where it is not there, `build` fills an empty directory with its files.
    ///
    /// Over all threads and processes one builds a key at a time, and the others wait for its result, as long as
    /// `until` allows or the builder lives. A build that fails or panics leaves nothing, and the next one tries.
    ///
    /// # Errors
    /// The build's error; or the cache's: the disk is full or refuses, the build left no plain files or too many, the
    /// entry is larger than the cache, or time is up.
    pub fn get_or_build<E: std::error::Error>(
        &self,
        key: &CacheKey,
        meta: &CompiledMeta,
        until: &Until<'_>,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Entry, GetError<E>> {
        if let Found::Entry(entry) = self.look(key, until)? {
            count(&self.counters.hits);
            return Ok(entry);
        }
        // Looked at again under the lock: somebody may have built it since, and only its holder may throw one away.
        let building = self.lock_build(key, until)?;
        let origin = match self.look(key, until)? {
            Found::Entry(mut entry) => {
                count(&self.counters.hits);
                if building.has_waited() {
                    count(&self.counters.waits);
                    entry.origin = Origin::Waited;
                }
                building.remove(&self.root.lock(Some(until))?);
                return Ok(entry);
            }
            Found::Nothing => Origin::Built,
            Found::Rejected(reason) => {
                tracing::warn!(%key, %reason, "compile cache: an entry is not intact and is built again");
                self.counters.count_rebuild(reason);
                self.throw_away(key, until)?;
                Origin::Rebuilt(reason)
            }
        };
        count(&self.counters.misses);
        let sealed = self.build(key, meta, until, build)?;
        let mut entry = self.publish(key, sealed, building, until)?;
        entry.origin = origin;
        tracing::info!(%key, bytes = entry.bytes(), ?origin, "compile cache: built an entry");
        Ok(entry)
    }

    /// Removes the least recently used entries that nobody uses until the bound is kept. Opening and building do it,
    /// too.
    ///
    /// # Errors
    /// If the directories cannot be read or locked, or time is up.
    pub fn evict(&self, until: &Until<'_>) -> Result<(), CacheError> {
        let trash = self.evict_locked(&self.root.lock(Some(until))?)?;
        empty(&trash);
        Ok(())
    }

    /// What was done since the cache was opened.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.counters.snapshot()
    }

    /// Opens what is in the place of `key`, counts the use, and compares it.
    fn look(&self, key: &CacheKey, until: &Until<'_>) -> Result<Found, CacheError> {
        until.check()?;
        let name = key.dir_name();
        let dir = self.root.entry(&name);
        let lock = {
            let root = self.root.lock(Some(until))?;
            match fs::symlink_metadata(&dir) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Ok(Found::Rejected(Rejection::NotAnEntry)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
                Err(e) => return Err(CacheError::io("look at", &dir, e)),
            }
            let path = dir.join("lock");
            let lock = match open_lock(&path, false) {
                Ok(lock) => lock,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                    return Ok(Found::Rejected(Rejection::NotAnEntry));
                }
                Err(e) => return Err(CacheError::io("open", &path, e)),
            };
            lock.try_lock_shared().map_err(|e| CacheError::io("lock", &path, e.into()))?;
            write_use(&lock, root.next_use());
            lock
        };
        let mut compared = None;
        let depth = |fingerprint| *compared.insert(self.depth(&name, fingerprint));
        match verify(&dir, key, until, depth) {
            Ok((manifest, fingerprint)) => {
                self.remember(&name, fingerprint);
                if compared == Some(Depth::Content) && self.options.verification == Verification::OnceOnDisk {
                    write_compared(&dir, fingerprint);
                }
                Ok(Found::Entry(Entry { dir, manifest, origin: Origin::Hit, _lock: lock }))
            }
            Err(Fault::Rejected(reason)) => Ok(Found::Rejected(reason)),
            Err(Fault::Failed(error)) => Err(error),
        }
    }

    /// How deep to look into the entry called `name`, of which the files have `fingerprint`.
    fn depth(&self, name: &str, fingerprint: Sha256) -> Depth {
        match self.options.verification {
            Verification::Always => Depth::Content,
            Verification::LengthsOnly => Depth::Lengths,
            Verification::OnceOnDisk if read_compared(&self.root.entry(name)) == Some(fingerprint) => Depth::Lengths,
            Verification::OnceOnDisk => Depth::Content,
            Verification::FirstOpen => {
                let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
                if verified.get(name) == Some(&fingerprint) { Depth::Lengths } else { Depth::Content }
            }
        }
    }

    fn remember(&self, name: &str, fingerprint: Sha256) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(name.to_owned(), fingerprint);
    }

    /// Removes what is in the place of `key`. One that somebody still uses is out of the way at once and removed later.
    fn throw_away(&self, key: &CacheKey, until: &Until<'_>) -> Result<(), CacheError> {
        let name = key.dir_name();
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let trash = self.root.lock(Some(until))?.move_to_trash(&self.root.entry(&name))?;
        if free_lock(&trash.join("entry").join("lock")).is_some() {
            empty(&[trash]);
        }
        Ok(())
    }

    /// Moves what dead builders left to the trash; returns what of the trash nobody uses.
    fn remove_stale(&self, root: &RootLock<'_>) -> Result<Vec<PathBuf>, CacheError> {
        for temp in self.root.list("temp")? {
            if free_lock(&temp.join("lock")).is_some() {
                // One that is gone by now was a living builder's, whose build has failed.
                match root.move_to_trash(&temp) {
                    Ok(_) => {
                        tracing::info!(path = %temp.display(), "compile cache: removing what a dead builder left");
                        count(&self.counters.stale_removed);
                    }
                    Err(error) => tracing::warn!(%error, "compile cache: cannot remove what a dead builder left"),
                }
            }
        }
        for path in self.root.list("builds")? {
            if free_lock(&path).is_some()
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "compile cache: cannot remove a lock");
            }
        }
        let mut trash = self.root.list("trash")?;
        trash.retain(|path| free_lock(&path.join("entry").join("lock")).is_some());
        Ok(trash)
    }

    /// Moves what is over the bound to the trash, and returns it.
    fn evict_locked(&self, root: &RootLock<'_>) -> Result<Vec<PathBuf>, CacheError> {
        let places = self.root.list("entries")?;
        let (candidates, rejections): (Vec<Candidate>, Vec<Option<Rejection>>) =
            places.iter().map(|dir| candidate(dir)).unzip();
        root.catch_up(candidates.iter().map(|candidate| candidate.last_use).max().unwrap_or(0));
        let mut trash = Vec::new();
        let (gone, bytes_left) = choose(&candidates, self.options.bytes_max, |idx| {
            let Some(_held) = free_lock(&places[idx].join("lock")) else { return false };
            match root.move_to_trash(&places[idx]) {
                Ok(path) => trash.push(path),
                Err(error) => {
                    tracing::warn!(%error, "compile cache: cannot remove an entry");
                    return false;
                }
            }
            let reason = rejections[idx].map_or("least recently used", Rejection::as_str);
            tracing::info!(path = %places[idx].display(), reason, "compile cache: removing an entry");
            true
        });
        self.counters.evictions.fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.counters.entries.store((places.len() - gone.len()) as u64, Ordering::Relaxed);
        self.counters.bytes.store(bytes_left, Ordering::Relaxed);
        Ok(trash)
    }
}

/// What eviction has to know of the entry at `dir`, and why it can never be loaded, if so. Its manifest counts, so that
/// entries without bytes have a bound, too.
fn candidate(dir: &Path) -> (Candidate, Option<Rejection>) {
    let last_use = open_lock(&dir.join("lock"), false).map_or(0, |lock| read_use(&lock));
    let (bytes, rejection) = match read_manifest(dir) {
        Ok((manifest, manifest_bytes)) => (Some(manifest.tree.bytes.saturating_add(manifest_bytes)), None),
        Err(Fault::Rejected(rejection)) => (None, Some(rejection)),
        // It may be intact: it goes in its turn only.
        Err(Fault::Failed(_)) => (Some(0), None),
    };
    (Candidate { last_use, bytes }, rejection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_entries_than_the_bound_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::open(dir.path(), CacheOptions::default()).unwrap();
        (0..=VERIFIED_MAX).for_each(|n| cache.remember(&n.to_string(), Sha256([0; 32])));
        assert!(cache.verified.lock().unwrap().len() <= VERIFIED_MAX);
    }
}
