//! WordPiece over a small vocabulary, and files that are not what they should be.

use super::{FramedText, WORD_CHARS_MAX, WordPiece};
use crate::tokenizer::TokenizerError;
use ballast_backend::TokenId;
use ballast_gguf::{Metadata, StringArray, Value};
use proptest::prelude::*;

const TOKENS: &[&str] =
    &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "aff", "able", "a", "▁a", "▁", "▁,", "ffab", "▁é", "▁[", "▁]"];

fn file(change: impl FnOnce(&mut Vec<(String, Value)>)) -> Result<WordPiece, TokenizerError> {
    let tokens: Value = TOKENS.iter().copied().map(str::as_bytes).collect::<StringArray>().into();
    let mut entries =
        vec![("tokenizer.ggml.model".to_owned(), "bert".into()), ("tokenizer.ggml.tokens".to_owned(), tokens)];
    change(&mut entries);
    WordPiece::from_gguf(&Metadata::new(entries).unwrap())
}

fn ids(tokens: &[TokenId]) -> Vec<u32> {
    tokens.iter().map(|id| id.0).collect()
}

#[test]
fn words_become_their_longest_pieces() {
    let vocabulary = file(|_| ()).unwrap();
    let cases: [(&str, &[u32]); 8] = [
        ("unaffable", &[4, 5, 6]),
        ("UnAffable", &[4, 5, 6]),
        ("a,a", &[8, 10, 8]),
        ("aaaa", &[8, 7, 7, 7]),
        ("unx", &[1]),
        ("un xyz a", &[4, 1, 8]),
        ("▁", &[1]),
        ("[CLS]", &[13, 1, 14]),
    ];
    for (text, expected) in cases {
        assert_eq!(ids(&vocabulary.encode(text)), expected, "{text:?}");
    }
}

#[test]
fn a_word_over_the_bound_is_one_unknown_token() {
    let vocabulary = file(|_| ()).unwrap();
    let word = |n| "a".repeat(n);
    assert_eq!(vocabulary.encode(&word(WORD_CHARS_MAX)).len(), WORD_CHARS_MAX);
    assert_eq!(ids(&vocabulary.encode(&word(WORD_CHARS_MAX + 1))), [1]);
}

#[test]
fn texts_are_framed_and_cut_to_length() {
    let vocabulary = file(|_| ()).unwrap();
    let pair = vocabulary.pair("a", "un a");
    assert_eq!((ids(&pair.tokens), pair.n_first), (vec![2, 8, 3, 4, 8, 3], 3));
    let cut = vocabulary.truncate(pair.clone(), 5);
    assert_eq!((ids(&cut.tokens), cut.n_first), (vec![2, 8, 3, 4, 3], 3));
    let cut = vocabulary.truncate(pair.clone(), 2);
    assert_eq!((ids(&cut.tokens), cut.n_first), (vec![2, 3], 2));
    assert_eq!(vocabulary.truncate(pair.clone(), 6), pair);
    assert_eq!(vocabulary.single(""), FramedText { tokens: vec![TokenId(2), TokenId(3)], n_first: 2 });
}

#[test]
fn a_file_may_ask_for_case_and_accents_to_be_kept() {
    let key = "tokenizer.ggml.normalizer.lowercase";
    let cased = file(|entries| entries.push((key.to_owned(), false.into()))).unwrap();
    assert_eq!(ids(&cased.encode("a A é")), [8, 1, 12]);
    assert_eq!(ids(&file(|_| ()).unwrap().encode("a A é")), [8, 8, 1]);
    let key = "tokenizer.ggml.normalizer.strip_accents";
    let accents = file(|entries| entries.push((key.to_owned(), false.into()))).unwrap();
    assert_eq!(ids(&accents.encode("A É")), [8, 12]);
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    let other = file(|entries| entries[0].1 = "gpt2".into()).unwrap_err();
    assert!(matches!(other, TokenizerError::WordPieceExpected { .. }), "{other}");
    let none = file(|entries| entries.truncate(1)).unwrap_err();
    assert!(matches!(none, TokenizerError::MetadataMissing { .. }), "{none}");
    for key in ["cls", "seperator", "unknown"].map(|role| format!("tokenizer.ggml.{role}_token_id")) {
        let out = file(|entries| entries.push((key.clone(), 15_u32.into()))).unwrap_err();
        assert!(matches!(out, TokenizerError::SpecialTokenMissing { .. }), "{key}: {out}");
        assert!(file(|entries| entries.push((key.clone(), 14_u32.into()))).is_ok(), "{key}");
    }
    let nameless = |entries: &mut Vec<(String, Value)>| {
        entries[1].1 = ["a", "[CLS]", "[SEP]"].iter().map(|text| text.as_bytes()).collect::<StringArray>().into();
    };
    assert!(matches!(file(nameless).unwrap_err(), TokenizerError::SpecialTokenMissing { .. }));
    let twice = |entries: &mut Vec<(String, Value)>| {
        entries[1].1 = ["a", "a"].iter().map(|text| text.as_bytes()).collect::<StringArray>().into();
    };
    assert!(matches!(file(twice).unwrap_err(), TokenizerError::DuplicateToken { .. }));
}

proptest! {
    #[test]
    fn any_text_becomes_tokens_of_the_vocabulary(text in ".{0,200}") {
        let vocabulary = file(|_| ()).unwrap();
        for id in vocabulary.encode(&text) {
            prop_assert!(id.index() < TOKENS.len() && ![2, 3].contains(&id.0));
        }
    }
}
