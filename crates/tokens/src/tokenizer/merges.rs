//! Byte-pair merging: the merge of lowest rank first, leftmost among equals, until none applies.

use super::byte_level;
use super::hash::{SeededHash, home_slot};
use super::vocabulary::TokenTexts;
use ballast_backend::TokenId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Stands for "no token", "no neighbour" and "no merge".
const NONE: u32 = u32::MAX;

/// Longer pieces are merged in spans of this many bytes, so that positions fit 32 bits. No real text has such a piece.
const SPAN_BYTES_MAX: usize = 1 << 30;

/// In pieces up to this length the next merge is found by looking at every pair; a heap costs more than that.
const SHORT_BYTES_MAX: usize = 24;

/// The merge rules and the tokens of single bytes, by id.
#[derive(Debug)]
pub(crate) struct Merges {
    slots: Vec<Slot>,
    hash: SeededHash,
    byte_ids: [u32; 256],
    n_merges: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    pair: u64,
    rank: u32,
    merged: u32,
}

/// No pair of tokens has this key: ids are below `NONE`.
const EMPTY: Slot = Slot { pair: u64::MAX, rank: NONE, merged: NONE };

impl Merges {
    /// Takes the rules in rank order. Rules whose parts or result are no tokens are left out and counted.
    pub(crate) fn new(texts: &TokenTexts, rules: &[&str]) -> (Merges, usize) {
        let byte_ids = std::array::from_fn(|byte| {
            let byte = u8::try_from(byte).expect("one of 256");
            let mut spelling = [0; 4];
            texts.id_of(byte_level::char_of_byte(byte).encode_utf8(&mut spelling)).map_or(NONE, |id| id.0)
        });
        let slots = vec![EMPTY; (rules.len() * 2).next_power_of_two()];
        let mut merges = Merges { slots, hash: SeededHash::new(), byte_ids, n_merges: 0 };
        let mut n_outside = 0;
        let mut joined = String::new();
        for (rank, rule) in (0..NONE).zip(rules) {
            match resolve(texts, rule, &mut joined) {
                Some((left, right, merged)) => merges.insert(pair_key(left.0, right.0), rank, merged.0),
                None => n_outside += 1,
            }
        }
        (merges, n_outside)
    }

    /// The first rule for a pair is the one that holds.
    fn insert(&mut self, pair: u64, rank: u32, merged: u32) {
        let mut slot = home_slot(self.hash.of_u64(pair), self.slots.len());
        while self.slots[slot].pair != EMPTY.pair {
            if self.slots[slot].pair == pair {
                return;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = Slot { pair, rank, merged };
        self.n_merges += 1;
    }

    /// The rule for a pair, or `EMPTY`.
    fn rule(&self, left: u32, right: u32) -> Slot {
        let pair = pair_key(left, right);
        let mut slot = home_slot(self.hash.of_u64(pair), self.slots.len());
        loop {
            let found = self.slots[slot];
            if found.pair == pair || found.pair == EMPTY.pair {
                return found;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    pub(crate) fn n_merges(&self) -> usize {
        self.n_merges
    }

    /// The token of a single byte.
    pub(crate) fn byte_token(&self, byte: u8) -> Option<TokenId> {
        let id = self.byte_ids[usize::from(byte)];
        (id != NONE).then_some(TokenId(id))
    }

    /// Appends the tokens of `piece`. A byte without a token stops merges across it and is left out.
    pub(crate) fn encode(&self, piece: &[u8], scratch: &mut MergeScratch, out: &mut Vec<TokenId>) {
        if piece.len() <= SHORT_BYTES_MAX {
            return scratch.merge_short(self, piece, out);
        }
        for span in piece.chunks(SPAN_BYTES_MAX) {
            scratch.load(self, span);
            scratch.merge(self);
            scratch.collect(out);
        }
    }
}

fn pair_key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// A rule is two token texts with a space between; the first may itself begin with a space.
fn resolve(texts: &TokenTexts, rule: &str, joined: &mut String) -> Option<(TokenId, TokenId, TokenId)> {
    let first_len = rule.chars().next()?.len_utf8();
    let space = first_len + rule[first_len..].find(' ')?;
    let (left, right) = (&rule[..space], &rule[space + 1..]);
    joined.clear();
    joined.push_str(left);
    joined.push_str(right);
    Some((texts.id_of(left)?, texts.id_of(right)?, texts.id_of(joined)?))
}

/// The working memory of one merge, kept between pieces.
///
/// The piece is a linked list of tokens over an array, and a heap holds the pairs that have a rule. An entry goes
/// stale when its pair changes; it is then recognised by its rank, so nothing is ever removed from within the heap.
/// Each merge adds at most two entries: the work is n log n in the piece's bytes.
#[derive(Debug, Default)]
pub(crate) struct MergeScratch {
    nodes: Vec<Node>,
    /// Rank in the upper half, node in the lower: the order of merging.
    heap: BinaryHeap<Reverse<u64>>,
    /// The tokens of a short piece.
    parts: Vec<Part>,
}

/// A token of a short piece, and the rule for it and the next.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: u32,
    rank: u32,
    merged: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    id: u32,
    prev: u32,
    next: u32,
    /// The rank of the rule for this node and the next, and what it makes.
    rank: u32,
    merged: u32,
}

impl MergeScratch {
    /// Appends the tokens of a short piece.
    fn merge_short(&mut self, merges: &Merges, piece: &[u8], out: &mut Vec<TokenId>) {
        let parts = &mut self.parts;
        parts.clear();
        let part = |byte: &u8| Part { id: merges.byte_ids[usize::from(*byte)], rank: NONE, merged: NONE };
        parts.extend(piece.iter().map(part));
        let renew = |parts: &mut [Part], idx: usize| {
            let rule = parts.get(idx + 1).map_or(EMPTY, |next| merges.rule(parts[idx].id, next.id));
            (parts[idx].rank, parts[idx].merged) = (rule.rank, rule.merged);
        };
        (0..parts.len()).for_each(|idx| renew(parts, idx));
        // Of equal ranks the leftmost is first.
        while let Some(idx) = (0..parts.len()).min_by_key(|idx| parts[*idx].rank)
            && parts[idx].rank != NONE
        {
            parts[idx].id = parts[idx].merged;
            parts.remove(idx + 1);
            renew(parts, idx);
            if idx > 0 {
                renew(parts, idx - 1);
            }
        }
        out.extend(parts.iter().filter(|part| part.id != NONE).map(|part| TokenId(part.id)));
    }

    fn load(&mut self, merges: &Merges, span: &[u8]) {
        self.nodes.clear();
        self.heap.clear();
        self.nodes.extend((0..NONE).zip(span).map(|(idx, byte)| Node {
            id: merges.byte_ids[usize::from(*byte)],
            prev: idx.wrapping_sub(1),
            next: idx + 1,
            rank: NONE,
            merged: NONE,
        }));
        if let Some(last) = self.nodes.last_mut() {
            last.next = NONE;
        }
        let n_nodes = u32::try_from(self.nodes.len()).expect("a span is shorter than 2^32");
        for node in 0..n_nodes {
            self.renew(merges, node);
        }
    }

    fn merge(&mut self, merges: &Merges) {
        while let Some(Reverse(entry)) = self.heap.pop() {
            let (rank, left) = split_entry(entry);
            if self.nodes[left as usize].rank != rank {
                continue;
            }
            let Node { next: right, merged, prev, .. } = self.nodes[left as usize];
            let after = self.nodes[right as usize].next;
            self.nodes[right as usize].rank = NONE;
            self.nodes[left as usize].id = merged;
            self.nodes[left as usize].next = after;
            if after != NONE {
                self.nodes[after as usize].prev = left;
            }
            self.renew(merges, left);
            if prev != NONE {
                self.renew(merges, prev);
            }
        }
    }

    /// Looks up the rule for `node` and the one after it.
    fn renew(&mut self, merges: &Merges, node: u32) {
        let Node { id, next, .. } = self.nodes[node as usize];
        let rule = if next == NONE { EMPTY } else { merges.rule(id, self.nodes[next as usize].id) };
        self.nodes[node as usize].rank = rule.rank;
        self.nodes[node as usize].merged = rule.merged;
        if rule.rank != NONE {
            self.heap.push(Reverse(u64::from(rule.rank) << 32 | u64::from(node)));
        }
    }

    fn collect(&self, out: &mut Vec<TokenId>) {
        let mut node = if self.nodes.is_empty() { NONE } else { 0 };
        while node != NONE {
            let Node { id, next, .. } = self.nodes[node as usize];
            if id != NONE {
                out.push(TokenId(id));
            }
            node = next;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an entry is two 32-bit halves")]
fn split_entry(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32)
}

#[cfg(test)]
mod tests;
