//! The folder of a model: its parts, each read with a bound.

use super::ConvertError;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of `model.safetensors`.
pub const SAFETENSORS_BYTES_MAX: u64 = 16 << 30;
/// Most bytes of any other part: vocabularies of published encoders have a few MB.
pub const TEXT_BYTES_MAX: u64 = 64 << 20;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A folder, and which of its files has the weights.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    weights: String,
}

impl Folder {
    /// The folder at `path`, or that of the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, ConvertError> {
        let read = |source| ConvertError::Read { part: WEIGHTS.to_owned(), source };
        if fs::metadata(path).map_err(read)?.is_dir() {
            if path.join(INDEX).exists() && !path.join(WEIGHTS).exists() {
                return Err(ConvertError::Sharded);
            }
            return Ok(Self { path: path.to_owned(), weights: WEIGHTS.to_owned() });
        }
        let weights = path.file_name().and_then(|name| name.to_str()).unwrap_or(WEIGHTS).to_owned();
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { path: folder.to_owned(), weights })
    }

    /// What the model is called: its folder's name.
    pub(super) fn name(&self) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.path.join(part).is_file()
    }

    /// The bytes of the weights.
    pub(super) fn weights(&self) -> Result<Vec<u8>, ConvertError> {
        self.bytes(&self.weights, SAFETENSORS_BYTES_MAX)
    }

    pub(super) fn json<T: DeserializeOwned>(&self, part: &str) -> Result<T, ConvertError> {
        let bytes = self.bytes(part, TEXT_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|source| ConvertError::Json { part: part.to_owned(), source })
    }

    /// A part that may be absent.
    pub(super) fn optional_json<T: DeserializeOwned>(&self, part: &str) -> Result<Option<T>, ConvertError> {
        if self.has(part) { self.json(part).map(Some) } else { Ok(None) }
    }

    pub(super) fn text(&self, part: &str) -> Result<String, ConvertError> {
        let bytes = self.bytes(part, TEXT_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| ConvertError::NotText { part: part.to_owned() })
    }

    fn bytes(&self, part: &str, bytes_max: u64) -> Result<Vec<u8>, ConvertError> {
        let read = |source: io::Error| ConvertError::Read { part: part.to_owned(), source };
        let file = File::open(self.path.join(part)).map_err(read)?;
        let got = file.metadata().map_err(read)?.len();
        let mut bytes = Vec::new();
        // A pipe, or a file that grows, has no length that could be believed.
        let n_read = file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(read)? as u64;
        if n_read > bytes_max {
            return Err(ConvertError::TooLong { part: part.to_owned(), bytes_max, got: got.max(n_read) });
        }
        Ok(bytes)
    }
}
