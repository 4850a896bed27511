//! Which KV blocks are free.

use ballast_backend::BlockId;

/// The free blocks of an engine's KV cache.
#[derive(Debug)]
pub(crate) struct BlockPool {
    free: Vec<BlockId>,
    n_blocks: usize,
}

impl BlockPool {
    /// A pool of blocks `0..n_blocks`, all free.
    ///
    /// # Panics
    /// If there are more than `u32` can number.
    pub(crate) fn new(n_blocks: usize) -> Self {
        let end = u32::try_from(n_blocks).expect("an engine numbers its blocks in u32");
        Self { free: (0..end).rev().map(BlockId).collect(), n_blocks }
    }

    /// Free blocks.
    #[cfg(test)]
    pub(crate) fn n_free(&self) -> usize {
        self.free.len()
    }

    /// Grows `table` to `n_blocks` blocks; all or nothing.
    pub(crate) fn grow(&mut self, table: &mut Vec<BlockId>, n_blocks: usize) -> bool {
        let n_more = n_blocks.saturating_sub(table.len());
        if n_more > self.free.len() {
            return false;
        }
        table.extend(self.free.drain(self.free.len() - n_more..));
        true
    }

    /// Takes every block of `table` back.
    pub(crate) fn release(&mut self, table: &mut Vec<BlockId>) {
        self.free.append(table);
        debug_assert!(self.free.len() <= self.n_blocks, "a block was returned twice");
    }
}
