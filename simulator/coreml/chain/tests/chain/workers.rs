//! A framework that takes its process along: the process is a worker's.

use crate::house::{Files, House, until};
use ballast_backend::{
    CapabilityReport, EngineError, InferenceEngine, Instance, ModelArtifact, PrepareOptions, Prepared, ReasonCode,
};
use ballast_coreml::{CoreMlEngine, CoreMlOptions};
use ballast_worker::{HowEnded, SharedPlace, Worker, WorkerCommand, WorkerError, WorkerLimits, WorkerSpec};
use coreml_chain::{Deed, Job, Real};
use coreml_simulator::start;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Core ML whose instances run in workers: the first one's framework misbehaves, that of the others is well.
struct Isolated {
    core_ml: Arc<CoreMlEngine>,
    first: Job,
    n_opened: AtomicUsize,
    pid: AtomicU32,
    failures: Mutex<Vec<WorkerError>>,
}

impl Isolated {
    fn job(&self) -> Job {
        let is_first = self.n_opened.fetch_add(1, Ordering::SeqCst) == 0;
        let Job { package, cache, .. } = self.first.clone();
        if is_first { self.first.clone() } else { Job { package, cache, ..Job::default() } }
    }
}

impl InferenceEngine for Isolated {
    fn name(&self) -> &'static str {
        self.core_ml.name()
    }

    fn prepare(&self, artifact: &ModelArtifact, options: &PrepareOptions) -> Result<Prepared, EngineError> {
        self.core_ml.prepare(artifact, options)
    }

    fn open(&self, _prepared: &Prepared) -> Result<Instance, EngineError> {
        let opened = spawn(&self.job()).and_then(Worker::into_predictor);
        match opened {
            Ok(predictor) => {
                self.pid.store(predictor.pid(), Ordering::SeqCst);
                Ok(Instance::Predictor(Box::new(predictor)))
            }
            Err(error) => {
                let told = EngineError::new(error.kind(), std::io::Error::other(error.to_string()));
                self.failures.lock().unwrap().push(error);
                Err(told)
            }
        }
    }

    fn capabilities(&self, prepared: &Prepared) -> CapabilityReport {
        self.core_ml.capabilities(prepared)
    }
}

fn spawn(job: &Job) -> Result<Worker, WorkerError> {
    let spec = WorkerSpec {
        command: WorkerCommand::marked(env!("CARGO_BIN_EXE_coreml-worker").into()),
        payload: job.payload(),
        shared: SharedPlace::Memory,
        limits: WorkerLimits { end_max: Duration::from_secs(10), ..WorkerLimits::default() },
    };
    Worker::spawn(&spec, &Real::start())
}

fn house(first: Job) -> (House, Arc<Isolated>) {
    let files = Files::new();
    let mut kept = None;
    let house = House::with(files, CoreMlOptions::default(), |core_ml, files| {
        let first = Job { package: files.package(), cache: files.cache(), ..first };
        let (core_ml, n_opened, pid, failures) = (Arc::clone(core_ml), 0.into(), 0.into(), Mutex::default());
        let isolated = Arc::new(Isolated { core_ml, first, n_opened, pid, failures });
        kept = Some(Arc::clone(&isolated));
        isolated
    });
    (house, kept.unwrap())
}

#[test]
fn a_well_worker_answers() {
    let _turn = start();
    let (house, isolated) = house(Job::default());
    assert_eq!(house.predict(1.0).engine, "coreml");
    assert_ne!(isolated.pid.load(Ordering::SeqCst), std::process::id());
    assert_eq!(house.core_ml.get_metrics().infer_count, 0, "nothing was computed in this process");
}

#[test]
fn a_framework_that_ends_its_process_in_a_prediction_costs_the_worker_and_no_answer() {
    let _turn = start();
    for at_predict in [Deed::Abort, Deed::Throw] {
        let (house, isolated) = house(Job { at_predict, ..Job::default() });
        let reasons = house.falls_back();
        assert!(reasons.contains(&ReasonCode::EngineFailed), "{at_predict:?}: {reasons:?}");
        house.recovers();
        assert_eq!(isolated.n_opened.load(Ordering::SeqCst), 2, "the next worker is well");
        assert_eq!(house.first().restarts, 1);
    }
}

#[test]
fn a_framework_that_ends_its_process_in_a_load_or_the_canary_costs_the_worker_and_no_answer() {
    let _turn = start();
    let jobs = [
        Job { at_load: Deed::Abort, ..Job::default() },
        Job { at_load: Deed::Throw, ..Job::default() },
        Job { at_canary: Deed::Abort, ..Job::default() },
        Job { at_canary: Deed::Throw, ..Job::default() },
    ];
    for job in jobs {
        let (house, isolated) = house(job.clone());
        house.falls_back();
        let failures = std::mem::take(&mut *isolated.failures.lock().unwrap());
        assert!(matches!(failures[..], [WorkerError::Ended { how: HowEnded::Signal(6) }]), "{job:?}: {failures:?}");
        house.recovers();
    }
}

#[test]
fn a_framework_that_freezes_its_process_is_answered_for_and_the_worker_is_killed() {
    let _turn = start();
    let (house, isolated) = house(Job { at_predict: Deed::Freeze, ..Job::default() });
    let prediction = thread::scope(|scope| {
        let caller = scope.spawn(|| house.predict(1.0));
        until("the worker is there", || isolated.pid.load(Ordering::SeqCst) != 0);
        until("the call is given up", || {
            house.clock.advance(Duration::from_millis(100));
            caller.is_finished()
        });
        caller.join().unwrap()
    });
    assert_eq!(prediction.engine, "tensor-cpu", "{:?}", prediction.degraded);
    assert!(prediction.degraded.contains(&ReasonCode::FallbackEngaged), "{:?}", prediction.degraded);
    let frozen = isolated.pid.load(Ordering::SeqCst);
    house.recovers();
    assert_ne!(isolated.pid.load(Ordering::SeqCst), frozen);
    until("the frozen worker is gone", || !is_there(frozen));
}

#[test]
fn an_error_in_a_worker_is_that_of_the_framework_and_costs_no_worker() {
    let _turn = start();
    let (house, isolated) = house(Job { at_predict: Deed::Fail, ..Job::default() });
    house.falls_back();
    house.falls_back();
    assert_eq!(isolated.n_opened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_worker_that_is_killed_is_replaced() {
    let _turn = start();
    let (house, isolated) = house(Job::default());
    assert_eq!(house.predict(1.0).engine, "coreml");
    let pid = isolated.pid.load(Ordering::SeqCst);
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let reasons = house.falls_back();
    assert!(reasons.contains(&ReasonCode::EngineFailed), "{reasons:?}");
    house.recovers();
    assert_ne!(isolated.pid.load(Ordering::SeqCst), pid);
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
