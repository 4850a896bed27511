//! Pieces that are one token, as most words are: found by their bytes, without merging.
//!
//! That a piece is spelled like a token does not mean that merging it gives this token; the rules may lead elsewhere.
//! So each token is merged once, when a text first has it, and what came of it is remembered for the life of the
//! tokenizer. The answer is the same on every thread, so it does not matter which one writes it.

use super::byte_level;
use super::hash::{SeededHash, home_slot};
use super::merges::{MergeScratch, Merges};
use super::vocabulary::Vocabulary;
use ballast_backend::TokenId;
use std::sync::atomic::{AtomicU8, Ordering};

/// Longer tokens are left to merging, so that the memory of what is looked at stays small.
const TOKEN_BYTES_MAX: usize = 32;

const UNKNOWN: u8 = 0;
const IS_WHOLE: u8 = 1;
const IS_NOT: u8 = 2;

/// The tokens by their bytes.
#[derive(Debug)]
pub(crate) struct WholePieces {
    /// Open addressing: half of the hash above an id, or `EMPTY`.
    slots: Vec<u64>,
    hash: SeededHash,
    /// For each token, whether merging its bytes gives it.
    merges_to_itself: Vec<AtomicU8>,
}

/// No token has this id, so no slot in use has this value.
const EMPTY: u64 = u64::MAX;
const HASH_HALF: u64 = 0xffff_ffff_0000_0000;

impl WholePieces {
    /// Takes the tokens whose text is the spelling of their bytes. Texts differ, so their bytes do.
    pub(crate) fn new(vocabulary: &Vocabulary) -> WholePieces {
        let n_tokens = vocabulary.len();
        let mut whole = WholePieces {
            slots: vec![EMPTY; (n_tokens * 2).next_power_of_two()],
            hash: SeededHash::new(),
            merges_to_itself: (0..n_tokens).map(|_| AtomicU8::new(UNKNOWN)).collect(),
        };
        for id in vocabulary.ids() {
            let bytes = vocabulary.bytes(id);
            if (1..=TOKEN_BYTES_MAX).contains(&bytes.len()) && byte_level::is_spelling(vocabulary.text(id), bytes) {
                whole.insert(bytes, id);
            }
        }
        whole
    }

    fn insert(&mut self, bytes: &[u8], id: TokenId) {
        let hash = self.hash.of_bytes(bytes);
        let mut slot = home_slot(hash, self.slots.len());
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = hash & HASH_HALF | u64::from(id.0);
    }

    /// The hash that [`WholePieces::find`] wants; its lower half is good for other tables, too.
    pub(crate) fn hash_of(&self, piece: &[u8]) -> u64 {
        self.hash.of_bytes(piece)
    }

    /// The token that is spelled like a piece, in which `hash` is that of the piece.
    pub(crate) fn find(&self, vocabulary: &Vocabulary, hash: u64, piece: &[u8]) -> Option<TokenId> {
        let mut slot = home_slot(hash, self.slots.len());
        loop {
            let entry = self.slots[slot];
            if entry == EMPTY {
                return None;
            }
            let id = TokenId(u32::try_from(entry & !HASH_HALF).expect("the lower half"));
            if entry & HASH_HALF == hash & HASH_HALF && vocabulary.bytes(id) == piece {
                return Some(id);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// Whether merging `piece`, which is spelled like the token `id`, gives just that token.
    pub(crate) fn merges_to(&self, id: TokenId, piece: &[u8], merges: &Merges, scratch: &mut MergeScratch) -> bool {
        let known = &self.merges_to_itself[id.index()];
        match known.load(Ordering::Relaxed) {
            UNKNOWN => {
                let mut tokens = Vec::new();
                merges.encode(piece, scratch, &mut tokens);
                let is_whole = tokens == [id];
                known.store(if is_whole { IS_WHOLE } else { IS_NOT }, Ordering::Relaxed);
                is_whole
            }
            verdict => verdict == IS_WHOLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TOKEN_BYTES_MAX, WholePieces};
    use crate::tokenizer::vocabulary::{TokenKind, TokenTexts, Vocabulary};
    use ballast_backend::TokenId;

    #[test]
    fn only_tokens_whose_text_spells_their_bytes_are_found() {
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        let tokens = [
            ("Ġa", TokenKind::Normal),
            ("<0x0A>", TokenKind::Byte),
            ("<s>", TokenKind::Control),
            ("Ġb", TokenKind::Control),
            ("c", TokenKind::Unused),
            ("中", TokenKind::Normal),
            ("", TokenKind::Normal),
            (long.as_str(), TokenKind::Normal),
        ];
        let texts = TokenTexts::new(&tokens.map(|(text, _)| text)).unwrap();
        let vocabulary = Vocabulary::new(texts, tokens.map(|(_, kind)| kind).to_vec());
        let whole = WholePieces::new(&vocabulary);
        let find = |piece: &[u8]| whole.find(&vocabulary, whole.hash_of(piece), piece);
        assert_eq!((find(b" a"), find(b"<s>")), (Some(TokenId(0)), Some(TokenId(2))));
        for piece in [&b"\n"[..], b"<0x0A>", b" b", b"c", "中".as_bytes(), b"", long.as_bytes(), b"a"] {
            assert_eq!(find(piece), None, "{piece:?}");
        }
    }
}
