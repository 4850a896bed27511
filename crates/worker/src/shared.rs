//! The memory that both processes see: a file without a name, read and written at positions, never mapped.
//!
//! Parent and child take turns: a request is written before its frame is sent and read before work begins, and the
//! reply takes its place. What is read is a copy, checked after it was copied.

use crate::{SharedPlace, WorkerError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The shared file. It grows as needed, up to a bound.
#[derive(Debug)]
pub(crate) struct SharedArea {
    file: File,
    bytes_max: u64,
}

impl SharedArea {
    /// New and empty. Only this user may open it, through this process's descriptors.
    pub(crate) fn create(place: &SharedPlace, bytes_max: u64) -> Result<Self, WorkerError> {
        let file = match place {
            SharedPlace::Memory => unnamed(),
            SharedPlace::Directory(dir) => tempfile::tempfile_in(dir),
        };
        Ok(Self::new(file.map_err(|source| WorkerError::Shared { source })?, bytes_max))
    }

    /// One that the other process made.
    pub(crate) fn new(file: File, bytes_max: u64) -> Self {
        Self { file, bytes_max }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes written so far, the longest call's.
    pub(crate) fn len_bytes(&self) -> Result<u64, WorkerError> {
        Ok(self.file.metadata().map_err(|source| WorkerError::Shared { source })?.len())
    }

    /// Checks that a call may take `n_bytes`.
    pub(crate) fn check_room(&self, n_bytes: u64) -> Result<(), WorkerError> {
        if n_bytes > self.bytes_max {
            return Err(WorkerError::SharedTooLarge { max_bytes: self.bytes_max, got_bytes: n_bytes });
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` and returns where they end.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<u64, WorkerError> {
        let end = offset.saturating_add(bytes.len() as u64);
        self.check_room(end)?;
        self.file.write_all_at(bytes, offset).map_err(|source| WorkerError::Shared { source })?;
        Ok(end)
    }

    /// Fills `bytes` from `offset` and returns where they end.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<u64, WorkerError> {
        self.file.read_exact_at(bytes, offset).map_err(|source| WorkerError::Shared { source })?;
        Ok(offset.saturating_add(bytes.len() as u64))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn unnamed() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create("ballast-worker", MemfdFlags::CLOEXEC)?.into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unnamed() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::SharedArea;
    use crate::{SharedPlace, WorkerError};

    #[test]
    fn it_grows_up_to_its_bound_and_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        for place in [SharedPlace::Memory, SharedPlace::Directory(dir.path().to_owned())] {
            let area = SharedArea::create(&place, 10).unwrap();
            assert_eq!(area.write(0, b"12345").unwrap(), 5);
            assert_eq!(area.write(5, b"67890").unwrap(), 10);
            let got = area.write(5, b"678901").unwrap_err();
            assert!(matches!(got, WorkerError::SharedTooLarge { max_bytes: 10, got_bytes: 11 }), "{got}");
            assert_eq!(area.len_bytes().unwrap(), 10);
            let mut bytes = [0; 3];
            assert_eq!(area.read(4, &mut bytes).unwrap(), 7);
            assert_eq!(&bytes, b"567");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let area = SharedArea::create(&SharedPlace::Memory, 10).unwrap();
        area.write(0, b"123").unwrap();
        assert!(matches!(area.read(0, &mut [0; 4]), Err(WorkerError::Shared { .. })));
    }
}
