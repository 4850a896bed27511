//! A tiny model with room for conversations, and waiting for a state.

use ballast::gguf::TensorType;
use ballast::tokens::SamplingParams;
use ballast::{Engine, Generate, Health, LoadOptions, Prompt, TokenId};
use ballast_testkit::{PATIENCE, TinyLlama};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A model file, gone after the test.
pub(crate) struct Model {
    /// Keeps the file.
    _dir: TempDir,
    pub(crate) path: PathBuf,
}

/// A model of so many positions.
pub(crate) fn model(context_len: u32) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyLlama { context_len, ..TinyLlama::new(TensorType::F32) }.write_file(&path).unwrap();
    Model { _dir: dir, path }
}

impl Model {
    pub(crate) fn load(&self, options: LoadOptions) -> Engine {
        Engine::load(&self.path, &LoadOptions { n_threads: Some(1), ..options }).unwrap()
    }
}

/// Greedy, never ended by the model.
pub(crate) fn ask(prompt: Vec<TokenId>, max_tokens: usize) -> Generate {
    Generate {
        prompt: Prompt::Tokens(prompt),
        sampling: SamplingParams::greedy(),
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        ..Generate::default()
    }
}

/// Tokens that differ with `seed`.
pub(crate) fn tokens(n_tokens: usize, seed: u32) -> Vec<TokenId> {
    (0..n_tokens).map(|idx| TokenId(1 + (seed * 31 + u32::try_from(idx).unwrap() * 7) % 200)).collect()
}

/// Waits until the engine's health is as told.
pub(crate) fn until(engine: &Engine, what: &str, is_so: impl Fn(&Health) -> bool) {
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(2);
    while !is_so(&engine.runtime().health()) {
        assert!(waited < PATIENCE, "not {what}: {:?}", engine.runtime().health());
        std::thread::sleep(step);
        waited += step;
    }
}

/// Nothing runs, nothing waits, every block is free.
pub(crate) fn until_idle(engine: &Engine) {
    until(engine, "idle", |health| {
        let is_free = |engine: &ballast_runtime::EngineHealth| engine.available_blocks == engine.blocks;
        health.active_sequences == 0
            && health.waiting_requests == 0
            && health.queued_tokens == 0
            && health.engines.iter().all(is_free)
    });
}
