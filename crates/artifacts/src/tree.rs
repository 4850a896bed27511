//! The plain files under a directory, in a fixed order, within bounds.

use crate::{CacheError, Until};
use ballast_backend::{ErrorKind, Sha256};
use sha2::Digest as _;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Most files in a tree.
pub const FILES_MAX: usize = 16 * 1024;

/// Most directories in a tree, so that empty ones cannot stand in for files.
const DIRS_MAX: usize = 16 * 1024;

/// Most names in a path below the root of a tree.
pub const DEPTH_MAX: usize = 16;

/// Most bytes of a path below the root of a tree.
pub const PATH_BYTES_MAX: usize = 1024;

/// A tree that is not a bundle of plain files within bounds. All are [`ErrorKind::Invalid`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A link, a device, a pipe or a socket.
    #[error("{path}: expected a file or a directory, got something else")]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// No file at all.
    #[error("{path}: expected files, got none")]
    Empty {
        /// Root of the tree.
        path: PathBuf,
    },
    /// Too many files or directories.
    #[error("{path}: expected at most {FILES_MAX} files and {DIRS_MAX} directories, got more")]
    TooMany {
        /// Root of the tree.
        path: PathBuf,
    },
    /// Too many directories inside each other.
    #[error("{path}: expected at most {DEPTH_MAX} names below the root, got more")]
    TooDeep {
        /// The first that lies too deep.
        path: PathBuf,
    },
    /// A name that is not UTF-8, too long, or has characters that separate names elsewhere.
    #[error("{path}: expected a name that can be written down everywhere, got another")]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// More files than a manifest can list.
    #[error("{path}: expected a list of files of at most {bytes_max} bytes, got {got}")]
    ListTooLong {
        /// Root of the tree.
        path: PathBuf,
        /// The bound.
        bytes_max: usize,
        /// How long.
        got: usize,
    },
}

impl TreeError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAFile { .. }
            | Self::Empty { .. }
            | Self::TooMany { .. }
            | Self::TooDeep { .. }
            | Self::Name { .. }
            | Self::ListTooLong { .. } => ErrorKind::Invalid,
        }
    }
}

/// A file in a tree.
#[derive(Debug)]
pub(crate) struct TreeFile {
    /// Relative, with `/`.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// What changes when it is written to or replaced: its date, in nanoseconds, and its number on the disk.
    stamp: (u128, u64),
}

/// What lies below a directory.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// In byte order of their paths.
    pub(crate) files: Vec<TreeFile>,
    /// Absolute paths, the root first, each before what lies in it.
    pub(crate) dirs: Vec<PathBuf>,
}

impl Tree {
    /// A digest of what tells, without reading content, that a file was written to or replaced.
    pub(crate) fn fingerprint(&self) -> Sha256 {
        let mut hasher = sha2::Sha256::new();
        for TreeFile { path, bytes, stamp: (modified, inode) } in &self.files {
            hasher.update((path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(bytes.to_le_bytes());
            hasher.update(modified.to_le_bytes());
            hasher.update(inode.to_le_bytes());
        }
        Sha256(hasher.finalize().into())
    }
}

fn stamp(metadata: &Metadata) -> (u128, u64) {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    (since.map_or(0, |since| since.as_nanos()), inode)
}

/// Whether `path` may stand in a manifest: relative, of plain names, within bounds.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let is_plain = |name: &str| {
        !matches!(name, "" | "." | "..") && !name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
    };
    path.len() <= PATH_BYTES_MAX && path.split('/').all(is_plain) && path.split('/').count() <= DEPTH_MAX
}

/// Walks everything below `root`, which is a directory or a link to one.
///
/// # Errors
/// [`CacheError::Tree`] for links and other things that are no files below the root, and for trees out of bounds.
pub(crate) fn walk(root: &Path, until: &Until<'_>) -> Result<Tree, CacheError> {
    let mut tree = Tree { files: Vec::new(), dirs: vec![root.to_owned()] };
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        for item in fs::read_dir(&dir).map_err(|e| CacheError::io("list", &dir, e))? {
            until.check()?;
            let item = item.map_err(|e| CacheError::io("list", &dir, e))?;
            let path = item.path();
            let name = item.file_name();
            let relative = format!("{prefix}{}", name.to_str().ok_or_else(|| TreeError::Name { path: path.clone() })?);
            if relative.split('/').count() > DEPTH_MAX {
                return Err(TreeError::TooDeep { path }.into());
            }
            if !is_plain_path(&relative) {
                return Err(TreeError::Name { path }.into());
            }
            let metadata = fs::symlink_metadata(&path).map_err(|e| CacheError::io("look at", &path, e))?;
            if metadata.is_file() {
                tree.files.push(TreeFile { path: relative, bytes: metadata.len(), stamp: stamp(&metadata) });
            } else if metadata.is_dir() {
                tree.dirs.push(path.clone());
                open.push((path, format!("{relative}/")));
            } else {
                return Err(TreeError::NotAFile { path }.into());
            }
            if tree.files.len() > FILES_MAX || tree.dirs.len() > DIRS_MAX {
                return Err(TreeError::TooMany { path: root.to_owned() }.into());
            }
        }
    }
    tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::is_plain_path;

    #[test]
    fn paths_that_lead_elsewhere_are_not_plain() {
        for good in ["a", "a/b.c", "weights/layer 0.bin", "..a", "é"] {
            assert!(is_plain_path(good), "{good}");
        }
        let deep = ["a"; 17].join("/");
        let long = "a".repeat(1025);
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "c:x", "a\0", "a\nb", &deep, &long] {
            assert!(!is_plain_path(bad), "{bad:?}");
        }
    }
}
