//! Model files that each say something of their own, and engines that are counted for as long as they live.

use ballast::gguf::{Gguf, TensorType};
use ballast::telemetry::Telemetry;
use ballast::tokens::SamplingParams;
use ballast::{
    Engine, Generate, LoadOptions, ModelReport, ModelSource, Models, ModelsOptions, Runtime, RuntimeOptions,
    SystemClock, wiring,
};
use ballast_backend::{EngineError, Generator, GeneratorShape, Logits, Pulse, SequenceStep};
use ballast_runtime::{Attempts, RuntimeParts, SupervisionOptions};
use ballast_testkit::{PATIENCE, TinyLlama};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// Files of tiny models, gone after the test.
pub(crate) struct Shelf(TempDir);

impl Shelf {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.gguf"))
    }

    /// The model of a seed. All take the same memory.
    pub(crate) fn file(&self, seed: u64) -> PathBuf {
        let path = self.path(&format!("seed-{seed}"));
        if !path.exists() {
            TinyLlama { seed, ..TinyLlama::new(TensorType::F32) }.write_file(&path).unwrap();
        }
        path
    }

    pub(crate) fn source(&self, seed: u64) -> ModelSource {
        ModelSource::file(&self.file(seed), &quiet())
    }

    /// Bytes that each of the files takes.
    pub(crate) fn bytes(&self) -> u64 {
        let gguf = Gguf::open(&self.file(1)).unwrap();
        wiring::model_plan(&gguf, &quiet()).unwrap().1.total_bytes()
    }
}

/// One compute thread and no events, so that many engines do not crowd the machine.
pub(crate) fn quiet() -> LoadOptions {
    LoadOptions { n_threads: Some(1), telemetry: Telemetry::default(), ..LoadOptions::default() }
}

/// Room for `n_models` of the shelf's.
pub(crate) fn room(shelf: &Shelf, n_models: u64) -> ModelsOptions {
    ModelsOptions { memory_bytes: Some(n_models * shelf.bytes()), ..ModelsOptions::default() }
}

/// Names `a`, `b`, … for the models of seeds 1, 2, …
pub(crate) fn declare(models: &Models, shelf: &Shelf, n_models: u64) {
    for (name, seed) in ["a", "b", "c", "d"].into_iter().zip(1..=n_models) {
        models.declare(name, &shelf.file(seed), &quiet()).unwrap();
    }
}

/// Greedy and short.
pub(crate) fn question() -> Generate {
    Generate {
        sampling: SamplingParams::greedy(),
        ignore_eos: true,
        max_tokens: Some(8),
        ..Generate::text("hello the number")
    }
}

pub(crate) fn ask(engine: &Engine) -> String {
    engine.generate(&question()).unwrap().text
}

/// What the model of a seed answers.
pub(crate) fn answer_of(shelf: &Shelf, seed: u64) -> String {
    ask(&Engine::load(&shelf.file(seed), &quiet()).unwrap())
}

pub(crate) fn report(models: &Models, name: &str) -> ModelReport {
    models.status_of(name).unwrap()
}

/// Waits for what other threads do.
#[expect(clippy::disallowed_methods, reason = "a test must end even where what it waits for never comes")]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Engines by what they do to the machine: how many were opened, what those alive take, and the most they ever took.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    n_opened: AtomicU64,
    live_bytes: AtomicU64,
    live_bytes_max: AtomicU64,
}

impl Ledger {
    pub(crate) fn n_opened(&self) -> u64 {
        self.n_opened.load(Ordering::SeqCst)
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn live_bytes_max(&self) -> u64 {
        self.live_bytes_max.load(Ordering::SeqCst)
    }

    fn open(&self, bytes: u64) {
        self.n_opened.fetch_add(1, Ordering::SeqCst);
        let live = self.live_bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.live_bytes_max.fetch_max(live, Ordering::SeqCst);
    }
}

/// An engine that is in the ledger while it lives.
struct Counted {
    engine: Box<dyn Generator>,
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Generator for Counted {
    fn shape(&self) -> &GeneratorShape {
        self.engine.shape()
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError> {
        self.engine.step(batch, logits, pulse)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.live_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// The model of a seed, counted. Its report is named after the file.
pub(crate) fn counted(shelf: &Shelf, seed: u64, ledger: &Arc<Ledger>) -> ModelSource {
    let (bytes, ledger) = (shelf.bytes(), Arc::clone(ledger));
    opened(&shelf.file(seed), bytes, move |engine| {
        ledger.open(bytes);
        Box::new(Counted { engine, ledger: Arc::clone(&ledger), bytes })
    })
}

/// The model at `path` with its engine wrapped; a failed step is not tried again.
pub(crate) fn opened(
    path: &Path,
    bytes: u64,
    wrap: impl Fn(Box<dyn Generator>) -> Box<dyn Generator> + Send + Sync + 'static,
) -> ModelSource {
    let plain = Engine::load(path, &quiet()).unwrap();
    let (format, mut report) = (plain.format().clone(), plain.report().clone());
    report.model_name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let tokenizer = Arc::clone(plain.runtime().tokenizer());
    let gguf = Arc::new(Gguf::open(path).unwrap());
    let open = move |_: &Pulse| {
        let engine = wrap(wiring::open_generator(&gguf, &quiet())?);
        let supervision = SupervisionOptions { attempts: Attempts(0), ..SupervisionOptions::default() };
        let options = RuntimeOptions { supervision, ..RuntimeOptions::default() };
        let parts =
            RuntimeParts { options, ..RuntimeParts::new(Arc::clone(&tokenizer), Arc::new(SystemClock::start())) };
        Ok(Engine::from_runtime(Runtime::start(engine, parts), format.clone(), report.clone()))
    };
    ModelSource::opened(bytes, Arc::new(open))
}
