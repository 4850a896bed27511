//! Streaming tokens to text gives what decoding them all at once gives.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as given")]

use ballast_backend::TokenId;
use ballast_tokens::{Detokenizer, EncodeOptions, ShowSpecial, Tokenizer, TokenizerOptions, TokenizerSource};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// Ids 0 to 255 are those bytes, in a vocabulary with nothing else.
static BYTES: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let options = TokenizerOptions { allow_fallback: true, ..TokenizerOptions::default() };
    Arc::new(Tokenizer::new(&TokenizerSource::default(), &options).unwrap().0)
});

/// What is returned for each token, and at the end.
fn stream(tokenizer: &Arc<Tokenizer>, show_special: ShowSpecial, ids: &[TokenId]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer), show_special);
    let mut parts: Vec<String> = Vec::new();
    for id in ids {
        parts.push(detokenizer.push(*id).to_owned());
        assert!(detokenizer.held_bytes() <= 3);
    }
    parts.push(detokenizer.finish().to_owned());
    assert_eq!(detokenizer.held_bytes(), 0);
    parts
}

fn ids_of(bytes: &[u8]) -> Vec<TokenId> {
    bytes.iter().map(|byte| TokenId(u32::from(*byte))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_stream_as_the_lossy_text_of_the_whole(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x7f_u8..=0xff, Just(0xf0), Just(0xe2)], 0..60)
    ) {
        let text = stream(&BYTES, ShowSpecial::No, &ids_of(&bytes)).concat();
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn whole_characters_leave_with_their_last_byte(text in "\\PC{0,30}") {
        let parts = stream(&BYTES, ShowSpecial::No, &BYTES.encode(&text, EncodeOptions::default()));
        let leaving: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let chars: Vec<String> = text.chars().map(String::from).collect();
        prop_assert_eq!(leaving, chars);
    }
}

#[test]
fn an_unfinished_character_ends_as_one_replacement() {
    for bytes in [&b"a\xf0\x9f\xa6"[..], b"a\xe2\x82", b"a\xc3"] {
        assert_eq!(stream(&BYTES, ShowSpecial::No, &ids_of(bytes)).last().unwrap(), "\u{fffd}");
    }
}

#[test]
fn a_detokenizer_begins_anew_after_finish() {
    let mut detokenizer = Detokenizer::new(Arc::clone(&BYTES), ShowSpecial::No);
    assert_eq!(detokenizer.push(TokenId(0xe2)), "");
    assert_eq!(detokenizer.finish(), "\u{fffd}");
    assert_eq!(detokenizer.push(TokenId(u32::from(b'a'))), "a");
    assert_eq!(detokenizer.finish(), "");
}

#[test]
fn ids_outside_the_vocabulary_add_nothing() {
    assert_eq!(stream(&BYTES, ShowSpecial::Yes, &[TokenId(256), TokenId(u32::MAX)]).concat(), "");
}
