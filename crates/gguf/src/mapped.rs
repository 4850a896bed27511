//! A file's bytes in memory: mapped on unix and guarded against truncation, read elsewhere.

#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod map;

use crate::GgufError;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(unix)]
use map::Map;

/// A regular file that is not empty, and its bytes: on unix a read-only mapping that is guarded against truncation,
/// elsewhere a copy.
#[derive(Debug)]
pub struct MappedFile {
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
    /// Opens and maps the file at `path`; links are followed. Nothing is read yet.
    ///
    /// # Errors
    /// If it is not a regular file, is empty, cannot be opened, or cannot be mapped.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
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

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes. They read as zeros from where the file ends if it was truncated since.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// What the system says about the file that is mapped, now; not about another that has taken its name since.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Whether the file is still as it was when opened. Costs a system call.
    ///
    /// # Errors
    /// [`GgufError::FileChangedWhileMapped`] if it was truncated, written to, or could not be read.
    pub fn check_intact(&self) -> Result<(), GgufError> {
        let same = self.file.metadata().is_ok_and(|metadata| Stamp::of(&metadata) == self.stamp);
        if same { self.check_undamaged() } else { Err(self.changed()) }
    }

    /// Whether no byte that was read so far lay behind the file's end. Costs next to nothing.
    ///
    /// # Errors
    /// [`GgufError::FileChangedWhileMapped`] if one did.
    pub fn check_undamaged(&self) -> Result<(), GgufError> {
        if self.map.is_damaged() { Err(self.changed()) } else { Ok(()) }
    }

    /// Lets go of the memory of the pages that lie wholly in `range`: they come from the file again if they are read
    /// again. Only where they are counted changes, never what they read as.
    ///
    /// # Panics
    /// If `range` is not in the file.
    pub fn release(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes().len(), "bytes {range:?} of {:?}", self.path);
        self.map.release(range);
    }

    /// Tells the system that all bytes will be read soon, so that a slow disk can begin.
    pub fn will_need(&self) {
        self.map.will_need();
    }

    fn changed(&self) -> GgufError {
        GgufError::FileChangedWhileMapped { path: self.path.clone() }
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

    fn release(&self, _range: Range<usize>) {}

    fn will_need(&self) {}
}
