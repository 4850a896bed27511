//! What happens in the last moment: of a request, of its time in the queue, of a step, of the runtime.

use crate::house::{House, ask, echo, held_echo, open_with, parts, read};
use ballast_backend::{EngineError, ErrorKind, Generator, GeneratorShape, Logits, Pulse, ReasonCode, SequenceStep};
use ballast_runtime::telemetry::{Level, Logger, RuntimeLogEvent, Telemetry};
use ballast_runtime::{
    Attempts, Deadlines, EngineSource, EngineSpec, FinishReason, InputPolicy, Request, Runtime, RuntimeOptions,
    RuntimeParts, SupervisionOptions, Verdict,
};
use ballast_testkit::{PATIENCE, Script, ScriptedGenerator, VirtualClock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Does something where a request is told to have ended: on the thread that ends it, before its reader knows.
struct AtAnEnd<F>(F);

impl<F: Fn() + Send + Sync> Logger for AtAnEnd<F> {
    fn enabled(&self, _level: Level) -> bool {
        true
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        if event.name == "request_ended" {
            (self.0)();
        }
    }
}

fn telling(at_an_end: impl Fn() + Send + Sync + 'static) -> Telemetry {
    Telemetry { metrics: None, logger: Some(Arc::new(AtAnEnd(at_an_end))) }
}

#[test]
fn the_place_of_a_request_is_free_before_its_reader_is_told_of_its_end() {
    let (runtime, seen): (Arc<OnceLock<Runtime>>, Arc<Mutex<Vec<usize>>>) = Default::default();
    let (at, into) = (Arc::clone(&runtime), Arc::clone(&seen));
    let look = move || into.lock().unwrap().extend(at.get().map(|runtime| runtime.health().waiting_requests));
    let mut script = held_echo();
    script.shape.max_batch_sequences = 1;
    let (engine, control) = script.engine();
    let clock = VirtualClock::new();
    let parts = RuntimeParts { telemetry: telling(look), ..parts(&clock, RuntimeOptions::default()) };
    let runtime = runtime.get_or_init(|| Runtime::start(Box::new(engine), parts));
    let working = runtime.submit(ask(b'a', 1, 2)).unwrap();
    control.wait_begun(1);
    let waiting = runtime.submit(ask(b'b', 1, 2)).unwrap();
    assert_eq!(runtime.health().waiting_requests, 1);
    waiting.canceller().cancel();
    assert_eq!(read(waiting).how(), (FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller)));
    assert_eq!(*seen.lock().unwrap(), [0]);
    control.release();
    read(working);
}

#[test]
fn the_time_that_a_reader_takes_is_not_the_engines() {
    let house = open_with(echo(), RuntimeOptions { buffered_tokens_max: 3, ..RuntimeOptions::default() });
    let deadlines = Deadlines { inter_token: Some(3 * SECOND), ..Deadlines::default() };
    let slow = house.runtime.submit(Request { deadlines, ..ask(b'a', 1, 9) }).unwrap();
    assert_eq!(read(house.runtime.submit(ask(b'b', 1, 50)).unwrap()).tokens.len(), 50);
    house.clock.advance(10 * SECOND);
    house.pass();
    let ended = read(slow);
    assert_eq!((ended.how(), ended.text.as_str()), ((FinishReason::Length, None), "aaaaaaaaa"));
}

fn once(name: &'static str, engine: impl Generator + 'static) -> EngineSpec {
    EngineSpec { name, source: EngineSource::Opened(Box::new(engine)) }
}

#[test]
fn the_time_in_the_queue_ends_once_wherever_a_request_goes_on() {
    let (failing, control) = Script { fail_at: Some(0), ..held_echo() }.engine();
    let (second, _) = echo().engine();
    let supervision = SupervisionOptions { attempts: Attempts(0), ..SupervisionOptions::default() };
    let clock = VirtualClock::new();
    let parts = parts(&clock, RuntimeOptions { supervision, ..RuntimeOptions::default() });
    let runtime = Runtime::supervise(vec![once("first", failing), once("second", second)], parts).unwrap();
    let deadlines = Deadlines { queue: Some(2 * SECOND), ..Deadlines::default() };
    let stream = runtime.submit(Request { deadlines, ..ask(b'a', 1, 3) }).unwrap();
    control.wait_begun(1);
    clock.advance(3 * SECOND);
    control.release();
    let ended = read(stream);
    assert_eq!((ended.how(), ended.summary.engine), ((FinishReason::Length, None), "second"));
}

/// Hangs in its first step, beating, until it is told to end the call or released.
struct Obedient {
    engine: ScriptedGenerator,
    begun: SyncSender<()>,
    told: SyncSender<()>,
    released: Arc<AtomicBool>,
    n_steps: usize,
}

impl Generator for Obedient {
    fn shape(&self) -> &GeneratorShape {
        self.engine.shape()
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError> {
        self.n_steps += 1;
        if self.n_steps == 1 {
            self.begun.send(()).unwrap();
            while !self.released.load(Ordering::Relaxed) {
                if let Err(interrupted) = pulse.beat() {
                    self.told.send(()).unwrap();
                    return Err(EngineError::new(ErrorKind::Cancelled, interrupted));
                }
                thread::yield_now();
            }
        }
        self.engine.step(batch, logits, pulse)
    }
}

/// Lets an engine go where a test ends without it.
struct Release(Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_step_that_nobody_waits_for_is_told_to_end() {
    let ((begun, has_begun), (told, is_told)) = (sync_channel(1), sync_channel(1));
    let released = Arc::new(AtomicBool::new(false));
    let engine = Obedient { engine: echo().engine().0, begun, told, released: Arc::clone(&released), n_steps: 0 };
    let runtime = Runtime::start(Box::new(engine), parts(&VirtualClock::new(), RuntimeOptions::default()));
    let _release = Release(released);
    let left = runtime.submit(ask(b'a', 1, 3)).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    drop(left);
    is_told.recv_timeout(PATIENCE).expect("the engine is told that nobody waits");
    assert_eq!(read(runtime.submit(ask(b'b', 1, 3)).unwrap()).text, "bbb");
}

/// Says that somebody who asks with an `l` has been admitted, and lets them on when it is told to.
struct Gate {
    admitted: SyncSender<()>,
    on: Mutex<Receiver<()>>,
}

impl InputPolicy for Gate {
    fn review(&self, request: &Request) -> Verdict {
        if request.prompt[0].0 == u32::from(b'l') {
            self.admitted.send(()).unwrap();
            self.on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        Verdict::Allow
    }
}

/// One request is admitted before the drain begins, and reaches the owner after it last heard of anything: its thread
/// is let on, and waited for, where the owner ends the last request that keeps it.
#[test]
fn who_comes_in_the_last_moment_is_told_as_all_others() {
    let ((admit, admitted), (let_on, on), (sent, is_sent)) = (sync_channel(1), sync_channel(1), sync_channel(1));
    let last = Arc::new(Mutex::new(None::<(SyncSender<()>, Receiver<()>)>));
    let hook = Arc::clone(&last);
    let at_an_end = move || {
        if let Some((let_on, is_sent)) = hook.lock().unwrap().take() {
            let_on.send(()).unwrap();
            is_sent.recv_timeout(PATIENCE).unwrap();
        }
    };
    let (engine, _) = echo().engine();
    let clock = VirtualClock::new();
    let parts = RuntimeParts {
        telemetry: telling(at_an_end),
        policy: Some(Arc::new(Gate { admitted: admit, on: Mutex::new(on) })),
        ..parts(&clock, RuntimeOptions { buffered_tokens_max: 3, ..RuntimeOptions::default() })
    };
    let runtime = Runtime::start(Box::new(engine), parts);
    let house = House { runtime, control: Default::default(), clock };
    let unread = house.runtime.submit(ask(b'a', 1, 50)).unwrap();
    house.pass();
    thread::scope(|scope| {
        let late = scope.spawn(|| {
            let stream = house.runtime.submit(ask(b'l', 1, 3)).unwrap();
            sent.send(()).unwrap();
            read(stream)
        });
        admitted.recv_timeout(PATIENCE).unwrap();
        scope.spawn(|| house.runtime.drain(60 * SECOND));
        while !house.runtime.health().draining {
            thread::yield_now();
        }
        *last.lock().unwrap() = Some((let_on, is_sent));
        unread.canceller().cancel();
        assert_eq!(late.join().unwrap().how(), (FinishReason::Cancelled, Some(ReasonCode::Draining)));
    });
}
