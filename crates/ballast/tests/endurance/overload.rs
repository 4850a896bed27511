//! Four times what can be done: what is too much is refused before any step, with a time to come back, and all that was
//! taken is answered.

use ballast::tokens::SamplingParams;
use ballast::{
    ErrorKind, Event, FinishReason, PrefixCache, Request, Runtime, RuntimeError, RuntimeOptions, TokenId, TokenStream,
    Usage,
};
use ballast_runtime::{AdmissionOptions, RuntimeParts};
use ballast_testkit::{Script, ScriptControl, VirtualClock, tiny_tokenizer};
use std::sync::Arc;
use std::time::Duration;

const QUEUE_MAX: usize = 10;
const N_SLOTS: usize = 4;
const MAX_TOKENS: usize = 6;

fn house() -> (Runtime, ScriptControl) {
    let vocab_size = tiny_tokenizer().vocab_size();
    let mut script = Script::new(vocab_size, |tokens| *tokens.last().expect("never empty"));
    (script.held, script.shape.max_batch_sequences) = (true, N_SLOTS);
    let (engine, control) = script.engine();
    let admission = AdmissionOptions { queue_max: QUEUE_MAX, queued_tokens_max: 100 };
    let options = RuntimeOptions { admission, ..RuntimeOptions::default() };
    let parts = RuntimeParts { options, ..RuntimeParts::new(tiny_tokenizer(), Arc::new(VirtualClock::new())) };
    (Runtime::start(Box::new(engine), parts), control)
}

fn ask(n_prompt: usize) -> Request {
    Request {
        max_tokens: Some(MAX_TOKENS),
        // The scripted engine wants every block to belong to one sequence.
        prefix_cache: PrefixCache::Off,
        sampling: SamplingParams::greedy(),
        ..Request::new(vec![TokenId(u32::from(b'a')); n_prompt])
    }
}

fn finish(mut stream: TokenStream) -> (FinishReason, Usage) {
    loop {
        if let Event::Done(summary) = stream.next_blocking().expect("a summary comes") {
            return (summary.finish_reason, summary.usage);
        }
    }
}

/// A refusal tells when to come back, and that it is too much rather than wrong.
#[track_caller]
fn is_overload(error: &RuntimeError) {
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert!(error.retry_after().is_some_and(|time| time > Duration::ZERO), "{error}");
}

#[test]
fn what_is_too_much_is_refused_before_any_step_and_all_that_was_taken_is_answered() {
    let (runtime, control) = house();
    // The engine stands in its first step, so nothing of what follows can have been run.
    let first = runtime.submit(ask(1)).unwrap();
    control.wait_begun(1);
    let (mut taken, mut n_refused) = (vec![first], 0);
    for _ in 0..4 * QUEUE_MAX {
        match runtime.submit(ask(1)) {
            Ok(stream) => taken.push(stream),
            Err(error) => {
                is_overload(&error);
                n_refused += 1;
            }
        }
        assert!(runtime.health().waiting_requests <= QUEUE_MAX);
    }
    assert_eq!((taken.len() - 1, n_refused), (QUEUE_MAX, 3 * QUEUE_MAX));
    assert_eq!(control.steps().len(), 1, "refusals wait for no step");
    control.release();
    for stream in taken {
        let (finish_reason, usage) = finish(stream);
        assert_eq!((finish_reason, usage.completion_tokens), (FinishReason::Length, MAX_TOKENS));
    }
    assert_eq!((runtime.health().waiting_requests, runtime.health().queued_tokens), (0, 0));
}

#[test]
fn tokens_that_wait_are_bounded_too() {
    let (runtime, control) = house();
    let first = runtime.submit(ask(1)).unwrap();
    control.wait_begun(1);
    let outcomes: Vec<_> = (0..8).map(|_| runtime.submit(ask(40))).collect();
    assert_eq!(runtime.health().queued_tokens, 80);
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    refused.iter().for_each(|outcome| is_overload(outcome.as_ref().unwrap_err()));
    assert_eq!((taken.len(), refused.len()), (2, 6));
    control.release();
    for stream in taken.into_iter().map(Result::unwrap).chain([first]) {
        assert_eq!(finish(stream).0, FinishReason::Length);
    }
}

#[test]
fn steps_stay_full_under_overload() {
    let (runtime, control) = house();
    let mut taken = vec![runtime.submit(ask(1)).unwrap()];
    control.wait_begun(1);
    taken.extend((0..4 * QUEUE_MAX).filter_map(|_| runtime.submit(ask(1)).ok()));
    let n_taken = taken.len();
    control.release();
    taken.into_iter().for_each(|stream| assert_eq!(finish(stream).0, FinishReason::Length));
    let (steps, n_tokens) = (control.steps().len(), n_taken * MAX_TOKENS);
    // The first runs alone until its held step ends, the last group need not be full.
    let n_least = n_tokens.div_ceil(N_SLOTS);
    assert!(steps <= n_least + 2 * MAX_TOKENS, "{steps} steps for what takes {n_least}");
}
