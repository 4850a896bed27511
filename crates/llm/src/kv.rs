//! The KV cache: keys and values of every layer, f16, in blocks that the caller hands out.

use crate::{LlamaConfig, LlmError};
use ballast_kernels::{Kernels, KvView};
use half::f16;
use half::slice::HalfBitsSliceExt;

/// Storage for `n_blocks` blocks of `block_len` positions in every layer. A layer's storage is
/// `[n_blocks, n_kv_heads, block_len, head_dim]`, once for keys and once for values.
#[derive(Debug)]
pub(crate) struct KvCache {
    n_kv_heads: usize,
    head_dim: usize,
    block_len: usize,
    /// Bits of f16: zeroed integers come from the system untouched, so unused blocks take no memory.
    keys: Vec<Vec<u16>>,
    values: Vec<Vec<u16>>,
}

impl KvCache {
    /// # Errors
    /// If the system does not grant the memory.
    pub(crate) fn new(config: &LlamaConfig, n_blocks: usize, block_len: usize) -> Result<Self, LlmError> {
        let layer_len = n_blocks * block_len * config.kv_dim();
        ask_for(layer_len.saturating_mul(2 * config.n_layers))?;
        let layers = || (0..config.n_layers).map(|_| vec![0_u16; layer_len]).collect();
        let (n_kv_heads, head_dim) = (config.n_kv_heads, config.head_dim);
        Ok(Self { n_kv_heads, head_dim, block_len, keys: layers(), values: layers() })
    }

    /// Writes one position's keys and values, `[n_kv_heads, head_dim]` each, to row `row` of block `block`.
    pub(crate) fn write(&mut self, kernels: &dyn Kernels, layer: usize, at: (u32, usize), key: &[f32], value: &[f32]) {
        let (block, row) = at;
        for head in 0..self.n_kv_heads {
            let to = ((block as usize * self.n_kv_heads + head) * self.block_len + row) * self.head_dim;
            let from = head * self.head_dim;
            let key_row = &mut self.keys[layer][to..][..self.head_dim];
            kernels.store_f16(&key[from..][..self.head_dim], key_row.reinterpret_cast_mut::<f16>());
            let value_row = &mut self.values[layer][to..][..self.head_dim];
            kernels.store_f16(&value[from..][..self.head_dim], value_row.reinterpret_cast_mut::<f16>());
        }
    }

    /// What KV head `kv_head` of a sequence with block table `blocks` sees in `layer`.
    pub(crate) fn view<'a>(&'a self, layer: usize, blocks: &'a [u32], kv_head: usize) -> KvView<'a> {
        KvView {
            keys: self.keys[layer].reinterpret_cast::<f16>(),
            values: self.values[layer].reinterpret_cast::<f16>(),
            blocks,
            kv_head,
            n_kv_heads: self.n_kv_heads,
            block_len: self.block_len,
            head_dim: self.head_dim,
        }
    }
}

/// Whether the system grants `len` entries at all. Zeroed vectors abort where it does not; this one says so.
fn ask_for(len: usize) -> Result<(), LlmError> {
    let bytes = len as u64 * 2;
    Vec::<u16>::new().try_reserve_exact(len).map_err(|_| LlmError::KvMemory { bytes })
}
