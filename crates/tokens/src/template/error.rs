//! Why a template could not be parsed or rendered.

use ballast_backend::ErrorKind;
use std::error::Error as _;

/// What is wrong with a template, or with a conversation as its template sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is too long.
    #[error("chat template: expected at most {max} bytes, got {got}")]
    SourceTooLong {
        /// The bound.
        max: usize,
        /// Length of the source.
        got: usize,
    },
    /// The template wrote too much.
    #[error("chat template: expected at most {max} bytes of output")]
    OutputTooLong {
        /// The bound.
        max: usize,
    },
    /// The template took too many instructions.
    #[error("chat template: expected at most {max} instructions, ran out of them{at}", at = at_line(*.line))]
    OutOfFuel {
        /// The bound.
        max: u64,
        /// Line where it stopped.
        line: Option<usize>,
    },
    /// The template is not valid Jinja.
    #[error("chat template: syntax error{at}: {message}", at = at_line(*.line))]
    Syntax {
        /// Line of the template, from 1.
        line: Option<usize>,
        /// What the parser says.
        message: String,
    },
    /// The template refused the conversation with `raise_exception`.
    #[error("chat template: refused the conversation{at}: {message}", at = at_line(*.line))]
    Raised {
        /// Line of the template, from 1.
        line: Option<usize>,
        /// What the template says.
        message: String,
    },
    /// The template did something that does not work.
    #[error("chat template: failed{at}: {message}", at = at_line(*.line))]
    Render {
        /// Line of the template, from 1.
        line: Option<usize>,
        /// What the engine says.
        message: String,
    },
    /// The template engine panicked on the template: a fault of the engine that the template or its input set off.
    #[error("chat template: the template engine cannot run it on this conversation")]
    EngineFault,
    /// The stack that templates run on could not be had.
    #[error("chat template: expected {stack_bytes} bytes of address space for a stack, got {error}")]
    NoStack {
        /// Its size.
        stack_bytes: usize,
        /// What the operating system says.
        error: std::io::ErrorKind,
    },
    /// Messages, tools or extra variables are nested too deeply.
    #[error("chat template: expected at most {max} levels of nesting in messages, tools and variables")]
    NestedTooDeep {
        /// The bound.
        max: usize,
    },
    /// An extra variable has the name of one that is always set.
    #[error("chat template: the variable {name} is set by the caller's other arguments and cannot be given as well")]
    ReservedName {
        /// The name.
        name: &'static str,
    },
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" at line {line}")).unwrap_or_default()
}

/// Carries the message of `raise_exception` through the template engine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

impl TemplateError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoStack { .. } => ErrorKind::Unavailable,
            Self::SourceTooLong { .. } | Self::OutputTooLong { .. } | Self::NestedTooDeep { .. } => ErrorKind::Invalid,
            Self::OutOfFuel { .. } | Self::Syntax { .. } | Self::Raised { .. } => ErrorKind::Invalid,
            Self::Render { .. } | Self::EngineFault | Self::ReservedName { .. } => ErrorKind::Invalid,
        }
    }

    /// Line of the template, from 1, where there is one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Syntax { line, .. } | Self::Raised { line, .. } | Self::Render { line, .. } => *line,
            Self::OutOfFuel { line, .. } => *line,
            Self::SourceTooLong { .. } | Self::OutputTooLong { .. } => None,
            Self::EngineFault | Self::NoStack { .. } => None,
            Self::NestedTooDeep { .. } | Self::ReservedName { .. } => None,
        }
    }

    /// What the engine reports on a run with this much fuel, in our words where the kind of error has its own variant.
    pub(super) fn from_engine(error: &minijinja::Error, fuel: u64) -> Self {
        let line = error.line();
        let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
        if let Some(raised) = causes.find_map(|cause| cause.downcast_ref::<Raised>()) {
            return Self::Raised { line, message: raised.0.clone() };
        }
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        if error.kind() == minijinja::ErrorKind::OutOfFuel {
            Self::OutOfFuel { max: fuel, line }
        } else if error.kind() == minijinja::ErrorKind::SyntaxError {
            Self::Syntax { line, message }
        } else {
            Self::Render { line, message }
        }
    }
}
