//! Generating and streaming: bounds, ends, refusals, several threads.

use crate::support::{ModelFile, endless, ids, one_thread, said};
use ballast::tokens::{SamplingParams, ShowSpecial};
use ballast::{
    Answer, Deadlines, Engine, Error, ErrorKind, Event, FinishReason, Generate, Prompt, ReasonCode, RuntimeError,
    TokenId,
};
use std::time::Duration;

fn engine() -> (ModelFile, Engine) {
    let file = ModelFile::tiny();
    let engine = file.load(&one_thread());
    (file, engine)
}

fn bounded(prompt: &str, max_tokens: usize) -> Generate {
    Generate { max_tokens: Some(max_tokens), ..endless(Generate::text(prompt)) }
}

#[test]
fn a_whole_answer_is_its_stream_put_together() {
    let (_file, engine) = engine();
    let generate = bounded("hello the", 30);
    let whole = engine.generate(&generate).unwrap();
    let (mut text, mut tokens) = (String::new(), Vec::new());
    let mut stream = engine.stream(&generate).unwrap();
    while let Some(event) = stream.next_blocking() {
        match event {
            Event::Token(token) => {
                text += &token.text;
                tokens.push(token.token);
            }
            Event::Progress(_) => {}
            Event::Done(summary) => {
                text += &summary.tail;
                let counts = (summary.usage.prompt_tokens, summary.usage.completion_tokens);
                assert_eq!(counts, (whole.usage.prompt_tokens, whole.usage.completion_tokens));
                assert_eq!(summary.finish_reason, whole.finish_reason);
            }
        }
    }
    assert_eq!((tokens.clone(), text), said(&whole));
    assert_eq!(whole.text, engine.runtime().tokenizer().decode_lossy(&tokens, ShowSpecial::No));
    assert_eq!((whole.finish_reason, whole.usage.completion_tokens), (FinishReason::Length, 30));
    assert!(stream.next_blocking().is_none());
}

#[test]
fn every_way_to_give_a_prompt_gives_the_tokens_that_are_run() {
    let (_file, engine) = engine();
    for generate in [Generate::text("hello <|im_end|>"), Generate::chat("hello")] {
        let tokens = engine.prompt_tokens(&generate.prompt).unwrap();
        let by_tokens = Generate { prompt: Prompt::Tokens(tokens.clone()), ..Generate::default() };
        let answer = |generate| engine.generate(&Generate { max_tokens: Some(8), ..endless(generate) }).unwrap();
        let (given, by_tokens) = (answer(generate), answer(by_tokens));
        assert_eq!(said(&given), said(&by_tokens));
        assert_eq!(given.usage.prompt_tokens, tokens.len());
    }
}

#[test]
fn requests_that_cannot_be_run_are_refused_with_their_figures() {
    let (_file, engine) = engine();
    let refused = |generate: &Generate| engine.stream(generate).map(drop).unwrap_err();
    let too_long = refused(&Generate::text("x".repeat(300)));
    let Error::Runtime(RuntimeError::ContextLengthExceeded { context_len: 256, got: 300 }) = too_long else {
        panic!("{too_long:?}");
    };
    assert_eq!((too_long.kind(), too_long.reason()), (ErrorKind::Invalid, Some(ReasonCode::ContextLengthExceeded)));
    assert!(matches!(refused(&Generate::text("")), Error::Runtime(RuntimeError::PromptEmpty)));
    assert!(matches!(refused(&bounded("x", 0)), Error::Runtime(RuntimeError::MaxTokensZero)));
    let foreign = Generate { prompt: Prompt::Tokens(vec![TokenId(264)]), ..Generate::default() };
    assert!(matches!(refused(&foreign), Error::Runtime(RuntimeError::PromptToken { vocab_size: 264, got: 264 })));
    let hot = SamplingParams { temperature: -1.0, ..SamplingParams::default() };
    let hot = Generate { sampling: hot, ..Generate::text("x") };
    assert!(matches!(refused(&hot), Error::Runtime(RuntimeError::Sampling(_))));
    let stop = Generate { stop: vec![String::new()], ..Generate::text("x") };
    assert!(matches!(refused(&stop), Error::Runtime(RuntimeError::Stop(_))));
    assert!(engine.runtime().health().running);
    assert_eq!(engine.runtime().health().waiting_requests, 0);
}

#[test]
fn the_longest_prompt_has_room_for_one_token() {
    let (_file, engine) = engine();
    let answer = engine.generate(&endless(Generate::text("x".repeat(255)))).unwrap();
    assert_eq!((answer.finish_reason, answer.usage.completion_tokens), (FinishReason::Length, 1));
}

#[test]
fn a_deadline_that_has_passed_ends_the_answer() {
    let (_file, engine) = engine();
    let generate = Generate { deadlines: Deadlines::total(Duration::ZERO), ..endless(Generate::text("hello")) };
    let answer = engine.generate(&generate).unwrap();
    assert_eq!((answer.finish_reason, answer.reason), (FinishReason::Cancelled, Some(ReasonCode::CancelledByTimeout)));
    assert_eq!((answer.text.as_str(), answer.usage.completion_tokens, answer.usage.prompt_tokens), ("", 0, 1));
    let far = Generate { deadlines: Deadlines::total(Duration::MAX), ..bounded("hello", 3) };
    assert_eq!(engine.generate(&far).unwrap().finish_reason, FinishReason::Length);
}

#[test]
fn a_stop_string_is_cut_off_the_text() {
    let (_file, engine) = engine();
    let letters = (97..107).map(|id| (TokenId(id), 60.0)).collect();
    let sampling = SamplingParams { seed: Some(4), logit_bias: letters, ..SamplingParams::default() };
    let generate = Generate { sampling, max_tokens: Some(40), ..Generate::text("hello") };
    let whole = engine.generate(&generate).unwrap();
    let stop = whole.text[20..22].to_owned();
    let before = whole.text[..whole.text.find(&stop).unwrap()].to_owned();
    let stopped = engine.generate(&Generate { stop: vec![stop], ..generate }).unwrap();
    assert_eq!((stopped.text, stopped.finish_reason), (before, FinishReason::Stop));
}

#[test]
fn an_engine_answers_several_threads_with_what_each_asked() {
    let (_file, engine) = engine();
    let prompts: Vec<String> = (1..=6).map(|n| format!("{} the {n}", "hello ".repeat(n))).collect();
    let alone: Vec<Answer> = prompts.iter().map(|prompt| engine.generate(&bounded(prompt, 20)).unwrap()).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                let engine = engine.clone();
                scope.spawn(move || (0..3).map(|_| engine.generate(&bounded(prompt, 20)).unwrap()).collect::<Vec<_>>())
            })
            .collect();
        for (thread, alone) in threads.into_iter().zip(&alone) {
            for answer in thread.join().unwrap() {
                assert_eq!(said(&answer), said(alone));
            }
        }
    });
    assert!(alone.iter().any(|answer| ids(answer) != ids(&alone[0])), "the prompts make a difference");
}

#[test]
fn a_stream_outlives_its_engine_and_ends() {
    let (_file, engine) = engine();
    let stream = engine.stream(&endless(Generate::text("hello"))).unwrap();
    drop(engine);
    let answer = Answer::collect(stream, |_| {});
    let expected = [(FinishReason::Length, None), (FinishReason::Cancelled, Some(ReasonCode::Draining))];
    assert!(expected.contains(&(answer.finish_reason, answer.reason)), "{answer:?}");
}
