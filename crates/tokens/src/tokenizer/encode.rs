//! One call of encode: the text cut at special tokens, then into pieces, then each piece into tokens.

use super::byte_level;
use super::cache::PieceCache;
use super::merges::MergeScratch;
use super::prefixes::PrefixIndex;
use super::special::Fragment;
use super::{Algorithm, EncodeOptions, Tokenizer};
use crate::pretokenizer::pieces;
use ballast_backend::TokenId;
use std::ops::Range;

/// The state of one call.
struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    cache: PieceCache,
    scratch: MergeScratch,
    /// A piece in the spelling of the vocabulary.
    spelling: String,
    out: Vec<TokenId>,
}

/// Text averages about four bytes a token; a wrong guess costs a reallocation.
const BYTES_PER_TOKEN: usize = 4;

pub(super) fn encode(tokenizer: &Tokenizer, text: &str, options: EncodeOptions) -> Vec<TokenId> {
    let mut encoder = Encoder {
        tokenizer,
        text,
        cache: PieceCache::new(text.len()),
        scratch: MergeScratch::default(),
        spelling: String::new(),
        out: Vec::with_capacity(text.len() / BYTES_PER_TOKEN + 2),
    };
    if options.add_special && tokenizer.add_bos {
        encoder.out.extend(tokenizer.roles.bos);
    }
    for fragment in tokenizer.special.cut(&tokenizer.vocabulary, text, options.parse_special) {
        match fragment {
            Fragment::Token(id) => encoder.out.push(id),
            Fragment::Text(range) => encoder.fragment(range),
        }
    }
    if options.add_special && tokenizer.add_eos {
        encoder.out.extend(tokenizer.roles.eos);
    }
    encoder.out
}

impl Encoder<'_> {
    fn fragment(&mut self, range: Range<usize>) {
        let Tokenizer { rule, classes, .. } = self.tokenizer;
        let mut start = range.start;
        for piece in pieces(rule.pre_tokenizer, classes, &self.text[range]) {
            let end = start + piece.len();
            self.piece(start..end);
            start = end;
        }
    }

    /// A piece that is a token, one from the cache, or one that is encoded and remembered.
    fn piece(&mut self, piece: Range<usize>) {
        let tokenizer = self.tokenizer;
        let bytes = &self.text.as_bytes()[piece.clone()];
        let hash = tokenizer.whole.hash_of(bytes);
        if let Some(id) = self.whole(hash, bytes) {
            return self.out.push(id);
        }
        let slot = self.cache.slot(hash);
        if slot.is_some_and(|slot| self.cache.recall(slot, self.text.as_bytes(), &piece, &mut self.out)) {
            return;
        }
        let first = self.out.len();
        match (self.spelled_out(bytes), &tokenizer.algorithm) {
            (Some(id), _) => self.out.push(id),
            (None, Algorithm::Merges(merges)) => merges.encode(bytes, &mut self.scratch, &mut self.out),
            (None, Algorithm::Table(table)) => self.longest_matches(table, bytes),
        }
        if let Some(slot) = slot {
            self.cache.remember(slot, piece, first..self.out.len());
        }
    }

    /// The piece as one token, where that is known or quickly found out.
    fn whole(&mut self, hash: u64, piece: &[u8]) -> Option<TokenId> {
        let Tokenizer { algorithm: Algorithm::Merges(merges), whole, vocabulary, rule, .. } = self.tokenizer else {
            return None;
        };
        let id = whole.find(vocabulary, hash, piece)?;
        (rule.ignore_merges || whole.merges_to(id, piece, merges, &mut self.scratch)).then_some(id)
    }

    /// The piece as one token by its spelling, where the pre-tokenizer takes such pieces without merging.
    fn spelled_out(&mut self, piece: &[u8]) -> Option<TokenId> {
        if !self.tokenizer.rule.ignore_merges {
            return None;
        }
        self.spelling.clear();
        byte_level::encode(piece, &mut self.spelling);
        self.tokenizer.vocabulary.id_of(&self.spelling)
    }

    /// The longest token at each place. A byte that begins no token is left out.
    fn longest_matches(&mut self, table: &PrefixIndex, piece: &[u8]) {
        let vocabulary = &self.tokenizer.vocabulary;
        let mut pos = 0;
        while pos < piece.len() {
            let longest = table.beginning(vocabulary, &piece[pos..]).last();
            pos += longest.map_or(1, |id| vocabulary.bytes(id).len());
            self.out.extend(longest);
        }
    }
}
