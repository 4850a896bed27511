//! Within one text, words repeat: the tokens of a piece seen before are copied instead of merged again.

use super::hash::home_slot;
use ballast_backend::TokenId;
use std::ops::Range;

/// The cache's size; a text that would not fill it gets a smaller one.
const SLOTS_MAX: usize = 1 << 13;
/// Texts shorter than this have too few repeats to pay for a cache.
const TEXT_BYTES_MIN: usize = 256;

/// Remembers, for one call of encode, where a piece stood in the text and where its tokens are in the output. One
/// entry for each hash value, the latest wins.
#[derive(Debug)]
pub(crate) struct PieceCache {
    slots: Vec<Entry>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    piece: Range<usize>,
    tokens: Range<usize>,
}

impl PieceCache {
    pub(crate) fn new(text_len: usize) -> PieceCache {
        let n_slots = if text_len < TEXT_BYTES_MIN { 0 } else { (text_len / 4).next_power_of_two().min(SLOTS_MAX) };
        PieceCache { slots: vec![Entry::default(); n_slots] }
    }

    /// Where a piece with this hash has its place, if there is a cache.
    pub(crate) fn slot(&self, hash: u64) -> Option<usize> {
        (!self.slots.is_empty()).then(|| home_slot(hash, self.slots.len()))
    }

    /// Copies the tokens of `text[piece]` to the end of `out` if `slot` has them.
    pub(crate) fn recall(&self, slot: usize, text: &[u8], piece: &Range<usize>, out: &mut Vec<TokenId>) -> bool {
        let entry = &self.slots[slot];
        let found = !entry.piece.is_empty() && text[entry.piece.clone()] == text[piece.clone()];
        if found {
            out.extend_from_within(entry.tokens.clone());
        }
        found
    }

    pub(crate) fn remember(&mut self, slot: usize, piece: Range<usize>, tokens: Range<usize>) {
        self.slots[slot] = Entry { piece, tokens };
    }
}

#[cfg(test)]
mod tests {
    use super::{PieceCache, SLOTS_MAX, TEXT_BYTES_MIN};
    use ballast_backend::TokenId;

    #[test]
    fn the_cache_is_bounded_whatever_the_text() {
        assert_eq!(PieceCache::new(TEXT_BYTES_MIN - 1).slot(7), None);
        assert_eq!(PieceCache::new(TEXT_BYTES_MIN).slots.len(), TEXT_BYTES_MIN / 4);
        assert_eq!(PieceCache::new(1 << 30).slots.len(), SLOTS_MAX);
    }

    #[test]
    fn only_an_equal_piece_is_recalled() {
        let mut cache = PieceCache::new(TEXT_BYTES_MIN);
        let (text, mut out) = (b"ab cd ab", vec![TokenId(7), TokenId(8)]);
        assert!(!cache.recall(0, text, &(0..2), &mut out));
        cache.remember(0, 0..2, 0..2);
        assert!(!cache.recall(0, text, &(3..5), &mut out));
        assert!(cache.recall(0, text, &(6..8), &mut out));
        assert_eq!(out, [7, 8, 7, 8].map(TokenId));
    }
}
