//! What can be wrong with a file, with the numbers that show it.

use crate::ValueType;
use std::io;
use std::path::PathBuf;

/// Why a GGUF file could not be opened, read or written.
///
/// `field` names the part of the file in words, `offset` is its position in bytes from the file's start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum GgufError {
    #[error("{path:?}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path:?} is not a regular file but a {got}")]
    NotAFile { path: PathBuf, got: &'static str },
    #[error("{path:?} is empty")]
    Empty { path: PathBuf },
    #[error("{path:?} has {got} bytes, more than this machine can address")]
    TooLargeForAddressSpace { path: PathBuf, got: u64 },
    #[error("no more than {max} files can be mapped at once")]
    TooManyMappings { max: usize },
    #[error("{path:?} was changed or truncated while in use")]
    FileChangedWhileMapped { path: PathBuf },
    #[error("cannot write: {source}")]
    Write { source: io::Error },
    #[error("{path:?}: {source}")]
    InShard { path: PathBuf, source: Box<GgufError> },

    #[error("{field} at byte {offset}: expected {expected} bytes, got {got} before the end of the file")]
    Truncated { field: String, offset: u64, expected: u64, got: u64 },
    #[error("{field} at byte {offset}: expected at most {max}, got {got}")]
    TooMany { field: String, offset: u64, max: u64, got: u64 },
    #[error("{field} at byte {offset}: expected a non-empty name")]
    EmptyName { field: String, offset: u64 },
    #[error("not a GGUF file: expected the first bytes to be \"GGUF\", got {got:02x?}")]
    BadMagic { got: [u8; 4] },
    #[error("expected a little-endian file, got a big-endian one (version {version})")]
    BigEndian { version: u32 },
    #[error("expected GGUF version 2 or 3, got {got}")]
    UnsupportedVersion { got: u32 },
    #[error("{field} at byte {offset}: expected UTF-8, got an invalid sequence at its byte {valid_up_to}")]
    NotUtf8 { field: String, offset: u64, valid_up_to: usize },
    #[error("{field} at byte {offset}: expected a value type from 0 to 12, got {got}")]
    UnknownValueType { field: String, offset: u64, got: u32 },
    #[error("{field} at byte {offset}: expected 0 or 1, got {got}")]
    BadBool { field: String, offset: u64, got: u8 },
    #[error("{field} at byte {offset}: arrays are nested deeper than {max}")]
    ArrayTooDeep { field: String, offset: u64, max: usize },
    #[error("metadata key {key:?} at byte {offset} was there before")]
    DuplicateKey { key: String, offset: u64 },
    #[error("metadata {key:?}: expected {expected}, got {got}")]
    WrongType { key: String, expected: &'static str, got: ValueType },
    #[error("metadata {key:?}: expected {expected}, got an array of {got}")]
    WrongItemType { key: String, expected: &'static str, got: ValueType },
    #[error("metadata {key:?}: expected UTF-8, got an invalid sequence at its byte {valid_up_to}")]
    StringNotUtf8 { key: String, valid_up_to: usize },
    #[error("metadata {key:?}: expected {expected}, got {got}")]
    OutOfRange { key: String, expected: &'static str, got: i128 },
    #[error("metadata \"general.alignment\": expected a power of two from {min} to {max}, got {got}")]
    BadAlignment { min: u32, max: u32, got: u32 },

    #[error("tensor name {name:?} at byte {offset} was there before")]
    DuplicateTensor { name: String, offset: u64 },
    #[error("tensor {name:?} at byte {offset}: expected 1 to {max} dimensions, got {got}")]
    BadDimCount { name: String, offset: u64, max: usize, got: u32 },
    #[error("tensor {name:?} at byte {offset}: dimension {dim_idx} is 0")]
    ZeroDim { name: String, offset: u64, dim_idx: usize },
    #[error("tensor {name:?} at byte {offset}: shape {shape:?} has more than {max} elements or bytes")]
    TensorTooLarge { name: String, offset: u64, shape: Vec<u64>, max: u64 },
    #[error("tensor {name:?} at byte {offset}: tensor type {got} is not known")]
    UnknownTensorType { name: String, offset: u64, got: u32 },
    #[error("tensor {name:?} at byte {offset}: tensor type {got} ({type_name}) is no longer used in GGUF files")]
    RemovedTensorType { name: String, offset: u64, got: u32, type_name: &'static str },
    #[error("tensor {name:?} at byte {offset}: expected rows of whole blocks of {expected}, got rows of {got}")]
    RowNotInBlocks { name: String, offset: u64, expected: u64, got: u64 },
    #[error("tensor {name:?} at byte {offset}: expected an offset that is a multiple of {expected}, got {got}")]
    TensorMisaligned { name: String, offset: u64, expected: u32, got: u64 },
    #[error("tensor {name:?} at byte {offset}: expected its end within the file's {expected} bytes, got {got}")]
    TensorOutOfBounds { name: String, offset: u64, expected: u64, got: u128 },
    #[error("tensors {first:?} and {second:?} overlap: expected a start at or after byte {expected}, got {got}")]
    TensorsOverlap { first: String, second: String, expected: u64, got: u64 },
    #[error("tensor {name:?}: expected {expected} bytes of data, got {got}")]
    WrongDataLen { name: String, expected: u64, got: u64 },

    #[error("{path:?} belongs to a model in {count} files: expected a name ending in {expected:?}")]
    BadShardName { path: PathBuf, count: u16, expected: String },
    #[error("{path:?}: expected a model in at most {max} files, got {got}")]
    TooManyShards { path: PathBuf, max: u16, got: u64 },
    #[error("file {number} of {count} of this model is missing: {path:?}")]
    MissingShard { path: PathBuf, number: u16, count: u16 },
    #[error("{path:?}: the name says one of several files, the metadata has no {key:?}")]
    MissingShardKey { path: PathBuf, key: &'static str },
    #[error("tensor {name:?} in {path:?} is in an earlier file of the model as well")]
    TensorInTwoShards { name: String, path: PathBuf },
    #[error("{path:?}: metadata {key:?}: expected {expected}, got {got}")]
    ShardMismatch { path: PathBuf, key: &'static str, expected: u64, got: u64 },
}
