//! The last check before a finished download gets its name: is it a GGUF file at all?

use std::path::Path;

use ballast_gguf::{Gguf, GgufError};

use crate::error::StoreError;

/// Reads the header of the file at `path`; `label` names it in errors.
pub(crate) fn check(path: &Path, label: &str) -> Result<(), StoreError> {
    match Gguf::open(path) {
        // A shard has a working name here; its header was read before its siblings are looked for.
        Ok(_) | Err(GgufError::BadShardName { .. }) => Ok(()),
        Err(error) => Err(StoreError::NotGguf { file: label.to_owned(), cause: error.to_string() }),
    }
}
