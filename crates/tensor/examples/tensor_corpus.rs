//! Writes the seeds of the fuzzer, `onnx` and `mlpackage` in the folder given: the files of `tests/hostile.rs`.
//!
//!     cargo run -p ballast-tensor --example tensor_corpus -- fuzz/corpus-work/seeds
#![expect(clippy::unwrap_used, reason = "a development command")]

#[path = "../tests/hostile/corpus.rs"]
mod corpus;
#[path = "../tests/hostile/models.rs"]
mod models;
#[path = "../tests/hostile/programs.rs"]
mod programs;
#[path = "../tests/hostile/runs.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod runs;
#[path = "../tests/hostile/wire.rs"]
mod wire;

use std::fs;
use std::path::PathBuf;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap());
    for (folder, files) in corpus::all() {
        fs::create_dir_all(dir.join(folder)).unwrap();
        for (name, bytes) in files {
            fs::write(dir.join(folder).join(name), bytes).unwrap();
        }
    }
}
