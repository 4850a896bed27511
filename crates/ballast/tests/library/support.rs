//! A tiny model on disk and the engines made of it.

use ballast::gguf::TensorType;
use ballast::tokens::SamplingParams;
use ballast::{Answer, Engine, Generate, LoadOptions, TokenId};
use ballast_testkit::TinyLlama;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A model file, gone after the test.
#[derive(Debug)]
pub(crate) struct ModelFile {
    dir: TempDir,
    path: PathBuf,
}

impl ModelFile {
    /// A model of F32 weights and 256 positions.
    pub(crate) fn tiny() -> Self {
        Self::new(TinyLlama::new(TensorType::F32))
    }

    pub(crate) fn new(model: TinyLlama) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        model.write_file(&path).unwrap();
        Self { dir, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same file with the first `from` replaced by `to`, of the same length.
    pub(crate) fn with_text(&self, from: &str, to: &str) -> PathBuf {
        assert_eq!(from.len(), to.len(), "offsets must stay");
        let bytes = std::fs::read(&self.path).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        self.with_bytes(&[&bytes[..at], to.as_bytes(), &bytes[at + to.len()..]].concat())
    }

    /// A file beside it.
    pub(crate) fn with_bytes(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("changed.gguf");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn load(&self, options: &LoadOptions) -> Engine {
        Engine::load(&self.path, options).unwrap()
    }
}

/// One compute thread, so that many engines do not crowd the machine.
pub(crate) fn one_thread() -> LoadOptions {
    LoadOptions { n_threads: Some(1), ..LoadOptions::default() }
}

/// Greedy, and as long as it may be: never ended by the model.
pub(crate) fn endless(generate: Generate) -> Generate {
    Generate { sampling: SamplingParams::greedy(), ignore_eos: true, ..generate }
}

pub(crate) fn ids(answer: &Answer) -> Vec<TokenId> {
    answer.tokens.iter().map(|token| token.id).collect()
}

/// What must not depend on company: tokens and text.
pub(crate) fn said(answer: &Answer) -> (Vec<TokenId>, String) {
    (ids(answer), answer.text.clone())
}
