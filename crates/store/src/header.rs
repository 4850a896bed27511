//! The last check before a finished download gets its name: is it a GGUF file at all?

use std::path::Path;

use crate::disk;
use crate::error::StoreError;

/// Reads the first bytes of the file at `path`; `label` names it in errors.
pub(crate) fn check(path: &Path, label: &str) -> Result<(), StoreError> {
    let not_gguf = |cause: &str| StoreError::NotGguf { file: label.to_owned(), cause: cause.to_owned() };
    let head = disk::read_head::<24>(path).ok_or_else(|| not_gguf("it is shorter than a header"))?;
    if &head[..4] != b"GGUF" {
        return Err(not_gguf("it does not begin with GGUF"));
    }
    let version = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
    if (2..=3).contains(&version) { Ok(()) } else { Err(not_gguf(&format!("it has version {version}, not 2 or 3"))) }
}
