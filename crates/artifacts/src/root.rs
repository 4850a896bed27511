//! The cache's directories, and the lock under which their names change.
//!
//! | place | what | changed |
//! |---|---|---|
//! | `lock` | the lock; its content counts uses | for a moment, by everyone |
//! | `entries/KEY/` | a complete entry | by one rename in, one rename out |
//! | `builds/KEY` | lock of the one that builds KEY | held while it builds |
//! | `temp/*/` | an entry being built, with its lock held | by its builder |
//! | `digests/*` | digests of models that were read before | by one rename in; not under the lock |
//! | `trash/*/entry/` | what nobody can find any more | removed when its lock is free |
//!
//! Every name appears, moves or disappears under `lock`, and an entry's own lock is taken under it. So nobody finds an
//! entry that is being removed, and the lock of a dead process, which the system frees, is all that tells its leavings.

use crate::{CacheError, Until};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Tries for the root's lock before its holder counts as standing still: half a minute of [`pause`]s. It is held for
/// some renames and one sync of a directory.
const LOCK_TRIES_MAX: u32 = 1500;

/// Digits of a count of uses, so that it is overwritten in place even on a full disk.
const USE_DIGITS: usize = 20;

/// How long to wait before try number `n_tries` of a lock: soon at first, 20 ms from then on.
pub(crate) fn pause(n_tries: u32) {
    std::thread::sleep(Duration::from_millis(u64::from(n_tries.clamp(1, 20))));
}

/// The directories.
#[derive(Debug)]
pub(crate) struct Root {
    dir: PathBuf,
}

impl Root {
    /// The directories below `dir`, made where they are not there, for their owner alone.
    pub(crate) fn open(dir: &Path) -> Result<Self, CacheError> {
        let root = Self { dir: dir.to_owned() };
        let mut is_new = make_dir(dir)?;
        for name in ["entries", "builds", "temp", "trash", "digests"] {
            let path = dir.join(name);
            is_new |= make_dir(&path)?;
            // A link could lead anything that is written or removed here out of the root.
            let metadata = fs::symlink_metadata(&path).map_err(|e| CacheError::io("look at", &path, e))?;
            if !metadata.is_dir() {
                return Err(CacheError::NotADirectory { path });
            }
        }
        if is_new {
            sync_dir(dir)?;
        }
        Ok(root)
    }

    pub(crate) fn digests(&self) -> PathBuf {
        self.dir.join("digests")
    }

    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        self.dir.join("entries").join(name)
    }

    pub(crate) fn build_lock(&self, name: &str) -> PathBuf {
        self.dir.join("builds").join(name)
    }

    /// What lies in one of the directories, by name.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<PathBuf>, CacheError> {
        let dir = self.dir.join(name);
        let list = |dir: &Path| fs::read_dir(dir)?.map(|item| Ok(item?.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = list(&dir).map_err(|e| CacheError::io("list", &dir, e))?;
        paths.sort();
        Ok(paths)
    }

    /// Takes the lock, waiting for it a bounded time, and no longer than `until`.
    pub(crate) fn lock(&self, until: Option<&Until<'_>>) -> Result<RootLock<'_>, CacheError> {
        let path = self.dir.join("lock");
        let file = open_lock(&path, true).map_err(|e| CacheError::io("open", &path, e))?;
        for n_tries in 1..=LOCK_TRIES_MAX {
            if let Some(until) = until {
                until.check()?;
            }
            match file.try_lock() {
                Ok(()) => return Ok(RootLock { root: self, file }),
                Err(TryLockError::WouldBlock) => pause(n_tries),
                Err(TryLockError::Error(e)) => return Err(CacheError::io("lock", &path, e)),
            }
        }
        Err(CacheError::Busy { path })
    }
}

/// The root's lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct RootLock<'a> {
    root: &'a Root,
    file: File,
}

impl RootLock<'_> {
    /// Counts one more use and returns the count. Lost counts only make eviction choose worse, so a disk that refuses
    /// one is no error.
    pub(crate) fn next_use(&self) -> u64 {
        let next = read_use(&self.file).saturating_add(1);
        write_use(&self.file, next);
        next
    }

    /// Makes the count at least `last_use`.
    pub(crate) fn catch_up(&self, last_use: u64) {
        if read_use(&self.file) < last_use {
            write_use(&self.file, last_use);
        }
    }

    /// A directory to build in and its lock, which tells that its builder lives.
    pub(crate) fn new_temp(&self) -> Result<(TempDir, File), CacheError> {
        let dir = self.root.dir.join("temp");
        let temp = TempDir::new_in(&dir).map_err(|e| CacheError::io("make a directory in", &dir, e))?;
        let path = temp.path().join("lock");
        let file = open_lock(&path, true).map_err(|e| CacheError::io("make", &path, e))?;
        write_use(&file, 0);
        file.try_lock_shared().map_err(|e| CacheError::io("lock", &path, e.into()))?;
        Ok((temp, file))
    }

    /// Moves `path` to where nobody looks for it.
    pub(crate) fn move_to_trash(&self, path: &Path) -> Result<PathBuf, CacheError> {
        let trash = self.root.dir.join("trash");
        let place = TempDir::new_in(&trash).map_err(|e| CacheError::io("make a directory in", &trash, e))?;
        fs::rename(path, place.path().join("entry")).map_err(|e| CacheError::io("move away", path, e))?;
        Ok(place.keep())
    }
}

/// Makes a directory and its parents, unless it is there. Says whether it was not.
fn make_dir(path: &Path) -> Result<bool, CacheError> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| CacheError::io("make", path, e))?;
    Ok(true)
}

/// Opens a lock file for reading and writing; nothing but a plain file is opened.
pub(crate) fn open_lock(path: &Path, create: bool) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(io::ErrorKind::InvalidInput.into()),
        Ok(_) => {}
        Err(e) if create && e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)
}

/// Whether nobody holds the lock at `path`: it is held by the returned file from then on, or there is no lock file. A
/// lock that cannot be asked for counts as held.
pub(crate) fn free_lock(path: &Path) -> Option<Option<File>> {
    match open_lock(path, false) {
        Ok(file) => file.try_lock().ok().map(|()| Some(file)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Some(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Some(None),
        Err(_) => None,
    }
}

/// The count of uses in a lock file; 0 if there is none.
pub(crate) fn read_use(mut file: &File) -> u64 {
    let mut text = String::new();
    let is_read = file.rewind().and_then(|()| file.take(USE_DIGITS as u64).read_to_string(&mut text)).is_ok();
    if is_read { text.trim().parse().unwrap_or(0) } else { 0 }
}

/// Writes a count of uses to a lock file.
pub(crate) fn write_use(mut file: &File, count: u64) {
    if let Err(error) = file.rewind().and_then(|()| file.write_all(format!("{count:0USE_DIGITS$}").as_bytes())) {
        tracing::debug!(%error, "compile cache: a use was not counted");
    }
}

/// Makes the names in a directory survive a loss of power.
pub(crate) fn sync_dir(path: &Path) -> Result<(), CacheError> {
    if cfg!(unix) {
        File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| CacheError::io("sync", path, e))?;
    }
    Ok(())
}

/// Removes what was moved to the trash. What cannot be removed stays for the next who opens the cache.
pub(crate) fn empty(trash: &[PathBuf]) {
    for path in trash {
        match fs::remove_dir_all(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "compile cache: cannot empty the trash"),
        }
    }
}
