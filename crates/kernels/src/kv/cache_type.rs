//! How the entries of keys and values are stored, and what a block of them takes.

use super::{SCALE_LEN, value_len};

/// The type of the entries of a KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// IEEE 754 binary16: 16 bits an entry.
    #[default]
    F16,
    /// bfloat16: 16 bits an entry, with the range of f32 and three bits less of precision than f16.
    BF16,
    /// int8, where 32 entries of one position and head share a scale in bfloat16: 8.5 bits an entry. `scale = amax / 127`,
    /// `q = round(x / scale)`, half away from zero, as in GGUF's Q8_0, whose scale is f16. A scale in bfloat16 has the
    /// range of keys, and its product with an int8 is exact in f32; its error is far below that of the entries.
    Q8_0,
}

impl CacheType {
    /// Every one.
    pub const ALL: [CacheType; 3] = [CacheType::F16, CacheType::BF16, CacheType::Q8_0];

    /// The name: `f16`, `bf16`, `q8_0`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// The type called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cache_type| cache_type.name() == name)
    }

    /// Bytes of one KV head's keys in a block of `block_len` positions.
    #[must_use]
    pub const fn key_block_bytes(self, block_len: usize, head_dim: usize) -> usize {
        block_len * self.row_bytes(head_dim)
    }

    /// Bytes of one KV head's values in a block of `block_len` positions.
    #[must_use]
    pub const fn value_block_bytes(self, block_len: usize, head_dim: usize) -> usize {
        block_len * self.row_bytes(value_len(head_dim))
    }

    /// Bytes of `n_entries` entries of one position and head.
    const fn row_bytes(self, n_entries: usize) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2 * n_entries,
            Self::Q8_0 => n_entries + 2 * n_entries.div_ceil(SCALE_LEN),
        }
    }
}
