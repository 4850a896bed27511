//! What an answer says: thoughts, text, and calls where tools were offered.

use crate::RandomSource;
use crate::generation::Whole;
use ballast_backend::TokenId;
use ballast_runtime::{Summary, TokenEvent};
use ballast_tokens::{Completeness, ThinkingEvent, ThinkingParser, Tokenizer, ToolEvent, ToolParser};
use std::sync::Arc;

/// Takes one answer apart as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// `None`: there are no thoughts in it, or they have ended.
    thinking: Option<ThinkingParser>,
    /// `None`: there are no calls in it.
    parser: Option<ToolParser>,
    may_call: bool,
    tokenizer: Arc<Tokenizer>,
    last: Option<TokenId>,
    n_calls: usize,
    n_thought_tokens: usize,
}

/// What came of a piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SaidEvent {
    /// More of what the model thinks, before all else.
    Thought(String),
    Text(String),
    CallStarted {
        index: usize,
        name: String,
    },
    /// More of a call's arguments, a JSON object.
    Arguments {
        index: usize,
        text: String,
    },
    CallEnded {
        completeness: Completeness,
    },
}

impl From<ToolEvent> for SaidEvent {
    fn from(event: ToolEvent) -> Self {
        match event {
            ToolEvent::Text(text) => Self::Text(text),
            ToolEvent::CallStarted { index, name } => Self::CallStarted { index, name },
            ToolEvent::Arguments { index, text } => Self::Arguments { index, text },
            ToolEvent::CallEnded { completeness, .. } => Self::CallEnded { completeness },
        }
    }
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
    pub(crate) thought: String,
    pub(crate) text: String,
    pub(crate) calls: Vec<SaidCall>,
}

impl Said {
    pub(crate) fn new(thinking: Option<ThinkingParser>, parser: Option<ToolParser>, tokenizer: Arc<Tokenizer>) -> Self {
        let may_call = parser.is_some();
        Self { thinking, parser, may_call, tokenizer, last: None, n_calls: 0, n_thought_tokens: 0 }
    }

    /// Whether an answer is all text.
    pub(crate) fn is_plain(&self) -> bool {
        self.thinking.is_none() && !self.may_call
    }

    /// Calls that have begun.
    pub(crate) fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// Tokens that belong to thoughts.
    pub(crate) fn n_thought_tokens(&self) -> usize {
        self.n_thought_tokens
    }

    /// What a token says.
    pub(crate) fn token(&mut self, event: &TokenEvent) -> Vec<SaidEvent> {
        self.last = Some(event.token);
        let is_thinking = |said: &Self| said.thinking.as_ref().is_some_and(ThinkingParser::is_thinking);
        let was_thinking = is_thinking(self);
        let events = self.push(&event.text);
        self.n_thought_tokens += usize::from(was_thinking || is_thinking(self));
        events
    }

    /// What the rest of the answer says.
    pub(crate) fn end(&mut self, summary: &Summary) -> Vec<SaidEvent> {
        let mut events = self.push(&summary.tail);
        self.finish(&mut events);
        events
    }

    fn push(&mut self, text: &str) -> Vec<SaidEvent> {
        // Where control tokens show, the one that ends the answer shows, too.
        let end = self.last.filter(|&token| self.tokenizer.is_end_of_generation(token) && !self.is_plain());
        let end = end.map_or("", |token| self.tokenizer.token_text(token));
        let text = if end.is_empty() { text } else { text.strip_suffix(end).unwrap_or(text) };
        let Some(thinking) = &mut self.thinking else {
            let mut events = Vec::new();
            self.say(text, &mut events);
            return events;
        };
        let parts = thinking.push(text);
        self.take(parts)
    }

    fn take(&mut self, parts: Vec<ThinkingEvent>) -> Vec<SaidEvent> {
        let mut events = Vec::new();
        for part in parts {
            match part {
                ThinkingEvent::Thought(text) => events.push(SaidEvent::Thought(text)),
                ThinkingEvent::Said(text) => self.say(&text, &mut events),
            }
        }
        events
    }

    fn say(&mut self, text: &str, events: &mut Vec<SaidEvent>) {
        match &mut self.parser {
            Some(parser) => {
                events.extend(parser.push(text).into_iter().map(SaidEvent::from));
                self.n_calls = parser.n_calls();
            }
            None if text.is_empty() => {}
            None => events.push(SaidEvent::Text(text.to_owned())),
        }
    }

    fn finish(&mut self, events: &mut Vec<SaidEvent>) {
        let parts = self.thinking.take().map(ThinkingParser::finish).unwrap_or_default();
        events.extend(self.take(parts));
        let rest = self.parser.take().map(ToolParser::finish).unwrap_or_default();
        events.extend(rest.into_iter().map(SaidEvent::from));
    }

    /// All that an answer says.
    pub(crate) fn whole(mut self, answer: &Whole) -> SaidWhole {
        self.last = answer.last;
        let mut events = self.push(&answer.text);
        self.finish(&mut events);
        let mut whole = SaidWhole::default();
        for event in events {
            match event {
                SaidEvent::Thought(text) => whole.thought += &text,
                SaidEvent::Text(text) => whole.text += &text,
                SaidEvent::CallStarted { name, .. } => whole.calls.push(SaidCall { name, arguments: String::new() }),
                SaidEvent::Arguments { index, text } => whole.calls[index].arguments += &text,
                SaidEvent::CallEnded { completeness: Completeness::Whole | Completeness::Cut } => {}
            }
        }
        whole
    }
}

/// The name of a call: `prefix` and 24 hexadecimal digits.
pub(crate) fn call_id(prefix: &str, random: &RandomSource) -> String {
    format!("{prefix}_{:016x}{:08x}", random(), random() >> 32)
}
