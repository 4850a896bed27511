//! Memory for what is large and read often: zeroed bytes on large pages, where the system grants them.
//!
//! A read of a hundred megabytes over ordinary pages waits for address translation as much as for memory. Linux gives
//! large pages to whoever asks (`madvise`), if its administrator lets it; elsewhere these are bytes as any others.

#![expect(unsafe_code, reason = "advice to the system about memory that is ours")]

use std::collections::TryReserveError;
use std::ops::{Deref, DerefMut};

/// Bytes of a large page, at which the memory begins.
pub const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Zeroed bytes that begin at a multiple of [`LARGE_PAGE_BYTES`]. The system backs them when they are first written to, on
/// the memory node of the thread that does.
#[derive(Debug)]
pub struct LargePages {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl LargePages {
    /// Asks for `len` bytes. Where the system has no large pages to give, they are on ordinary ones.
    ///
    /// # Errors
    /// If the system does not grant the memory.
    pub fn zeroed(len: usize) -> Result<Self, TryReserveError> {
        let whole = len.saturating_add(LARGE_PAGE_BYTES);
        // Zeroed vectors come from the system untouched but abort where it refuses, so it is asked before.
        Vec::<u8>::new().try_reserve_exact(whole)?;
        let mut bytes = vec![0; whole];
        let start = bytes.as_ptr().align_offset(LARGE_PAGE_BYTES);
        advise(&mut bytes[start..][..len]);
        Ok(Self { bytes, start, len })
    }
}

impl Deref for LargePages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }
}

impl DerefMut for LargePages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

/// Asks for large pages under `bytes`. A refusal changes nothing but speed, so it is not told.
#[cfg(target_os = "linux")]
fn advise(bytes: &mut [u8]) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the range is ours and begins at a page, and this advice does not change what it holds.
    unsafe { madvise(bytes.as_mut_ptr().cast(), bytes.len(), Advice::LinuxHugepage) }.unwrap_or(());
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut [u8]) {}

#[cfg(test)]
mod tests {
    use super::{LARGE_PAGE_BYTES, LargePages};

    #[test]
    fn bytes_are_zero_aligned_and_writable() {
        for len in [0, 1, LARGE_PAGE_BYTES - 1, LARGE_PAGE_BYTES, 3 * LARGE_PAGE_BYTES + 5] {
            let mut pages = LargePages::zeroed(len).unwrap();
            assert_eq!(pages.len(), len);
            assert!(pages.as_ptr().addr().is_multiple_of(LARGE_PAGE_BYTES));
            assert!(pages.iter().all(|byte| *byte == 0));
            pages.fill(7);
            assert!(pages.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn memory_that_the_system_refuses_is_an_error() {
        assert!(LargePages::zeroed(usize::MAX).is_err());
        assert!(LargePages::zeroed(isize::MAX as usize).is_err());
    }
}
