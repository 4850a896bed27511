//! Engines that fail.

use crate::house::{ask, echo, held_echo, open, read, start};
use ballast_backend::{EngineError, Generator, GeneratorShape, Logits, Pulse, ReasonCode, SequenceStep};
use ballast_runtime::{FinishReason, RuntimeError, RuntimeOptions};
use ballast_testkit::{PATIENCE, Script, VirtualClock};
use std::time::Instant;

const FAILED: (FinishReason, Option<ReasonCode>) = (FinishReason::Error, Some(ReasonCode::EngineFailed));

#[test]
fn a_failed_step_ends_its_sequences_and_no_others() {
    let mut script = Script { fail_at: Some(2), ..held_echo() };
    script.shape.max_batch_sequences = 1;
    let house = open(script);
    let failing = house.runtime.submit(ask(b'a', 1, 9)).unwrap();
    house.control.wait_begun(1);
    let waiting = house.runtime.submit(ask(b'b', 1, 9)).unwrap();
    house.control.release();
    let failed = read(failing);
    assert_eq!((failed.how(), failed.tokens.len()), (FAILED, 2));
    assert_eq!(read(waiting).how(), (FinishReason::Length, None));
    assert!(house.runtime.health().running);
    assert_eq!(read(house.runtime.submit(ask(b'c', 1, 3)).unwrap()).tokens.len(), 3);
}

#[test]
fn a_panic_ends_all_and_refuses_what_comes_later() {
    let mut script = Script { panic_at: Some(1), ..held_echo() };
    script.shape.max_batch_sequences = 1;
    let house = open(script);
    let working = house.runtime.submit(ask(b'a', 1, 9)).unwrap();
    house.control.wait_begun(1);
    let waiting = house.runtime.submit(ask(b'b', 1, 9)).unwrap();
    house.control.release();
    assert_eq!((read(working).how(), read(waiting).how()), (FAILED, FAILED));
    wait_stopped(&house.runtime);
}

/// Waits until the runtime refuses; what it still takes until then ends as failed.
fn wait_stopped(runtime: &ballast_runtime::Runtime) {
    let began = now();
    loop {
        match runtime.submit(ask(b'c', 1, 1)) {
            Err(RuntimeError::Stopped) => break,
            Err(error) => panic!("{error}"),
            Ok(stream) => assert_eq!(read(stream).how(), FAILED),
        }
        assert!(began.elapsed() < PATIENCE, "the runtime still takes requests");
    }
    let health = runtime.health();
    assert_eq!((health.running, health.active_sequences, health.waiting_requests), (false, 0, 0));
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
    wait_stopped(&runtime);
}
