//! A file's bytes in memory: mapped on unix and guarded against truncation, read elsewhere.

#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod map;

use crate::GgufError;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(unix)]
use map::Map;

/// A regular file that is not empty, and its bytes.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    map: Map,
}

/// What tells that a file was written to.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    n_bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { n_bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        let io_error = |source: io::Error| GgufError::Io { path: path.to_owned(), source };
        // Looked at before it is opened: opening a device may do something, opening a pipe may wait.
        expect_file(path, &fs::metadata(path).map_err(io_error)?)?;
        let file = open_without_waiting(path).map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        expect_file(path, &metadata)?;
        let stamp = Stamp::of(&metadata);
        if stamp.n_bytes == 0 {
            return Err(GgufError::Empty { path: path.to_owned() });
        }
        let too_large = |_| GgufError::TooLargeForAddressSpace { path: path.to_owned(), got: stamp.n_bytes };
        let n_bytes = usize::try_from(stamp.n_bytes).map_err(too_large)?;
        let map = Map::new(&file, n_bytes, path)?;
        Ok(Self { path: path.to_owned(), file, stamp, map })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    pub(crate) fn check_intact(&self) -> Result<(), GgufError> {
        let same = self.file.metadata().is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp);
        if same && !self.map.is_damaged() {
            return Ok(());
        }
        Err(GgufError::FileChangedWhileMapped { path: self.path.clone() })
    }
}

fn expect_file(path: &Path, metadata: &Metadata) -> Result<(), GgufError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(GgufError::NotAFile { path: path.to_owned(), got: kind(metadata) })
}

#[cfg(unix)]
fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let file_type = metadata.file_type();
    match () {
        () if file_type.is_dir() => "directory",
        () if file_type.is_fifo() => "named pipe",
        () if file_type.is_socket() => "socket",
        () => "device",
    }
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() { "directory" } else { "device" }
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

/// The bytes, read: nothing can change them.
#[cfg(not(unix))]
#[derive(Debug)]
struct Map {
    bytes: Box<[u8]>,
}

#[cfg(not(unix))]
impl Map {
    fn new(file: &File, n_bytes: usize, path: &Path) -> Result<Self, GgufError> {
        use std::io::Read;
        let mut bytes = Vec::with_capacity(n_bytes);
        let read = file.take(n_bytes as u64).read_to_end(&mut bytes);
        read.map_err(|source| GgufError::Io { path: path.to_owned(), source })?;
        Ok(Self { bytes: bytes.into() })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn is_damaged(&self) -> bool {
        false
    }
}
