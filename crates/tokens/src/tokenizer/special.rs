//! Special tokens in text: cuts a text into tokens that stand there by name and the text between them.
//!
//! Longer tokens are taken before shorter ones, wherever they stand, and equal ones from left to right. That is
//! what llama.cpp does by searching the text once for each token; here every place is looked at once, and overlapping
//! finds are settled afterwards.

use super::prefixes::PrefixIndex;
use super::vocabulary::{TokenKind, Vocabulary};
use ballast_backend::TokenId;
use std::cmp::Reverse;
use std::ops::Range;

/// Special tokens longer than this are never searched for. Published ones have at most a few dozen bytes.
const SPECIAL_BYTES_MAX: usize = 256;

/// A stretch of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    Token(TokenId),
    Text(Range<usize>),
}

/// White space that a special token takes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strip {
    pub(crate) left: bool,
    pub(crate) right: bool,
}

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    user_defined: PrefixIndex,
    all: PrefixIndex,
    /// Sorted by id; tokens that are not here strip nothing.
    strips: Vec<(TokenId, Strip)>,
}

impl SpecialTokens {
    pub(crate) fn new(vocabulary: &Vocabulary, mut strips: Vec<(TokenId, Strip)>) -> SpecialTokens {
        strips.sort_by_key(|(id, _)| *id);
        let of_kind = |wanted: fn(TokenKind) -> bool| {
            let ids = vocabulary.ids().filter(|id| wanted(vocabulary.kind(*id)));
            PrefixIndex::new(vocabulary, ids, SPECIAL_BYTES_MAX)
        };
        SpecialTokens {
            user_defined: of_kind(|kind| kind == TokenKind::UserDefined),
            all: of_kind(|kind| kind == TokenKind::UserDefined || kind.is_special()),
            strips,
        }
    }

    /// Cuts `text`. User-defined tokens are always found, the others with `parse_special`.
    pub(crate) fn cut(&self, vocabulary: &Vocabulary, text: &str, parse_special: bool) -> Vec<Fragment> {
        let index = if parse_special { &self.all } else { &self.user_defined };
        let finds = if index.is_empty() { Vec::new() } else { finds(index, vocabulary, text.as_bytes()) };
        let mut claims =
            Claims { text: text.as_bytes(), taken: vec![false; text.len() * usize::from(!finds.is_empty())] };
        let mut kept = Vec::new();
        for find in finds {
            if claims.take(&find, self.strip(find.id)) {
                kept.push(find);
            }
        }
        kept.sort_by_key(|find| find.start);
        claims.fragments(&kept)
    }

    fn strip(&self, id: TokenId) -> Strip {
        self.strips.binary_search_by_key(&id, |(id, _)| *id).map_or(Strip::default(), |at| self.strips[at].1)
    }
}

struct Find {
    id: TokenId,
    start: usize,
    end: usize,
}

/// Every place where a token of the index stands, in the order in which they are served.
fn finds(index: &PrefixIndex, vocabulary: &Vocabulary, text: &[u8]) -> Vec<Find> {
    let mut finds = Vec::new();
    for start in 0..text.len() {
        for id in index.beginning(vocabulary, &text[start..]) {
            finds.push(Find { id, start, end: start + vocabulary.bytes(id).len() });
        }
    }
    finds.sort_by_key(|find| (Reverse(find.end - find.start), find.id, find.start));
    finds
}

/// Which bytes of the text belong to a token already.
struct Claims<'a> {
    text: &'a [u8],
    taken: Vec<bool>,
}

impl Claims<'_> {
    /// Claims a find and the white space it strips, unless part of it is taken. Whatever is taken belongs to tokens
    /// at least as long, so an overlap always reaches one of the find's ends.
    fn take(&mut self, find: &Find, strip: Strip) -> bool {
        if self.taken[find.start] || self.taken[find.end - 1] {
            return false;
        }
        let (mut start, mut end) = (find.start, find.end);
        while strip.left && start > 0 && self.is_free_space(start - 1) {
            start -= 1;
        }
        while strip.right && end < self.text.len() && self.is_free_space(end) {
            end += 1;
        }
        self.taken[start..end].fill(true);
        true
    }

    fn is_free_space(&self, at: usize) -> bool {
        // The white space of the C locale, which is what models' authors had here.
        !self.taken[at] && matches!(self.text[at], b' ' | b'\t'..=b'\r')
    }

    /// The kept finds, sorted by place, and the free text between them.
    fn fragments(&self, kept: &[Find]) -> Vec<Fragment> {
        let mut fragments = Vec::with_capacity(kept.len() * 2 + 1);
        let mut pos = 0;
        for find in kept {
            self.push_text(pos..find.start, &mut fragments);
            fragments.push(Fragment::Token(find.id));
            pos = find.end;
        }
        self.push_text(pos..self.text.len(), &mut fragments);
        fragments
    }

    /// The part of a gap between tokens that no token stripped.
    fn push_text(&self, gap: Range<usize>, fragments: &mut Vec<Fragment>) {
        let Range { mut start, mut end } = gap;
        if !self.taken.is_empty() {
            while start < end && self.taken[start] {
                start += 1;
            }
            while start < end && self.taken[end - 1] {
                end -= 1;
            }
        }
        if start < end {
            fragments.push(Fragment::Text(start..end));
        }
    }
}

#[cfg(test)]
mod tests;
