//! Loading: budgets, files that are not as they should be, what is reported.

use crate::support::{ModelFile, endless, one_thread, said};
use ballast::gguf::{Gguf, TensorType};
use ballast::telemetry::{LogRecord, Metrics, RingLogger, Telemetry, Value};
use ballast::tokens::TokenizerOptions;
use ballast::{
    BudgetMode, Engine, Error, ErrorKind, Generate, LoadOptions, MemoryBudget, MemoryPlan, Models, ModelsOptions,
    ReasonCode, wiring,
};
use ballast_testkit::{SplitMix, TinyLlama};
use std::sync::Arc;

/// A model with a context worth cutting.
fn roomy() -> ModelFile {
    ModelFile::new(TinyLlama { context_len: 4096, ..TinyLlama::new(TensorType::Q8_0) })
}

fn plan(file: &ModelFile, context_len: usize) -> MemoryPlan {
    let options = LoadOptions { context_len: Some(context_len), ..one_thread() };
    wiring::model_plan(&Gguf::open(file.path()).unwrap(), &options).unwrap().1
}

fn budget(mode: BudgetMode, bytes: u64) -> LoadOptions {
    LoadOptions { memory: MemoryBudget { mode, bytes: Some(bytes) }, ..one_thread() }
}

fn codes(engine: &Engine) -> Vec<ReasonCode> {
    engine.report().findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn the_report_tells_what_was_loaded() {
    let file = roomy();
    let engine = file.load(&one_thread());
    let report = engine.report();
    assert_eq!((report.model_name.as_str(), report.n_threads), ("tiny", 1));
    assert_eq!((report.architecture.as_str(), report.quantization), ("llama", "Q8_0"));
    let gguf = Gguf::open(file.path()).unwrap();
    assert_eq!(report.n_parameters, gguf.tensors().iter().map(|tensor| tensor.n_elements()).sum::<u64>());
    assert_eq!(report.file_bytes, std::fs::metadata(file.path()).unwrap().len());
    assert_eq!((report.shape.context_len, report.shape.vocab_size), (4096, 264));
    assert_eq!(report.plan, plan(&file, 4096));
    assert_eq!(report.findings, []);
}

#[test]
fn a_strict_budget_refuses_with_the_figures() {
    let file = roomy();
    let needed = plan(&file, 4096).total_bytes();
    let error = Engine::load(file.path(), &budget(BudgetMode::Strict, needed - 1)).unwrap_err();
    let Error::MemoryBudgetExceeded { needed_bytes, budget_bytes } = error else { panic!("{error:?}") };
    assert_eq!((needed_bytes, budget_bytes), (needed, needed - 1));
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Denied, Some(ReasonCode::MemoryBudgetExceeded)));
    let tight = file.load(&budget(BudgetMode::Strict, needed));
    assert_eq!(codes(&tight), [ReasonCode::MemoryBudgetSoftLimit]);
    assert_eq!(codes(&file.load(&budget(BudgetMode::Strict, 2 * needed))), []);
}

#[test]
fn a_best_effort_budget_cuts_the_context_and_answers_the_same() {
    let file = roomy();
    let ask = |engine: &Engine| {
        said(&engine.generate(&Generate { max_tokens: Some(9), ..endless(Generate::text("he")) }).unwrap())
    };
    let whole = file.load(&one_thread());
    let cut = file.load(&budget(BudgetMode::BestEffort, plan(&file, 1024).total_bytes()));
    assert_eq!((cut.report().shape.context_len, cut.report().plan), (1024, plan(&file, 1024)));
    assert!(codes(&cut).contains(&ReasonCode::MemoryBudgetSoftLimit));
    assert_eq!(ask(&cut), ask(&whole));
    let least = file.load(&budget(BudgetMode::BestEffort, 1));
    assert_eq!(least.report().shape.context_len, 512);
    assert!(codes(&least).contains(&ReasonCode::MemoryBudgetSoftLimit));
    assert_eq!(ask(&least), ask(&whole));
}

/// What is told of the memory budget while `load` runs: reasons in the log, reasons counted.
fn told(load: impl FnOnce(Telemetry)) -> (Vec<Value>, Vec<(&'static str, u64)>) {
    let (metrics, ring) = (Arc::new(Metrics::default()), Arc::new(RingLogger::new(64)));
    load(Telemetry { metrics: Some(Arc::clone(&metrics)), logger: Some(Arc::clone(&ring) as _) });
    let records = ring.records().into_iter().filter(|record| record.name == "memory_budget");
    let reason = |record: LogRecord| record.fields.as_slice().iter().find(|(key, _)| *key == "reason").unwrap().1;
    (records.map(reason).collect(), metrics.snapshot().resources.memory_budget.into_iter().collect())
}

#[test]
fn a_load_close_to_its_budget_is_told_as_an_event_and_counted() {
    let file = roomy();
    let needed = plan(&file, 4096).total_bytes();
    let load = |telemetry, bytes| {
        file.load(&LoadOptions { telemetry, ..budget(BudgetMode::Strict, bytes) });
    };
    let soft = "MEMORY_BUDGET_SOFT_LIMIT";
    assert_eq!(told(|telemetry| load(telemetry, needed)), (vec![Value::Word(soft)], vec![(soft, 1)]));
    assert_eq!(told(|telemetry| load(telemetry, 2 * needed)), (vec![], vec![]));
}

#[test]
fn a_load_over_a_strict_budget_is_told_as_an_event_and_counted() {
    let file = roomy();
    let too_few = plan(&file, 4096).total_bytes() - 1;
    let options = |telemetry| LoadOptions { telemetry, ..budget(BudgetMode::Strict, too_few) };
    let exceeded = "MEMORY_BUDGET_EXCEEDED";
    let refused = (vec![Value::Word(exceeded)], vec![(exceeded, 1)]);
    let load = |telemetry| {
        let error = Engine::load(file.path(), &options(telemetry)).unwrap_err();
        assert_eq!(error.reason(), Some(ReasonCode::MemoryBudgetExceeded));
    };
    assert_eq!(told(load), refused);
    let models = Models::new(ModelsOptions::default());
    let declare = |telemetry| {
        let error = models.declare("roomy", file.path(), &options(telemetry)).unwrap_err();
        assert_eq!(error.reason(), Some(ReasonCode::MemoryBudgetExceeded));
    };
    assert_eq!(told(declare), refused, "what is refused when it is declared");
}

#[test]
fn without_a_budget_nothing_is_checked() {
    let file = roomy();
    let engine = file.load(&budget(BudgetMode::None, 1));
    assert_eq!((engine.report().shape.context_len, codes(&engine)), (4096, vec![]));
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_or_allowed_and_reported() {
    let file = ModelFile::tiny();
    let path = file.with_text("gpt-2", "odd-9");
    let error = Engine::load(&path, &one_thread()).unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Invalid, Some(ReasonCode::TokenizerPreTokenizerUnknown)));
    let tokenizer = TokenizerOptions { allow_unknown_pretokenizer: true, ..TokenizerOptions::default() };
    let engine = Engine::load(&path, &LoadOptions { tokenizer, ..one_thread() }).unwrap();
    assert_eq!(codes(&engine), [ReasonCode::TokenizerPreTokenizerUnknown]);
    assert!(engine.report().findings[0].detail.contains("odd-9"), "{:?}", engine.report().findings);
    let ask = |engine: &Engine| {
        said(&engine.generate(&Generate { max_tokens: Some(5), ..endless(Generate::text("hello")) }).unwrap())
    };
    assert_eq!(ask(&engine), ask(&file.load(&one_thread())));
}

#[test]
fn an_architecture_without_an_engine_is_refused_by_name() {
    let file = ModelFile::tiny();
    let error = Engine::load(&file.with_text("llama", "mamba"), &one_thread()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.contains("mamba") && text.contains("llama"), "{text}");
}

#[test]
fn kernels_that_are_not_here_are_refused_with_those_that_are() {
    let file = ModelFile::tiny();
    let options = |name: &str| LoadOptions { kernels: Some(name.to_owned()), ..one_thread() };
    let error = Engine::load(file.path(), &options("abacus")).unwrap_err();
    assert!(matches!(error, Error::KernelsUnavailable { available, .. } if available.contains(&"generic")));
    assert_eq!(file.load(&options("generic")).report().kernels, "generic");
}

#[test]
fn numbers_beyond_any_machine_are_refused_with_their_bound() {
    let file = ModelFile::tiny();
    let huge = usize::MAX;
    let cases = [
        ("n_threads", LoadOptions { n_threads: Some(huge), ..one_thread() }),
        ("n_parallel", LoadOptions { n_parallel: huge, ..one_thread() }),
        ("max_batch_tokens", LoadOptions { max_batch_tokens: huge, ..one_thread() }),
        ("kv_len", LoadOptions { kv_len: Some(huge), ..one_thread() }),
    ];
    for (field, options) in cases {
        let error = Engine::load(file.path(), &options).unwrap_err();
        let Error::OptionTooLarge { option, got, .. } = error else { panic!("{field}: {error:?}") };
        assert_eq!((option, got, error.kind()), (field, huge, ErrorKind::Invalid));
    }
    let longest = file.load(&LoadOptions { context_len: Some(huge), ..one_thread() });
    assert_eq!(longest.report().shape.context_len, 256);
}

#[test]
fn damaged_files_are_refused_or_answer_and_never_panic() {
    let file = ModelFile::tiny();
    let bytes = std::fs::read(file.path()).unwrap();
    for part in 0..64 {
        let path = file.with_bytes(&bytes[..bytes.len() * part / 64]);
        let error = Engine::load(&path, &one_thread()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "part {part}: {error}");
    }
    let mut random = SplitMix::new(3);
    for round in 0..200 {
        let mut damaged = bytes.clone();
        let at = usize::try_from(random.next_u64() % 6000).unwrap();
        damaged[at] ^= random.next_u8() | 1;
        let Ok(engine) = Engine::load(&file.with_bytes(&damaged), &one_thread()) else { continue };
        let answer = engine.generate(&Generate { max_tokens: Some(2), ..Generate::text("hello") });
        assert!(engine.runtime().health().running, "round {round}, byte {at}: {answer:?}");
    }
}
