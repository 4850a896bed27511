//! Whatever kills a worker costs its call and nothing else.

use crate::support::{beside, cause, generator, is_there, spawn, spec, step, wait_beats};
use ballast_backend::{Clock, EngineError, ErrorKind, Interrupted, Pulse, ReasonCode};
use ballast_worker::{
    HowEnded, SharedPlace, Worker, WorkerCommand, WorkerError, WorkerGenerator, WorkerLimits, WorkerSpec,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Checks that `worker` is lost, reaped and says so; not for this call alone.
#[track_caller]
fn check_lost(mut worker: WorkerGenerator, error: &EngineError, how: HowEnded) {
    let pid = worker.pid();
    assert!(!is_there(pid), "a zombie at least");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(matches!(cause(error), WorkerError::Ended { how: got } if *got == how), "{error:?}");
    assert_eq!(cause(error).reason(), Some(ReasonCode::EngineCrashed));
    assert_eq!(worker.how_ended(), Some(how));
    let again = step(&mut worker, &[1], &Pulse::new()).unwrap_err();
    assert!(matches!(cause(&again), WorkerError::Ended { how: got } if *got == how), "{again:?}");
}

/// Stops a process and waits until it stands still.
fn stop(pid: u32) {
    let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    waitid(WaitId::Pid(process), WaitIdOptions::STOPPED).unwrap();
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_kill_during_a_step_costs_the_step() {
    let dir = tempfile::tempdir().unwrap();
    let spec = WorkerSpec { shared: SharedPlace::Directory(dir.path().to_owned()), ..spec("beat") };
    let mut worker = spawn(&spec).unwrap().into_generator().unwrap();
    let (pid, pulse) = (worker.pid(), Pulse::new());
    let theirs = pulse.clone();
    let stepped = beside(move || {
        let error = step(&mut worker, &[1], &theirs).unwrap_err();
        (worker, error)
    });
    wait_beats(&pulse, 2);
    kill(pid);
    let (worker, error) = stepped.wait();
    check_lost(worker, &error, HowEnded::Signal(9));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[test]
fn a_kill_between_steps_is_found() {
    let mut worker = generator("successor");
    kill(worker.pid());
    let error = step(&mut worker, &[1], &Pulse::new()).unwrap_err();
    check_lost(worker, &error, HowEnded::Signal(9));
    let mut worker = generator("successor");
    kill(worker.pid());
    while worker.how_ended().is_none() {
        std::thread::yield_now();
    }
    assert!(!is_there(worker.pid()));
}

#[test]
fn an_abort_of_the_engine_costs_the_step() {
    let mut worker = generator("abort");
    let error = step(&mut worker, &[1], &Pulse::new()).unwrap_err();
    check_lost(worker, &error, HowEnded::Signal(6));
}

#[test]
fn a_memory_blow_up_under_a_limit_costs_the_step() {
    let limits =
        WorkerLimits { memory_bytes_max: Some(1 << 30), end_max: Duration::from_secs(10), ..WorkerLimits::default() };
    let mut worker = spawn(&WorkerSpec { limits, ..spec("blow up") }).unwrap().into_generator().unwrap();
    let error = step(&mut worker, &[1], &Pulse::new()).unwrap_err();
    check_lost(worker, &error, HowEnded::Signal(6));
}

#[test]
fn a_memory_limit_holds_while_an_instance_opens() {
    let limits = WorkerLimits { memory_bytes_max: Some(1 << 20), ..spec("").limits };
    let error = spawn(&WorkerSpec { limits, ..spec("large") }).unwrap_err();
    assert!(matches!(error, WorkerError::Ended { how: HowEnded::Signal(6) }), "{error}");
    assert!(spawn(&spec("large")).is_ok());
}

#[test]
fn a_panic_of_the_engine_is_told_and_ends_the_worker() {
    let mut worker = generator("panics");
    let pid = worker.pid();
    let error = step(&mut worker, &[1], &Pulse::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        matches!(cause(&error), WorkerError::Panicked { text } if text == "step 0 panics by its script"),
        "{error:?}"
    );
    assert!(!is_there(pid));
    assert_eq!(step(&mut worker, &[1], &Pulse::new()).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_hung_engine_falls_silent_and_giving_it_up_kills_it() {
    let (mut hung, mut alive) = (generator("hang"), generator("beat"));
    let (pid, pulse, other) = (hung.pid(), Pulse::new(), Pulse::new());
    let (theirs, others) = (pulse.clone(), other.clone());
    let stepped = beside(move || (step(&mut hung, &[1], &theirs).unwrap_err(), hung));
    let beating = beside(move || step(&mut alive, &[1], &others).unwrap_err());
    // One beat of the proxy, one of the engine, and then no more while another engine is heard again and again.
    wait_beats(&pulse, 2);
    wait_beats(&other, other.beats() + 6);
    assert_eq!(pulse.beats(), 2);
    other.interrupt();
    assert_eq!(beating.wait().kind(), ErrorKind::Cancelled);
    assert!(is_there(pid));
    pulse.abandon();
    let (error, mut hung) = stepped.wait();
    assert!(matches!(cause(&error), WorkerError::Interrupted(Interrupted::Instance)), "{error:?}");
    assert_eq!(hung.how_ended(), Some(HowEnded::Signal(9)));
    assert!(!is_there(pid));
}

#[test]
fn a_worker_that_stands_still_is_given_up_like_any_other() {
    let mut worker = generator("successor");
    let (pid, pulse) = (worker.pid(), Pulse::new());
    stop(pid);
    let theirs = pulse.clone();
    let stepped = beside(move || step(&mut worker, &[1], &theirs).unwrap_err());
    wait_beats(&pulse, 1);
    pulse.abandon();
    assert_eq!(stepped.wait().kind(), ErrorKind::Cancelled);
    assert!(!is_there(pid));
}

/// A clock by which a second passes between two looks.
#[derive(Debug, Default)]
struct SecondByLook(AtomicU64);

impl Clock for SecondByLook {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn a_worker_that_does_not_end_when_asked_is_killed() {
    let limits = WorkerLimits { end_max: Duration::from_millis(20), ..WorkerLimits::default() };
    let worker = spawn(&WorkerSpec { limits, ..spec("successor") }).unwrap().into_generator().unwrap();
    let pid = worker.pid();
    stop(pid);
    beside(move || drop(worker)).wait();
    assert!(!is_there(pid));
}

#[test]
fn a_terminals_interruption_is_the_servers_to_obey() {
    let worker = generator("successor");
    let group = rustix::process::getpgid(Pid::from_raw(i32::try_from(worker.pid()).unwrap())).unwrap();
    assert_eq!(group.as_raw_nonzero().get().unsigned_abs(), worker.pid());
}

#[cfg(target_os = "linux")]
#[test]
fn the_system_prefers_a_worker_when_memory_runs_out() {
    let worker = generator("successor");
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", worker.pid())).unwrap();
    assert_eq!(score, "500\n");
}

#[test]
fn an_instance_that_does_not_open_in_time_is_given_up() {
    let limits = WorkerLimits { open_max: Duration::from_secs(5), ..WorkerLimits::default() };
    let spec = WorkerSpec { limits, ..spec("hangs while it opens") };
    let error = beside(move || Worker::spawn(&spec, &SecondByLook::default()).unwrap_err()).wait();
    assert!(matches!(error, WorkerError::OpenTimeout { max } if max == limits.open_max), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn an_executable_that_is_no_worker_is_an_error() {
    for (executable, args, expected) in [
        ("/nowhere/to/be/found", vec![], "cannot be started"),
        ("/bin/sh", vec!["-c".into(), "exit 7".into()], "exit code 7"),
    ] {
        let command = WorkerCommand { executable: executable.into(), args };
        let error = spawn(&WorkerSpec { command, ..spec("successor") }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
