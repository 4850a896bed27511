//! An accelerator that misbehaves, and the CPU engine behind it on the same file: every request is answered right.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_artifacts::{Until, digest_file};
use ballast_backend::{
    CapabilityReport, Clock, DType, Dim, EngineError, InferenceEngine, Instance, ModelArtifact, ModelFmt,
    PrepareOptions, Prepared, Pulse, ReasonCode, Tensor, TensorData, TensorMap,
};
use ballast_runtime::breaker::{Cause, Position};
use ballast_runtime::parity::{LiveOptions, Precision};
use ballast_runtime::retry::RetryPolicy;
use ballast_runtime::supervised::{
    Link, LinkModel, LinkPhase, LiveParity, PredictOptions, Prediction, Promotion, StartMode, SupervisedEngine,
    SupervisedOptions, SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_tensor::{Executor, ExecutorOptions, Model, ReadLimits, Rounding, TensorCpu};
use ballast_testkit::{Fault, FaultControl, FaultPlan, FaultyPredictor, Hang, PATIENCE, TinyOnnx, VirtualClock};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const WIDTH: usize = 4;

/// Computes what the CPU computes, rounded to f16, except where its plan says otherwise.
struct Accelerator {
    cpu: TensorCpu,
    path: PathBuf,
    /// Of the first instance; the others are well.
    plan: FaultPlan,
    control: FaultControl,
    n_opened: AtomicUsize,
    /// Its preparation waits while this is true.
    is_held: Arc<AtomicBool>,
    clock: VirtualClock,
    /// What a prediction takes.
    run_ms: Arc<AtomicU64>,
}

impl InferenceEngine for Accelerator {
    fn name(&self) -> &'static str {
        "accelerator"
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        until("the test lets it prepare", || !self.is_held.load(Ordering::SeqCst));
        self.cpu.prepare(artifact, options)
    }

    fn open(&self, prepared: &Prepared) -> Result<Instance, EngineError> {
        let model = Model::open_onnx(&self.path, ReadLimits::default())?;
        let options = ExecutorOptions { rounding: Rounding::ToF16, ..ExecutorOptions::default() };
        let executor = Mutex::new(Executor::new(&model, options)?);
        let (clock, run_ms) = (self.clock.clone(), Arc::clone(&self.run_ms));
        let function = move |inputs: &TensorMap| {
            clock.advance(Duration::from_millis(run_ms.load(Ordering::SeqCst)));
            executor.lock().unwrap().run(inputs.clone(), &Pulse::new(), None).unwrap()
        };
        let is_first = self.n_opened.fetch_add(1, Ordering::SeqCst) == 0;
        let plan = if is_first { self.plan.clone() } else { FaultPlan::healthy() };
        let schema = prepared.io_schema.clone().unwrap();
        let predictor = FaultyPredictor::new(schema, Arc::new(function), plan, self.control.clone());
        Ok(Instance::Predictor(Box::new(predictor)))
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        self.cpu.capabilities(prepared)
    }
}

/// The chain of accelerator and CPU over one file, on a clock that the test moves.
struct House {
    engine: SupervisedEngine,
    clock: VirtualClock,
    control: FaultControl,
    run_ms: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl House {
    fn open(plan: FaultPlan) -> Self {
        Self::start(plan, StartMode::Wait, Arc::default())
    }

    /// With [`StartMode::Warm`] the accelerator proves itself before it joins.
    fn start(plan: FaultPlan, start: StartMode, is_held: Arc<AtomicBool>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let shape = [Dim::Any, Dim::Fixed(WIDTH)];
        let weight = Tensor::new(vec![WIDTH], TensorData::F32(vec![0.1, 0.2, 0.3, 0.4])).unwrap();
        let model = TinyOnnx::new(17).input("x", DType::F32, &shape).output("y", DType::F32, &shape);
        let model = model.weight("w", &weight).node("Mul", &["x", "w"], &["h"], &[]);
        std::fs::write(&path, model.node("Add", &["h", "x"], &["y"], &[]).write()).unwrap();
        let (clock, run_ms) = (VirtualClock::new(), Arc::<AtomicU64>::default());
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let pulse = Pulse::new();
        let sha256 = digest_file(&path, &Until { clock: &clock, deadline: None, pulse: &pulse }).unwrap().sha256;
        let artifact = ModelArtifact::Authoring { path: path.clone(), format: ModelFmt::Onnx, sha256 };
        let cpu = || TensorCpu::new(ExecutorOptions::default(), Arc::clone(&shared));
        let control = FaultControl::default();
        let accelerator = Accelerator {
            cpu: cpu(),
            path,
            plan,
            control: control.clone(),
            n_opened: AtomicUsize::new(0),
            is_held,
            clock: clock.clone(),
            run_ms: Arc::clone(&run_ms),
        };
        let link = |engine: Arc<dyn InferenceEngine>| {
            let model = LinkModel::Artifact { artifact: artifact.clone(), options: PrepareOptions::default() };
            Link { engine, model, memory: None }
        };
        let chain = vec![link(Arc::new(accelerator)), link(Arc::new(cpu()))];
        let parts = SupervisedParts { clock: Arc::clone(&shared), telemetry: Telemetry::default() };
        let live = LiveOptions { share_ppm: 1_000_000, ..LiveOptions::default() };
        let promotion = Promotion::new(Precision::F16.tolerances());
        let mut options = SupervisedOptions {
            start,
            promotion: (start == StartMode::Warm).then_some(promotion),
            parity: Some(LiveParity { live, tolerances: Precision::F16.tolerances() }),
            retry: RetryPolicy { attempts_max: 1, ..RetryPolicy::default() },
            ..SupervisedOptions::default()
        };
        options.breaker.open_for.jitter = 0.0;
        options.breaker.window = Duration::from_secs(100_000);
        let engine = SupervisedEngine::open(chain, parts, options).unwrap();
        Self { engine, clock, control, run_ms, _folder: folder }
    }

    fn predict(&self, value: f32) -> Prediction {
        let x = Tensor::new(vec![1, WIDTH], TensorData::F32(vec![value; WIDTH])).unwrap();
        let inputs = TensorMap::from([("x".to_owned(), x)]);
        let prediction = self.engine.predict_blocking(inputs, PredictOptions::default()).unwrap();
        let outputs = prediction.outputs.get("y").unwrap().as_f32().unwrap().to_vec();
        for (got, weight) in outputs.iter().zip([0.1, 0.2, 0.3, 0.4]) {
            assert!((got - value * (1.0 + weight)).abs() < 1e-2 * value.abs().max(1.0), "{outputs:?} of {value}");
        }
        prediction
    }

    fn breaker(&self) -> Option<Position> {
        self.engine.health().links[0].breaker
    }

    fn trips_by(&self, cause: Cause) -> u64 {
        self.engine.health().links[0].breaker_counters.trips_by(cause)
    }

    /// After its time the breaker lets probes through, and closes.
    fn recovers(&self) {
        until("the breaker closes", || {
            self.clock.advance(Duration::from_secs(1));
            self.predict(1.0);
            self.breaker() == Some(Position::Closed)
        });
        assert_eq!(self.predict(2.0).engine, "accelerator");
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut left = PATIENCE;
    while !is_so() {
        let pause = Duration::from_millis(2);
        thread::sleep(pause);
        left = left.checked_sub(pause).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"));
    }
}

#[test]
fn a_well_accelerator_answers_within_the_parity_of_f16() {
    let house = House::open(FaultPlan::healthy());
    for value in 1..20 {
        assert_eq!(house.predict(value as f32 / 30.0).engine, "accelerator");
    }
    until("answers were compared", || house.engine.metrics().engines.parity_measured > 0);
    assert_eq!((house.engine.metrics().engines.parity_exceeded, house.breaker()), (0, Some(Position::Closed)));
}

#[test]
fn wrong_numbers_open_the_breaker_and_the_cpu_answers_on_the_same_file() {
    let house = House::open(FaultPlan::list([Fault::Wrong]));
    let x = Tensor::new(vec![1, WIDTH], TensorData::F32(vec![5.0; WIDTH])).unwrap();
    let inputs = TensorMap::from([("x".to_owned(), x)]);
    house.engine.predict_blocking(inputs, PredictOptions::default()).unwrap();
    until("it was compared", || house.breaker() == Some(Position::Open));
    assert_eq!((house.trips_by(Cause::Parity), house.engine.metrics().engines.parity_exceeded), (1, 1));
    let prediction = house.predict(3.0);
    assert_eq!(prediction.engine, "tensor-cpu");
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::CircuitOpen]);
    house.recovers();
}

#[test]
fn errors_are_answered_by_the_cpu_and_open_the_breaker() {
    let house = House::open(FaultPlan::list(vec![Fault::Fail; 2]));
    for _ in 0..2 {
        let prediction = house.predict(1.0);
        assert_eq!(prediction.engine, "tensor-cpu");
        assert!(prediction.degraded.contains(&ReasonCode::FallbackEngaged), "{:?}", prediction.degraded);
    }
    (0..8).for_each(|_| assert_eq!(house.predict(1.0).engine, "accelerator"));
    assert_eq!((house.breaker(), house.trips_by(Cause::SuccessRate)), (Some(Position::Open), 1));
    assert_eq!(house.predict(1.0).engine, "tensor-cpu");
    house.recovers();
}

#[test]
fn a_panic_and_a_lost_instance_are_answered_by_the_cpu_and_replaced() {
    for fault in [Fault::Panic, Fault::Lost] {
        let house = House::open(FaultPlan::list([fault]));
        assert_eq!(house.predict(1.0).engine, "tensor-cpu", "{fault:?}");
        until("another instance answers", || {
            house.clock.advance(Duration::from_secs(1));
            house.predict(1.0).engine == "accelerator"
        });
    }
}

#[test]
fn a_hang_is_answered_by_the_cpu_within_the_deadline() {
    let house = House::open(FaultPlan::list([Fault::Hang(Hang::Silent)]));
    thread::scope(|scope| {
        let caller = scope.spawn(|| house.predict(1.0));
        house.control.wait_hanging(1);
        house.clock.advance(Duration::from_millis(2500));
        let prediction = caller.join().unwrap();
        assert_eq!(prediction.engine, "tensor-cpu");
        assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::CancelledByTimeout]);
    });
    house.control.release();
}

#[test]
fn answers_that_come_late_open_the_breaker() {
    let house = House::open(FaultPlan::healthy());
    // Longer than the engine's own estimate, and within the deadline.
    house.run_ms.store(200, Ordering::SeqCst);
    let mut n_asked = 0;
    while house.breaker() != Some(Position::Open) {
        let prediction = house.predict(1.0);
        assert_eq!((prediction.engine, &prediction.degraded[..]), ("accelerator", &[ReasonCode::SlaViolated][..]));
        n_asked += 1;
        assert!(n_asked <= 1000, "the breaker does not open");
    }
    house.run_ms.store(0, Ordering::SeqCst);
    assert_eq!(house.trips_by(Cause::SlaViolations), 1);
    assert_eq!(house.predict(1.0).engine, "tensor-cpu");
    house.recovers();
}

#[test]
fn the_cpu_answers_at_once_and_the_accelerator_once_it_proved_itself() {
    let is_held = Arc::new(AtomicBool::new(true));
    let house = House::start(FaultPlan::healthy(), StartMode::Warm, Arc::clone(&is_held));
    let prediction = house.predict(0.5);
    assert_eq!(prediction.engine, "tensor-cpu");
    assert_eq!(prediction.degraded, [ReasonCode::FallbackEngaged, ReasonCode::EngineUnavailable]);
    is_held.store(false, Ordering::SeqCst);
    until("it is promoted", || house.engine.health().links[0].phase == LinkPhase::Ready);
    assert_eq!(house.engine.metrics().engines.parity_exceeded, 0);
    assert!(house.engine.metrics().engines.parity_measured >= 4);
    let prediction = house.predict(0.5);
    assert_eq!((prediction.engine, &prediction.degraded[..]), ("accelerator", &[][..]));
}

#[test]
fn an_accelerator_that_answers_wrong_is_never_promoted() {
    for fault in [Fault::Wrong, Fault::Panic, Fault::Lost] {
        let house = House::start(FaultPlan::list([fault]), StartMode::Warm, Arc::default());
        until("it is left out", || matches!(house.engine.health().links[0].phase, LinkPhase::Failed(_)));
        assert_eq!(house.predict(0.5).engine, "tensor-cpu", "{fault:?}");
    }
}
