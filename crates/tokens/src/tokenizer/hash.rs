//! Hashing for the tables that encoding looks into for every piece of text.
//!
//! A model file is untrusted, so the seed is drawn per process: a file cannot be made to collide. Results never depend
//! on the seed, only probe lengths do.

use std::hash::{BuildHasher, RandomState};

/// Odd, with no pattern: the fractional digits of pi.
const FACTOR: u64 = 0x243f_6a88_85a3_08d3;

/// A seeded hash, fast for keys of a few bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededHash {
    seed: u64,
    factor: u64,
}

impl SeededHash {
    pub(crate) fn new() -> SeededHash {
        let state = RandomState::new();
        SeededHash { seed: state.hash_one(0_u64), factor: state.hash_one(1_u64) | 1 }
    }

    pub(crate) fn of_u64(self, key: u64) -> u64 {
        fold(key ^ self.seed, self.factor)
    }

    pub(crate) fn of_bytes(self, bytes: &[u8]) -> u64 {
        let (words, tail) = bytes.as_chunks::<8>();
        let mut hash = self.seed ^ bytes.len() as u64;
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), self.factor);
        }
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        fold(hash ^ u64::from_le_bytes(last), self.factor ^ FACTOR)
    }
}

/// Both halves of the product, so that every bit of the key reaches every bit of the hash.
#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The slot where the search for `hash` begins, in a table of `n_slots`, a power of two.
#[expect(clippy::cast_possible_truncation, reason = "masked to the table's size")]
pub(crate) fn home_slot(hash: u64, n_slots: usize) -> usize {
    hash as usize & (n_slots - 1)
}
