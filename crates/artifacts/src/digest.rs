//! Digests of files and of whole bundles.

use crate::tree::{Tree, walk};
use crate::{CacheError, TreeError, Until};
use ballast_backend::Sha256;
use sha2::Digest as _;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes read at once: large enough that the system calls do not show, small enough to ask for the time in between.
const CHUNK_BYTES: usize = 1 << 20;

/// First words of the text that a tree's digest is of, so that it is never the digest of a file.
const TREE_DOMAIN: &[u8] = b"ballast tree 1\n";

/// A file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Number of its bytes.
    pub bytes: u64,
}

/// A bundle's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigest {
    /// SHA-256 over the path, length and digest of every file, in byte order of the paths.
    pub sha256: Sha256,
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of files.
    pub n_files: usize,
}

/// Digest of the file at `path`; links are followed.
///
/// # Errors
/// If it is not a file, cannot be read, changes while it is read, or time is up.
pub fn digest_file(path: &Path, until: &Until<'_>) -> Result<FileDigest, CacheError> {
    // Asked before it is opened: opening a pipe waits for somebody to write to it.
    let metadata = fs::metadata(path).map_err(|e| CacheError::io("look at", path, e))?;
    if !metadata.is_file() {
        return Err(TreeError::NotAFile { path: path.to_owned() }.into());
    }
    let file = File::open(path).map_err(|e| CacheError::io("open", path, e))?;
    digest_open_file(&file, path, until)
}

/// Digest of a model in several files, in their order: of one file, that file's; of several, the digest of their
/// digests, each as 32 bytes.
///
/// # Errors
/// As [`digest_file`], and if there is no file.
pub fn digest_files<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
    until: &Until<'_>,
) -> Result<FileDigest, CacheError> {
    joined(&paths.into_iter().map(|path| digest_file(path, until)).collect::<Result<Vec<_>, _>>()?)
}

/// As [`digest_files`], of files whose bytes are in memory or mapped there. `read(idx, range)` is called after each part
/// of file `idx` that was read.
///
/// # Errors
/// If there is no file, or time is up.
pub fn digest_parts<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    until: &Until<'_>,
    mut read: impl FnMut(usize, Range<usize>),
) -> Result<FileDigest, CacheError> {
    let mut digests = Vec::new();
    for (idx, part) in parts.into_iter().enumerate() {
        let mut hasher = sha2::Sha256::new();
        for start in (0..part.len()).step_by(CHUNK_BYTES) {
            until.check()?;
            let range = start..part.len().min(start + CHUNK_BYTES);
            hasher.update(&part[range.clone()]);
            read(idx, range);
        }
        digests.push(FileDigest { sha256: Sha256(hasher.finalize().into()), bytes: part.len() as u64 });
    }
    joined(&digests)
}

fn joined(digests: &[FileDigest]) -> Result<FileDigest, CacheError> {
    match digests {
        [] => Err(TreeError::Empty { path: PathBuf::new() }.into()),
        [one] => Ok(*one),
        several => {
            let mut hasher = sha2::Sha256::new();
            several.iter().for_each(|digest| hasher.update(digest.sha256.0));
            let bytes = several.iter().map(|digest| digest.bytes).sum();
            Ok(FileDigest { sha256: Sha256(hasher.finalize().into()), bytes })
        }
    }
}

/// Digest of what `file`, opened at `path`, has from its start.
pub(crate) fn digest_open_file(file: &File, path: &Path, until: &Until<'_>) -> Result<FileDigest, CacheError> {
    let expected = file.metadata().map_err(|e| CacheError::io("look at", path, e))?.len();
    let mut hasher = sha2::Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(expected).unwrap_or(CHUNK_BYTES).max(1))];
    let mut bytes = 0;
    loop {
        until.check()?;
        let n_read = (&*file).read(&mut chunk).map_err(|e| CacheError::io("read", path, e))?;
        if n_read == 0 {
            break;
        }
        bytes += n_read as u64;
        if bytes > expected {
            break;
        }
        hasher.update(&chunk[..n_read]);
    }
    if bytes != expected {
        return Err(CacheError::ChangedWhileRead { path: path.to_owned(), expected, got: bytes });
    }
    Ok(FileDigest { sha256: Sha256(hasher.finalize().into()), bytes })
}

/// Digest of the bundle at `path`: of every file in it, at any depth. Directories without files do not count.
///
/// # Errors
/// If there is no file, or a link or another thing that is no file, or more than a bundle may have; if something
/// cannot be read or changes while it is read; or if time is up.
pub fn digest_tree(path: &Path, until: &Until<'_>) -> Result<TreeDigest, CacheError> {
    let Tree { files, .. } = walk(path, until)?;
    if files.is_empty() {
        return Err(TreeError::Empty { path: path.to_owned() }.into());
    }
    let mut digests = Vec::with_capacity(files.len());
    for file in &files {
        digests.push(digest_file(&path.join(&file.path), until)?);
    }
    Ok(tree_digest(files.iter().map(|file| file.path.as_str()).zip(digests)))
}

/// The digest of a tree of which every file's digest is known, given in byte order of the paths.
pub(crate) fn tree_digest<'a>(files: impl Iterator<Item = (&'a str, FileDigest)>) -> TreeDigest {
    let mut hasher = sha2::Sha256::new();
    hasher.update(TREE_DOMAIN);
    let (mut bytes, mut n_files) = (0_u64, 0);
    for (name, digest) in files {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(digest.bytes.to_le_bytes());
        hasher.update(digest.sha256.0);
        bytes = bytes.saturating_add(digest.bytes);
        n_files += 1;
    }
    TreeDigest { sha256: Sha256(hasher.finalize().into()), bytes, n_files }
}
