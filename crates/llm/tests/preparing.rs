//! What the engine makes of model artifacts, and what it refuses.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_artifacts::{Until, digest_file};
use ballast_backend::{
    BlockId, Clock, CompiledMeta, ComputeUnits, EngineError, ErrorKind, InferenceEngine, Instance, LogitRows, Logits,
    ModelArtifact, ModelFmt, PrepareOptions, Pulse, Quantization, ReasonCode, SequenceStep, Sha256, TokenId,
};
use ballast_gguf::{Gguf, TensorType, Writer};
use ballast_llm::{ENGINE_VERSION, EngineOptions, LlmCpu, LlmError, MemoryPlan, STEP_SLA};
use ballast_testkit::{TinyLlama, VirtualClock};
use std::error::Error;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

struct House {
    dir: TempDir,
    options: EngineOptions,
    engine: LlmCpu,
}

impl House {
    fn new() -> Self {
        let options = EngineOptions { n_threads: NonZeroUsize::new(2).unwrap(), ..EngineOptions::default() };
        let house = Self {
            dir: tempfile::tempdir().unwrap(),
            options,
            engine: LlmCpu::new(options, Arc::new(VirtualClock::new())),
        };
        house.write(1);
        house
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tiny.gguf")
    }

    /// Puts the model of this seed in the file's place.
    fn write(&self, seed: u64) {
        TinyLlama { seed, ..TinyLlama::new(TensorType::Q8_0) }.write_file(&self.path()).unwrap();
    }

    fn artifact(&self) -> ModelArtifact {
        let (clock, pulse) = (VirtualClock::new(), Pulse::new());
        let until = Until { clock: &clock, deadline: None, pulse: &pulse };
        let sha256 = digest_file(&self.path(), &until).unwrap().sha256;
        ModelArtifact::Authoring { path: self.path(), format: ModelFmt::Gguf, sha256 }
    }

    fn refused(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> (ErrorKind, Option<ReasonCode>) {
        told(&self.engine.prepare(artifact, options).unwrap_err())
    }
}

fn told(error: &EngineError) -> (ErrorKind, Option<ReasonCode>) {
    let source = error.source().unwrap().downcast_ref::<LlmError>().unwrap();
    assert_eq!(source.kind(), error.kind());
    (error.kind(), source.reason())
}

#[test]
fn a_model_is_prepared_and_an_instance_of_it_runs() {
    let house = House::new();
    let artifact = house.artifact();
    let prepared = house.engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    assert_eq!((&prepared.artifact, &prepared.io_schema), (&artifact, &None));
    assert_eq!(prepared.sla_estimate, STEP_SLA);
    let plan = MemoryPlan::new(&Gguf::open(&house.path()).unwrap(), &house.options).unwrap();
    assert_eq!(prepared.memory_bytes, plan.total_bytes());
    let Instance::Generator(mut generator) = house.engine.open(&prepared).unwrap() else { panic!("a predictor") };
    let (tokens, blocks) = ([TokenId(3), TokenId(5)], [BlockId(0)]);
    let step = SequenceStep { tokens: &tokens, start: 0, blocks: &blocks, logits: LogitRows::Last };
    let mut logits = Logits::default();
    generator.step(&[step], &mut logits, &Pulse::new()).unwrap();
    assert!(logits.row(0).iter().all(|logit| logit.is_finite()));
}

#[test]
fn the_key_names_everything_the_result_depends_on() {
    let house = House::new();
    let artifact = house.artifact();
    let ModelArtifact::Authoring { sha256, .. } = &artifact else { panic!() };
    let key = |units| {
        let options = PrepareOptions { compute_units: units, ..PrepareOptions::default() };
        house.engine.prepare(&artifact, &options).unwrap().cache_key
    };
    let expected = format!("{sha256}:{ENGINE_VERSION}:strips16.1:cpu_only:as_stored:any:any",);
    for units in ComputeUnits::EVERY {
        assert_eq!(key(units), expected, "{units:?}");
    }
    let generic = EngineOptions { kernels: ballast_llm::kernel_set("generic").unwrap(), ..house.options };
    let other = LlmCpu::new(generic, Arc::new(VirtualClock::new()));
    let of_other = other.prepare(&artifact, &PrepareOptions::default()).unwrap().cache_key;
    assert_eq!(of_other, expected, "packed weights are the same bytes for every kernel set");
}

#[test]
fn capabilities_say_what_runs_and_invent_no_figure() {
    let house = House::new();
    for units in ComputeUnits::EVERY {
        let options = PrepareOptions { compute_units: units, ..PrepareOptions::default() };
        let report = house.engine.capabilities(&house.engine.prepare(&house.artifact(), &options).unwrap());
        assert_eq!(report.compute_units_requested, units);
        assert_eq!(report.compute_units_actual, ComputeUnits::CpuOnly);
        assert!(report.device_class.contains(house.options.kernels.name()), "{}", report.device_class);
        assert!(report.device_class.contains("2 threads"), "{}", report.device_class);
        assert_eq!(report.max_batch_size, house.options.max_batch_sequences);
        assert_eq!((report.ane_op_coverage_pct, report.compile_p99, report.infer_p99), (None, None, None));
    }
}

#[test]
fn content_with_another_digest_is_refused() {
    let house = House::new();
    let artifact = house.artifact();
    let prepared = house.engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    house.write(2);
    let options = PrepareOptions::default();
    assert_eq!(house.refused(&artifact, &options), (ErrorKind::Invalid, None));
    assert_eq!(told(&house.engine.open(&prepared).unwrap_err()), (ErrorKind::Invalid, None));
    // The same bytes again are the same model, whatever the file's date.
    house.write(1);
    assert!(house.engine.open(&prepared).is_ok());
    std::fs::remove_file(house.path()).unwrap();
    assert!(house.engine.open(&prepared).is_err());
}

#[test]
fn a_plan_over_its_budget_is_denied_with_its_reason() {
    let house = House::new();
    let artifact = house.artifact();
    let bytes = house.engine.prepare(&artifact, &PrepareOptions::default()).unwrap().memory_bytes;
    let budget = |bytes| PrepareOptions { memory_budget_bytes: Some(bytes), ..PrepareOptions::default() };
    assert!(house.engine.prepare(&artifact, &budget(bytes)).is_ok());
    let expected = (ErrorKind::Denied, Some(ReasonCode::MemoryBudgetExceeded));
    assert_eq!(house.refused(&artifact, &budget(bytes - 1)), expected);
}

#[test]
fn what_the_engine_would_ignore_is_refused() {
    let house = House::new();
    let artifact = house.artifact();
    let ModelArtifact::Authoring { sha256, .. } = artifact else { panic!() };
    for format in [ModelFmt::Onnx, ModelFmt::MlPackage] {
        let other = ModelArtifact::Authoring { path: house.path(), format, sha256 };
        assert_eq!(house.refused(&other, &PrepareOptions::default()).0, ErrorKind::Invalid);
    }
    let text = String::new;
    let meta = CompiledMeta { platform: text(), engine_version: text(), backend: text() };
    let compiled = ModelArtifact::Compiled { path: house.path(), meta };
    assert_eq!(house.refused(&compiled, &PrepareOptions::default()).0, ErrorKind::Invalid);
    for options in [
        PrepareOptions { quantization: Quantization::Int8, ..PrepareOptions::default() },
        PrepareOptions { shapes: vec![("x".to_owned(), vec![1])], ..PrepareOptions::default() },
    ] {
        assert_eq!(house.refused(&artifact, &options), (ErrorKind::Invalid, None), "{options:?}");
    }
    let gguf = |path: PathBuf| {
        let (clock, pulse) = (VirtualClock::new(), Pulse::new());
        let until = Until { clock: &clock, deadline: None, pulse: &pulse };
        let sha256 = digest_file(&path, &until).unwrap().sha256;
        ModelArtifact::Authoring { path, format: ModelFmt::Gguf, sha256 }
    };
    let hollow = house.dir.path().join("hollow.gguf");
    write_without_layers(&hollow);
    assert_eq!(house.refused(&gguf(hollow), &PrepareOptions::default()), (ErrorKind::Invalid, None));
    let not_a_model = ModelArtifact::Authoring {
        path: std::env::current_exe().unwrap(),
        format: ModelFmt::Gguf,
        sha256: Sha256([0; 32]),
    };
    assert_eq!(house.refused(&not_a_model, &PrepareOptions::default()).0, ErrorKind::Invalid);
}

/// A model whose metadata are complete and whose layers are not there.
fn write_without_layers(path: &Path) {
    let mut writer = Writer::new();
    writer.metadata("general.architecture", "llama");
    for (key, value) in [
        ("llama.block_count", 1_u32),
        ("llama.context_length", 32),
        ("llama.embedding_length", 32),
        ("llama.feed_forward_length", 64),
        ("llama.attention.head_count", 2),
    ] {
        writer.metadata(key, value);
    }
    writer.tensor("token_embd.weight", &[32, 4], TensorType::F32, vec![0; 32 * 4 * 4]);
    writer.write_file(path).unwrap();
}

/// A clock on which every look takes a second.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[test]
fn a_deadline_that_passes_before_or_while_content_is_read_cancels() {
    let house = House::new();
    let artifact = house.artifact();
    let within = |secs| PrepareOptions { deadline: Some(Duration::from_secs(secs)), ..PrepareOptions::default() };
    assert_eq!(house.refused(&artifact, &within(0)), (ErrorKind::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    assert!(house.engine.prepare(&artifact, &within(1)).is_ok(), "its clock stands still");
    let slow = || LlmCpu::new(house.options, Arc::new(Ticking::default()));
    let error = slow().prepare(&artifact, &within(2)).unwrap_err();
    assert_eq!(told(&error), (ErrorKind::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    assert!(slow().prepare(&artifact, &within(1000)).is_ok());
    let engine = slow();
    engine.prepare(&artifact, &PrepareOptions::default()).unwrap();
    assert!(engine.prepare(&artifact, &within(2)).is_ok(), "content that did not change is not read again");
}

/// A clock that changes the model's file when it is asked for the time once more than `n_looks` times.
struct Changing {
    n_looks: AtomicU64,
    from: PathBuf,
    to: PathBuf,
    in_place: bool,
}

impl Clock for Changing {
    fn now(&self) -> Duration {
        if self.n_looks.fetch_sub(1, Ordering::SeqCst) != 0 {
            return Duration::ZERO;
        }
        if self.in_place {
            std::fs::write(&self.to, std::fs::read(&self.from).unwrap()).unwrap();
        } else {
            std::fs::rename(&self.from, &self.to).unwrap();
        }
        Duration::ZERO
    }
}

#[test]
fn a_file_changed_while_it_is_checked_is_never_opened_as_what_it_was() {
    let mut kinds = Vec::new();
    for (n_looks, in_place) in (0..6).flat_map(|n_looks| [(n_looks, false), (n_looks, true)]) {
        let house = House::new();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(house.path()).unwrap().set_modified(old).unwrap();
        let (artifact, path) = (house.artifact(), house.path());
        let content = std::fs::read(&path).unwrap();
        let from = house.dir.path().join("other.gguf");
        TinyLlama { seed: 2, ..TinyLlama::new(TensorType::Q8_0) }.write_file(&from).unwrap();
        let clock = Changing { n_looks: AtomicU64::new(n_looks), from, to: house.path(), in_place };
        let engine = LlmCpu::new(house.options, Arc::new(clock));
        let options = PrepareOptions { deadline: Some(Duration::from_secs(1)), ..PrepareOptions::default() };
        match engine.prepare(&artifact, &options) {
            // What was mapped before another file got its name is still what was compared.
            Ok(prepared) => {
                let opened = engine.open(&prepared).is_ok();
                let written_to = in_place && std::fs::read(&path).unwrap() != content;
                assert!(!(opened && written_to), "written to at look {n_looks}");
            }
            Err(error) => kinds.push((in_place, error.kind())),
        }
    }
    assert!(kinds.contains(&(false, ErrorKind::Invalid)), "replaced before it was read: {kinds:?}");
    assert!(kinds.contains(&(true, ErrorKind::Unavailable)), "written to while it was read: {kinds:?}");
}
