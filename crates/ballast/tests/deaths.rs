//! A tensor model in a worker process as the first link of a chain, and the same file in this process behind it: the
//! worker is killed while it computes, and every request is answered right, in time, and says who answered.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast::soak::workers;
use ballast::tensor_model::TensorLoadOptions;
use ballast::{Isolation, wiring};
use ballast_artifacts::{Until, digest_file};
use ballast_backend::{
    Clock, DType, Dim, ModelArtifact, ModelFmt, PrepareOptions, Pulse, ReasonCode, Tensor, TensorData, TensorMap,
};
use ballast_runtime::breaker::{Cause, Position};
use ballast_runtime::retry::{Backoff, RetryPolicy};
use ballast_runtime::supervised::{
    Link, LinkModel, PredictOptions, Prediction, SupervisedEngine, SupervisedOptions, SupervisedParts,
};
use ballast_runtime::telemetry::Telemetry;
use ballast_testkit::{PATIENCE, TinyOnnx, VirtualClock};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const WIDTH: usize = 8;
const N_CALLERS: u64 = 4;

/// Entered by its name when this executable is started as a worker; otherwise nothing happens.
#[test]
fn __ballast_worker() {
    ballast::worker_main();
}

/// The chain, on a clock that moves while the test waits: so a breaker stays open for as long as the test looks at it.
struct House {
    engine: SupervisedEngine,
    clock: VirtualClock,
    _folder: tempfile::TempDir,
}

/// One after the other: both count the workers of this process.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl House {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let shape = [Dim::Any, Dim::Fixed(WIDTH)];
        let bias = Tensor::new(vec![WIDTH], TensorData::F32(vec![0.5; WIDTH])).unwrap();
        let model = TinyOnnx::new(17).input("x", DType::F32, &shape).output("y", DType::F32, &shape);
        std::fs::write(&path, model.weight("b", &bias).node("Add", &["x", "b"], &["y"], &[]).write()).unwrap();
        let virtual_clock = VirtualClock::new();
        let clock: Arc<dyn Clock> = Arc::new(virtual_clock.clone());
        let pulse = Pulse::new();
        let sha256 = digest_file(&path, &Until { clock: &*clock, deadline: None, pulse: &pulse }).unwrap().sha256;
        let artifact = ModelArtifact::Authoring { path, format: ModelFmt::Onnx, sha256 };
        let link = |isolation| {
            let options = TensorLoadOptions { n_threads: Some(1), isolation, ..TensorLoadOptions::default() };
            let engine = wiring::tensor_engine(&options, &clock).unwrap();
            let model = LinkModel::Artifact { artifact: artifact.clone(), options: PrepareOptions::default() };
            Link { engine, model, memory: None }
        };
        let mut options = SupervisedOptions {
            retry: RetryPolicy { attempts_max: 1, ..RetryPolicy::default() },
            restart: Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(5), ..Backoff::default() },
            open_max: Duration::from_secs(3600),
            ..SupervisedOptions::default()
        };
        options.pool.n_instances = 1;
        options.watchdog.stall_after = Duration::from_secs(3600);
        options.breaker.sla = Some(Duration::from_secs(3600));
        let chain = vec![link(Isolation::Process), link(Isolation::InProcess)];
        let parts = SupervisedParts { clock, telemetry: Telemetry::default() };
        let engine = SupervisedEngine::open(chain, parts, options).unwrap();
        Self { engine, clock: virtual_clock, _folder: folder }
    }

    /// Asks, and checks the answer.
    fn predict(&self, value: f32) -> Prediction {
        let x = Tensor::new(vec![1, WIDTH], TensorData::F32(vec![value; WIDTH])).unwrap();
        let options = PredictOptions { deadline: Duration::from_secs(3600), ..PredictOptions::default() };
        let prediction = self.engine.predict_blocking(TensorMap::from([("x".to_owned(), x)]), options).unwrap();
        assert_eq!(prediction.outputs.get("y").unwrap().as_f32().unwrap(), [value + 0.5; WIDTH]);
        prediction
    }

    fn breaker(&self) -> Option<Position> {
        self.engine.health().links[0].breaker
    }

    /// Asks until the worker answers.
    fn is_answered_by_the_worker(&self) {
        self.until("a worker answers", || self.predict(1.0).degraded.is_empty().then_some(()));
    }

    /// Waits for a condition of the outside, and lets the chain's time pass.
    #[track_caller]
    fn until<T>(&self, what: &str, found: impl FnMut() -> Option<T>) -> T {
        self.wait(what, Duration::from_millis(50), found)
    }

    /// Waits for a condition of the outside; the chain's time stands still once an instance may be replaced.
    #[track_caller]
    fn until_at_rest<T>(&self, what: &str, found: impl FnMut() -> Option<T>) -> T {
        self.clock.advance(Duration::from_secs(1));
        self.wait(what, Duration::ZERO, found)
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, advance: Duration, mut found: impl FnMut() -> Option<T>) -> T {
        let (step, mut waited) = (Duration::from_millis(1), Duration::ZERO);
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
            thread::sleep(step);
            self.clock.advance(advance);
            waited += step;
        }
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_worker_killed_while_it_computes_opens_the_breaker_and_another_closes_it() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let house = House::open();
    let (mut killed, mut seen) = (BTreeSet::new(), Vec::new());
    // Each round is an answer and a death: half of the calls fail, and ten samples are enough to say so.
    loop {
        // The clock stands still from the moment that the breaker opens: it would close again.
        house.until("a worker answers, or the breaker opens", || {
            let is_answered = house.predict(1.0).degraded.is_empty();
            (is_answered || house.breaker() != Some(Position::Closed)).then_some(())
        });
        if house.breaker() != Some(Position::Closed) {
            break;
        }
        let pid = house.until("a worker", || workers().into_iter().find(|pid| !killed.contains(pid)));
        send(pid, Signal::STOP);
        thread::scope(|scope| {
            let caller = scope.spawn(|| house.predict(3.0));
            house.until("the call is at the worker", || {
                let health = house.engine.health();
                let is_there = health.links[0].pool.as_ref().is_some_and(|pool| pool.active > 0);
                (is_there || caller.is_finished()).then_some(())
            });
            send(pid, Signal::KILL);
            // Where the next instance was opened already, that one answers.
            seen.extend(caller.join().unwrap().degraded);
        });
        killed.insert(pid);
        assert!(killed.len() <= 20, "the breaker does not open");
    }
    assert!(seen.contains(&ReasonCode::FallbackEngaged) && seen.contains(&ReasonCode::EngineFailed), "{seen:?}");
    assert_eq!(house.engine.health().links[0].breaker_counters.trips_by(Cause::SuccessRate), 1);
    // As long as the last worker's thread has not ended there is no engine to ask at all. Time stands still meanwhile.
    house.until_at_rest("another worker may be opened, but the breaker is open", || {
        let prediction = house.predict(4.0);
        (prediction.degraded == [ReasonCode::FallbackEngaged, ReasonCode::CircuitOpen]).then_some(())
    });

    house.is_answered_by_the_worker();
    house.until("the breaker closes", || {
        house.predict(5.0);
        (house.breaker() == Some(Position::Closed)).then_some(())
    });
    assert!(workers().iter().any(|pid| !killed.contains(pid)));
    let (metrics, health) = (house.engine.metrics(), house.engine.health());
    // A worker that is killed before it is open is replaced, and is no crash.
    assert!(
        (1..=killed.len() as u64).contains(&metrics.engines.crashes),
        "{} of {}",
        metrics.engines.crashes,
        killed.len()
    );
    assert!(health.links[0].restarts >= metrics.engines.crashes);
    assert!(metrics.engines.breaker_changes >= 3 && !metrics.engines.fallbacks.is_empty());
    assert_eq!(health.links[1].restarts, 0);
}

#[test]
fn workers_killed_under_load_leave_no_request_without_its_answer() {
    const N_KILLS: usize = 8;
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let house = House::open();
    house.is_answered_by_the_worker();
    let (is_over, n_asked, n_elsewhere) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let n_gone = AtomicU64::new(0);
    let mut killed = BTreeSet::new();
    thread::scope(|scope| {
        for caller in 0..N_CALLERS {
            let (house, is_over, n_asked, n_elsewhere) = (&house, &is_over, &n_asked, &n_elsewhere);
            let n_gone = &n_gone;
            scope.spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    let prediction = house.predict(caller as f32);
                    n_asked.fetch_add(1, Ordering::AcqRel);
                    n_elsewhere.fetch_add(u64::from(!prediction.degraded.is_empty()), Ordering::AcqRel);
                }
                n_gone.fetch_add(1, Ordering::AcqRel);
            });
        }
        while killed.len() < N_KILLS {
            let asked = n_asked.load(Ordering::Acquire);
            house.until("work between two kills", || (n_asked.load(Ordering::Acquire) >= asked + 20).then_some(()));
            // One that is killed before it is open never was an engine, and its end no crash.
            house.is_answered_by_the_worker();
            let pid = house.until("another worker", || workers().into_iter().find(|pid| !killed.contains(pid)));
            send(pid, Signal::KILL);
            killed.insert(pid);
        }
        is_over.store(true, Ordering::Release);
        house.until("the callers go", || (n_gone.load(Ordering::Acquire) == N_CALLERS).then_some(()));
    });
    house.is_answered_by_the_worker();
    let metrics = house.engine.metrics();
    assert!((1..=N_KILLS as u64).contains(&metrics.engines.crashes), "{}", metrics.engines.crashes);
    assert!(n_elsewhere.load(Ordering::Acquire) >= N_KILLS as u64, "each death is answered by the next link");
}
