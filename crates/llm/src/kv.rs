//! The KV cache: keys and values of every layer, f16, in blocks that the caller hands out.

use crate::{LlamaConfig, LlmError};
use ballast_kernels::{KvView, value_len};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Storage for `n_blocks` blocks of `block_len` positions in every layer, laid out as [`KvView`] says.
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
        ask_for(Self::bytes(config, n_blocks, block_len))?;
        let n_rows = n_blocks * block_len * config.n_kv_heads;
        let layers = |len: usize| (0..config.n_layers).map(|_| vec![0_u16; n_rows * len]).collect();
        let (n_kv_heads, head_dim) = (config.n_kv_heads, config.head_dim);
        Ok(Self { n_kv_heads, head_dim, block_len, keys: layers(head_dim), values: layers(value_len(head_dim)) })
    }

    /// Bytes of such a cache.
    pub(crate) fn bytes(config: &LlamaConfig, n_blocks: usize, block_len: usize) -> u64 {
        let n_rows = n_blocks.saturating_mul(block_len).saturating_mul(config.n_kv_heads) as u64;
        let per_row = (config.head_dim + value_len(config.head_dim)) as u64 * 2;
        n_rows.saturating_mul(per_row).saturating_mul(config.n_layers as u64)
    }

    /// Writes one position's keys and values, `[n_kv_heads, head_dim]` each, to place `place` of block `block`.
    pub(crate) fn write(&mut self, layer: usize, (block, place): (u32, usize), key: &[f32], value: &[f32]) {
        let (head_dim, value_len) = (self.head_dim, value_len(self.head_dim));
        for head in 0..self.n_kv_heads {
            let number = block as usize * self.n_kv_heads + head;
            let of_head = head * head_dim..(head + 1) * head_dim;
            let keys = &mut self.keys[layer][number * head_dim * self.block_len..][..head_dim * self.block_len];
            let mut halves = [f16::ZERO; 16];
            for (column, key) in keys.chunks_mut(16 * self.block_len).zip(key[of_head.clone()].chunks(16)) {
                halves[..key.len()].convert_from_f32_slice(key);
                let places = column[place..].iter_mut().step_by(self.block_len);
                places.zip(halves).for_each(|(to, half)| *to = half.to_bits());
            }
            let row = &mut self.values[layer][(number * self.block_len + place) * value_len..][..head_dim];
            row.reinterpret_cast_mut::<f16>().convert_from_f32_slice(&value[of_head]);
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

/// Whether the system grants that many bytes at all. Zeroed vectors abort where it does not; this one says so.
fn ask_for(bytes: u64) -> Result<(), LlmError> {
    let refused = LlmError::KvMemory { bytes };
    let Ok(len) = usize::try_from(bytes) else { return Err(refused) };
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| refused)
}
