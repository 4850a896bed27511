//! The text of an answer, taken apart into thoughts and what is said, as it comes.
//!
//! ```text
//! Before => Before  white space, or what may become the opening mark
//!           Within  the opening mark
//!           After   anything else: there are no thoughts
//! Within => Within  more of them; what may become the closing mark is held back, and white space before it
//!           Gap     the closing mark
//! Gap    => Gap     white space, which belongs to neither
//!           After   the first word
//! After  => After   whatever comes
//! ```
//!
//! What came of a text does not depend on how it was cut into pieces.

use super::{ThinkingFormat, ThinkingStart};

/// What came of a piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThinkingEvent {
    /// More of what the model thinks.
    Thought(String),
    /// More of what it says.
    Said(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    Within,
    Gap,
    After,
}

/// Takes the text of one answer apart.
#[derive(Clone, Debug)]
pub struct ThinkingParser {
    format: ThinkingFormat,
    state: State,
    /// Text that is not yet decided on.
    held: String,
    has_thoughts: bool,
}

impl ThinkingParser {
    /// A parser of an answer that begins so.
    #[must_use]
    pub fn new(format: ThinkingFormat, start: ThinkingStart) -> Self {
        let state = match start {
            ThinkingStart::Unopened => State::Before,
            ThinkingStart::Opened => State::Within,
        };
        Self { format, state, held: String::new(), has_thoughts: false }
    }

    /// Whether what comes next may belong to its thoughts.
    #[must_use]
    pub fn is_thinking(&self) -> bool {
        self.state == State::Within
    }

    /// Takes the next text.
    #[must_use]
    pub fn push(&mut self, text: &str) -> Vec<ThinkingEvent> {
        self.held += text;
        let mut events = Vec::new();
        while self.step(&mut events) {}
        events
    }

    /// Ends the text.
    #[must_use]
    pub fn finish(mut self) -> Vec<ThinkingEvent> {
        let mut events = Vec::new();
        match self.state {
            State::Before | State::After => say(&mut events, self.held),
            State::Within => {
                let n = self.held.trim_end().len();
                self.think(n, &mut events);
            }
            State::Gap => {}
        }
        events
    }

    /// Takes what can be decided; whether there may be more.
    fn step(&mut self, events: &mut Vec<ThinkingEvent>) -> bool {
        match self.state {
            State::Before => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(self.format.open) {
                    self.held = rest.to_owned();
                    self.state = State::Within;
                } else if self.format.open.starts_with(text) {
                    return false;
                } else {
                    self.state = State::After;
                }
                true
            }
            State::Within => self.step_within(events),
            State::Gap => {
                self.held = self.held.trim_start().to_owned();
                if self.held.is_empty() {
                    return false;
                }
                self.state = State::After;
                true
            }
            State::After => {
                say(events, std::mem::take(&mut self.held));
                false
            }
        }
    }

    fn step_within(&mut self, events: &mut Vec<ThinkingEvent>) -> bool {
        let close = self.format.close;
        if let Some(at) = self.held.find(close) {
            self.think(self.held[..at].trim_end().len(), events);
            let end = self.held.find(close).map_or(0, |at| at + close.len());
            self.held.drain(..end);
            self.state = State::Gap;
            return true;
        }
        let n_open = (1..close.len()).rev().find(|&n| close.is_char_boundary(n) && self.held.ends_with(&close[..n]));
        let n = self.held.len() - n_open.unwrap_or(0);
        self.think(self.held[..n].trim_end().len(), events);
        false
    }

    /// Gives the first `n` bytes as thoughts, without white space before the first of them.
    fn think(&mut self, n: usize, events: &mut Vec<ThinkingEvent>) {
        let mut thought: String = self.held.drain(..n).collect();
        if !self.has_thoughts {
            thought = thought.trim_start().to_owned();
        }
        if !thought.is_empty() {
            self.has_thoughts = true;
            events.push(ThinkingEvent::Thought(thought));
        }
    }
}

fn say(events: &mut Vec<ThinkingEvent>, text: String) {
    if !text.is_empty() {
        events.push(ThinkingEvent::Said(text));
    }
}
