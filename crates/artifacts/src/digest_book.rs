//! Digests of models that were read before, remembered on disk: who knows that a file has not changed need not read it.
//!
//! A record is a file named by the digest of the model's first path. It holds the content's digest and a seal: the
//! digest of that and of the stamps that the files had when they were read. A record of other stamps, or one that is
//! damaged, says nothing.
//! A file that was written to shortly before it was read could be written to again without changing its date, so it is
//! not remembered: the same rule as for the index of git ("racy git"). What time it is, the disk says on which the
//! records lie.

use crate::{CacheError, FileStamp};
use ballast_backend::Sha256;
use sha2::Digest as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// Most models that are remembered; past it the one read longest ago is forgotten.
pub const DIGESTS_MAX: usize = 1024;

/// A file that was written to less than this before it was read is not remembered.
pub const RACY_AGE: Duration = Duration::from_secs(2);

/// First word of a record, with the version of its format.
const MAGIC: &str = "ballast-digest-1";

/// Bytes of a record: the word, two digests, what separates them.
const RECORD_BYTES: usize = MAGIC.len() + 2 * (64 + 1) + 1;

/// Remembered digests in one directory. Any number of threads and processes may use it.
#[derive(Debug)]
pub struct DigestBook {
    dir: PathBuf,
}

/// A model's files as they are before they are read, to be remembered afterwards.
#[derive(Debug)]
pub struct DigestNote<'a> {
    book: &'a DigestBook,
    stamps: Vec<FileStamp>,
    /// The record to be, made before the files are read.
    file: NamedTempFile,
    made: Option<SystemTime>,
}

impl DigestBook {
    /// The records in `dir`, which is there.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The digest of the model whose files have these stamps, if it is remembered.
    #[must_use]
    pub fn digest(&self, stamps: &[FileStamp]) -> Option<Sha256> {
        let text = fs::read(self.dir.join(name(stamps)?)).ok()?;
        let text = std::str::from_utf8(&text).ok().filter(|text| text.len() == RECORD_BYTES)?;
        let mut words = text.strip_suffix('\n')?.split(' ');
        let (magic, seal, content) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let known = magic == MAGIC && seal.parse() == Ok(seal_of(content, stamps)) && words.next().is_none();
        known.then_some(content)
    }

    /// Begins to remember a model whose files have these stamps now, before they are read.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn note(&self, stamps: Vec<FileStamp>) -> Result<DigestNote<'_>, CacheError> {
        let file = NamedTempFile::new_in(&self.dir).map_err(|e| CacheError::io("make a file in", &self.dir, e))?;
        let made = file.as_file().metadata().and_then(|metadata| metadata.modified()).ok();
        Ok(DigestNote { book: self, stamps, file, made })
    }

    /// Forgets the oldest records until there are no more than may be. The record to be is among them, under its
    /// temporary name.
    fn make_room(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for item in fs::read_dir(&self.dir)? {
            let item = item?;
            // One that is gone meanwhile was forgotten by another process.
            if let Ok(modified) = item.metadata().and_then(|metadata| metadata.modified()) {
                records.push((modified, item.path()));
            }
        }
        records.sort();
        let n_over = records.len().saturating_sub(DIGESTS_MAX);
        for (_, path) in records.into_iter().take(n_over) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl DigestNote<'_> {
    /// Remembers that the content was found to have this digest. `stamps` are those of the files after they were read:
    /// if they have changed, or are too young to be trusted, nothing is remembered, and the answer is `false`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remember(mut self, sha256: Sha256, stamps: &[FileStamp]) -> Result<bool, CacheError> {
        let is_old = |stamp: &FileStamp| match (self.made, stamp.modified()) {
            (Some(made), Some(modified)) => made.duration_since(modified).is_ok_and(|age| age >= RACY_AGE),
            (None, _) | (_, None) => false,
        };
        let Some(name) = name(stamps) else { return Ok(false) };
        if self.stamps != stamps || !stamps.iter().all(is_old) {
            return Ok(false);
        }
        let path = self.book.dir.join(name);
        let mut write = || {
            writeln!(self.file, "{MAGIC} {} {sha256}", seal_of(sha256, stamps))?;
            // A record that is replaced needs no room.
            if path.exists() { Ok(()) } else { self.book.make_room() }
        };
        write().map_err(|e| CacheError::io("write", &path, e))?;
        self.file.persist(&path).map_err(|e| CacheError::io("rename", &path, e.error))?;
        Ok(true)
    }
}

/// The record's name.
fn name(stamps: &[FileStamp]) -> Option<String> {
    let path: &Path = stamps.first()?.path();
    Some(Sha256(sha2::Sha256::digest(path.as_os_str().as_encoded_bytes()).into()).to_string())
}

fn seal_of(content: Sha256, stamps: &[FileStamp]) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    hasher.update(content.0);
    stamps.iter().for_each(|stamp| hasher.update(stamp.to_bytes()));
    Sha256(hasher.finalize().into())
}

#[cfg(test)]
mod tests;
