//! Reads and writes GGUF files from untrusted bytes: metadata, tensor table, memory mapping. Knows no model.
//!
//! - [`Gguf`]: an opened model, one file or several, mapped into memory; [`Gguf::parse`] is the parser alone.
//! - [`MappedFile`]: one file's bytes, whatever is in it.
//! - [`Metadata`], [`Value`]: what the file says about itself. Strings stay bytes until they are asked for as text.
//! - [`TensorInfo`], [`TensorType`]: what tensors there are, how they are stored and where.
//! - [`Writer`]: makes version 3 files; [`StreamWriter`] makes those that are larger than memory.
//! - [`limits`]: every bound on what a file may claim.
//!
//! Whatever the bytes, the answer is a checked header or a [`GgufError`]. A file truncated by another process while it
//! is mapped reads as zeros, and [`Gguf::check_intact`] says so.
//!
//! ```
//! use ballast_gguf::{Gguf, TensorType, Writer};
//!
//! let bytes = Writer::new()
//!     .metadata("general.architecture", "llama")
//!     .tensor("output_norm.weight", &[2], TensorType::F32, vec![0; 8])
//!     .to_bytes()?;
//! let header = Gguf::parse(&bytes)?;
//! assert_eq!(header.metadata.string("general.architecture")?, Some("llama"));
//! assert_eq!(header.tensors[0].shape, [2]);
//! # Ok::<(), ballast_gguf::GgufError>(())
//! ```

mod encode;
mod error;
mod file;
mod header;
pub mod limits;
mod mapped;
mod metadata;
mod name_index;
mod reader;
mod stream_writer;
mod tensor;
mod tensor_type;
mod value;
mod writer;

pub use error::GgufError;
pub use file::Gguf;
pub use header::Header;
pub use mapped::MappedFile;
pub use metadata::Metadata;
pub use stream_writer::{PlannedTensor, StreamWriter};
pub use tensor::TensorInfo;
pub use tensor_type::TensorType;
pub use value::{Array, StringArray, Text, Value, ValueType};
pub use writer::Writer;
