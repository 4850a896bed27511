//! A file that changes while it is mapped: no crash, zeros, and an error for who asks.
#![expect(clippy::unwrap_used, reason = "test helpers")]
#![cfg(unix)]
#![expect(unsafe_code, reason = "maps a file beside the library's back, to fault where the library must not help")]

use ballast_gguf::{Gguf, GgufError, TensorType, Writer};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use std::{ptr, thread};
use tempfile::TempDir;

const TENSOR_BYTES: usize = 1 << 20;

fn model(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("model.gguf");
    let data = vec![7; TENSOR_BYTES];
    Writer::new().tensor("t", &[TENSOR_BYTES as u64], TensorType::I8, data).write_file(&path).unwrap();
    path
}

fn truncate(path: &Path, n_bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(n_bytes).unwrap();
}

fn expect_changed(gguf: &Gguf, path: &Path) {
    match gguf.check_intact() {
        Err(GgufError::FileChangedWhileMapped { path: got }) => assert_eq!(got, path),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_truncated_file_reads_as_zeros_and_is_reported() {
    let dir = TempDir::new().unwrap();
    let path = model(&dir);
    let gguf = Gguf::open(&path).unwrap();
    let bytes = gguf.tensor_bytes(&gguf.tensors()[0]);
    gguf.check_intact().unwrap();
    truncate(&path, 1 << 16);
    expect_changed(&gguf, &path);
    assert_eq!(bytes[0], 7);
    assert!(bytes[1 << 16..].iter().all(|byte| *byte == 0));
    expect_changed(&gguf, &path);
}

#[test]
fn many_threads_may_meet_the_truncation_at_once() {
    let dir = TempDir::new().unwrap();
    let path = model(&dir);
    let gguf = Gguf::open(&path).unwrap();
    truncate(&path, 0);
    let sum = || gguf.tensor_bytes(&gguf.tensors()[0]).iter().map(|byte| u64::from(*byte)).sum::<u64>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(sum)).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 0));
    });
    expect_changed(&gguf, &path);
}

#[test]
fn damage_is_remembered_when_the_file_is_restored() {
    let dir = TempDir::new().unwrap();
    let path = model(&dir);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let n_bytes = gguf.file_bytes();
    truncate(&path, 0);
    assert_eq!(gguf.tensor_bytes(&gguf.tensors()[0])[0], 0);
    truncate(&path, n_bytes);
    OpenOptions::new().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    expect_changed(&gguf, &path);
}

#[test]
fn a_file_written_to_is_reported_and_one_replaced_is_not() {
    let dir = TempDir::new().unwrap();
    let path = model(&dir);
    let gguf = Gguf::open(&path).unwrap();
    let other = dir.path().join("other.gguf");
    fs::write(&other, b"new").unwrap();
    let old = OpenOptions::new().write(true).open(&path).unwrap();
    fs::rename(&other, &path).unwrap();
    gguf.check_intact().unwrap();
    assert_eq!(gguf.tensor_bytes(&gguf.tensors()[0])[TENSOR_BYTES - 1], 7);
    old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    expect_changed(&gguf, &path);
}

/// Opens a model, so that the handler is there, and then faults in a mapping that is none of its business.
#[test]
#[ignore = "ends the process; a_fault_elsewhere_still_ends_the_process runs it in one of its own"]
fn fault_elsewhere() {
    let dir = TempDir::new().unwrap();
    let gguf = Gguf::open(&model(&dir)).unwrap();
    let path = dir.path().join("foreign");
    fs::write(&path, vec![1; 1 << 16]).unwrap();
    let file = File::open(&path).unwrap();
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(ptr::null_mut(), 1 << 16, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    truncate(&path, 0);
    // SAFETY: mapped above. The read faults, which is the point.
    let byte = unsafe { start.cast::<u8>().read_volatile() };
    unreachable!("read {byte} with {gguf:?} open");
}

#[test]
fn a_fault_elsewhere_still_ends_the_process() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--exact", "fault_elsewhere", "--ignored"]).output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{output:?}");
}
