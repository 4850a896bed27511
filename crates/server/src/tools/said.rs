//! What an answer says: text, and calls where tools were offered.

use crate::RandomSource;
use crate::generation::Whole;
use ballast_backend::TokenId;
use ballast_runtime::{Summary, TokenEvent};
use ballast_tokens::{Completeness, Tokenizer, ToolEvent, ToolParser};
use std::sync::Arc;

/// Takes one answer apart as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// `None`: all of it is text.
    parser: Option<ToolParser>,
    tokenizer: Arc<Tokenizer>,
    last: Option<TokenId>,
    n_calls: usize,
}

/// A call that an answer makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaidCall {
    pub(crate) name: String,
    /// A JSON object, or the beginning of one.
    pub(crate) arguments: String,
}

/// All that an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaidWhole {
    pub(crate) text: String,
    pub(crate) calls: Vec<SaidCall>,
}

impl Said {
    pub(crate) fn new(parser: Option<ToolParser>, tokenizer: Arc<Tokenizer>) -> Self {
        Self { parser, tokenizer, last: None, n_calls: 0 }
    }

    /// Whether there may be calls.
    pub(crate) fn may_call(&self) -> bool {
        self.parser.is_some()
    }

    /// Calls that have begun.
    pub(crate) fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// What a token says.
    pub(crate) fn token(&mut self, event: &TokenEvent) -> Vec<ToolEvent> {
        self.last = Some(event.token);
        self.push(&event.text)
    }

    /// What the rest of the answer says.
    pub(crate) fn end(&mut self, summary: &Summary) -> Vec<ToolEvent> {
        let mut events = self.push(&summary.tail);
        events.extend(self.parser.take().map(ToolParser::finish).unwrap_or_default());
        events
    }

    fn push(&mut self, text: &str) -> Vec<ToolEvent> {
        let Some(parser) = &mut self.parser else {
            return if text.is_empty() { Vec::new() } else { vec![ToolEvent::Text(text.to_owned())] };
        };
        // Where calls are written with control tokens, the one that ends the answer shows, too.
        let end = self.last.filter(|&token| self.tokenizer.is_end_of_generation(token));
        let end = end.map_or("", |token| self.tokenizer.token_text(token));
        let events = parser.push(if end.is_empty() { text } else { text.strip_suffix(end).unwrap_or(text) });
        self.n_calls = parser.n_calls();
        events
    }

    /// All that an answer says.
    pub(crate) fn whole(mut self, answer: &Whole) -> SaidWhole {
        self.last = answer.last;
        let mut events = self.push(&answer.text);
        events.extend(self.parser.take().map(ToolParser::finish).unwrap_or_default());
        let mut whole = SaidWhole::default();
        for event in events {
            match event {
                ToolEvent::Text(text) => whole.text += &text,
                ToolEvent::CallStarted { name, .. } => whole.calls.push(SaidCall { name, arguments: String::new() }),
                ToolEvent::Arguments { index, text } => whole.calls[index].arguments += &text,
                ToolEvent::CallEnded { completeness: Completeness::Whole | Completeness::Cut, .. } => {}
            }
        }
        whole
    }
}

/// The name of a call: `prefix` and 24 hexadecimal digits.
pub(crate) fn call_id(prefix: &str, random: &RandomSource) -> String {
    format!("{prefix}_{:016x}{:08x}", random(), random() >> 32)
}
