//! Identifiers. Each is a plain number with a type, so that one cannot be taken for another.

use std::fmt;

/// A token of a model's vocabulary: an index in `0..vocab_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u32);

impl TokenId {
    /// The token as an index into tables of `vocab_size` entries.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sequence that the runtime generates for. Unique for the life of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A block of the KV cache: an index in `0..n_blocks`, handed out by the scheduler, never by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

impl BlockId {
    /// The block as an index into tables of `n_blocks` entries.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
