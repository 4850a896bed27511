//! One KV head's keys and values, in blocks.

use half::f16;

/// The keys and values of one layer as one sequence and one KV head see them.
///
/// Storage is `[n_blocks, n_kv_heads, block_len, head_dim]`, f16; position `t` of the sequence lives in block
/// `blocks[t / block_len]` at row `t % block_len`.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    /// Keys of the whole layer.
    pub keys: &'a [f16],
    /// Values of the whole layer.
    pub values: &'a [f16],
    /// The sequence's block table.
    pub blocks: &'a [u32],
    /// Which KV head.
    pub kv_head: usize,
    /// KV heads in the layer.
    pub n_kv_heads: usize,
    /// Positions in a block.
    pub block_len: usize,
    /// Entries of a head.
    pub head_dim: usize,
}

impl<'a> KvView<'a> {
    /// The key rows of the sequence's block `idx`, `[block_len, head_dim]`.
    ///
    /// # Panics
    /// If the table has no such block or names one outside the storage.
    #[must_use]
    pub fn key_block(&self, idx: usize) -> &'a [f16] {
        &self.keys[self.offset(idx)..][..self.block_len * self.head_dim]
    }

    /// The value rows of the sequence's block `idx`, `[block_len, head_dim]`.
    ///
    /// # Panics
    /// As [`KvView::key_block`].
    #[must_use]
    pub fn value_block(&self, idx: usize) -> &'a [f16] {
        &self.values[self.offset(idx)..][..self.block_len * self.head_dim]
    }

    fn offset(&self, idx: usize) -> usize {
        (self.blocks[idx] as usize * self.n_kv_heads + self.kv_head) * self.block_len * self.head_dim
    }
}
