//! Why a template's format of calls is not known.

use crate::TemplateError;
use ballast_backend::ErrorKind;

/// What keeps a format from being read off a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolFormatError {
    /// The template fails on a conversation with calls.
    #[error("calls cannot be rendered: {0}")]
    Template(#[from] TemplateError),
    /// Tools that are offered do not show.
    #[error("the template does not list tools")]
    ToolsNotListed,
    /// Calls do not show.
    #[error("the template does not show calls of tools")]
    CallsNotShown,
    /// What tools answered does not show.
    #[error("the template does not show the answers of tools")]
    AnswersNotShown,
    /// Arguments are written otherwise than as a JSON object, or pairs in tags, after the name.
    #[error("the template writes arguments otherwise than as JSON or in tags after the name")]
    ArgumentsNotJson,
    /// Nothing tells a call from text.
    #[error("the template writes nothing before a call that tells it from text")]
    NoMarker,
    /// What was read off does not give the template's own text again.
    #[error("what was read off the template does not give its text again")]
    NotReproduced,
}

impl ToolFormatError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
