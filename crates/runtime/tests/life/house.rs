//! A runtime over a scripted engine, and what tests ask of it.

use ballast_backend::{Generator, TokenId};
use ballast_runtime::{Event, FinishReason, Request, Runtime, RuntimeOptions, RuntimeParts, Summary, TokenStream};
use ballast_testkit::{Script, ScriptControl, VirtualClock, tiny_tokenizer};
use std::sync::Arc;

/// A runtime whose engine and clock the test holds.
pub(crate) struct House {
    pub(crate) runtime: Runtime,
    pub(crate) control: ScriptControl,
    pub(crate) clock: VirtualClock,
}

/// A script that says its last token again: what a sequence runs tells whose it is.
pub(crate) fn echo() -> Script {
    Script::new(tiny_tokenizer().vocab_size(), |tokens| *tokens.last().expect("never empty"))
}

/// The same with every step held back until it is allowed.
pub(crate) fn held_echo() -> Script {
    Script { held: true, ..echo() }
}

pub(crate) fn open(script: Script) -> House {
    open_with(script, RuntimeOptions::default())
}

pub(crate) fn open_with(script: Script, options: RuntimeOptions) -> House {
    let (engine, control) = script.engine();
    let clock = VirtualClock::new();
    let runtime = start(Box::new(engine), &clock, options);
    House { runtime, control, clock }
}

pub(crate) fn start(engine: Box<dyn Generator>, clock: &VirtualClock, options: RuntimeOptions) -> Runtime {
    Runtime::start(engine, parts(clock, options))
}

pub(crate) fn parts(clock: &VirtualClock, options: RuntimeOptions) -> RuntimeParts {
    RuntimeParts { options, ..RuntimeParts::new(tiny_tokenizer(), Arc::new(clock.clone())) }
}

/// A request whose prompt is `n` times the letter, for `max_tokens` tokens.
pub(crate) fn ask(letter: u8, n: usize, max_tokens: usize) -> Request {
    let prompt = vec![TokenId(letter.into()); n];
    Request { max_tokens: Some(max_tokens), sampling: ballast_tokens::SamplingParams::greedy(), ..Request::new(prompt) }
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) text: String,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) summary: Summary,
}

impl Ended {
    pub(crate) fn how(&self) -> (FinishReason, Option<ballast_backend::ReasonCode>) {
        (self.summary.finish_reason, self.summary.reason)
    }
}

/// Reads to the end, which must come exactly once.
pub(crate) fn read(mut stream: TokenStream) -> Ended {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    loop {
        match stream.next_blocking().expect("the summary comes before the end") {
            Event::Token(event) => {
                text += &event.text;
                tokens.push(event.token);
            }
            Event::Progress(_) => {}
            Event::Done(summary) => {
                text += &summary.tail;
                assert_eq!(stream.next_blocking(), None, "nothing follows the summary");
                assert_eq!(summary.usage.completion_tokens, tokens.len());
                return Ended { text, tokens, summary };
            }
        }
    }
}

impl House {
    /// How many steps ran tokens of the sequence of this letter.
    pub(crate) fn steps_of(&self, letter: u8) -> usize {
        let token = TokenId(letter.into());
        self.control.steps().iter().filter(|shares| shares.iter().any(|share| share.tokens.contains(&token))).count()
    }

    /// Waits until the engine has nothing to do, which is not counted among the letters.
    pub(crate) fn pass(&self) {
        read(self.runtime.submit(ask(b'.', 1, 2)).unwrap());
    }
}
