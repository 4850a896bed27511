//! Answers under a grammar: how they end, and that they are the same whatever happens around them.

use crate::house::{ask, echo, open, read};
use ballast_backend::{ReasonCode, TokenId};
use ballast_runtime::breaker::Position;
use ballast_runtime::{FinishReason, Request, Runtime};
use ballast_tokens::{Constraint, Grammar, SamplingParams};

fn regex(runtime: &Runtime, regex: &str) -> Option<Grammar> {
    Some(runtime.compile(&Constraint::Regex(regex.to_owned())).unwrap())
}

/// A request whose tokens are drawn among all that the grammar allows: the script prefers none of them.
fn drawn(runtime: &Runtime, letter: u8, pattern: &str) -> Request {
    let sampling = SamplingParams { seed: Some(letter.into()), temperature: 1.0, ..SamplingParams::default() };
    Request { sampling, constraint: regex(runtime, pattern), ..ask(letter, 20, 120) }
}

#[test]
fn an_answer_that_its_grammar_completes_ends_with_stop_and_no_token_more() {
    let house = open(echo());
    for ignore_eos in [false, true] {
        let constraint = regex(&house.runtime, "[0-9]{7}");
        let ended = read(house.runtime.submit(Request { constraint, ignore_eos, ..ask(b'a', 3, 50) }).unwrap());
        assert_eq!(ended.how(), (FinishReason::Stop, None));
        assert_eq!((ended.text.len(), ended.tokens.len()), (7, 7));
        assert!(ended.text.bytes().all(|b| b.is_ascii_digit()), "{}", ended.text);
    }
    let constraint = regex(&house.runtime, "[0-9]{7}");
    let cut = read(house.runtime.submit(Request { constraint, ..ask(b'a', 3, 6) }).unwrap());
    assert_eq!(cut.how(), (FinishReason::Length, None));
    let constraint = regex(&house.runtime, "[0-9]{7}");
    let exact = read(house.runtime.submit(Request { constraint, ..ask(b'a', 3, 7) }).unwrap());
    assert_eq!(exact.how(), (FinishReason::Stop, None), "what is complete is not called cut");
}

#[test]
fn a_constrained_answer_is_the_same_alone_in_a_batch_and_when_its_cache_was_taken() {
    let pattern = "([a-z]{3} ?){20}[0-9]+";
    let letters = b"abcdef";
    let house = open(echo());
    let alone: Vec<_> = letters
        .iter()
        .map(|l| read(house.runtime.submit(drawn(&house.runtime, *l, pattern)).unwrap()).tokens)
        .collect();
    assert_ne!(alone[0], alone[1], "seeds differ");
    for n_blocks in [256, 24] {
        let mut script = echo();
        script.shape.n_blocks = n_blocks;
        let house = open(script);
        let submit = |letter: &u8| house.runtime.submit(drawn(&house.runtime, *letter, pattern)).unwrap();
        let streams: Vec<_> = letters.iter().map(submit).collect();
        let ended: Vec<_> = streams.into_iter().map(read).collect();
        let evicted = ended.iter().any(|ended| ended.summary.degraded.contains(&ReasonCode::KvEvicted));
        assert_eq!(evicted, n_blocks < 256, "{n_blocks} blocks");
        for (ended, alone) in ended.iter().zip(&alone) {
            assert_eq!(&ended.tokens, alone, "{n_blocks} blocks");
        }
    }
}

#[test]
fn a_grammar_that_takes_too_much_work_ends_its_request_and_nothing_else() {
    let house = open(echo());
    let rules = "start: a\na: a a | a a a | a a a a | a a a a a | a a a a a a | a a a a a a a | a a a a a a a a | a a a a a a a a a | a a a a a a a a a a | a a a a a a a a a a a | a a a a a a a a a a a a | \"x\"".to_owned();
    let constraint = Some(house.runtime.compile(&Constraint::Lark(rules)).unwrap());
    let other = house.runtime.submit(ask(b'b', 3, 400)).unwrap();
    let ended = read(house.runtime.submit(Request { constraint, ..ask(b'x', 1, 500) }).unwrap());
    assert_eq!(ended.how(), (FinishReason::Error, Some(ReasonCode::ConstraintTooComplex)));
    assert_eq!(read(other).how(), (FinishReason::Length, None));
    let engine = &house.runtime.health().engines[0];
    assert_eq!(engine.breaker, Position::Closed, "the engine has done nothing wrong");
}

#[test]
fn a_grammar_of_which_nothing_is_possible_ends_its_request_with_a_reason_and_no_engine_is_blamed() {
    let house = open(echo());
    for _ in 0..20 {
        let bias = vec![(TokenId(b'a'.into()), f32::NEG_INFINITY)];
        let sampling = SamplingParams { logit_bias: bias, ..SamplingParams::greedy() };
        let constraint = regex(&house.runtime, "a");
        let ended = read(house.runtime.submit(Request { sampling, constraint, ..ask(b'x', 1, 9) }).unwrap());
        assert_eq!(ended.how(), (FinishReason::Error, Some(ReasonCode::ConstraintFailed)));
    }
    assert_eq!(house.runtime.health().engines[0].breaker, Position::Closed);
}

#[test]
fn no_bias_and_no_penalty_overrides_a_grammar() {
    let house = open(echo());
    let sampling = SamplingParams {
        logit_bias: vec![(TokenId(b'z'.into()), 1e30), (TokenId(b'a'.into()), -1e30)],
        repetition_penalty: 10.0,
        frequency_penalty: 2.0,
        ..SamplingParams::default()
    };
    let constraint = regex(&house.runtime, "a{5}");
    let ended = read(house.runtime.submit(Request { sampling, constraint, ..ask(b'z', 3, 50) }).unwrap());
    assert_eq!((ended.text.as_str(), ended.how()), ("aaaaa", (FinishReason::Stop, None)));
}
