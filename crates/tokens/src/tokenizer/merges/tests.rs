//! Both ways of merging against the definition: scan for the best pair, merge it, begin again.

use super::{MergeScratch, Merges, NONE};
use crate::tokenizer::vocabulary::TokenTexts;
use ballast_backend::TokenId;
use proptest::prelude::*;

/// Rules over `a b c`, with ties, long chains, and two ways to the same token.
const RULES: &[&str] = &["a b", "b a", "ab ab", "a a", "aa a", "b c", "ab c", "a bc", "aa aa", "abab c", "c c"];

fn merges(rules: &[&str]) -> Merges {
    let mut tokens = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    for rule in rules {
        let joined = rule.replace(' ', "");
        if !tokens.contains(&joined) {
            tokens.push(joined);
        }
    }
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let (merges, n_outside) = Merges::new(&TokenTexts::new(&tokens).unwrap(), rules);
    assert_eq!(n_outside, 0);
    merges
}

fn encode(merges: &Merges, piece: &[u8]) -> Vec<u32> {
    let mut out = Vec::new();
    merges.encode(piece, &mut MergeScratch::default(), &mut out);
    out.iter().map(|id: &TokenId| id.0).collect()
}

fn by_definition(merges: &Merges, piece: &[u8]) -> Vec<u32> {
    let mut ids: Vec<u32> = piece.iter().map(|byte| merges.byte_ids[usize::from(*byte)]).collect();
    loop {
        let best = ids.windows(2).map(|pair| merges.rule(pair[0], pair[1])).enumerate().min_by_key(|(_, r)| r.rank);
        match best {
            Some((at, rule)) if rule.rank != NONE => {
                ids[at] = rule.merged;
                ids.remove(at + 1);
            }
            _ => break,
        }
    }
    ids.into_iter().filter(|id| *id != NONE).collect()
}

proptest! {
    #[test]
    fn pieces_short_and_long_are_merged_in_the_defined_order(piece in "[abcx]{0,60}") {
        let merges = merges(RULES);
        prop_assert_eq!(encode(&merges, piece.as_bytes()), by_definition(&merges, piece.as_bytes()));
    }
}

#[test]
fn a_byte_without_a_token_is_left_out_and_stops_merges() {
    let merges = merges(&["a b"]);
    assert_eq!(encode(&merges, b"ab"), [3]);
    assert_eq!(encode(&merges, b"axb"), [0, 1]);
    assert_eq!(encode(&merges, b"x"), [] as [u32; 0]);
    assert_eq!(encode(&merges, b""), [] as [u32; 0]);
}

#[test]
fn rules_outside_the_vocabulary_are_counted_and_the_first_of_equal_rules_holds() {
    let texts = TokenTexts::new(&["a", "b", "ab", "ba"]).unwrap();
    let (merges, n_outside) = Merges::new(&texts, &["a b", "a c", "b b", "", "ab", "a b", "b a"]);
    assert_eq!((merges.n_merges(), n_outside), (2, 4));
    assert_eq!(merges.rule(0, 1).rank, 0);
}

#[test]
fn long_pieces_of_one_byte_are_merged_fully() {
    let merges = merges(&["a a", "aa aa"]);
    assert_eq!(encode(&merges, &[b'a'; 400_003]).len(), 100_002);
}
