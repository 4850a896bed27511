//! How an entry comes to be: built aside, synced, described, renamed into its place.

use super::ArtifactCache;
use crate::digest::digest_open_file;
use crate::entry::write_compared;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::root::{RootLock, empty, open_lock, pause, sync_dir, write_use};
use crate::stats::{Counters, count};
use crate::tree::walk;
use crate::{CacheError, CacheKey, Entry, GetError, Origin, TreeError, Until};
use ballast_backend::{CompiledMeta, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The right to build one key, held until it is dropped. Its holder removes its file under the root's lock, under which
/// it is opened, too, when the entry is in its place; that of a failed build goes when the cache is opened again.
pub(super) struct BuildLock {
    path: PathBuf,
    n_tries: u32,
    _file: File,
}

impl BuildLock {
    /// Whether another held it when it was asked for.
    pub(super) fn has_waited(&self) -> bool {
        self.n_tries > 1
    }

    /// Frees the lock for good: whoever waits for it opens it again, and makes a new one.
    pub(super) fn remove(self, _root: &RootLock<'_>) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "compile cache: a build lock stays until the cache is opened again");
        }
    }
}

/// An entry being built. Dropped before it is published, it leaves nothing; a panic of the build drops it, too.
pub(super) struct Temp<'a> {
    /// `None` once it is published. The lock tells others that the builder lives, and becomes the entry's; it is freed
    /// after the directory is gone.
    held: Option<(TempDir, File)>,
    counters: &'a Counters,
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if self.held.is_some() {
            count(&self.counters.build_failures);
        }
    }
}

/// An entry that is complete, and not yet in its place.
pub(super) struct Sealed<'a> {
    temp: Temp<'a>,
    manifest: Manifest,
    fingerprint: Sha256,
}

impl ArtifactCache {
    /// Waits for the right to build `key`.
    pub(super) fn lock_build(&self, key: &CacheKey, until: &Until<'_>) -> Result<BuildLock, CacheError> {
        let path = self.root.build_lock(&key.dir_name());
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let root = self.root.lock(Some(until))?;
            let file = open_lock(&path, true).map_err(|e| CacheError::io("open", &path, e))?;
            match file.try_lock() {
                Ok(()) => return Ok(BuildLock { path, n_tries, _file: file }),
                Err(TryLockError::WouldBlock) => drop(root),
                Err(TryLockError::Error(e)) => return Err(CacheError::io("lock", &path, e)),
            }
            pause(n_tries);
        }
    }

    /// Lets `build` fill a directory of its own, and seals it.
    pub(super) fn build<E: std::error::Error>(
        &self,
        key: &CacheKey,
        meta: &CompiledMeta,
        until: &Until<'_>,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Sealed<'_>, GetError<E>> {
        let (dir, lock) = self.root.lock(Some(until))?.new_temp()?;
        let root = dir.path().to_owned();
        let temp = Temp { held: Some((dir, lock)), counters: &self.counters };
        let files = root.join("files");
        fs::create_dir(&files).map_err(|e| CacheError::io("make", &files, e))?;
        build(&files).map_err(GetError::Build)?;
        let (manifest, fingerprint) = seal(&root, key, meta, until)?;
        write_compared(&root, fingerprint);
        let bytes = manifest.tree.bytes;
        if bytes > self.options.bytes_max {
            return Err(CacheError::EntryTooLarge { bytes, bytes_max: self.options.bytes_max }.into());
        }
        Ok(Sealed { temp, manifest, fingerprint })
    }

    /// Renames a sealed entry into its place, and makes room for it.
    pub(super) fn publish(
        &self,
        key: &CacheKey,
        sealed: Sealed<'_>,
        building: BuildLock,
        until: &Until<'_>,
    ) -> Result<Entry, CacheError> {
        let Sealed { mut temp, manifest, fingerprint } = sealed;
        let name = key.dir_name();
        let dir = self.root.entry(&name);
        let (lock, trash) = {
            let root = self.root.lock(Some(until))?;
            let (from, lock) = temp.held.as_ref().expect("the entry is not published yet");
            write_use(lock, root.next_use());
            fs::rename(from.path(), &dir).map_err(|e| CacheError::io("rename", from.path(), e))?;
            let (from, lock) = temp.held.take().expect("it was there above");
            let _moved_away = from.keep();
            sync_dir(dir.parent().expect("entries lie in a directory"))?;
            count(&self.counters.builds);
            building.remove(&root);
            let trash = self.evict_locked(&root).unwrap_or_else(|error| {
                tracing::warn!(%error, "compile cache: cannot keep the bound");
                Vec::new()
            });
            (lock, trash)
        };
        empty(&trash);
        self.remember(&name, fingerprint);
        Ok(Entry { dir, manifest, origin: Origin::Built, _lock: lock })
    }
}

/// Syncs every file below `root/files` and digests it, writes the manifest last, syncs the directories. Returns the
/// fingerprint of the files, too, as they were before they were read.
fn seal(root: &Path, key: &CacheKey, meta: &CompiledMeta, until: &Until<'_>) -> Result<(Manifest, Sha256), CacheError> {
    let files = root.join("files");
    let tree = walk(&files, until)?;
    if tree.files.is_empty() {
        return Err(TreeError::Empty { path: files }.into());
    }
    let fingerprint = tree.fingerprint();
    let mut listed = Vec::with_capacity(tree.files.len());
    for found in tree.files {
        let path = files.join(&found.path);
        let file = File::open(&path).map_err(|e| CacheError::io("open", &path, e))?;
        let digest = digest_open_file(&file, &path, until)?;
        file.sync_all().map_err(|e| CacheError::io("sync", &path, e))?;
        listed.push((found.path, digest));
    }
    tree.dirs.iter().rev().try_for_each(|dir| sync_dir(dir))?;
    let manifest = Manifest::new(key, meta, listed);
    let bytes = manifest.to_bytes();
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(TreeError::ListTooLong { path: files, bytes_max: MANIFEST_BYTES_MAX, got: bytes.len() }.into());
    }
    let path = root.join("manifest");
    let write = || {
        let mut file = File::create_new(&path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    write().map_err(|e| CacheError::io("write", &path, e))?;
    sync_dir(root)?;
    Ok((manifest, fingerprint))
}
