//! Attention in which every token of a text sees every other.
//!
//! Keys and values of a layer are stored as a cache's are, each text in blocks of its own, so that the kernels of
//! decoding serve here, too: those let the heads of a group see the same positions, and here the group of a call is one
//! head of several rows.

use super::EncoderConfig;
use super::batch::Batch;
use crate::compute::{Compute, Parts};
use ballast_kernels::{CacheType, Kernels, KvBlockMut, KvView, Partial, QUERIES_MAX, Queries, SPAN};
use ballast_threads::part_range;
use smallvec::SmallVec;
use std::ops::Range;

/// Positions of a block.
const BLOCK_LEN: usize = 32;
/// Half precision has eleven bits, far more than embeddings are compared by.
const CACHE_TYPE: CacheType = CacheType::F16;

/// The keys and values of one layer, and how attention over them is divided. Kept between calls.
#[derive(Debug, Default)]
pub(super) struct Attention {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Rows that each block has.
    blocks: Vec<Range<usize>>,
    tiles: Vec<Tile>,
    /// For each text, its blocks.
    tables: Vec<Vec<u32>>,
    scratch: Vec<f32>,
}

/// Rows that are computed together.
#[derive(Debug)]
struct Tile {
    rows: Range<usize>,
    /// Which text they are of.
    text: usize,
    /// Positions of the text.
    n_positions: usize,
}

impl Attention {
    /// Bytes of all buffers for so many tokens in so many texts.
    pub(super) fn bytes(config: &EncoderConfig, n_tokens: usize, n_texts: usize, n_threads: usize) -> u64 {
        let n_blocks = (n_tokens / BLOCK_LEN + n_texts) as u64;
        n_blocks * (key_bytes(config) + value_bytes(config)) as u64 + (n_threads * scratch_len(config)) as u64 * 4
    }

    /// Divides the rows of a call.
    pub(super) fn set(&mut self, config: &EncoderConfig, batch: &Batch, n_threads: usize) {
        self.blocks.clear();
        self.tiles.clear();
        self.tables.clear();
        for (idx, rows) in batch.texts.iter().enumerate() {
            let first = self.blocks.len();
            self.blocks.extend(cut(rows, BLOCK_LEN));
            let n_positions = rows.len();
            self.tiles.extend(cut(rows, QUERIES_MAX).map(|rows| Tile { rows, text: idx, n_positions }));
            let table = first..self.blocks.len();
            self.tables.push(table.map(|block| u32::try_from(block).expect("fewer blocks than tokens")).collect());
        }
        self.keys.resize(self.blocks.len() * key_bytes(config), 0);
        self.values.resize(self.blocks.len() * value_bytes(config), 0);
        self.scratch.resize(n_threads * scratch_len(config), 0.0);
    }

    /// Stores the keys and values of every row, `[n_rows, embed_dim]` each.
    pub(super) fn write(&mut self, compute: &mut Compute, config: &EncoderConfig, k: &[f32], v: &[f32]) {
        let n_threads = compute.pool.n_threads();
        let mut parts: Parts<_> = SmallVec::new();
        let (mut rest_keys, mut rest_values) = (self.keys.as_mut_slice(), self.values.as_mut_slice());
        for idx in 0..n_threads {
            let blocks = &self.blocks[part_range(self.blocks.len(), 1, n_threads, idx)];
            let (keys, others) = rest_keys.split_at_mut(blocks.len() * key_bytes(config));
            rest_keys = others;
            let (values, others) = rest_values.split_at_mut(blocks.len() * value_bytes(config));
            rest_values = others;
            parts.push((blocks, keys, values));
        }
        compute.pool.run(&mut parts, |(blocks, keys, values)| {
            let stored = keys.chunks_exact_mut(key_bytes(config)).zip(values.chunks_exact_mut(value_bytes(config)));
            for (rows, (keys, values)) in blocks.iter().zip(stored) {
                write_block(config, rows, (keys, values), (k, v));
            }
        });
    }

    /// Attends from every row of `q`, `[n_rows, embed_dim]`, and writes the rows of `out`.
    pub(super) fn attend(&mut self, compute: &mut Compute, config: &EncoderConfig, q: &[f32], out: &mut [f32]) {
        let n_threads = compute.pool.n_threads();
        let Self { keys, values, tiles, tables, scratch, .. } = self;
        let (stored, tables) = ((&keys[..], &values[..]), &tables[..]);
        let mut parts: Parts<_> = SmallVec::new();
        let (mut rest, mut rest_tiles) = (out, &tiles[..]);
        for (idx, scratch) in scratch.chunks_exact_mut(scratch_len(config)).enumerate() {
            let (own, others) = rest_tiles.split_at(share(rest_tiles, n_threads - idx));
            rest_tiles = others;
            let n_rows: usize = own.iter().map(|tile| tile.rows.len()).sum();
            let (rows, others) = rest.split_at_mut(n_rows * config.embed_dim);
            rest = others;
            parts.push((own, rows, scratch));
        }
        let kernels = compute.kernels;
        compute.pool.run(&mut parts, |(tiles, out, scratch)| {
            let mut rest = &mut **out;
            for tile in *tiles {
                let (own, others) = rest.split_at_mut(tile.rows.len() * config.embed_dim);
                rest = others;
                for head in 0..config.n_heads {
                    let kv = view(config, stored, &tables[tile.text], head);
                    attend_tile(kernels, config, (tile, &kv), q, scratch, own);
                }
            }
        });
    }
}

/// How many of the tiles are one of `n_parts` shares of the work, the first.
fn share(tiles: &[Tile], n_parts: usize) -> usize {
    let cost = |tile: &Tile| tile.rows.len() * tile.n_positions;
    let total: usize = tiles.iter().map(cost).sum();
    let mut so_far = 0;
    let is_over = |tile: &Tile| {
        let is_over = so_far * n_parts >= total;
        so_far += cost(tile);
        is_over
    };
    if n_parts == 1 { tiles.len() } else { tiles.iter().position(is_over).unwrap_or(tiles.len()) }
}

/// One head of the rows of a tile: `q` and `out` have all heads, `q` of all rows, `out` of the tile's.
fn attend_tile(
    kernels: &dyn Kernels,
    config: &EncoderConfig,
    (tile, kv): (&Tile, &KvView<'_>),
    q: &[f32],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (dim, head_dim, n_rows) = (config.embed_dim, config.head_dim, tile.rows.len());
    let (scores, rest) = scratch.split_at_mut(QUERIES_MAX * SPAN);
    let (group, rest) = rest.split_at_mut(QUERIES_MAX * head_dim);
    let (whole, part) = rest.split_at_mut(Partial::len_of(QUERIES_MAX, head_dim));
    let of_head = kv.kv_head * head_dim..(kv.kv_head + 1) * head_dim;
    for (to, row) in group.chunks_exact_mut(head_dim).zip(tile.rows.clone()) {
        to.copy_from_slice(&q[row * dim..][of_head.clone()]);
    }
    let queries = Queries {
        q: group,
        stride: 0,
        n_rows: 1,
        n_group: n_rows,
        position: tile.n_positions - 1,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    let len = Partial::len_of(n_rows, head_dim);
    let mut whole = Partial::over(&mut whole[..len], n_rows, head_dim);
    kernels.attend(&queries, kv, 0, scores, &mut whole);
    for span in 1..queries.n_spans() {
        let mut part = Partial::over(&mut part[..len], n_rows, head_dim);
        kernels.attend(&queries, kv, span, scores, &mut part);
        kernels.join(&mut whole, &part);
    }
    for (idx, row) in out.chunks_exact_mut(dim).enumerate() {
        whole.write(idx, &mut row[of_head.clone()]);
    }
}

/// Stores the keys and values of the rows of one block.
fn write_block(
    config: &EncoderConfig,
    rows: &Range<usize>,
    (keys, values): (&mut [u8], &mut [u8]),
    (k, v): (&[f32], &[f32]),
) {
    let head_dim = config.head_dim;
    let (n_keys, n_values) = (key_bytes(config) / config.n_heads, value_bytes(config) / config.n_heads);
    let heads = keys.chunks_exact_mut(n_keys).zip(values.chunks_exact_mut(n_values)).enumerate();
    for (head, (keys, values)) in heads {
        let mut block = KvBlockMut { cache_type: CACHE_TYPE, keys, values, block_len: BLOCK_LEN, head_dim };
        for (place, row) in rows.clone().enumerate() {
            let at = row * config.embed_dim + head * head_dim;
            block.write(place, &k[at..][..head_dim], &v[at..][..head_dim]);
        }
    }
}

/// What one head of a text sees.
fn view<'a>(
    config: &EncoderConfig,
    (keys, values): (&'a [u8], &'a [u8]),
    blocks: &'a [u32],
    kv_head: usize,
) -> KvView<'a> {
    KvView {
        cache_type: CACHE_TYPE,
        keys,
        values,
        blocks,
        kv_head,
        n_kv_heads: config.n_heads,
        block_len: BLOCK_LEN,
        head_dim: config.head_dim,
    }
}

/// Bytes of one block's keys, all heads.
fn key_bytes(config: &EncoderConfig) -> usize {
    config.n_heads * CACHE_TYPE.key_block_bytes(BLOCK_LEN, config.head_dim)
}

/// Bytes of one block's values, all heads.
fn value_bytes(config: &EncoderConfig) -> usize {
    config.n_heads * CACHE_TYPE.value_block_bytes(BLOCK_LEN, config.head_dim)
}

/// Entries that a thread needs while it attends: scores, the queries of a head, two partial results.
fn scratch_len(config: &EncoderConfig) -> usize {
    QUERIES_MAX * (SPAN + config.head_dim) + 2 * Partial::len_of(QUERIES_MAX, config.head_dim)
}

/// Some rows in pieces of `len`.
fn cut(rows: &Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.clone().step_by(len).map(move |start| start..end.min(start + len))
}

#[cfg(test)]
mod tests {
    use super::{Tile, share};

    #[test]
    fn shares_are_about_equal_and_together_everything() {
        let tile = |n_positions| Tile { rows: 0..16, text: 0, n_positions };
        for n_parts in 1..6 {
            let tiles: Vec<_> = [500, 1, 1, 1, 20, 20, 20, 300].map(tile).into();
            let mut rest = &tiles[..];
            for idx in 0..n_parts {
                rest = &rest[share(rest, n_parts - idx)..];
            }
            assert!(rest.is_empty(), "{n_parts}");
        }
        let even: Vec<_> = [9; 8].map(tile).into();
        assert_eq!((share(&even, 4), share(&even, 1), share(&[], 3)), (2, 8, 0));
    }
}
