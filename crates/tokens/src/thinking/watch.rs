//! Where one sequence is in its thoughts, token by token, and when they are to end.
//!
//! ```text
//! Before  => Before   white space, or what may become the opening mark
//!            Opening  the first token of the opening mark, where nothing else but an answer may begin so
//!            Within   the opening mark
//!            Over     anything else
//! Opening => Within   the rest of the opening mark, which is given
//! Within  => Within   a token
//!            Closing  so many tokens as there may be
//!            Over     the closing mark
//! Closing => Over     what ends the thoughts, which is given
//! ```
//!
//! Pure: the runtime asks which tokens may come next and tells which one came.

use super::{ThinkingFormat, ThinkingStart};
use crate::{EncodeOptions, ShowSpecial, Tokenizer};
use ballast_backend::TokenId;

/// How thoughts of one answer are bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinkingPlan {
    /// The model's marks.
    pub format: ThinkingFormat,
    /// Where the answer begins.
    pub start: ThinkingStart,
    /// Most tokens of thoughts; `None`: as many as the answer may have.
    pub tokens_max: Option<usize>,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingStep {
    /// Whatever an answer begins with, or this token, which opens thoughts or goes on with that.
    AnswerOr(Option<TokenId>),
    /// Any thought.
    Thought,
    /// Only this token.
    Only(TokenId),
    /// What is said.
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many tokens of the opening mark have come; `None`: as far as it has come, it was cut into others.
    Before {
        n_open: Option<usize>,
    },
    Opening {
        idx: usize,
    },
    Within {
        n_tokens: usize,
    },
    Closing {
        idx: usize,
    },
    Over,
}

/// Follows the tokens of one answer.
#[derive(Clone, Debug)]
pub struct ThinkingWatch {
    plan: ThinkingPlan,
    open: Vec<TokenId>,
    closing: Vec<TokenId>,
    state: State,
    /// Bytes that may become a mark.
    held: Vec<u8>,
}

impl ThinkingWatch {
    /// A watch over an answer of which nothing has come.
    #[must_use]
    pub fn new(plan: ThinkingPlan, tokenizer: &Tokenizer) -> Self {
        let as_written = EncodeOptions { add_special: false, parse_special: true };
        let open = tokenizer.encode(plan.format.open, as_written);
        let closing = tokenizer.encode(&plan.format.closing(), as_written);
        let mut watch = Self { plan, open, closing, state: State::Over, held: Vec::new() };
        watch.state = match watch.plan.start {
            ThinkingStart::Unopened => State::Before { n_open: Some(0) },
            ThinkingStart::Opened => watch.within(0),
        };
        watch
    }

    /// What may come next.
    #[must_use]
    pub fn step(&self) -> ThinkingStep {
        match self.state {
            State::Before { n_open } => ThinkingStep::AnswerOr(n_open.and_then(|n| self.open.get(n).copied())),
            State::Opening { idx } => ThinkingStep::Only(self.open[idx]),
            State::Within { .. } => ThinkingStep::Thought,
            State::Closing { idx } => ThinkingStep::Only(self.closing[idx]),
            State::Over => ThinkingStep::Answer,
        }
    }

    /// Whether thoughts are being thought.
    #[must_use]
    pub fn is_thinking(&self) -> bool {
        match self.state {
            State::Opening { .. } | State::Within { .. } | State::Closing { .. } => true,
            State::Before { .. } | State::Over => false,
        }
    }

    /// The token that came opens thoughts, for no answer begins with it: the rest of the mark is to follow.
    pub fn open(&mut self) {
        if let State::Before { n_open: Some(n) } = self.state {
            self.state = self.opening(n + 1);
        }
    }

    /// Takes the token that came. What it says after the end of the thoughts is returned.
    pub fn push(&mut self, token: TokenId, tokenizer: &Tokenizer) -> Vec<u8> {
        let bytes = tokenizer.token_bytes(token, ShowSpecial::Yes);
        self.state = match self.state {
            State::Before { n_open } => {
                let n_open = n_open.filter(|&n| self.open.get(n) == Some(&token)).map(|n| n + 1);
                return self.push_before(bytes, n_open);
            }
            State::Within { n_tokens } => return self.push_within(bytes, n_tokens + 1),
            State::Opening { idx } => self.opening(idx + 1),
            State::Closing { idx } if idx + 1 < self.closing.len() => State::Closing { idx: idx + 1 },
            State::Closing { .. } | State::Over => State::Over,
        };
        Vec::new()
    }

    fn opening(&mut self, idx: usize) -> State {
        if idx < self.open.len() { State::Opening { idx } } else { self.within(0) }
    }

    fn push_before(&mut self, bytes: &[u8], n_open: Option<usize>) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let blank = self.held.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.held.drain(..blank);
        let open = self.plan.format.open.as_bytes();
        if self.held.starts_with(open) {
            let rest = self.held.split_off(open.len());
            self.held.clear();
            self.state = self.within(0);
            return if self.state == (State::Within { n_tokens: 0 }) { self.push_within(&rest, 0) } else { Vec::new() };
        }
        self.state = match open.starts_with(&self.held) {
            true if self.held.is_empty() => State::Before { n_open: Some(0) },
            true => State::Before { n_open },
            false => State::Over,
        };
        Vec::new()
    }

    fn push_within(&mut self, bytes: &[u8], n_tokens: usize) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let close = self.plan.format.close.as_bytes();
        if let Some(at) = self.held.windows(close.len()).position(|window| window == close) {
            let rest = self.held.split_off(at + close.len());
            self.held.clear();
            self.state = State::Over;
            return rest;
        }
        let n_held = self.held.len().min(close.len() - 1);
        self.held.drain(..self.held.len() - n_held);
        self.state = self.within(n_tokens);
        Vec::new()
    }

    fn within(&self, n_tokens: usize) -> State {
        let is_spent = self.plan.tokens_max.is_some_and(|max| n_tokens >= max);
        if is_spent && !self.closing.is_empty() { State::Closing { idx: 0 } } else { State::Within { n_tokens } }
    }
}
