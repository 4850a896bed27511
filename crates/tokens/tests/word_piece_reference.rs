//! Differential test of WordPiece against the `tokenizers` crate, over the vocabulary that llama.cpp ships for BERT.
//!
//! `BALLAST_LLAMA_CPP` names an unpacked llama.cpp source folder; without it the test says that it was skipped.
#![expect(clippy::unwrap_used, reason = "a test says what it skips, and ends at the first thing that is not as given")]

use ballast_backend::TokenId;
use ballast_gguf::Gguf;
use ballast_testkit::SplitMix;
use ballast_tokens::WordPiece;
use fancy_regex::Regex;
use serde_json::json;
use std::path::Path;

const N_TEXTS: u64 = 1000;
const DENSE: &[&str] = &[
    " ",
    "\n",
    "\t",
    "\r",
    "\u{b}",
    "\u{85}",
    "'s",
    "...",
    "[SEP]",
    "é",
    "e\u{301}",
    "ẞ",
    "İ",
    "中文",
    "\u{f900}",
    "\u{2f800}",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{200b}",
    "\u{fffd}",
    "\0",
    "한국",
    "Ω",
    "ΑΣ",
    "½",
    "🦙",
    "$",
    "_",
];

/// A text of up to 300 parts: words of the vocabulary, dense cases, characters of everywhere.
fn text(seed: u64, words: &[String], is_known: &dyn Fn(char) -> bool) -> String {
    let mut random = SplitMix::new(seed);
    let mut below = |n: usize| usize::try_from(random.next_u64() % n as u64).unwrap();
    let mut text = String::new();
    for _ in 0..below(300) {
        match below(5) {
            0 | 1 => text.push_str(&words[below(words.len())]),
            2 => text.push_str(DENSE[below(DENSE.len())]),
            3 => text.extend(char::from_u32(u32::try_from(below(0x600)).unwrap()).filter(|c| is_known(*c))),
            _ => text.extend(char::from_u32(u32::try_from(below(0x3_0000)).unwrap()).filter(|c| is_known(*c))),
        }
        if below(3) == 0 {
            text.push(' ');
        }
    }
    text
}

/// The reference's tables of categories are those of an old Unicode, and its decomposition is of another version again;
/// texts have characters that were in both.
#[test]
#[expect(clippy::disallowed_methods, reason = "the folder is given to tests through the environment only")]
fn agrees_with_the_reference() {
    let Some(folder) = std::env::var_os("BALLAST_LLAMA_CPP") else {
        println!("skipped: BALLAST_LLAMA_CPP does not name a llama.cpp source folder");
        return;
    };
    let gguf = Gguf::open(&Path::new(&folder).join("models/ggml-vocab-bert-bge.gguf")).unwrap();
    let ours = WordPiece::from_gguf(gguf.metadata()).unwrap();
    let spelled = |id: u32| {
        let text = ours.token_text(TokenId(id));
        match text.strip_prefix('\u{2581}') {
            Some(word) => word.to_owned(),
            None if text.starts_with('[') && text.len() > 1 => text.to_owned(),
            None => format!("##{text}"),
        }
    };
    let ids = 0..u32::try_from(ours.vocab_size()).unwrap();
    let vocab: serde_json::Map<_, _> = ids.clone().map(|id| (spelled(id), id.into())).collect();
    let model = json!({
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": vocab,
    });
    let normalizer = json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true,
    });
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null,
        "decoder": null, "normalizer": normalizer, "pre_tokenizer": { "type": "BertPreTokenizer" }, "model": model,
    });
    let reference = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();

    let old = Regex::new(r"[\p{Age=6.0}]").unwrap();
    // Letters that became marks since.
    let has_changed = |c: char| matches!(c, '\u{1885}' | '\u{1886}');
    let is_known = |c: char| !has_changed(c) && old.is_match(&c.to_string()).unwrap();
    let words: Vec<String> = ids.map(|id| ours.token_text(TokenId(id)).replace('\u{2581}', "")).collect();
    let (mut n_bytes, mut n_failures) = (0, 0);
    for seed in 0..N_TEXTS {
        let text = text(seed, &words, &is_known);
        n_bytes += text.len();
        let got: Vec<u32> = ours.encode(&text).iter().map(|id| id.0).collect();
        let expected = reference.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
        if got != expected {
            n_failures += 1;
            let at = got.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let show =
                |ids: &[u32]| ids.iter().skip(at.saturating_sub(2)).take(5).map(|id| spelled(*id)).collect::<Vec<_>>();
            println!("seed {seed}: got {:?}, expected {:?}", show(&got), show(&expected));
        }
    }
    println!("{N_TEXTS} texts, {n_bytes} bytes, {n_failures} differ");
    assert_eq!(n_failures, 0);
}
