//! The vectors that llama.cpp ships for its own tokenizers: texts in `.inp`, their tokens in `.out`.
//!
//! The files are not ours to carry. `BALLAST_LLAMA_CPP` names an unpacked llama.cpp source folder; without it the
//! test says that it was skipped.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it skips, and ends at the first thing that is not as given"
)]

use ballast_gguf::Gguf;
use ballast_tokens::{EncodeOptions, ShowSpecial, Tokenizer, TokenizerOptions, WordPiece};
use std::path::{Path, PathBuf};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

#[expect(clippy::disallowed_methods, reason = "the folder is given to tests through the environment only")]
fn models_folder() -> Option<PathBuf> {
    std::env::var_os("BALLAST_LLAMA_CPP").map(|folder| Path::new(&folder).join("models"))
}

#[test]
fn texts_become_the_published_tokens() {
    let Some(models) = models_folder() else {
        println!("skipped: BALLAST_LLAMA_CPP does not name a llama.cpp source folder");
        return;
    };
    let failures: Vec<String> =
        ["gpt-2", "llama-bpe", "qwen2"].into_iter().flat_map(|name| check(&models, name)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The texts of one vocabulary whose tokens differ, or that do not come back.
fn check(models: &Path, name: &str) -> Vec<String> {
    let gguf = Gguf::open(&models.join(format!("ggml-vocab-{name}.gguf"))).unwrap();
    let (tokenizer, diagnostics) = Tokenizer::from_gguf(gguf.metadata(), &TokenizerOptions::default()).unwrap();
    assert_eq!(diagnostics.findings, [], "{name}");
    let read = |end| std::fs::read_to_string(models.join(format!("ggml-vocab-{name}.gguf.{end}"))).unwrap();
    let (texts, ids) = (read("inp"), read("out"));
    let texts: Vec<&str> = texts.strip_suffix(SEPARATOR).unwrap_or(&texts).split(SEPARATOR).collect();
    let expected: Vec<Vec<u32>> = ids.lines().map(parse_ids).collect();
    assert_eq!(texts.len(), expected.len(), "{name}: one line of tokens for each text");
    println!("{name}: {} texts", texts.len());

    let mut failures = Vec::new();
    for (text, expected) in texts.iter().zip(expected) {
        let tokens = tokenizer.encode(text, EncodeOptions::default());
        let got: Vec<u32> = tokens.iter().map(|id| id.0).collect();
        if got != expected {
            failures.push(format!("{name}: {text:?}: got {got:?}, expected {expected:?}"));
        }
        if tokenizer.decode(&tokens, ShowSpecial::No) != text.as_bytes() {
            failures.push(format!("{name}: {text:?} does not come back"));
        }
    }
    failures
}

#[test]
fn bert_texts_become_the_published_tokens() {
    let Some(models) = models_folder() else {
        println!("skipped: BALLAST_LLAMA_CPP does not name a llama.cpp source folder");
        return;
    };
    let gguf = Gguf::open(&models.join("ggml-vocab-bert-bge.gguf")).unwrap();
    let vocabulary = WordPiece::from_gguf(gguf.metadata()).unwrap();
    let read = |end| std::fs::read_to_string(models.join(format!("ggml-vocab-bert-bge.gguf.{end}"))).unwrap();
    let (texts, ids) = (read("inp"), read("out"));
    let texts: Vec<&str> = texts.strip_suffix(SEPARATOR).unwrap_or(&texts).split(SEPARATOR).collect();
    let expected: Vec<Vec<u32>> = ids.lines().map(parse_ids).collect();
    assert_eq!(texts.len(), expected.len(), "one line of tokens for each text");
    println!("bert-bge: {} texts", texts.len());
    for (text, expected) in texts.iter().zip(expected) {
        let got: Vec<u32> = vocabulary.encode(text).iter().map(|id| id.0).collect();
        assert_eq!(got, expected, "{text:?}");
    }
}

fn parse_ids(line: &str) -> Vec<u32> {
    line.split_whitespace().map(|id| id.parse().unwrap()).collect()
}
