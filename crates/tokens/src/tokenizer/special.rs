//! Special tokens in text: cuts a text into tokens that stand there by name and the text between them.
//!
//! Longer tokens are taken before shorter ones, wherever they stand, and equal ones from left to right. That is
//! what llama.cpp does by searching the text once for each token. Here every place offers its longest token, the offers
//! are served longest first, and a place whose token is cut short by one already served offers the next shorter one.

use super::prefixes::PrefixIndex;
use super::vocabulary::{TokenKind, Vocabulary};
use ballast_backend::TokenId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
        let longest = |text| index.beginning(vocabulary, text).last();
        let offer = |start: usize, id: TokenId| Offer(vocabulary.bytes(id).len(), Reverse(id), Reverse(start));
        let text = text.as_bytes();
        let places = if index.is_empty() { 0..0 } else { 0..text.len() };
        let offers = places.filter_map(|start| longest(&text[start..]).map(|id| offer(start, id)));
        let mut offers = BinaryHeap::from(offers.collect::<Vec<_>>());

        let mut claims = Claims { text, taken: vec![false; text.len() * usize::from(!offers.is_empty())] };
        let mut kept = Vec::new();
        while let Some(Offer(len, Reverse(id), Reverse(start))) = offers.pop() {
            match claims.claim(start..start + len, self.strip(id)) {
                Claim::Taken => kept.push(Find { id, start, end: start + len }),
                Claim::EndInUse => offers.extend(longest(&text[start..start + len - 1]).map(|id| offer(start, id))),
                Claim::StartInUse => {}
            }
        }
        kept.sort_by_key(|find| find.start);
        claims.fragments(&kept)
    }

    fn strip(&self, id: TokenId) -> Strip {
        self.strips.binary_search_by_key(&id, |(id, _)| *id).map_or(Strip::default(), |at| self.strips[at].1)
    }
}

/// A token's length, the token and the place where it stands. The greatest is served first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Offer(usize, Reverse<TokenId>, Reverse<usize>);

struct Find {
    id: TokenId,
    start: usize,
    end: usize,
}

/// Which bytes of the text belong to a token already.
struct Claims<'a> {
    text: &'a [u8],
    taken: Vec<bool>,
}

/// What became of a claim.
enum Claim {
    Taken,
    StartInUse,
    EndInUse,
}

impl Claims<'_> {
    /// Claims a place and the white space that its token strips. Whatever is in use belongs to tokens at least as
    /// long, so an overlap always reaches one of the place's ends.
    fn claim(&mut self, place: Range<usize>, strip: Strip) -> Claim {
        let Range { mut start, mut end } = place;
        if self.taken[start] {
            return Claim::StartInUse;
        }
        if self.taken[end - 1] {
            return Claim::EndInUse;
        }
        while strip.left && start > 0 && self.is_free_space(start - 1) {
            start -= 1;
        }
        while strip.right && end < self.text.len() && self.is_free_space(end) {
            end += 1;
        }
        self.taken[start..end].fill(true);
        Claim::Taken
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
