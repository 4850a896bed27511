//! How the entries of keys and values are stored, and what a block of them takes.

use super::value_len;

/// The type of the entries of a KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// IEEE 754 binary16: 16 bits an entry.
    #[default]
    F16,
    /// bfloat16: 16 bits an entry, with the range of f32 and three bits less of precision than f16.
    BF16,
}

impl CacheType {
    /// Every one.
    pub const ALL: [CacheType; 2] = [CacheType::F16, CacheType::BF16];

    /// The name: `f16`, `bf16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::BF16 => "bf16",
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
        }
    }
}
