//! One KV head's keys and values, in blocks.

mod block;
mod cache_type;
pub(crate) mod element;

pub use block::KvBlockMut;
pub use cache_type::CacheType;

use crate::blocks::{bf16_at, f16_at};

/// The keys and values of one layer as one sequence and one KV head see them.
///
/// Position `t` of the sequence lives in block `blocks[t / block_len]` at place `t % block_len`. Keys are stored
/// `[n_blocks, n_kv_heads]` blocks of entries `[head_dim, block_len]`, so that a vector has positions in its lanes;
/// values are `[n_blocks, n_kv_heads]` blocks of entries `[block_len, value_len]`, with `head_dim` entries of a position
/// and zeros up to `value_len`. Entries are little-endian, in one of the types of [`CacheType`]. Where 32 entries of a
/// head share a scale, in bfloat16, scales stand behind the entries of each block: `[n_scales, block_len]` of keys,
/// `[block_len, n_scales]` of values, the last of a head for what is left of it.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    /// Type of the entries.
    pub cache_type: CacheType,
    /// Bytes of the keys of the whole layer: blocks of [`CacheType::key_block_bytes`].
    pub keys: &'a [u8],
    /// Bytes of the values of the whole layer: blocks of [`CacheType::value_block_bytes`].
    pub values: &'a [u8],
    /// The sequence's block table.
    pub blocks: &'a [u32],
    /// Which KV head.
    pub kv_head: usize,
    /// KV heads in the layer.
    pub n_kv_heads: usize,
    /// Positions in a block: a multiple of 16 that divides [`SPAN`].
    pub block_len: usize,
    /// Entries of a head.
    pub head_dim: usize,
}

/// Positions over which a softmax is taken at once; the results of spans are joined in order. Spans are the least work
/// of attention that threads divide.
pub const SPAN: usize = 256;

/// Entries of a head that share a scale, in types that have scales.
pub(crate) const SCALE_LEN: usize = 32;

/// Query heads that are taken at once, at most.
pub const QUERIES_MAX: usize = 16;

/// Entries of a stored value row: whole vectors.
#[must_use]
pub const fn value_len(head_dim: usize) -> usize {
    head_dim.next_multiple_of(16)
}

impl<'a> KvView<'a> {
    /// Entry `d` of the key at position `t`, as f32.
    ///
    /// # Panics
    /// If the table has no such position or names a block outside the storage, or `d` is not below `head_dim`.
    #[must_use]
    pub fn key(&self, t: usize, d: usize) -> f32 {
        assert!(d < self.head_dim, "entry {d} of {}", self.head_dim);
        let (place, n_entries) = (t % self.block_len, self.head_dim * self.block_len);
        let scale_at = n_entries + 2 * (d / SCALE_LEN * self.block_len + place);
        self.entry(self.key_block(t / self.block_len), d * self.block_len + place, scale_at)
    }

    /// Entry `d` of the value row at position `t`, as f32.
    ///
    /// # Panics
    /// As [`KvView::key`], but that `d` is below `value_len`.
    #[must_use]
    pub fn value(&self, t: usize, d: usize) -> f32 {
        let value_len = value_len(self.head_dim);
        assert!(d < value_len, "entry {d} of {value_len}");
        let (place, n_scales) = (t % self.block_len, self.head_dim.div_ceil(SCALE_LEN));
        let scale_at = value_len * self.block_len + 2 * (place * n_scales + d / SCALE_LEN);
        self.entry(self.value_block(t / self.block_len), place * value_len + d, scale_at)
    }

    /// Entry `idx` of a block, whose scale, if it has one, is at byte `scale_at`.
    fn entry(&self, block: &[u8], idx: usize, scale_at: usize) -> f32 {
        match self.cache_type {
            CacheType::F16 => f16_at(block, 2 * idx),
            CacheType::BF16 => bf16_at(block, 2 * idx),
            CacheType::Q8_0 => f32::from(block[idx].cast_signed()) * bf16_at(block, scale_at),
        }
    }

    /// The keys of the sequence's block `idx`.
    pub(crate) fn key_block(&self, idx: usize) -> &'a [u8] {
        let n_bytes = self.cache_type.key_block_bytes(self.block_len, self.head_dim);
        &self.keys[self.number(idx) * n_bytes..][..n_bytes]
    }

    /// The values of the sequence's block `idx`.
    pub(crate) fn value_block(&self, idx: usize) -> &'a [u8] {
        let n_bytes = self.cache_type.value_block_bytes(self.block_len, self.head_dim);
        &self.values[self.number(idx) * n_bytes..][..n_bytes]
    }

    fn number(&self, idx: usize) -> usize {
        self.blocks[idx] as usize * self.n_kv_heads + self.kv_head
    }
}

/// Query heads that look at one KV head: `[n_rows, n_group]` of them, rows being consecutive positions of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The first row's first head and all behind; head `g` of row `r` is `head_dim` entries at `r * stride + g * head_dim`.
    pub q: &'a [f32],
    /// Entries from one row to the next.
    pub stride: usize,
    /// Rows.
    pub n_rows: usize,
    /// Query heads of a row that share the KV head.
    pub n_group: usize,
    /// Position of the first row. A row sees the positions up to its own.
    pub position: usize,
    /// Factor of the scores.
    pub scale: f32,
}

impl<'a> Queries<'a> {
    /// How many heads there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_rows * self.n_group
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spans that the last row sees something of.
    #[must_use]
    pub fn n_spans(&self) -> usize {
        (self.position + self.n_rows).div_ceil(SPAN)
    }

    /// The entries of query `idx`, `[head_dim]`.
    pub(crate) fn query(&self, idx: usize, head_dim: usize) -> &'a [f32] {
        &self.q[idx / self.n_group * self.stride + idx % self.n_group * head_dim..][..head_dim]
    }

    /// Positions of span `span` that query `idx` sees.
    pub(crate) fn n_positions(&self, idx: usize, span: usize) -> usize {
        (self.position + idx / self.n_group + 1).saturating_sub(span * SPAN).min(SPAN)
    }
}

/// What attention over some positions came to, for each query: the greatest score, the sum of the weights relative to
/// it, and the weighted sum of the values. (arXiv:2205.14135)
#[derive(Debug)]
pub struct Partial<'a> {
    /// Greatest scores, `[n_queries]`; negative infinity over no positions.
    pub(crate) max: &'a mut [f32],
    /// Sums of `exp(score - max)`, `[n_queries]`.
    pub(crate) sum: &'a mut [f32],
    /// Weighted values, `[n_queries, value_len]`.
    pub(crate) values: &'a mut [f32],
}

impl<'a> Partial<'a> {
    /// Entries that a partial result takes.
    #[must_use]
    pub const fn len_of(n_queries: usize, head_dim: usize) -> usize {
        n_queries * (2 + value_len(head_dim))
    }

    /// A partial result stored in `data`, as it is there.
    ///
    /// # Panics
    /// If `data` is not [`Partial::len_of`] long.
    #[must_use]
    pub fn over(data: &'a mut [f32], n_queries: usize, head_dim: usize) -> Self {
        let len = Self::len_of(n_queries, head_dim);
        assert!(data.len() == len, "{} entries for a partial result of {len}", data.len());
        let (max, rest) = data.split_at_mut(n_queries);
        let (sum, values) = rest.split_at_mut(n_queries);
        Self { max, sum, values }
    }

    /// Over no positions.
    pub(crate) fn clear(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.values.fill(0.0);
    }

    /// Writes the result of query `idx`, when nothing is to be joined any more: its weighted values over its sum.
    ///
    /// # Panics
    /// If there is no such query or `out` is longer than a value row.
    pub fn write(&self, idx: usize, out: &mut [f32]) {
        let value_len = self.values.len() / self.sum.len();
        assert!(out.len() <= value_len, "{} entries of {value_len}", out.len());
        let inverse = 1.0 / self.sum[idx];
        let values = &self.values[idx * value_len..];
        out.iter_mut().zip(values).for_each(|(out, value)| *out = value * inverse);
    }
}
