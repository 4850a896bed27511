//! Pages that are let go of: no longer counted as this process's memory, and the same when they are read again.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![cfg(target_os = "linux")]

use ballast_gguf::{Gguf, MappedFile, TensorType, Writer};
use std::fs;
use std::path::Path;

const TENSOR_BYTES: usize = 4 << 20;

/// Bytes of the file at `path` that this process has in memory through mappings.
fn resident_bytes(path: &Path) -> usize {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let of_file = smaps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let rss = of_file.filter_map(|line| line.strip_prefix("Rss:")).next().unwrap();
    rss.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn released_pages_leave_memory_and_read_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let data: Vec<u8> = (0..=250_u8).cycle().take(TENSOR_BYTES).collect();
    Writer::new().tensor("t", &[TENSOR_BYTES as u64], TensorType::I8, data.clone()).write_file(&path).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let tensor = &gguf.tensors()[0];
    assert_eq!(gguf.tensor_bytes(tensor), data);
    assert!(resident_bytes(&path) >= TENSOR_BYTES);
    gguf.release_tensor(tensor, 0..TENSOR_BYTES / 2);
    let left = resident_bytes(&path);
    assert!((TENSOR_BYTES / 2..TENSOR_BYTES * 5 / 8).contains(&left), "{left} bytes are left of {TENSOR_BYTES}");
    gguf.release_tensor(tensor, 1..4000);
    assert_eq!(gguf.tensor_bytes(tensor), data);
    gguf.release();
    assert_eq!(resident_bytes(&path), 0);
    assert_eq!(gguf.tensor_bytes(tensor), data);
    gguf.check_intact().unwrap();
}

#[test]
#[should_panic(expected = "bytes 0..11")]
fn a_range_outside_the_file_is_not_released() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, [0; 10]).unwrap();
    let file = MappedFile::open(&path).unwrap();
    file.will_need();
    file.release(3..10);
    file.check_undamaged().unwrap();
    file.release(0..11);
}
