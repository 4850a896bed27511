//! What the hand-off waits with and writes to, named in one place, so that a model checker can put its own in its stead
//! (`tests/hand_off_loom.rs`).

#![expect(unsafe_code, reason = "a cell whose accesses its users order")]

pub(crate) use super::patience::{Patience, Waited};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use std::thread::park;

/// A place for a job.
#[derive(Debug)]
pub(crate) struct JobCell<J>(UnsafeCell<MaybeUninit<J>>);

impl<J: Copy> JobCell<J> {
    pub(crate) const fn empty() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// # Safety
    /// Nobody reads or writes it meanwhile.
    pub(crate) unsafe fn set(&self, job: J) {
        // SAFETY: the caller's promise.
        unsafe { (*self.0.get()).write(job) };
    }

    /// # Safety
    /// It has been set, and nobody writes it meanwhile.
    pub(crate) unsafe fn get(&self) -> J {
        // SAFETY: the caller's promise.
        unsafe { (*self.0.get()).assume_init() }
    }
}
