//! The file system, carefully: bounded walks, bounded reads, writes that are whole or not there.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Directory levels below a repository or a manifest root; none in use has more.
const DEPTH_MAX: usize = 6;
/// Entries looked at in one walk; the largest public repositories have a few thousand files.
const ENTRIES_MAX: usize = 50_000;

/// A file below a root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Relative to the root, `/`-separated.
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

/// The files below `root` in name order. Links to files count, links to directories are not entered; names that are
/// not UTF-8 and entries that cannot be read are left out. An absent root has no files.
pub(crate) fn files_below(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut left = ENTRIES_MAX;
    walk(root, "", DEPTH_MAX, &mut left, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(dir: &Path, prefix: &str, depth: usize, left: &mut usize, found: &mut Vec<Found>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth > 0 {
                walk(&entry.path(), &format!("{path}/"), depth - 1, left, found);
            }
        } else if let Ok(meta) = fs::metadata(entry.path())
            && meta.is_file()
        {
            found.push(Found { path, bytes: meta.len() });
        }
    }
}

/// The real path of `path` if it is a regular file inside `root`, links resolved on both sides.
pub(crate) fn real_file_inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    let inside = real.starts_with(fs::canonicalize(root).ok()?);
    (inside && fs::metadata(&real).ok()?.is_file()).then_some(real)
}

/// Reads a small text file; `None` if it is absent, longer than `bytes_max` or not UTF-8.
pub(crate) fn read_small(path: &Path, bytes_max: u64) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(bytes_max + 1).read_to_string(&mut text).ok()?;
    u64::try_from(text.len()).is_ok_and(|len| len <= bytes_max).then_some(text)
}

/// Writes a small file so that a reader sees the old one or the new one, whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = with_suffix(path, ".new");
    let mut file = File::create(&temporary).map_err(StoreError::io("create", &temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(StoreError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(StoreError::io("rename", path))
}

/// Gives a finished file its name: data first, then the name, then the directory, each on the disk before the next.
pub(crate) fn publish(part: &Path, target: &Path) -> Result<(), StoreError> {
    File::open(part).and_then(|file| file.sync_all()).map_err(StoreError::io("write", part))?;
    fs::rename(part, target).map_err(StoreError::io("rename", target))?;
    sync_dir(target.parent().expect("a target lies in a directory"))
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(StoreError::io("write", dir))
}

/// Directories cannot be synced here; the rename is durable when the system says so.
#[cfg(not(unix))]
fn sync_dir(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

pub(crate) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))
}

/// Deletes a file; its absence is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("delete", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Deletes a directory with all that is in it; its absence is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("delete", dir)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `path` with `suffix` after its whole name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Bytes that an ordinary user may still write to the file system of `dir`, where the system can tell.
#[cfg(unix)]
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Not asked on this system; a full disk shows when writing.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Refuses when `dir` has no room for `bytes` more and `spare` beside them.
pub(crate) fn check_room(dir: &Path, bytes: u64, spare: u64) -> Result<(), StoreError> {
    let needed_bytes = bytes.saturating_add(spare);
    match free_bytes(dir) {
        Some(free) if free < needed_bytes => {
            Err(StoreError::NoSpace { dir: dir.to_owned(), needed_bytes, available_bytes: Some(free) })
        }
        Some(_) | None => Ok(()),
    }
}
