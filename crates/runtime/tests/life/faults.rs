//! Engines that fail, crash, hang and lie.

use crate::house::{ask, echo, held_echo, open, open_with, parts, read, start};
use ballast_backend::{EngineError, Generator, GeneratorShape, Logits, Pulse, ReasonCode, SequenceStep};
use ballast_runtime::breaker::{Forced, Position};
use ballast_runtime::retry::Backoff;
use ballast_runtime::watchdog::WatchdogOptions;
use ballast_runtime::{
    Attempts, EngineSource, EngineSpec, EngineState, FinishReason, Runtime, RuntimeError, RuntimeOptions,
    SupervisionOptions,
};
use ballast_testkit::{PATIENCE, Script, ScriptControl, VirtualClock};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FAILED: (FinishReason, Option<ReasonCode>) = (FinishReason::Error, Some(ReasonCode::EngineFailed));
const CRASHED: (FinishReason, Option<ReasonCode>) = (FinishReason::Error, Some(ReasonCode::EngineCrashed));
const STALLED: (FinishReason, Option<ReasonCode>) = (FinishReason::Error, Some(ReasonCode::EngineStalled));
const WHOLE: (FinishReason, Option<ReasonCode>) = (FinishReason::Length, None);

/// Instances that follow scripts one after another; the last one is opened again and again.
#[derive(Clone)]
struct Line {
    scripts: Arc<Mutex<Vec<Script>>>,
    controls: Arc<Mutex<Vec<ScriptControl>>>,
}

impl Line {
    fn new(scripts: Vec<Script>) -> Self {
        Self { scripts: Arc::new(Mutex::new(scripts)), controls: Arc::default() }
    }

    fn spec(&self, name: &'static str) -> EngineSpec {
        let line = self.clone();
        let open = move |_: &Pulse| {
            let mut scripts = line.scripts.lock().unwrap();
            let script = if scripts.len() > 1 { scripts.remove(0) } else { scripts[0].clone() };
            let (engine, control) = script.engine();
            line.controls.lock().unwrap().push(control);
            Ok(Box::new(engine) as Box<dyn Generator>)
        };
        EngineSpec { name, source: EngineSource::Reopened(Arc::new(open)) }
    }

    fn n_opened(&self) -> usize {
        self.controls.lock().unwrap().len()
    }

    fn control(&self, idx: usize) -> ScriptControl {
        self.controls.lock().unwrap()[idx].clone()
    }
}

/// A runtime over lines of instances, and the hand that lets its time pass.
fn supervise(lines: &[(&'static str, &Line)], options: RuntimeOptions) -> (Runtime, VirtualClock) {
    let clock = VirtualClock::new();
    let chain = lines.iter().map(|(name, line)| line.spec(name)).collect();
    (Runtime::supervise(chain, parts(&clock, options)).unwrap(), clock)
}

/// Lets time pass in the background until the value is dropped: restarts wait for it.
struct Ticking(Arc<std::sync::atomic::AtomicBool>);

impl Ticking {
    fn start(clock: &VirtualClock) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (clock, stopped) = (clock.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                clock.advance(Duration::from_millis(50));
                std::thread::yield_now();
            }
        });
        Self(stop)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn patient() -> RuntimeOptions {
    // Virtual time runs faster than these machines: nobody is to be given up by mistake.
    let watchdog = WatchdogOptions { stall_after: Duration::from_secs(1 << 30), call_max: None };
    RuntimeOptions { supervision: SupervisionOptions { watchdog, ..Default::default() }, ..Default::default() }
}

#[test]
fn a_failed_step_is_tried_again_and_nobody_notices() {
    let house = open(Script { fail_at: Some(2), ..echo() });
    let ended = read(house.runtime.submit(ask(b'a', 1, 9)).unwrap());
    assert_eq!((ended.how(), ended.text.as_str()), (WHOLE, "aaaaaaaaa"));
    assert_eq!(ended.summary.degraded, [ReasonCode::Retried]);
}

#[test]
fn an_engine_that_always_fails_ends_the_request_and_takes_the_next() {
    let options = RuntimeOptions {
        supervision: SupervisionOptions { attempts: Attempts(0), ..Default::default() },
        ..Default::default()
    };
    let house = open_with(Script { fail_at: Some(2), ..echo() }, options);
    let ended = read(house.runtime.submit(ask(b'a', 1, 9)).unwrap());
    assert_eq!((ended.how(), ended.tokens.len()), (FAILED, 2));
    assert!(house.runtime.health().running);
    assert_eq!(read(house.runtime.submit(ask(b'c', 1, 3)).unwrap()).how(), WHOLE);
}

#[test]
fn a_crash_without_replacement_ends_all_and_refuses_what_comes_later() {
    let mut script = Script { panic_at: Some(1), ..held_echo() };
    script.shape.max_batch_sequences = 1;
    let house = open(script);
    let working = house.runtime.submit(ask(b'a', 1, 9)).unwrap();
    house.control.wait_begun(1);
    let waiting = house.runtime.submit(ask(b'b', 1, 9)).unwrap();
    house.control.release();
    assert_eq!((read(working).how(), read(waiting).how()), (CRASHED, CRASHED));
    wait_until(|| !house.runtime.health().running);
    assert!(matches!(house.runtime.submit(ask(b'c', 1, 1)), Err(RuntimeError::Stopped)));
    let health = house.runtime.health();
    assert_eq!((health.active_sequences, health.waiting_requests), (0, 0));
}

#[test]
fn a_crash_is_made_good_on_the_next_instance_in_the_middle_of_an_answer() {
    let line = Line::new(vec![Script { panic_at: Some(4), ..echo() }, echo()]);
    let (runtime, clock) = supervise(&[("line", &line)], patient());
    let _ticking = Ticking::start(&clock);
    let streams: Vec<_> = (b'a'..b'e').map(|letter| runtime.submit(ask(letter, 3, 12)).unwrap()).collect();
    for (stream, letter) in streams.into_iter().zip(["a", "b", "c", "d"]) {
        let ended = read(stream);
        assert_eq!((ended.how(), ended.text), (WHOLE, letter.repeat(12)));
    }
    assert_eq!(line.n_opened(), 2);
    assert_eq!(runtime.health().engines[0].restarts, 1);
}

#[test]
fn a_request_under_which_every_instance_crashes_ends_and_takes_nobody_along() {
    let poison = |tokens: &[ballast_backend::TokenId]| {
        assert!(tokens[0].0 != u32::from(b'!'), "the script says so");
        *tokens.last().unwrap()
    };
    let vocab_size = echo().shape.vocab_size;
    let line = Line::new(vec![Script::new(vocab_size, poison)]);
    let (runtime, clock) = supervise(&[("line", &line)], patient());
    let _ticking = Ticking::start(&clock);
    let good: Vec<_> = (b'a'..b'd').map(|letter| runtime.submit(ask(letter, 2, 20)).unwrap()).collect();
    let bad = runtime.submit(ask(b'!', 2, 20)).unwrap();
    assert_eq!(read(bad).how(), CRASHED);
    for stream in good {
        assert_eq!(read(stream).how(), WHOLE);
    }
    assert_eq!(line.n_opened(), 4, "one, and one for each of its three attempts");
}

#[test]
fn a_hanging_engine_is_given_up_and_its_requests_go_on() {
    let line = Line::new(vec![held_echo(), echo()]);
    let (runtime, clock) = supervise(&[("line", &line)], RuntimeOptions::default());
    let stream = runtime.submit(ask(b'a', 1, 5)).unwrap();
    line.control(0).wait_begun(1);
    wait_until(|| runtime.health().engines[0].state == EngineState::Stepping);
    let _ticking = Ticking::start(&clock);
    let ended = read(stream);
    assert_eq!((ended.how(), ended.text.as_str()), (WHOLE, "aaaaa"));
    assert_eq!(ended.summary.degraded, [ReasonCode::Retried]);
    // What the lost instance says now is not heard.
    line.control(0).release();
    assert_eq!(read(runtime.submit(ask(b'b', 1, 5)).unwrap()).text, "bbbbb");
}

#[test]
fn who_only_ever_stalls_is_told_so() {
    let line = Line::new(vec![held_echo()]);
    let (runtime, clock) = supervise(&[("line", &line)], RuntimeOptions::default());
    let stream = runtime.submit(ask(b'a', 1, 5)).unwrap();
    let ticking = Ticking::start(&clock);
    assert_eq!(read(stream).how(), STALLED);
    drop(ticking);
    (0..line.n_opened()).for_each(|idx| line.control(idx).release());
}

#[test]
fn another_engine_answers_where_the_first_fails_before_its_first_token() {
    let broken = Line::new(vec![Script { panic_at: Some(0), ..echo() }]);
    let sound = Line::new(vec![echo()]);
    let (runtime, clock) = supervise(&[("broken", &broken), ("sound", &sound)], patient());
    let _ticking = Ticking::start(&clock);
    let ended = read(runtime.submit(ask(b'a', 1, 5)).unwrap());
    assert_eq!((ended.how(), ended.text.as_str()), (WHOLE, "aaaaa"));
    assert_eq!((ended.summary.engine, ended.summary.degraded), ("sound", vec![ReasonCode::FallbackEngaged]));
}

#[test]
fn an_open_breaker_sends_requests_to_the_next_engine_at_once() {
    let (first, second) = (Line::new(vec![echo()]), Line::new(vec![echo()]));
    let (runtime, _clock) = supervise(&[("first", &first), ("second", &second)], RuntimeOptions::default());
    assert_eq!(read(runtime.submit(ask(b'a', 1, 5)).unwrap()).summary.engine, "first");
    assert!(runtime.force_breaker("first", Forced::Open));
    assert_eq!(read(runtime.submit(ask(b'a', 1, 5)).unwrap()).summary.engine, "second");
    assert!(runtime.force_breaker("second", Forced::Open));
    let refused = runtime.submit(ask(b'a', 1, 5)).unwrap_err();
    assert_eq!(refused.reason(), Some(ReasonCode::CircuitOpen));
    assert!(!runtime.force_breaker("third", Forced::Open));
}

#[test]
fn the_breaker_opens_by_itself_and_closes_when_the_engine_works_again() {
    let script = Script { panic_at: Some(0), ..echo() };
    let (line, second) = (Line::new(vec![script; 11]), Line::new(vec![echo()]));
    line.scripts.lock().unwrap().push(echo());
    let supervision = SupervisionOptions {
        restart: Backoff { initial: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() },
        attempts: Attempts(0),
        ..Default::default()
    };
    let options = RuntimeOptions { supervision, ..Default::default() };
    let (runtime, clock) = supervise(&[("line", &line), ("second", &second)], options);
    let breaker = || runtime.health().engines[0].breaker;
    let ask_one = || {
        clock.advance(Duration::from_secs(1));
        let ended = read(runtime.submit(ask(b'a', 1, 2)).unwrap());
        assert_eq!(ended.how(), WHOLE, "one of the two always answers");
        ended.summary.engine
    };
    for _ in 0..10 {
        assert_eq!((breaker(), ask_one()), (Position::Closed, "second"));
    }
    assert_eq!((breaker(), ask_one()), (Position::Open, "second"));
    for _ in 0..8 {
        clock.advance(Duration::from_secs(600));
        ask_one();
    }
    assert_eq!((breaker(), ask_one()), (Position::Closed, "line"));
}

/// Waits for something that another thread does.
fn wait_until(done: impl Fn() -> bool) {
    let began = now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "nothing came of it");
        std::thread::yield_now();
    }
}

#[expect(clippy::disallowed_methods, reason = "bounds a wait for another thread")]
fn now() -> Instant {
    Instant::now()
}

/// Breaks the contract: says that a step went well and gives no logits.
struct Mute(GeneratorShape);

impl Generator for Mute {
    fn shape(&self) -> &GeneratorShape {
        &self.0
    }

    fn step(&mut self, _batch: &[SequenceStep<'_>], logits: &mut Logits, _pulse: &Pulse) -> Result<(), EngineError> {
        logits.reset(0, self.0.vocab_size);
        Ok(())
    }
}

#[test]
fn an_engine_that_gives_no_logits_leaves_nobody_waiting() {
    let runtime = start(Box::new(Mute(echo().shape)), &VirtualClock::new(), RuntimeOptions::default());
    let stream = runtime.submit(ask(b'a', 1, 9)).unwrap();
    assert_eq!(read(stream).how(), FAILED);
    assert!(runtime.health().running);
}

#[test]
fn an_answer_that_goes_on_between_crashes_is_not_given_up() {
    let crashing = Script { panic_at: Some(2), ..echo() };
    let line = Line::new(vec![crashing.clone(), crashing.clone(), crashing.clone(), crashing, echo()]);
    let (runtime, clock) = supervise(&[("line", &line)], patient());
    let _ticking = Ticking::start(&clock);
    let ended = read(runtime.submit(ask(b'a', 1, 12)).unwrap());
    assert_eq!((ended.how(), ended.text), (WHOLE, "a".repeat(12)));
    assert_eq!(line.n_opened(), 5);
}

#[test]
fn an_answer_under_which_engines_crash_for_ever_ends_however_far_it_comes() {
    let line = Line::new(vec![Script { panic_at: Some(1), ..echo() }]);
    let (runtime, clock) = supervise(&[("line", &line)], patient());
    let _ticking = Ticking::start(&clock);
    let ended = read(runtime.submit(ask(b'a', 1, 400)).unwrap());
    assert_eq!(ended.how(), CRASHED);
    assert_eq!((line.n_opened(), ended.tokens.len()), (17, 17), "one token from each");
}
