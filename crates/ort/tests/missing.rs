//! Libraries that are not there, or are others: errors that name what was tried, at once. Needs no library, and loads none
//! that would stay: every test is of the same process.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::ErrorKind;
use ballast_ort::{LIBRARY_NAMES, Library, OrtEngine, OrtError, OrtOptions};
use ballast_testkit::VirtualClock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn refused(path: &Path) -> OrtError {
    let options = OrtOptions { library: Some(path.to_owned()), ..OrtOptions::default() };
    let error = OrtEngine::new(options, Arc::new(VirtualClock::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    error
}

#[test]
fn a_library_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libnothing.so");
    let error = refused(&path);
    assert!(matches!(error, OrtError::LibraryFile { .. }) && error.to_string().contains("libnothing.so"), "{error}");
}

#[test]
fn a_file_that_is_no_library_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.so");
    for content in [&b""[..], b"no library", &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]] {
        std::fs::write(&path, content).unwrap();
        let error = refused(&path);
        assert!(matches!(&error, OrtError::LibraryNotLoaded { why, .. } if !why.is_empty()), "{error}");
        assert!(error.to_string().contains("text.so"), "{error}");
    }
    let error = refused(folder.path());
    assert!(matches!(error, OrtError::LibraryNotLoaded { .. }), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_of_something_else_is_named() {
    // The C library is mapped into every process that is linked to it.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("libc."));
    let Some(path) = path else { return };
    let error = refused(&PathBuf::from(path));
    assert!(matches!(error, OrtError::LibraryForeign { .. }) && error.to_string().contains("OrtGetApiBase"), "{error}");
}

#[test]
fn every_name_that_was_looked_for_is_told() {
    // A machine that has one installed has nothing to tell here.
    let Err(error) = Library::load(None) else { return };
    let told = error.to_string();
    assert!(LIBRARY_NAMES.iter().all(|name| told.contains(name)), "{told}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
