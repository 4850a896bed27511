//! How a model writes calls of tools.
//!
//! The format is read off the chat template: a conversation with known calls is rendered, and what stands around their
//! names and arguments is the format ([`ToolFormat::of`]). A template that knows no tools, or writes calls otherwise than
//! as a name and JSON or pairs in tags, gets a format of ours, and the tools are listed in the system message
//! ([`ToolFormat::generic`]).

mod conversation;
mod error;
mod generic;
mod grammar;
mod literal;
mod probe;
mod tagged;
#[cfg(test)]
mod tests;

pub use error::ToolFormatError;
pub use generic::GENERIC_INSTRUCTIONS;
pub use grammar::{CallCount, CallNeed, ToolGrammar};

pub(crate) use conversation::has_tools;
pub(crate) use literal::{Literal, Match, run};
pub(crate) use tagged::{Tagged, ValueKind};

use crate::ChatTemplate;
use crate::chat_message::ArgumentsAs;

/// Longest name of a tool, in bytes.
pub const TOOL_NAME_BYTES_MAX: usize = 64;
/// Most calls of one answer; what comes after them is text.
pub const TOOL_CALLS_MAX: usize = 64;

/// How a model writes calls: `start call (separator call)* end`, and a call is
/// `before_name NAME before_arguments ARGUMENTS after_arguments`, with arguments as a JSON object or as pairs in tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolFormat {
    pub(crate) origin: ToolFormatOrigin,
    pub(crate) start: Literal,
    pub(crate) before_name: Literal,
    pub(crate) before_arguments: Literal,
    pub(crate) after_arguments: Literal,
    /// `None`: the template writes one call only.
    pub(crate) separator: Option<Literal>,
    pub(crate) end: Literal,
    /// How arguments are written that are no JSON object.
    pub(crate) tagged: Option<Tagged>,
    /// How the template takes arguments.
    pub(crate) arguments: ArgumentsAs,
    /// The template takes identifiers of nine letters and digits only.
    pub(crate) has_short_ids: bool,
}

/// Where a format comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormatOrigin {
    /// Read off the template, which also lists tools and shows their answers.
    Template,
    /// Ours; tools are listed in a system message.
    Generic,
    /// Ours; tools are listed in the first message of the user, since the template takes no system message.
    GenericWithoutSystem,
}

impl ToolFormat {
    /// The format of a template's calls.
    ///
    /// # Errors
    /// What keeps it from being known; [`ToolFormat::generic`] is to be used then.
    pub fn of(template: &ChatTemplate) -> Result<Self, ToolFormatError> {
        probe::derive(template)
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> ToolFormatOrigin {
        self.origin
    }

    /// Whether the model can make several calls in one answer.
    #[must_use]
    pub fn takes_several(&self) -> bool {
        self.separator.is_some()
    }

    /// Whether calls are told from text only at the beginning of an answer: what they begin with is JSON's, too.
    pub(crate) fn is_only_at_beginning(&self) -> bool {
        self.start.is_empty() && self.before_name.first_char().is_none_or(|c| c == '{' || c == '[')
    }

    /// Whether calls are written with this text.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let separator = self.separator.iter();
        let literals = [&self.start, &self.before_name, &self.before_arguments, &self.after_arguments, &self.end];
        literals.into_iter().chain(separator).any(|literal| literal.mentions(text))
            || self.tagged.as_ref().is_some_and(|tagged| tagged.mentions(text))
    }

    /// Calls as the model writes them, of names and arguments in JSON.
    #[must_use]
    pub fn write(&self, calls: &[(&str, &str)]) -> String {
        let call = |(idx, &(name, given)): (usize, &(&str, &str))| {
            let [a, b, c] = [&self.before_name, &self.before_arguments, &self.after_arguments].map(|l| l.example(idx));
            let arguments = self.tagged.as_ref().map(|tagged| tagged.write(given));
            format!("{a}{name}{b}{}{c}", arguments.as_deref().unwrap_or(given))
        };
        let separator = self.separator.as_ref().map_or_else(String::new, |separator| separator.example(0));
        let calls: Vec<_> = calls.iter().enumerate().map(call).collect();
        format!("{}{}{}", self.start.example(0), calls.join(&separator), self.end.example(0))
    }
}
