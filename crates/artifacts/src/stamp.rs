//! What tells, without reading it, that a file was written to or replaced.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file as it was at one time. Two equal stamps mean the same content, unless the file was written to within the
/// grain of its date; see [`crate::DigestBook`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp {
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
    /// Device, number on it, and when content, name or rights were last changed; zeros where the system has none.
    place: [i64; 4],
}

impl FileStamp {
    /// The stamp of a file that was opened at `path`, of which the system says `metadata`.
    #[must_use]
    pub fn new(path: &Path, metadata: &Metadata) -> Self {
        let (len, modified) = (metadata.len(), metadata.modified().ok());
        Self { path: path.to_owned(), len, modified, place: place(metadata) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// All of it as bytes, different for different stamps.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let path = self.path.as_os_str().as_encoded_bytes();
        let since = self.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mut bytes = (path.len() as u64).to_le_bytes().to_vec();
        bytes.extend(path);
        bytes.extend(self.len.to_le_bytes());
        bytes.extend(since.map_or(u128::MAX, |since| since.as_nanos()).to_le_bytes());
        self.place.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes
    }
}

#[cfg(unix)]
fn place(metadata: &Metadata) -> [i64; 4] {
    use std::os::unix::fs::MetadataExt;
    [metadata.dev().cast_signed(), metadata.ino().cast_signed(), metadata.ctime(), metadata.ctime_nsec()]
}

#[cfg(not(unix))]
fn place(_: &Metadata) -> [i64; 4] {
    [0; 4]
}
