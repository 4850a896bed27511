//! One block of one KV head, to be written position by position.

use super::element::Element;
use super::{CacheType, SCALE_LEN, value_len};
use half::{bf16, f16};

/// A block's keys and values, laid out as [`crate::KvView`] says.
#[derive(Debug)]
pub struct KvBlockMut<'a> {
    /// Type of the entries.
    pub cache_type: CacheType,
    /// [`CacheType::key_block_bytes`].
    pub keys: &'a mut [u8],
    /// [`CacheType::value_block_bytes`]. What stands behind the entries of a row is left as it is: zeros.
    pub values: &'a mut [u8],
    /// Positions of the block.
    pub block_len: usize,
    /// Entries of a head.
    pub head_dim: usize,
}

impl KvBlockMut<'_> {
    /// Writes one position's key and value, `[head_dim]` each, to place `place`. What is stored depends on them alone.
    ///
    /// # Panics
    /// If there is no such place, or a length is another than the fields say.
    pub fn write(&mut self, place: usize, key: &[f32], value: &[f32]) {
        let Self { cache_type, block_len, head_dim, .. } = *self;
        assert!(place < block_len, "place {place} of {block_len}");
        assert!(key.len() == head_dim && value.len() == head_dim, "{} and {} of {head_dim}", key.len(), value.len());
        let (n_keys, n_values) = (self.keys.len(), self.values.len());
        assert!(n_keys == cache_type.key_block_bytes(block_len, head_dim), "{n_keys} bytes of keys");
        assert!(n_values == cache_type.value_block_bytes(block_len, head_dim), "{n_values} bytes of values");
        match cache_type {
            CacheType::F16 => self.write_as::<f16>(place, key, value),
            CacheType::BF16 => self.write_as::<bf16>(place, key, value),
            CacheType::Q8_0 => self.write_as::<i8>(place, key, value),
        }
    }

    fn write_as<E: Element>(&mut self, place: usize, key: &[f32], value: &[f32]) {
        let (block_len, n_bytes, value_len) = (self.block_len, size_of::<E>(), value_len(self.head_dim));
        let (columns, scales) = self.keys.split_at_mut(self.head_dim * block_len * n_bytes);
        let parts = key.chunks(SCALE_LEN).zip(columns.chunks_mut(SCALE_LEN * block_len * n_bytes));
        for (idx, (part, columns)) in parts.enumerate() {
            let (entries, scale) = encode::<E>(part);
            let places = columns[place * n_bytes..].chunks_mut(block_len * n_bytes);
            places.zip(entries).for_each(|(to, entry)| entry.write(&mut to[..n_bytes]));
            put(scales, idx * block_len + place, scale);
        }
        let (rows, scales) = self.values.split_at_mut(block_len * value_len * n_bytes);
        let row = &mut rows[place * value_len * n_bytes..][..self.head_dim * n_bytes];
        let n_scales = self.head_dim.div_ceil(SCALE_LEN);
        for (idx, (part, row)) in value.chunks(SCALE_LEN).zip(row.chunks_mut(SCALE_LEN * n_bytes)).enumerate() {
            let (entries, scale) = encode::<E>(part);
            row.chunks_exact_mut(n_bytes).zip(entries).for_each(|(to, entry)| entry.write(to));
            put(scales, place * n_scales + idx, scale);
        }
    }
}

/// At most [`SCALE_LEN`] entries, and zeros.
fn encode<E: Element>(part: &[f32]) -> ([E; SCALE_LEN], Option<bf16>) {
    let mut x = [0.0; SCALE_LEN];
    x[..part.len()].copy_from_slice(part);
    E::encode(&x)
}

/// Writes scale number `idx`.
fn put(scales: &mut [u8], idx: usize, scale: Option<bf16>) {
    if let Some(scale) = scale {
        scales[2 * idx..][..2].copy_from_slice(&scale.to_le_bytes());
    }
}
