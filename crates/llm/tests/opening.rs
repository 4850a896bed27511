//! What an engine takes when it is opened, and what it refuses.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{ErrorKind, Generator};
use ballast_gguf::{Gguf, TensorType, Writer};
use ballast_llm::{CacheType, EngineOptions, LlamaEngine, LlmError, MemoryPlan};
use ballast_testkit::TinyLlama;
use std::sync::Arc;

fn tiny(test: &str) -> Arc<Gguf> {
    let path = std::env::temp_dir().join(format!("ballast-opening-{test}-{}.gguf", std::process::id()));
    TinyLlama::new(TensorType::Q8_0).write_file(&path).unwrap();
    let gguf = Arc::new(Gguf::open(&path).unwrap());
    std::fs::remove_file(path).unwrap();
    gguf
}

#[test]
fn a_kv_cache_smaller_than_the_context_bounds_it() {
    let options = EngineOptions { kv_len: Some(100), ..EngineOptions::default() };
    let engine = LlamaEngine::open(tiny("small-kv"), &options).unwrap();
    assert_eq!(engine.shape().context_len, 100);
    assert_eq!(engine.shape().n_blocks, 4);
}

#[test]
fn a_kv_cache_that_the_system_refuses_is_an_error() {
    let options = EngineOptions { kv_len: Some(1 << 50), ..EngineOptions::default() };
    let error = LlamaEngine::open(tiny("huge-kv"), &options).unwrap_err();
    assert!(matches!(error, LlmError::KvMemory { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn the_plan_counts_weights_kv_and_scratch() {
    let gguf = tiny("plan");
    let plan = |kv_len| MemoryPlan::new(&gguf, &EngineOptions { kv_len, ..EngineOptions::default() }).unwrap();
    let (small, large) = (plan(Some(64)), plan(Some(128)));
    let weights: u64 = gguf.tensors().iter().map(|tensor| tensor.n_bytes).sum();
    assert_eq!(small.weights_bytes, weights);
    assert_eq!(large.kv_bytes, 2 * small.kv_bytes);
    assert_eq!(small.total_bytes(), small.weights_bytes + small.kv_bytes + small.scratch_bytes);
}

#[test]
fn the_plan_counts_the_kv_cache_in_its_type() {
    // 2 layers, 2 KV heads of 16 entries.
    let gguf = tiny("cache-types");
    let kv_bytes = |cache_type| {
        let options = EngineOptions { kv_len: Some(64), cache_type, ..EngineOptions::default() };
        MemoryPlan::new(&gguf, &options).unwrap().kv_bytes
    };
    let bytes_of_rows = |row_bytes: u64| 64 * 2 * 2 * 2 * row_bytes;
    assert_eq!(kv_bytes(CacheType::F16), bytes_of_rows(32));
    assert_eq!(kv_bytes(CacheType::BF16), bytes_of_rows(32));
    assert_eq!(kv_bytes(CacheType::Q8_0), bytes_of_rows(18));
}

#[test]
fn a_file_without_a_model_is_refused_by_what_it_lacks() {
    let open = |writer: &mut Writer<'_>| {
        let path = std::env::temp_dir().join(format!("ballast-opening-bad-{}.gguf", std::process::id()));
        writer.write_file(&path).unwrap();
        let gguf = Arc::new(Gguf::open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        LlamaEngine::open(gguf, &EngineOptions::default()).unwrap_err()
    };
    let error = open(Writer::new().metadata("general.architecture", "gptneox"));
    assert!(matches!(error, LlmError::UnsupportedArchitecture { .. }), "{error}");
    let error = open(Writer::new().metadata("general.architecture", "llama").metadata("llama.expert_count", 8_u32));
    assert!(matches!(error, LlmError::UnsupportedFeature { .. }), "{error}");
    let error = open(Writer::new().metadata("general.architecture", "llama"));
    assert!(matches!(error, LlmError::MetadataMissing { .. }), "{error}");
}
