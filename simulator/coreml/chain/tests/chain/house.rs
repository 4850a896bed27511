//! The chain over one package, on a clock that the test moves.

use ballast_backend::{Clock, DType, Dim, InferenceEngine, PrepareOptions, ReasonCode, Tensor, TensorData, TensorMap};
use ballast_coreml::{CoreMlEngine, CoreMlOptions};
use ballast_runtime::breaker::{Cause, Position};
use ballast_runtime::parity::{LiveOptions, Precision};
use ballast_runtime::retry::RetryPolicy;
use ballast_runtime::supervised::{
    Link, LinkHealth, LinkModel, LiveParity, PredictOptions, Prediction, SupervisedEngine, SupervisedOptions,
    SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_tensor::{ExecutorOptions, Rounding, TensorCpu};
use ballast_testkit::{PATIENCE, TinyPackage, VirtualClock};
use coreml_chain::artifact;
use coreml_simulator::{Knobs, set_knobs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const WEIGHTS: [f32; 4] = [0.1, 0.2, 0.3, 0.4];

/// `y = x w + x`, for a row of four.
fn package() -> TinyPackage {
    let row = [Dim::Fixed(1), Dim::Fixed(4)];
    let weights = Tensor::new(vec![4], TensorData::F32(WEIGHTS.to_vec())).unwrap();
    TinyPackage::new()
        .input("x", DType::F32, &row)
        .weight("w", &weights)
        .operation("mul", &[("x", "x"), ("y", "w")], Some(("h", DType::F32, &row)))
        .operation("add", &[("x", "h"), ("y", "x")], Some(("y", DType::F32, &row)))
        .output("y", DType::F32, &row)
}

/// Time that moves when the test says so, and by a step at each look.
#[derive(Default)]
pub struct Creeping {
    clock: VirtualClock,
    pub step_ms: AtomicU64,
}

impl Creeping {
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Clock for Creeping {
    fn now(&self) -> Duration {
        self.advance(Duration::from_millis(self.step_ms.load(Ordering::SeqCst)));
        self.clock.now()
    }
}

/// Files of one test.
pub struct Files {
    folder: TempDir,
}

impl Files {
    pub fn new() -> Self {
        let files = Self { folder: TempDir::new().unwrap() };
        package().write(&files.package()).unwrap();
        files
    }

    pub fn package(&self) -> PathBuf {
        self.folder.path().join("model.mlpackage")
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }
}

/// The chain of Core ML and the CPU.
pub struct House {
    pub engine: SupervisedEngine,
    pub clock: Arc<Creeping>,
    pub core_ml: Arc<CoreMlEngine>,
    _files: Files,
}

/// What the first link computes with where an accelerator is allowed.
pub const ACCELERATOR: Knobs = Knobs {
    compile: coreml_simulator::Fault::None,
    load: coreml_simulator::Fault::None,
    predict: coreml_simulator::Fault::None,
    plan: coreml_simulator::Fault::None,
    wrap: coreml_simulator::Fault::None,
    accelerator: Rounding::ToF16,
    row_padding: 0,
    error: 0.0,
    lying_strides: false,
    other_type: false,
    missing_output: false,
};

impl House {
    /// With Core ML in this process, whose first instance is not open yet.
    pub fn cold(options: CoreMlOptions) -> Self {
        Self::with(Files::new(), options, |core_ml, _| Arc::clone(core_ml) as Arc<_>)
    }

    /// With Core ML in this process, after one prediction and its comparison.
    pub fn open(options: CoreMlOptions) -> Self {
        let house = Self::cold(options);
        assert_eq!(house.predict(1.0).engine, "coreml");
        until("it was compared", || house.first().parity.within == 1);
        house
    }

    /// With what `first` makes of Core ML as the first link.
    pub fn with(
        files: Files,
        options: CoreMlOptions,
        first: impl FnOnce(&Arc<CoreMlEngine>, &Files) -> Arc<dyn InferenceEngine>,
    ) -> Self {
        set_knobs(ACCELERATOR);
        let clock = Arc::new(Creeping::default());
        let core_ml = Arc::new(CoreMlEngine::new(options, Arc::clone(&clock) as Arc<_>));
        let artifact = artifact(&files.package(), &*clock);
        let link = |engine: Arc<dyn InferenceEngine>| {
            let options = PrepareOptions { cache_dir: Some(files.cache()), ..PrepareOptions::default() };
            Link { engine, model: LinkModel::Artifact { artifact: artifact.clone(), options }, memory: None }
        };
        let cpu = TensorCpu::new(ExecutorOptions::default(), Arc::clone(&clock) as Arc<_>);
        let chain = vec![link(first(&core_ml, &files)), link(Arc::new(cpu))];
        let parts = SupervisedParts { clock: Arc::clone(&clock) as Arc<_>, telemetry: Telemetry::default() };
        let live = LiveOptions { share_ppm: 1_000_000, ..LiveOptions::default() };
        let mut options = SupervisedOptions {
            parity: Some(LiveParity { live, tolerances: Precision::F16.tolerances() }),
            retry: RetryPolicy { attempts_max: 1, ..RetryPolicy::default() },
            ..SupervisedOptions::default()
        };
        options.breaker.open_for.jitter = 0.0;
        options.breaker.window = Duration::from_secs(100_000);
        let engine = SupervisedEngine::open(chain, parts, options).unwrap();
        let house = Self { engine, clock, core_ml, _files: files };
        assert!(house.first().breaker.is_some(), "the first link is ready: {:?}", house.first().phase);
        house
    }

    pub fn ask(&self, value: f32, options: PredictOptions) -> Prediction {
        let x = Tensor::new(vec![1, 4], TensorData::F32(vec![value; 4])).unwrap();
        self.engine.predict_blocking(TensorMap::from([("x".to_owned(), x)]), options).unwrap()
    }

    /// A prediction, whose numbers must be right, whoever made it.
    pub fn predict(&self, value: f32) -> Prediction {
        let prediction = self.ask(value, PredictOptions::default());
        let outputs = prediction.outputs.get("y").unwrap().as_f32().unwrap().to_vec();
        for (got, weight) in outputs.iter().zip(WEIGHTS) {
            assert!((got - value * (1.0 + weight)).abs() < 1e-2 * value.abs().max(1.0), "{outputs:?} of {value}");
        }
        prediction
    }

    /// The CPU answers right, and says that it does so for another.
    pub fn falls_back(&self) -> Vec<ReasonCode> {
        let prediction = self.predict(1.0);
        assert_eq!(prediction.engine, "tensor-cpu", "{:?}", prediction.degraded);
        assert!(prediction.degraded.contains(&ReasonCode::FallbackEngaged), "{:?}", prediction.degraded);
        prediction.degraded
    }

    pub fn first(&self) -> LinkHealth {
        self.engine.health().links[0].clone()
    }

    pub fn is_open(&self) -> bool {
        self.first().breaker == Some(Position::Open)
    }

    pub fn trips_by(&self, cause: Cause) -> u64 {
        self.first().breaker_counters.trips_by(cause)
    }

    /// Time passes until the first link answers again, with its breaker closed.
    pub fn recovers(&self) {
        set_knobs(ACCELERATOR);
        until("the breaker closes", || {
            self.clock.advance(Duration::from_secs(1));
            self.predict(1.0).engine == "coreml" && self.first().breaker == Some(Position::Closed)
        });
        assert_eq!(self.predict(2.0).engine, "coreml");
    }
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut left = PATIENCE;
    while !is_so() {
        let pause = Duration::from_millis(2);
        thread::sleep(pause);
        left = left.checked_sub(pause).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"));
    }
}
