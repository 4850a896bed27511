//! A read-only shared mapping of a file.
#![expect(unsafe_code, reason = "memory mapping")]

use super::guard::Guarded;
use crate::GgufError;
use crate::limits::MAPPINGS_MAX;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;

/// `n_bytes` of address space that show the file, or zeros where the file can no longer be read.
///
/// The memory is never written through this map. Another process can still write to the file; a header is parsed and
/// copied out before it is trusted, and tensor bytes are numbers for which every bit pattern is valid.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<u8>,
    n_bytes: usize,
    guarded: Guarded,
}

// SAFETY: the mapping is read-only memory owned by this value, valid from any thread until it is dropped.
unsafe impl Send for Map {}
// SAFETY: as above, and sharing it only gives shared reads.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `n_bytes` of `file`, more than none.
    pub(super) fn new(file: &File, n_bytes: usize, path: &Path) -> Result<Self, GgufError> {
        let io_error = |source| GgufError::Io { path: path.to_owned(), source };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), n_bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io_error(io::Error::last_os_error()));
        }
        let start = NonNull::new(start.cast::<u8>()).expect("the kernel maps nothing at address zero unasked");
        let unmap = || {
            // SAFETY: mapped above, and no reference into it exists yet.
            unsafe { libc::munmap(start.as_ptr().cast(), n_bytes) };
        };
        match Guarded::register(start.as_ptr().addr(), n_bytes) {
            Ok(Some(guarded)) => Ok(Self { start, n_bytes, guarded }),
            Ok(None) => {
                unmap();
                Err(GgufError::TooManyMappings { max: MAPPINGS_MAX })
            }
            Err(source) => {
                unmap();
                Err(io_error(source))
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `new` mapped `n_bytes` readable bytes at `start`, they stay mapped until `drop`, and a page the file
        // no longer backs is replaced by zeros before the read that met it goes on.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.n_bytes) }
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.guarded.is_damaged()
    }

    /// Lets go of the pages that lie wholly in `range`, which is in the mapping. That it is advice, which the system
    /// may refuse, is why nothing is returned.
    pub(super) fn release(&self, range: Range<usize>) {
        let page_bytes = super::guard::page_bytes();
        // The last page is the mapping's alone, even where the file ends within it.
        let end = if range.end == self.n_bytes { range.end } else { range.end / page_bytes * page_bytes };
        let start = range.start.next_multiple_of(page_bytes);
        if start < end {
            // SAFETY: the range begins at a page and lies in this mapping, which stays mapped. Its pages are shared
            // with a file, or are the zeros that stand in for one, so they read the same afterwards.
            unsafe { libc::madvise(self.start.as_ptr().add(start).cast(), end - start, libc::MADV_DONTNEED) };
        }
    }

    /// Tells the system that the whole file will be read.
    pub(super) fn will_need(&self) {
        // SAFETY: the range is this mapping, and the advice changes nothing that can be read.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.n_bytes, libc::MADV_WILLNEED) };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // Unregistered first: the addresses may belong to another mapping as soon as they are free.
        self.guarded.unregister();
        // SAFETY: `new` mapped this range, and no reference outlives the value being dropped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.n_bytes) };
    }
}
