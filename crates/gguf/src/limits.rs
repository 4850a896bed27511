//! Every bound on what a file may claim, with where the number comes from.
//!
//! They hold whatever the file says about itself. Allocations are besides made only for bytes that are present, so the
//! memory of a parsed header stays within a small multiple of the header's own size.

/// Bytes before the tensor data. The largest vocabularies (512 Ki merges) make headers of about 20 MB.
pub const HEADER_BYTES_MAX: u64 = 256 << 20;

/// Metadata entries. Published models have 20 to 80.
pub const METADATA_ENTRIES_MAX: u64 = 1 << 16;

/// Tensors in one file. Unmerged experts come to about 50 000.
pub const TENSORS_MAX: u64 = 1 << 18;

/// Bytes of a metadata key: the specification says at most 2^16 - 1.
pub const KEY_BYTES_MAX: u64 = (1 << 16) - 1;

/// Bytes of a tensor name. The specification says 64; image-model tools are built with 128 and more.
pub const TENSOR_NAME_BYTES_MAX: u64 = 256;

/// Bytes of one string value. The largest kept in files is a whole tokenizer description, about 35 MB.
pub const STRING_BYTES_MAX: u64 = 64 << 20;

/// Elements of one array. The longest published are merges, about 512 Ki.
pub const ARRAY_ELEMENTS_MAX: u64 = 1 << 22;

/// Arrays within arrays. The specification allows any depth, no published file uses more than one.
pub const ARRAY_DEPTH_MAX: usize = 4;

/// Dimensions of a tensor: ggml's `GGML_MAX_DIMS`.
pub const DIMS_MAX: usize = 4;

/// Elements of a tensor: ggml counts them in an `i64`.
pub const TENSOR_ELEMENTS_MAX: u64 = i64::MAX as u64;

/// Alignment of the data when the file does not say: the specification's default.
pub const ALIGNMENT_DEFAULT: u32 = 32;

/// Smallest alignment: the specification asks for a multiple of 8.
pub const ALIGNMENT_MIN: u32 = 8;

/// Largest alignment: a huge page of x86-64 and arm64.
pub const ALIGNMENT_MAX: u32 = 2 << 20;

/// Files of one model. The names have five digits; the largest published models come in fewer than 200.
pub const SHARDS_MAX: u16 = 1_000;

/// Mappings alive at once in the process: four models of the most shards.
pub const MAPPINGS_MAX: usize = 4 * SHARDS_MAX as usize;
