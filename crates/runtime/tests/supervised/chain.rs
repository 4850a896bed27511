//! Engines that fail as a test says, in a chain.

use ballast_backend::{
    CapabilityReport, Clock, CompiledMeta, ComputeUnits, DType, Dim, EngineError, ErrorKind, InferenceEngine, Instance,
    IoSchema, ModelArtifact, PrepareOptions, Prepared, Tensor, TensorData, TensorMap, TensorSpec,
};
use ballast_runtime::retry::{Backoff, RetryPolicy};
use ballast_runtime::supervised::{
    Link, LinkHealth, LinkModel, PredictOptions, SupervisedEngine, SupervisedOptions, SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::{FaultControl, FaultPlan, FaultyPredictor, Function, PATIENCE, VirtualClock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(crate) const WIDTH: usize = 4;

/// From the number of the instance, counted from 0, to what goes wrong with it.
pub(crate) type Plans = dyn Fn(usize) -> FaultPlan + Send + Sync;

/// Answers `2 x + 1` to `x`, except where its plans say otherwise.
pub(crate) struct FaultyEngine {
    pub(crate) name: &'static str,
    pub(crate) plans: Box<Plans>,
    pub(crate) control: FaultControl,
    pub(crate) n_opened: AtomicUsize,
    pub(crate) n_alive: Arc<AtomicUsize>,
    pub(crate) n_prepared: AtomicUsize,
    /// Preparation waits while this is true.
    pub(crate) is_held: AtomicBool,
    pub(crate) fails_to_prepare: AtomicBool,
    pub(crate) fails_to_open: AtomicBool,
    pub(crate) sla: Duration,
    pub(crate) schema: IoSchema,
    pub(crate) function: Arc<Function>,
}

/// Counts its own life.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it fails as the test says")]
struct AsTold;

pub(crate) fn well(name: &'static str) -> FaultyEngine {
    FaultyEngine::with_sla(name, Duration::from_secs(3600), |_| FaultPlan::healthy())
}

pub(crate) fn schema() -> IoSchema {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: vec![Dim::Fixed(WIDTH)],
        batch_capable: false,
    };
    IoSchema { inputs: vec![spec("x")], outputs: vec![spec("y")] }
}

pub(crate) fn inputs(value: f32) -> TensorMap {
    let tensor = Tensor::new(vec![WIDTH], TensorData::F32(vec![value; WIDTH])).unwrap();
    TensorMap::from([("x".to_owned(), tensor)])
}

pub(crate) fn expected(value: f32) -> Vec<f32> {
    vec![2.0 * value + 1.0; WIDTH]
}

fn function(inputs: &TensorMap) -> TensorMap {
    let values = inputs["x"].as_f32().unwrap().iter().map(|x| 2.0 * x + 1.0).collect();
    TensorMap::from([("y".to_owned(), Tensor::new(vec![WIDTH], TensorData::F32(values)).unwrap())])
}

impl FaultyEngine {
    pub(crate) fn new(name: &'static str, plans: impl Fn(usize) -> FaultPlan + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self::with_sla(name, Duration::from_secs(3600), plans))
    }

    pub(crate) fn with_sla(
        name: &'static str,
        sla: Duration,
        plans: impl Fn(usize) -> FaultPlan + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            plans: Box::new(plans),
            control: FaultControl::default(),
            n_opened: AtomicUsize::new(0),
            n_alive: Arc::default(),
            n_prepared: AtomicUsize::new(0),
            is_held: AtomicBool::new(false),
            fails_to_prepare: AtomicBool::new(false),
            fails_to_open: AtomicBool::new(false),
            sla,
            schema: schema(),
            function: Arc::new(function),
        }
    }

    pub(crate) fn healthy(name: &'static str) -> Arc<Self> {
        Self::new(name, |_| FaultPlan::healthy())
    }
}

impl InferenceEngine for FaultyEngine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        until("the test lets it prepare", || !self.is_held.load(Ordering::SeqCst));
        self.n_prepared.fetch_add(1, Ordering::SeqCst);
        if self.fails_to_prepare.load(Ordering::SeqCst) {
            return Err(EngineError::new(ErrorKind::Invalid, AsTold));
        }
        Ok(Prepared {
            cache_key: self.name.to_owned(),
            artifact: artifact.clone(),
            options: options.clone(),
            io_schema: Some(self.schema.clone()),
            sla_estimate: self.sla,
            memory_bytes: 1000,
        })
    }

    fn open(&self, _prepared: &Prepared) -> Result<Instance, EngineError> {
        if self.fails_to_open.load(Ordering::SeqCst) {
            return Err(EngineError::new(ErrorKind::Unavailable, AsTold));
        }
        self.n_alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.n_alive));
        let plan = (self.plans)(self.n_opened.fetch_add(1, Ordering::SeqCst));
        let function = Arc::clone(&self.function);
        let answer = move |inputs: &TensorMap| {
            let _alive = &alive;
            function(inputs)
        };
        let predictor = FaultyPredictor::new(self.schema.clone(), Arc::new(answer), plan, self.control.clone());
        Ok(Instance::Predictor(Box::new(predictor)))
    }

    fn capabilities(&self, _prepared: &Prepared) -> CapabilityReport {
        CapabilityReport {
            device_class: self.name.to_owned(),
            supported_dtypes: vec![DType::F32],
            max_batch_size: 1,
            compute_units_requested: ComputeUnits::All,
            compute_units_actual: ComputeUnits::CpuOnly,
            ane_op_coverage_pct: None,
            compile_p99: None,
            infer_p99: None,
        }
    }
}

pub(crate) fn link(engine: &Arc<FaultyEngine>) -> Link {
    let meta = CompiledMeta { platform: String::new(), engine_version: String::new(), backend: String::new() };
    let artifact = ModelArtifact::Compiled { path: PathBuf::new(), meta };
    let model = LinkModel::Artifact { artifact, options: PrepareOptions::default() };
    Link { engine: Arc::<FaultyEngine>::clone(engine), model, memory: None }
}

/// Options with which nothing waits for virtual time that a test does not move.
pub(crate) fn options() -> SupervisedOptions {
    let at_once = Backoff { initial: Duration::ZERO, ..Backoff::default() };
    SupervisedOptions {
        retry: RetryPolicy { backoff: at_once, ..RetryPolicy::default() },
        restart: at_once,
        tick: MS(1),
        ..SupervisedOptions::default()
    }
}

pub(crate) fn open(engines: &[&Arc<FaultyEngine>], options: SupervisedOptions) -> (SupervisedEngine, VirtualClock) {
    let clock = VirtualClock::new();
    (open_at(engines, options, Arc::new(clock.clone())), clock)
}

pub(crate) fn open_at(
    engines: &[&Arc<FaultyEngine>],
    options: SupervisedOptions,
    clock: Arc<dyn Clock>,
) -> SupervisedEngine {
    let parts = SupervisedParts { clock, telemetry: Telemetry::default() };
    SupervisedEngine::open(engines.iter().map(|engine| link(engine)).collect(), parts, options).unwrap()
}

/// Predicts, checks the answer's content, and returns the engine's name.
pub(crate) fn answer(engine: &SupervisedEngine, value: f32) -> &'static str {
    let prediction = engine.predict_blocking(inputs(value), PredictOptions::default()).unwrap();
    assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), expected(value));
    prediction.engine
}

pub(crate) fn health(engine: &SupervisedEngine, idx: usize) -> LinkHealth {
    engine.health().links.swap_remove(idx)
}

/// Waits until something is so, or fails the test after [`PATIENCE`].
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    const LOOK: Duration = MS_1;
    let n_looks = PATIENCE.as_millis() / LOOK.as_millis();
    for _ in 0..n_looks {
        if is_so() {
            return;
        }
        thread::sleep(LOOK);
    }
    panic!("expected within {PATIENCE:?}: {what}");
}

const MS_1: Duration = Duration::from_millis(1);

/// Moves time on, little by little, until something is so.
pub(crate) fn pass_time(clock: &VirtualClock, step: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    until(what, || {
        clock.advance(step);
        is_so()
    });
}
