//! A whole answer.

use ballast_backend::{ReasonCode, TokenId};
use ballast_runtime::{Event, FinishReason, Phase, Summary, Timings, TokenLogprob, TokenStream, Usage};

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
    /// Which of the request's stop strings ended it.
    pub stop_idx: Option<usize>,
    /// The reason code, where the finish reason has one.
    pub reason: Option<ReasonCode>,
    /// The phase whose deadline passed, if one did.
    pub overdue: Option<Phase>,
    /// What did not go as it should and was made good.
    pub degraded: Vec<ReasonCode>,
    /// The engine that answered.
    pub engine: &'static str,
    /// Tokens counted.
    pub usage: Usage,
    /// Time counted.
    pub timings: Timings,
}

impl Answer {
    /// The answer that ended with `summary`, whose tail is part of `text`.
    pub(crate) fn new(text: String, tokens: Vec<GeneratedToken>, summary: Summary) -> Self {
        let Summary { tail: _, finish_reason, stop_idx, reason, overdue, degraded, engine, usage, timings } = summary;
        Self { text, tokens, finish_reason, stop_idx, reason, overdue, degraded, engine, usage, timings }
    }

    /// Reads a stream to its end, showing each piece of text to `on_text` as it comes.
    ///
    /// # Panics
    /// If called from async code.
    pub fn collect(mut stream: TokenStream, on_text: impl FnMut(&str)) -> Self {
        Self::collect_from(|| stream.next_blocking(), on_text)
    }

    /// The same from whatever `next` reads of.
    pub(crate) fn collect_from(mut next: impl FnMut() -> Option<Event>, mut on_text: impl FnMut(&str)) -> Self {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let mut show = |piece: &str| {
            if !piece.is_empty() {
                text.push_str(piece);
                on_text(piece);
            }
        };
        loop {
            match next() {
                Some(Event::Token(event)) => {
                    show(&event.text);
                    tokens.push(GeneratedToken { id: event.token, logprob: event.logprob });
                }
                Some(Event::Progress(_)) => {}
                Some(Event::Done(summary)) => {
                    show(&summary.tail);
                    return Self::new(text, tokens, summary);
                }
                None => unreachable!("a stream ends with its summary"),
            }
        }
    }
}
