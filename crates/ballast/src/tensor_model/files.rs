//! Files that people name, read with a bound.

use super::error::TensorIoError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a file of at most `bytes_max` bytes. A pipe, or a file that grows, has no length that could be believed.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, TensorIoError> {
    let read = |source| TensorIoError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > bytes_max {
        return Err(TensorIoError::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

/// As [`read_bounded`], of text.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, TensorIoError> {
    String::from_utf8(read_bounded(path, bytes_max)?).map_err(|_| malformed(path, "text", "bytes that are not UTF-8"))
}

/// Content that is not what it should be.
pub(super) fn malformed(path: &Path, expected: impl Into<String>, got: impl ToString) -> TensorIoError {
    TensorIoError::Malformed { path: path.to_owned(), expected: expected.into(), got: got.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"abc\xff").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), b"abc\xff");
        assert!(matches!(read_bounded(&path, 3), Err(TensorIoError::TooLong { bytes_max: 3, .. })));
        assert!(matches!(read_text(&path, 4), Err(TensorIoError::Malformed { .. })));
        assert!(matches!(read_bounded(&dir.path().join("none"), 4), Err(TensorIoError::Read { .. })));
    }
}
