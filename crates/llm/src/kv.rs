//! The KV cache: keys and values of every layer, in blocks that the caller hands out.

use crate::{LlamaConfig, LlmError};
use ballast_kernels::{CacheType, KvBlockMut, KvView};

/// Storage for `n_blocks` blocks of `block_len` positions in every layer, laid out as [`KvView`] says.
#[derive(Debug)]
pub(crate) struct KvCache {
    cache_type: CacheType,
    n_kv_heads: usize,
    head_dim: usize,
    block_len: usize,
    /// Zeroed integers come from the system untouched, so unused blocks take no memory.
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

/// How large a cache is, and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvShape {
    pub(crate) cache_type: CacheType,
    pub(crate) n_blocks: usize,
    /// Positions in a block.
    pub(crate) block_len: usize,
}

impl KvCache {
    /// # Errors
    /// If the system does not grant the memory.
    pub(crate) fn new(config: &LlamaConfig, shape: KvShape) -> Result<Self, LlmError> {
        ask_for(Self::bytes(config, shape))?;
        let KvShape { cache_type, n_blocks, block_len } = shape;
        let (n_kv_heads, head_dim) = (config.n_kv_heads, config.head_dim);
        let layers = |n_bytes: usize| (0..config.n_layers).map(|_| vec![0; n_blocks * n_kv_heads * n_bytes]).collect();
        let keys = layers(cache_type.key_block_bytes(block_len, head_dim));
        let values = layers(cache_type.value_block_bytes(block_len, head_dim));
        Ok(Self { cache_type, n_kv_heads, head_dim, block_len, keys, values })
    }

    /// Bytes of such a cache.
    pub(crate) fn bytes(config: &LlamaConfig, KvShape { cache_type, n_blocks, block_len }: KvShape) -> u64 {
        let keys = cache_type.key_block_bytes(block_len, config.head_dim);
        let per_head = (keys + cache_type.value_block_bytes(block_len, config.head_dim)) as u64;
        let n_heads = (config.n_layers * config.n_kv_heads) as u64;
        per_head.saturating_mul(n_heads).saturating_mul(n_blocks as u64)
    }

    /// Writes one position's keys and values, `[n_kv_heads, head_dim]` each, to place `place` of block `block`.
    pub(crate) fn write(&mut self, layer: usize, (block, place): (u32, usize), key: &[f32], value: &[f32]) {
        let Self { cache_type, head_dim, block_len, .. } = *self;
        let n_key_bytes = cache_type.key_block_bytes(block_len, head_dim);
        let n_value_bytes = cache_type.value_block_bytes(block_len, head_dim);
        for head in 0..self.n_kv_heads {
            let number = block as usize * self.n_kv_heads + head;
            let of_head = head * head_dim..(head + 1) * head_dim;
            let keys = &mut self.keys[layer][number * n_key_bytes..][..n_key_bytes];
            let values = &mut self.values[layer][number * n_value_bytes..][..n_value_bytes];
            let mut block = KvBlockMut { cache_type, keys, values, block_len, head_dim };
            block.write(place, &key[of_head.clone()], &value[of_head]);
        }
    }

    /// What KV head `kv_head` of a sequence with block table `blocks` sees in `layer`.
    pub(crate) fn view<'a>(&'a self, layer: usize, blocks: &'a [u32], kv_head: usize) -> KvView<'a> {
        KvView {
            cache_type: self.cache_type,
            keys: &self.keys[layer],
            values: &self.values[layer],
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
