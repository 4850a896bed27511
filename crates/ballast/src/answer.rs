//! A whole answer.

use ballast_backend::{ReasonCode, TokenId};
use ballast_runtime::{Event, FinishReason, Summary, Timings, TokenLogprob, TokenStream, Usage};

/// A generated token of a whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedToken {
    /// The token.
    pub id: TokenId,
    /// Its logprob, if asked for.
    pub logprob: Option<TokenLogprob>,
}

/// An answer and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Every generated token, an end-of-generation token included.
    pub tokens: Vec<GeneratedToken>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The reason code, where the finish reason has one.
    pub reason: Option<ReasonCode>,
    /// Tokens counted.
    pub usage: Usage,
    /// Time counted.
    pub timings: Timings,
}

impl Answer {
    /// Reads a stream to its end, showing each piece of text to `on_text` as it comes.
    pub fn collect(mut stream: TokenStream, mut on_text: impl FnMut(&str)) -> Self {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let mut show = |piece: &str| {
            if !piece.is_empty() {
                text.push_str(piece);
                on_text(piece);
            }
        };
        loop {
            match stream.next_blocking() {
                Some(Event::Token(event)) => {
                    show(&event.text);
                    tokens.push(GeneratedToken { id: event.token, logprob: event.logprob });
                }
                Some(Event::Done(Summary { tail, finish_reason, reason, usage, timings })) => {
                    show(&tail);
                    return Self { text, tokens, finish_reason, reason, usage, timings };
                }
                None => unreachable!("a stream ends with its summary"),
            }
        }
    }
}
