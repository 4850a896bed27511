//! Replays the fuzzer's seed corpus, and holds it to what makes it.
#![expect(clippy::unwrap_used, reason = "test helpers")]

#[path = "hostile/cases.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod cases;

use ballast_gguf::Gguf;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const CORPUS_BYTES_MAX: usize = 100_000;

/// The files whose names the generator gives, and those that a fuzzer found and someone kept.
fn files() -> BTreeMap<String, Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn files_called_valid_are_read_and_the_others_refused() {
    for (name, bytes) in files() {
        let expected = name.starts_with("valid-");
        let parsed = Gguf::parse(&bytes);
        assert_eq!(parsed.is_ok(), expected, "{name}: {parsed:?}");
    }
}

#[test]
fn the_corpus_is_what_its_generator_makes_and_small() {
    let files = files();
    for (name, bytes) in cases::corpus() {
        assert_eq!(files.get(&name), Some(&bytes), "{name}: run the gguf_corpus example");
    }
    assert!(files.values().map(Vec::len).sum::<usize>() <= CORPUS_BYTES_MAX);
}
