//! Writes the seed corpus of the fuzzer, which `tests/corpus.rs` replays and compares with this.
//!
//!     cargo run -p ballast-gguf --example gguf_corpus -- crates/gguf/corpus
#![expect(clippy::unwrap_used, reason = "a development command")]

#[path = "../tests/hostile/cases.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod cases;

use std::fs;
use std::path::PathBuf;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap());
    fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in cases::corpus() {
        fs::write(dir.join(name), bytes).unwrap();
    }
}
