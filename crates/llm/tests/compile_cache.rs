//! What is packed once is mapped afterwards; what is not the model's is never loaded.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_artifacts::{ArtifactCache, CacheKey, CacheOptions, Until, digest_file};
use ballast_backend::{
    BlockId, CompiledMeta, Generator, InferenceEngine, LogitRows, Logits, ModelArtifact, ModelFmt, PrepareOptions,
    Pulse, SequenceStep, TokenId,
};
use ballast_gguf::{Gguf, TensorType};
use ballast_llm::{
    CachedWeights, CompileCache, CompileCacheOptions, CompiledBundle, CompiledModel, EngineOptions, LlamaEngine,
    LlmCpu, MemoryPlan, Preparation, WeightsPlace,
};
use ballast_testkit::{PATIENCE, TinyLlama, VirtualClock};
use std::fs::{self, File, OpenOptions};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// What is done to a bundle's bytes.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

struct House {
    dir: TempDir,
}

impl House {
    fn new() -> Self {
        let house = Self { dir: tempfile::tempdir().unwrap() };
        house.write(1);
        house
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tiny.gguf")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Puts the model of this seed in the file's place. It is old enough to be known by its date.
    fn write(&self, seed: u64) {
        TinyLlama { seed, ..TinyLlama::new(TensorType::Q4_1) }.write_file(&self.path()).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seed);
        File::options().write(true).open(self.path()).unwrap().set_modified(old).unwrap();
    }

    fn gguf(&self) -> Arc<Gguf> {
        Arc::new(Gguf::open(&self.path()).unwrap())
    }

    fn cache(&self) -> Arc<CompileCache> {
        self.cache_of(CompileCacheOptions::new(self.root()))
    }

    fn cache_of(&self, options: CompileCacheOptions) -> Arc<CompileCache> {
        Arc::new(CompileCache::open(&options, Arc::new(VirtualClock::new())).unwrap())
    }

    /// Opens the model through a cache of its own, as a process that has just begun; says how many bytes were packed.
    fn open(&self) -> (LlamaEngine, u64) {
        self.open_with(&self.cache())
    }

    fn open_with(&self, cache: &Arc<CompileCache>) -> (LlamaEngine, u64) {
        let packed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&packed);
        let on_packed = move |done, total| {
            assert!(done <= total);
            counter.fetch_max(done, Ordering::Relaxed);
        };
        let preparation = Preparation {
            cache: Some(cache),
            cached_weights: CachedWeights::Mapped,
            on_packed: Some(&on_packed),
            sha256: None,
        };
        let engine = LlamaEngine::open_prepared(&self.gguf(), &options(), &preparation).unwrap();
        (engine, packed.load(Ordering::Relaxed))
    }

    /// Opens the model for the first time, and waits until it is in the cache.
    fn open_and_keep(&self) {
        let cache = self.cache();
        let (engine, _) = self.open_with(&cache);
        self.wait_kept(&cache);
        drop(engine);
    }

    fn wait_kept(&self, cache: &CompileCache) {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if cache.holds(&self.gguf()) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the model did not come into the cache");
    }

    fn compile(&self, cache: &CompileCache) -> CompiledModel {
        let (clock, pulse) = (VirtualClock::new(), Pulse::new());
        let until = Until { clock: &clock, deadline: None, pulse: &pulse };
        cache.compile(&self.gguf(), NonZeroUsize::MIN, &until, None).unwrap()
    }

    /// The only bundle in the cache.
    fn bundle(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.root().join("entries")).unwrap();
        let entry = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "one entry");
        entry.join("files/weights.bundle")
    }
}

fn options() -> EngineOptions {
    EngineOptions { n_threads: NonZeroUsize::new(2).unwrap(), ..EngineOptions::default() }
}

/// The bits of all logits of some tokens.
fn logits(engine: &mut impl Generator) -> Vec<u32> {
    let (tokens, blocks) = ([3, 1, 4, 1, 5].map(TokenId), [BlockId(0)]);
    let step = SequenceStep { tokens: &tokens, start: 0, blocks: &blocks, logits: LogitRows::All };
    let mut logits = Logits::default();
    engine.step(&[step], &mut logits, &Pulse::new()).unwrap();
    (0..tokens.len()).flat_map(|row| logits.row(row).iter().map(|logit| logit.to_bits()).collect::<Vec<_>>()).collect()
}

fn in_memory(house: &House) -> Vec<u32> {
    let mut engine = LlamaEngine::open(house.gguf(), &options()).unwrap();
    assert_eq!(engine.weights_place(), WeightsPlace::Memory);
    logits(&mut engine)
}

#[test]
fn the_second_open_maps_and_packs_nothing_and_answers_the_same_bits() {
    let house = House::new();
    let cache = house.cache();
    let (mut first, packed) = house.open_with(&cache);
    assert_eq!(first.weights_place(), WeightsPlace::Memory);
    assert!(packed > 0, "packing is told");
    house.wait_kept(&cache);
    let (mut second, packed) = house.open();
    assert_eq!((second.weights_place(), packed), (WeightsPlace::CompileCache, 0));
    let expected = in_memory(&house);
    assert_eq!(logits(&mut first), expected);
    assert_eq!(logits(&mut second), expected);
    // The bundle is one of every kernel set.
    let generic = EngineOptions { kernels: ballast_llm::kernel_set("generic").unwrap(), ..options() };
    let preparation = Preparation { cache: Some(&cache), ..Preparation::default() };
    let mut mapped = LlamaEngine::open_prepared(&house.gguf(), &generic, &preparation).unwrap();
    assert_eq!(mapped.weights_place(), WeightsPlace::CompileCache);
    assert_eq!(logits(&mut mapped), logits(&mut LlamaEngine::open(house.gguf(), &generic).unwrap()));
}

#[test]
fn cached_weights_are_copied_to_memory_unless_they_are_to_be_mapped() {
    let house = House::new();
    house.open_and_keep();
    let cache = house.cache();
    let preparation = Preparation { cache: Some(&cache), ..Preparation::default() };
    assert_eq!(preparation.cached_weights, CachedWeights::Copied);
    let mut copied = LlamaEngine::open_prepared(&house.gguf(), &options(), &preparation).unwrap();
    assert_eq!(copied.weights_place(), WeightsPlace::CompileCache);
    // What is in memory does not need its file any more.
    OpenOptions::new().write(true).open(house.bundle()).unwrap().set_len(10).unwrap();
    assert_eq!(logits(&mut copied), in_memory(&house));
}

#[test]
fn a_changed_model_is_packed_again() {
    let house = House::new();
    house.open_and_keep();
    house.write(2);
    let cache = house.cache();
    assert!(!cache.holds(&house.gguf()));
    let (mut engine, packed) = house.open_with(&cache);
    assert!(packed > 0);
    assert_eq!(logits(&mut engine), in_memory(&house));
    house.wait_kept(&cache);
    assert_eq!(house.open().1, 0);
}

#[test]
fn damaged_bundles_are_built_again_and_never_loaded() {
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    type Damage = Box<dyn Fn(&mut Vec<u8>)>;
    let damages: [(&str, Damage); 5] = [
        ("torn: the end is zeros", Box::new(|bytes| bytes.iter_mut().rev().take(4096).for_each(|byte| *byte = 0))),
        ("short", Box::new(|bytes| bytes.truncate(bytes.len() - 1))),
        ("no bundle", Box::new(flip(0))),
        ("wrong version", Box::new(flip(8))),
        ("empty", Box::new(Vec::clear)),
    ];
    let house = House::new();
    let expected = in_memory(&house);
    house.open_and_keep();
    for (name, damage) in damages {
        let path = house.bundle();
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let cache = house.cache();
        let (mut engine, packed) = house.open_with(&cache);
        assert!(packed > 0 && engine.weights_place() == WeightsPlace::Memory, "{name}");
        assert_eq!(logits(&mut engine), expected, "{name}");
        drop(house.compile(&cache));
        drop(engine);
        let (mut engine, packed) = house.open();
        assert_eq!((engine.weights_place(), packed), (WeightsPlace::CompileCache, 0), "{name}");
        assert_eq!(logits(&mut engine), expected, "{name}");
    }
}

/// The entry is whole, as the cache sees it; what is in it is not the bundle of this model.
#[test]
fn a_foreign_bundle_under_the_models_key_is_built_again_and_never_loaded() {
    let house = House::new();
    let expected = in_memory(&house);
    house.open_and_keep();
    let bundle = fs::read(house.bundle()).unwrap();
    let version = |bytes: &mut Vec<u8>| bytes[8] += 1;
    let digest = |bytes: &mut Vec<u8>| bytes[16] ^= 1;
    let shape = |bytes: &mut Vec<u8>| bytes[56 + 4 + "token_embd.weight".len() + 4] ^= 1;
    let longer = |bytes: &mut Vec<u8>| bytes.push(0);
    let changes: [(&str, Change<'_>); 4] =
        [("version", &version), ("digest", &digest), ("shape", &shape), ("length", &longer)];
    for (name, change) in changes {
        fs::remove_dir_all(house.root()).unwrap();
        let mut bytes = bundle.clone();
        change(&mut bytes);
        put_entry(&house, &bytes);
        let cache = house.cache();
        // Not known by its date any more: read, and found under its digest.
        let (clock, pulse) = (VirtualClock::new(), Pulse::new());
        let until = Until { clock: &clock, deadline: None, pulse: &pulse };
        let sha256 = digest_file(&house.path(), &until).unwrap().sha256;
        let preparation = Preparation { cache: Some(&cache), sha256: Some(sha256), ..Preparation::default() };
        let mut engine = LlamaEngine::open_prepared(&house.gguf(), &options(), &preparation).unwrap();
        assert_eq!(engine.weights_place(), WeightsPlace::Memory, "{name}");
        assert_eq!(logits(&mut engine), expected, "{name}");
        drop(house.compile(&cache));
        assert_eq!(fs::read(house.bundle()).unwrap(), bundle, "{name}");
    }
    fs::remove_dir_all(house.root()).unwrap();
    put_entry(&house, &bundle);
    house.compile(&house.cache());
    assert_eq!(house.open().1, 0, "the entry itself would do");
}

/// Puts an entry with these bytes in the place of the model's.
fn put_entry(house: &House, bytes: &[u8]) {
    let (clock, pulse) = (VirtualClock::new(), Pulse::new());
    let until = Until { clock: &clock, deadline: None, pulse: &pulse };
    let sha256 = digest_file(&house.path(), &until).unwrap().sha256;
    let engine = LlmCpu::new(options(), Arc::new(VirtualClock::new()));
    let artifact = ModelArtifact::Authoring { path: house.path(), format: ModelFmt::Gguf, sha256 };
    let text = engine.prepare(&artifact, &PrepareOptions::default()).unwrap().cache_key;
    let key = key_of(&text);
    let meta = CompiledMeta { platform: "any".into(), engine_version: "any".into(), backend: "any".into() };
    let cache = ArtifactCache::open(&house.root(), CacheOptions::default()).unwrap();
    let write = |dir: &Path| fs::write(dir.join("weights.bundle"), bytes);
    cache.get_or_build(&key, &meta, &until, write).unwrap();
}

fn key_of(text: &str) -> CacheKey {
    use ballast_backend::{ComputeUnits, Quantization};
    let parts: Vec<&str> = text.split(':').collect();
    let key = CacheKey::new(&ballast_artifacts::KeyParts {
        sha256: parts[0].parse().unwrap(),
        engine_version: parts[1],
        backend: parts[2],
        compute_units: ComputeUnits::CpuOnly,
        quantization: Quantization::AsStored,
        shapes: &[],
        build: parts[6],
    });
    let key = key.unwrap();
    assert_eq!(key.as_str(), text);
    key
}

#[test]
fn many_that_open_at_once_build_once() {
    let house = House::new();
    let expected = in_memory(&house);
    let caches: Vec<_> = (0..4).map(|_| house.cache()).collect();
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| assert_eq!(logits(&mut house.open_with(cache).0), expected));
        }
    });
    caches.iter().for_each(|cache| drop(house.compile(cache)));
    assert_eq!(caches.iter().map(|cache| cache.stats().builds).sum::<u64>(), 1);
    assert!(house.bundle().exists());
}

#[test]
fn compiling_ahead_says_what_was_done() {
    let house = House::new();
    let first = house.compile(&house.cache());
    assert!(!first.was_there && first.is_remembered);
    let bundle = CompiledBundle { path: house.bundle(), bytes: fs::metadata(house.bundle()).unwrap().len() };
    assert_eq!(first.bundle, bundle);
    let (sha256, listed) = house.cache().models().unwrap().remove(0);
    assert_eq!((sha256.len(), listed), (64, bundle));
    assert_eq!(house.open().1, 0);
    assert_eq!(house.compile(&house.cache()), CompiledModel { was_there: true, ..first.clone() });
    // The same content under another name is read once, and not written again.
    let copy = house.dir.path().join("copy.gguf");
    fs::copy(house.path(), &copy).unwrap();
    let ahead = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33);
    File::options().write(true).open(&copy).unwrap().set_modified(ahead).unwrap();
    fs::rename(copy, house.path()).unwrap();
    let young = house.compile(&house.cache());
    assert_eq!(young, CompiledModel { was_there: true, is_remembered: false, ..first });
}

#[test]
fn a_cache_that_is_too_small_keeps_nothing_and_the_engine_answers() {
    let house = House::new();
    let cache = house.cache_of(CompileCacheOptions { bytes_max: 1000, ..CompileCacheOptions::new(house.root()) });
    let (mut engine, _) = house.open_with(&cache);
    assert_eq!(logits(&mut engine), in_memory(&house));
    drop(engine);
    assert!(cache.stats().builds == 0 && !cache.holds(&house.gguf()));
    assert!(house.open_with(&cache).1 > 0);
}

#[test]
fn a_cache_that_is_taken_away_costs_no_answer() {
    let house = House::new();
    let cache = house.cache();
    fs::remove_dir_all(house.root()).unwrap();
    fs::write(house.root(), "a file").unwrap();
    let (mut engine, packed) = house.open_with(&cache);
    assert!(packed > 0);
    assert_eq!(logits(&mut engine), in_memory(&house));
    drop(engine);
    let refused = CompileCache::open(&CompileCacheOptions::new(house.root()), Arc::new(VirtualClock::new()));
    assert!(refused.is_err());
}

#[test]
fn a_bundle_cut_while_it_is_mapped_fails_the_step() {
    let house = House::new();
    house.open_and_keep();
    let (mut engine, _) = house.open();
    assert_eq!(logits(&mut engine), in_memory(&house));
    File::options().write(true).open(house.bundle()).unwrap().set_len(4096).unwrap();
    let (tokens, blocks) = ([TokenId(3)], [BlockId(0)]);
    let step = SequenceStep { tokens: &tokens, start: 0, blocks: &blocks, logits: LogitRows::Last };
    let error = engine.step(&[step], &mut Logits::default(), &Pulse::new()).unwrap_err();
    assert_eq!(error.kind(), ballast_backend::ErrorKind::Unavailable);
}

#[test]
fn the_plan_tells_what_is_mapped() {
    let house = House::new();
    let gguf = house.gguf();
    let plan = MemoryPlan::new(&gguf, &options()).unwrap();
    let mapped = plan.mapped(&gguf);
    let norms: u64 = gguf.tensors().iter().filter(|tensor| tensor.shape.len() == 1).map(|tensor| tensor.n_bytes).sum();
    assert_eq!((plan.mapped_bytes, mapped.mapped_bytes), (0, plan.weights_bytes - norms));
    assert_eq!(plan.total_bytes(), mapped.total_bytes());
}

#[test]
fn an_engine_that_prepares_models_maps_what_was_packed_and_refuses_what_was_changed() {
    let house = House::new();
    let cache = house.cache();
    let engine = || LlmCpu::new(options(), Arc::new(VirtualClock::new())).with_compile_cache(Arc::clone(&cache));
    let (clock, pulse) = (VirtualClock::new(), Pulse::new());
    let until = Until { clock: &clock, deadline: None, pulse: &pulse };
    let sha256 = digest_file(&house.path(), &until).unwrap().sha256;
    let artifact = ModelArtifact::Authoring { path: house.path(), format: ModelFmt::Gguf, sha256 };
    let prepared = engine().prepare(&artifact, &PrepareOptions::default()).unwrap();
    let first = engine().open(&prepared).unwrap();
    house.wait_kept(&cache);
    drop(first);
    let hits = cache.stats().hits;
    drop(engine().open(&prepared).unwrap());
    assert_eq!(cache.stats().hits, hits + 1);
    house.write(2);
    assert!(engine().open(&prepared).is_err());
    assert_eq!(cache.stats().builds, 1, "what was refused is not kept");
}
