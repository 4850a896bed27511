//! Differential tests against the `tokenizers` crate, which shares no code with ours, over a real vocabulary.
//!
//! `BALLAST_TEST_MODEL` names a GGUF file with the smollm tokenizer; without it the tests say that they were skipped.
//! Seeds are printed on failure, and one seed is one text.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it skips, and ends at the first thing that is not as given"
)]

use ballast_backend::TokenId;
use ballast_gguf::Gguf;
use ballast_tokens::{EncodeOptions, ShowSpecial, Tokenizer, TokenizerOptions, TokenizerSource};
use fancy_regex::Regex;
use std::path::PathBuf;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

const N_TEXTS: u64 = 2000;
const CONTROL: i32 = 3;

const LLAMA3: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

#[expect(clippy::disallowed_methods, reason = "the file is given to tests through the environment only")]
fn open_model() -> Option<Gguf> {
    let path = std::env::var_os("BALLAST_TEST_MODEL").map(PathBuf::from);
    if path.is_none() {
        println!("skipped: BALLAST_TEST_MODEL does not name a GGUF file");
    }
    path.map(|path| Gguf::open(&path).unwrap())
}

/// The pre-tokenizer that the reference would have for each of our rules.
fn reference_pre_tokenizer(name: &str) -> PreTokenizerWrapper {
    let split = |pattern: &str| {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
        Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]).into()
    };
    let gpt2 = || ByteLevel::new(false, false, true).into();
    match name {
        "gpt-2" => gpt2(),
        "smollm" => Sequence::new(vec![Digits::new(true).into(), gpt2()]).into(),
        "llama-bpe" => split(LLAMA3),
        "qwen2" => split(&LLAMA3.replace("{1,3}", "")),
        other => panic!("no reference for {other}"),
    }
}

fn reference(source: &TokenizerSource<'_>, name: &str, parse_special: bool) -> tokenizers::Tokenizer {
    let pair = |rule: &&str| rule.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())).unwrap();
    let vocab: Vec<(String, u32)> = source.tokens.iter().map(|token| (*token).to_owned()).zip(0..).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(
            vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(),
            source.merges.iter().flatten().map(pair).collect(),
        )
        .ignore_merges(name == "llama-bpe")
        .build()
        .unwrap();
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(reference_pre_tokenizer(name)));
    if parse_special {
        let types = source.token_types.as_ref().unwrap();
        let control = source.tokens.iter().zip(types).filter(|(_, number)| **number == CONTROL);
        tokenizer.add_special_tokens(control.map(|(token, _)| AddedToken::from(*token, true))).unwrap();
    }
    tokenizer
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(n)).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(u32::try_from(from.len()).unwrap()) as usize]
    }

    /// A text of up to 1500 parts; what kinds of parts it favours differs from text to text.
    fn text(&mut self, words: &[String], encodable: &dyn Fn(char) -> bool) -> String {
        const DENSE: &[&str] = &[
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "'s",
            "'LL",
            "'",
            "1",
            "23",
            "٣",
            "½",
            "é",
            "e\u{301}",
            "中文",
            "🦙",
            "\u{a0}",
            "\u{3000}",
            "\u{2028}",
            "\u{85}",
            "<|im_end|>",
            "<|im_start|>",
            "<reponame>",
            "<|",
            "|>",
            ".",
            "...",
            "==",
        ];
        let favours = self.below(4);
        let n_parts = self.below(1500);
        let mut text = String::new();
        for _ in 0..n_parts {
            match if self.below(3) == 0 { self.below(4) } else { favours } {
                0 => text.push_str(self.pick::<String>(words)),
                1 => text.push_str(self.pick::<&str>(DENSE)),
                2 => text.extend(char::from_u32(self.below(0x500)).filter(|c| encodable(*c))),
                _ => text.extend(char::from_u32(self.below(0x11_0000)).filter(|c| encodable(*c))),
            }
        }
        text
    }
}

/// Compares on `N_TEXTS` texts.
///
/// The two treat a byte without a token differently (ours stops merges there, as llama.cpp does; the reference joins
/// what is around it), so texts have no such bytes. The reference takes digits from the standard library, whose
/// Unicode may be newer than the expressions' one, so texts have no digits that only one of them knows.
fn compare(name: &str, parse_special: bool) {
    let Some(gguf) = open_model() else { return };
    let source = TokenizerSource::from_metadata(gguf.metadata()).unwrap();
    assert_eq!(source.pre_tokenizer, Some("smollm"), "the model file has the smollm tokenizer");
    let reference = reference(&source, name, parse_special);
    let source = TokenizerSource { pre_tokenizer: Some(name), ..source };
    let (tokenizer, _) = Tokenizer::new(&source, &TokenizerOptions::default()).unwrap();
    let options = EncodeOptions { add_special: false, parse_special };
    let encode = |text: &str| tokenizer.encode(text, options);
    let digit = Regex::new(r"\p{N}").unwrap();
    let encodable = |c: char| {
        let text = String::from(c);
        tokenizer.decode(&encode(&text), ShowSpecial::Yes) == text.as_bytes()
            && c.is_numeric() == digit.is_match(&text).unwrap()
    };
    let words: Vec<String> = source.tokens.iter().map(|token| token.replace('Ġ', " ").replace('Ċ', "\n")).collect();

    let (mut n_bytes, mut n_failures) = (0, 0);
    for seed in 0..N_TEXTS {
        let text = Random(seed).text(&words, &encodable);
        n_bytes += text.len();
        let tokens = encode(&text);
        let got: Vec<u32> = tokens.iter().map(|id| id.0).collect();
        let expected = reference.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
        if got != expected {
            n_failures += 1;
            println!("{name} seed {seed}: {}", first_difference(&tokenizer, &got, &expected));
        }
        assert_eq!(tokenizer.decode(&tokens, ShowSpecial::Yes), text.as_bytes(), "seed {seed} comes back");
    }
    println!("{name}: {N_TEXTS} texts, {n_bytes} bytes, {n_failures} differ");
    assert_eq!(n_failures, 0);
}

fn first_difference(tokenizer: &Tokenizer, got: &[u32], expected: &[u32]) -> String {
    let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |ids: &[u32]| -> Vec<String> {
        let ids = ids.iter().skip(at.saturating_sub(2)).take(6);
        ids.map(|id| tokenizer.token_text(TokenId(*id)).to_owned()).collect()
    };
    format!("got {:?}, expected {:?}", show(got), show(expected))
}

#[test]
fn smollm_agrees_with_the_reference() {
    compare("smollm", false);
}

#[test]
fn smollm_with_special_tokens_agrees_with_the_reference() {
    compare("smollm", true);
}

#[test]
fn gpt2_agrees_with_the_reference() {
    compare("gpt-2", false);
}

#[test]
fn llama3_agrees_with_the_reference() {
    compare("llama-bpe", false);
}

#[test]
fn qwen2_agrees_with_the_reference() {
    compare("qwen2", false);
}
