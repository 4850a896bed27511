//! Engines in worker processes of this test executable: the same logits, the same answers, the same refusals.

use crate::support::{ModelFile, endless, one_thread, said};
use ballast::gguf::Gguf;
use ballast::{
    CacheType, Engine, ErrorKind, FinishReason, Generate, Isolation, LoadOptions, ReasonCode, TokenId, score, wiring,
};
use std::sync::Arc;

/// Entered by its name when this executable is started as a worker; otherwise nothing happens.
#[test]
fn __ballast_worker() {
    ballast::worker_main();
}

fn isolated() -> LoadOptions {
    LoadOptions { isolation: Isolation::Process, ..one_thread() }
}

#[test]
fn a_worker_gives_the_same_logits_with_each_type_of_kv_cache() {
    let file = ModelFile::tiny();
    let gguf = Arc::new(Gguf::open(file.path()).unwrap());
    let ids: Vec<TokenId> = (1..40).map(TokenId).collect();
    let rows = |options: &LoadOptions| {
        let mut engine = wiring::open_engine(file.path(), &gguf, options).unwrap();
        let (shape, mut rows) = (engine.shape().clone(), Vec::new());
        score::for_each_logits(engine.as_mut(), &ids, |_| true, |_, row| rows.push(row.to_vec())).unwrap();
        (shape, rows)
    };
    let found = CacheType::ALL.map(|cache_type| {
        let here = rows(&LoadOptions { cache_type, ..one_thread() });
        assert_eq!(here.1.len(), ids.len());
        assert_eq!(rows(&LoadOptions { cache_type, ..isolated() }), here, "{cache_type:?}");
        here.1
    });
    // The option is obeyed: each type has logits of its own.
    let mut others = found.iter();
    while let Some(rows) = others.next() {
        assert!(others.clone().all(|other| other != rows));
    }
}

#[test]
fn a_worker_gives_the_same_answers() {
    let file = ModelFile::tiny();
    let ask = |engine: &Engine| {
        let answer = engine.generate(&Generate { max_tokens: Some(20), ..endless(Generate::text("hello")) }).unwrap();
        (said(&answer), answer.finish_reason == FinishReason::Length)
    };
    let (here, there) = (file.load(&one_thread()), file.load(&isolated()));
    assert_eq!(ask(&there), ask(&here));
    assert_eq!(there.report().shape, here.report().shape);
}

#[test]
fn what_a_worker_cannot_open_keeps_its_kind() {
    let file = ModelFile::tiny();
    let missing = file.path().with_extension("missing");
    let error = wiring::open_isolated(&missing, &isolated()).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, Some(ReasonCode::EngineFailed)));
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn a_file_replaced_between_plan_and_worker_is_refused() {
    let file = ModelFile::tiny();
    let gguf = Arc::new(Gguf::open(file.path()).unwrap());
    let other = ModelFile::new(ballast_testkit::TinyLlama {
        context_len: 128,
        ..ballast_testkit::TinyLlama::new(ballast::gguf::TensorType::F32)
    });
    let error = wiring::open_engine(other.path(), &gguf, &isolated()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
