//! Ends that are meant: stops, bounds, cancellation, deadlines, shutdown.

use crate::house::{ask, echo, held_echo, open, open_with, read};
use ballast_backend::{ReasonCode, TokenId};
use ballast_runtime::{Deadlines, FinishReason, Phase, Request, RuntimeError, RuntimeOptions};
use ballast_testkit::{IM_END, Script, tiny_tokenizer, tokens_of};
use std::time::Duration;

const CANCELLED: (FinishReason, Option<ReasonCode>) = (FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller));
const TIMED_OUT: (FinishReason, Option<ReasonCode>) = (FinishReason::Cancelled, Some(ReasonCode::CancelledByTimeout));
const DRAINED: (FinishReason, Option<ReasonCode>) = (FinishReason::Cancelled, Some(ReasonCode::Draining));

#[test]
fn every_request_ends_with_exactly_one_summary() {
    let house = open(echo());
    let streams: Vec<_> = (0..20)
        .map(|n: u8| house.runtime.submit(ask(b'a' + n, 1 + usize::from(n), 1 + usize::from(n) % 5)).unwrap())
        .collect();
    for (n, stream) in (0..20_usize).zip(streams) {
        let ended = read(stream);
        assert_eq!(ended.how(), (FinishReason::Length, None));
        assert_eq!((ended.summary.usage.prompt_tokens, ended.tokens.len()), (1 + n, 1 + n % 5));
    }
}

#[test]
fn leaving_in_decode_stops_the_sequence() {
    let house = open(held_echo());
    let stream = house.runtime.submit(ask(b'a', 4, 100)).unwrap();
    house.control.allow(2);
    house.control.wait_begun(3);
    drop(stream);
    house.control.release();
    house.pass();
    assert_eq!(house.steps_of(b'a'), 3);
}

#[test]
fn leaving_in_prefill_stops_the_sequence() {
    let mut script = held_echo();
    script.shape.max_batch_tokens = 16;
    let house = open(script);
    let stream = house.runtime.submit(ask(b'a', 100, 1)).unwrap();
    house.control.wait_begun(1);
    drop(stream);
    house.control.release();
    house.pass();
    assert_eq!(house.steps_of(b'a'), 1);
}

#[test]
fn leaving_the_queue_means_never_running() {
    let mut script = held_echo();
    script.shape.max_batch_sequences = 1;
    let house = open(script);
    let working = house.runtime.submit(ask(b'a', 1, 5)).unwrap();
    house.control.wait_begun(1);
    let waiting = house.runtime.submit(ask(b'b', 1, 5)).unwrap();
    assert_eq!(house.runtime.health().waiting_requests, 1);
    drop(waiting);
    house.control.release();
    assert_eq!(read(working).tokens.len(), 5);
    house.pass();
    assert_eq!(house.steps_of(b'b'), 0);
    assert_eq!(house.runtime.health().waiting_requests, 0);
}

#[test]
fn a_canceller_ends_the_request_and_the_stream_says_so() {
    let house = open(held_echo());
    let stream = house.runtime.submit(ask(b'a', 1, 100)).unwrap();
    house.control.wait_begun(1);
    stream.canceller().cancel();
    let ended = read(stream);
    assert_eq!(ended.how(), CANCELLED, "although the engine is still at work");
    assert_eq!(ended.text, "");
    house.control.release();
    house.pass();
}

#[test]
fn deadlines_end_requests_at_work_and_in_the_queue() {
    let mut script = held_echo();
    script.shape.max_batch_sequences = 1;
    let house = open(script);
    let within =
        |letter, seconds| Request { deadlines: Deadlines::total(Duration::from_secs(seconds)), ..ask(letter, 1, 9) };
    let working = house.runtime.submit(within(b'a', 10)).unwrap();
    house.control.wait_begun(1);
    let waiting = house.runtime.submit(within(b'b', 10)).unwrap();
    let patient = house.runtime.submit(within(b'c', 100)).unwrap();
    house.clock.advance(Duration::from_secs(10));
    let (working, waiting) = (read(working), read(waiting));
    assert_eq!((working.how(), waiting.how()), (TIMED_OUT, TIMED_OUT), "although the engine is still at work");
    assert_eq!((working.tokens.len(), waiting.tokens.len()), (0, 0));
    assert_eq!(working.summary.overdue, Some(Phase::Total));
    house.control.release();
    assert_eq!(working.summary.timings.total, Duration::from_secs(10));
    assert_eq!(read(patient).how(), (FinishReason::Length, None));
}

/// Readers that take nothing keep their sequences from ending before the runtime does.
#[test]
fn dropping_the_runtime_ends_everything_with_draining() {
    let mut script = echo();
    script.shape.max_batch_sequences = 1;
    let house = open_with(script, RuntimeOptions { buffered_tokens_max: 3, ..RuntimeOptions::default() });
    let working = house.runtime.submit(ask(b'a', 1, 9)).unwrap();
    let waiting = house.runtime.submit(ask(b'b', 1, 9)).unwrap();
    let clone = house.runtime.clone();
    drop(house.runtime);
    assert!(clone.health().running, "a clone keeps it going");
    drop(clone);
    assert_eq!((read(working).how(), read(waiting).how()), (DRAINED, DRAINED));
}

#[test]
fn stop_strings_and_ends_of_generation_stop_the_answer() {
    let tokenizer = tiny_tokenizer();
    let end = tokenizer.id_of(IM_END).unwrap();
    let answer = || "one two".bytes().map(|byte| TokenId(byte.into())).collect();
    let script = Script::answering(tokenizer.vocab_size(), tokens_of(&tokenizer, "?"), answer(), end);
    let house = open(script);
    let request =
        |stop: &[&str]| Request { stop: stop.iter().map(|stop| (*stop).to_owned()).collect(), ..ask(b'?', 1, 50) };
    let cases: [(&[&str], &str, usize); 4] =
        [(&[], "one two", 8), (&["e t"], "on", 5), (&["zz", "one tz"], "one two", 8), (&["two", "tw"], "one ", 6)];
    for (stop, text, n_tokens) in cases {
        let ended = read(house.runtime.submit(request(stop)).unwrap());
        assert_eq!(ended.how(), (FinishReason::Stop, None), "{stop:?}");
        assert_eq!((ended.text.as_str(), ended.tokens.len()), (text, n_tokens), "{stop:?}");
    }
    let on = Request { ignore_eos: true, max_tokens: Some(10), ..request(&[]) };
    assert_eq!(read(house.runtime.submit(on).unwrap()).how(), (FinishReason::Length, None));
}

#[test]
fn the_context_bounds_prompt_and_answer_together() {
    let house = open(echo());
    let context_len = house.runtime.shape().context_len;
    let ended = read(house.runtime.submit(ask(b'a', context_len - 3, 100)).unwrap());
    assert_eq!((ended.how(), ended.tokens.len()), ((FinishReason::Length, None), 3));
    let error = house.runtime.submit(ask(b'a', context_len, 1)).unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::ContextLengthExceeded));
}

#[test]
fn the_kv_cache_bounds_the_context() {
    let mut script = echo();
    (script.shape.n_blocks, script.shape.block_len) = (4, 8);
    let house = open(script);
    assert_eq!(house.runtime.shape().context_len, 32);
    let ended = read(house.runtime.submit(ask(b'a', 30, 100)).unwrap());
    assert_eq!(ended.tokens.len(), 2);
    let error = house.runtime.submit(ask(b'a', 32, 1)).unwrap_err();
    assert!(matches!(error, RuntimeError::ContextLengthExceeded { context_len: 32, got: 32 }), "{error}");
}
