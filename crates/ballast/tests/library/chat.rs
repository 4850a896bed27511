//! Conversations: what is remembered, whatever happens to an answer.

use crate::support::{ModelFile, endless, one_thread};
use ballast::tokens::ChatMessage;
use ballast::{
    ChatSession, Deadlines, Engine, Error, FinishReason, Generate, LoadOptions, Prompt, ReasonCode, RuntimeOptions,
};
use std::time::Duration;

/// An engine that is at most a token ahead of its reader, so that a long answer cannot be over before it is cancelled.
fn engine(file: &ModelFile) -> Engine {
    let runtime = RuntimeOptions { buffered_tokens_max: 1, ..RuntimeOptions::default() };
    file.load(&LoadOptions { runtime, ..one_thread() })
}

fn session(engine: &Engine) -> ChatSession {
    engine.chat_session(Generate { max_tokens: Some(10), ..endless(Generate::default()) })
}

fn turns(session: &ChatSession) -> Vec<(&str, &str)> {
    session.history().iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect()
}

fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage::text(role, content)
}

#[test]
fn turns_are_remembered_and_are_the_next_prompt() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let mut session = session(&engine);
    let first = session.send("hello").unwrap().finish();
    assert_eq!(turns(&session), [("user", "hello"), ("assistant", first.text.as_str())]);
    let second = session.send("the").unwrap().finish();
    assert_eq!(turns(&session).len(), 4);
    let laid_out = vec![message("user", "hello"), message("assistant", &first.text), message("user", "the")];
    let tokens = engine.prompt_tokens(&Prompt::Chat(laid_out)).unwrap();
    assert_eq!(second.usage.prompt_tokens, tokens.len());
    let fresh = engine.generate(&Generate {
        prompt: Prompt::Tokens(tokens),
        max_tokens: Some(10),
        ..endless(Generate::default())
    });
    assert_eq!(fresh.unwrap().text, second.text);
}

#[test]
fn a_reply_gives_its_text_in_pieces() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let mut session = session(&engine);
    let pieces: Vec<String> = session.send("hello").unwrap().collect();
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    assert_eq!(turns(&session)[1], ("assistant", pieces.concat().as_str()));
}

#[test]
fn an_answer_cancelled_half_way_stays_as_far_as_it_came() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let mut session = session(&engine);
    session.settings_mut().max_tokens = None;
    let mut reply = session.send("hello").unwrap();
    let first = reply.next().unwrap();
    reply.canceller().cancel();
    let answer = reply.finish();
    assert_eq!((answer.finish_reason, answer.reason), (FinishReason::Cancelled, Some(ReasonCode::CancelledByCaller)));
    assert!(answer.text.starts_with(&first) && answer.tokens.len() < 20, "{answer:?}");
    assert_eq!(answer.usage.completion_tokens, answer.tokens.len());
    assert_eq!(turns(&session), [("user", "hello"), ("assistant", answer.text.as_str())]);
    session.settings_mut().max_tokens = Some(3);
    assert_eq!(session.send("again").unwrap().finish().finish_reason, FinishReason::Length);
    assert_eq!(turns(&session).len(), 4);
}

#[test]
fn a_reply_dropped_before_its_end_never_was() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let mut session = session(&engine);
    session.send("hello").unwrap().finish();
    let before = session.history().to_vec();
    session.settings_mut().max_tokens = None;
    let mut reply = session.send("the").unwrap();
    reply.next().unwrap();
    drop(reply);
    assert_eq!(session.history(), before);
    drop(session.send("the").unwrap());
    assert_eq!(session.history(), before);
}

#[test]
fn a_message_that_is_refused_never_was() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let mut session = session(&engine);
    session.send("hello").unwrap().finish();
    let before = session.history().to_vec();
    let error = session.send(&"x".repeat(300)).map(drop).unwrap_err();
    assert_eq!(error.reason(), Some(ReasonCode::ContextLengthExceeded));
    assert_eq!(session.history(), before);
}

#[test]
fn a_deadline_is_part_of_the_settings() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let mut session = session(&engine);
    session.settings_mut().deadlines = Deadlines::total(Duration::ZERO);
    let answer = session.send("hello").unwrap().finish();
    assert_eq!(answer.reason, Some(ReasonCode::CancelledByTimeout));
}

#[test]
fn the_system_message_stands_first_and_outlives_clearing() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let beginning = Generate::messages(vec![message("system", "be brief")]);
    let mut session = engine.chat_session(Generate { max_tokens: Some(2), ..endless(beginning) });
    session.send("hello").unwrap().finish();
    assert_eq!(turns(&session)[0], ("system", "be brief"));
    session.clear();
    assert_eq!(turns(&session), [("system", "be brief")]);
    session.set_system("be long");
    assert_eq!(turns(&session), [("system", "be long")]);
    session.set_system("");
    assert_eq!(turns(&session), []);
    session.send("hello").unwrap().finish();
    session.set_system("be brief");
    assert_eq!(turns(&session)[0], ("system", "be brief"));
    assert_eq!(turns(&session).len(), 3);
}

#[test]
fn control_tokens_in_a_message_are_only_text() {
    let file = ModelFile::tiny();
    let engine = engine(&file);
    let tokens = |content: &str| engine.prompt_tokens(&Prompt::Chat(vec![message("user", content)])).unwrap();
    let im_end = engine.runtime().tokenizer().id_of("<|im_end|>").unwrap();
    let n_ends = |content: &str| tokens(content).iter().filter(|&&token| token == im_end).count();
    assert_eq!((n_ends("hello"), n_ends("hello<|im_end|>")), (1, 1));
}

#[test]
fn a_conversation_without_a_template_is_refused() {
    let file = ModelFile::tiny();
    let path = file.with_text("tokenizer.chat_template", "tokenizer.chat_tempLATE");
    let engine = Engine::load(&path, &one_thread()).unwrap();
    assert!(matches!(engine.generate(&Generate::chat("hello")).unwrap_err(), Error::Prompt(_)));
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}".to_owned();
    let engine = Engine::load(&path, &LoadOptions { chat_template: Some(template), ..one_thread() }).unwrap();
    assert_eq!(engine.prompt_tokens(&Generate::chat("xy").prompt).unwrap().len(), 2);
}
