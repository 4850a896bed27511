//! A handler for SIGBUS that was there before ours still gets the signals that are not ours. Alone in its process.
#![cfg(unix)]
#![expect(unsafe_code, reason = "installs a signal handler")]

use ballast_gguf::{Gguf, TensorType, Writer};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tempfile::TempDir;

static SEEN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SEEN.fetch_add(1, SeqCst);
}

#[test]
fn signals_that_are_not_ours_reach_the_earlier_handler() {
    // SAFETY: zeros are a valid sigaction.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = count as *const () as usize;
    // SAFETY: the handler only adds to an atomic.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) }, 0);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.gguf");
    Writer::new().tensor("t", &[1 << 16], TensorType::I8, vec![7; 1 << 16]).write_file(&path).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();

    assert_eq!(gguf.tensor_bytes(&gguf.tensors()[0])[0], 0);
    assert_eq!(SEEN.load(SeqCst), 0);
    // SAFETY: a signal to this thread, handled by the chain under test.
    assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
    assert_eq!(SEEN.load(SeqCst), 1);
}
