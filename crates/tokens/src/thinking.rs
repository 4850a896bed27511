//! What a model thinks before it answers: the marks around it, and the text of an answer taken apart by them.
//!
//! The marks are known by the chat template, which cuts thoughts out of a conversation by them or writes them where the
//! model's turn begins.

mod split;
mod watch;

pub use split::{ThinkingEvent, ThinkingParser};
pub use watch::{ThinkingPlan, ThinkingStep, ThinkingWatch};

use crate::{ShowSpecial, Tokenizer};
use ballast_backend::TokenId;

/// Marks that chat templates use, the rarer first: a template may speak of the common ones in its examples.
const MARKS: &[(&str, &str)] = &[
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
    ("<|channel>thought", "<channel|>"),
    ("<think>", "</think>"),
];
/// Tokens at the end of a prompt that are looked at for a mark.
const CUE_TOKENS: usize = 32;

/// How a model marks what it thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinkingFormat {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingStart {
    /// The answer may open its thoughts itself.
    Unopened,
    /// The prompt has opened them.
    Opened,
}

impl ThinkingFormat {
    /// The marks in a template's text; `None` where there are none that are known.
    #[must_use]
    pub fn of(template_source: &str) -> Option<Self> {
        let known = MARKS.iter().find(|(_, close)| template_source.contains(close));
        known.map(|&(open, close)| Self { open, close })
    }

    /// What thoughts begin with.
    #[must_use]
    pub fn open(&self) -> &'static str {
        self.open
    }

    /// What thoughts end with.
    #[must_use]
    pub fn close(&self) -> &'static str {
        self.close
    }

    /// What ends thoughts that the model has not ended, as models end them themselves.
    #[must_use]
    pub fn closing(&self) -> String {
        format!("\n{}\n\n", self.close)
    }

    /// Where the answer to a prompt begins.
    #[must_use]
    pub fn start(&self, tokenizer: &Tokenizer, prompt: &[TokenId]) -> ThinkingStart {
        let cue = &prompt[prompt.len().saturating_sub(CUE_TOKENS)..];
        let is_open = tokenizer.decode_lossy(cue, ShowSpecial::Yes).trim_end().ends_with(self.open);
        if is_open { ThinkingStart::Opened } else { ThinkingStart::Unopened }
    }
}

#[cfg(test)]
mod tests;
