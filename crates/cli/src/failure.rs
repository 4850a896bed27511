//! How a verb fails: what happened, why, what to do; and the exit code that says which of three kinds it was.

use ballast_backend::{ErrorKind, ReasonCode};
use ballast_store::StoreError;
use std::io::{self, Write};
use std::process::ExitCode;

/// 0 done, 1 failed, 2 wrong usage, 3 refused by policy or budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Refused = 3,
}

impl Exit {
    /// How a verb ends that met an error of this kind.
    pub(crate) fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Denied => Self::Refused,
            ErrorKind::Invalid
            | ErrorKind::Overloaded
            | ErrorKind::Unavailable
            | ErrorKind::Cancelled
            | ErrorKind::Internal => Self::Failed,
        }
    }
}

/// A verb's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) what: String,
    /// Why, where there is more to say.
    pub(crate) why: Option<String>,
    /// What to do about it.
    pub(crate) next: Option<String>,
    pub(crate) reason: Option<ReasonCode>,
    /// The reader of standard output has gone: nothing to say.
    is_broken_pipe: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, next: None, reason: None, is_broken_pipe: false }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    pub(crate) fn try_this(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Writes the failure to standard error and returns its exit code.
    pub(crate) fn show(&self) -> ExitCode {
        if self.is_broken_pipe {
            return ExitCode::SUCCESS;
        }
        let mut text = format!("error: {}\n", self.what);
        if let Some(reason) = self.reason {
            text += &format!("  code: {reason}\n");
        }
        if let Some(why) = &self.why {
            text += &format!("  why: {why}\n");
        }
        if let Some(next) = &self.next {
            text += &format!("  try: {next}\n");
        }
        write_error(&text);
        ExitCode::from(self.exit as u8)
    }
}

/// Writes clap's message where it belongs: help to standard output, mistakes to standard error. A reader of the help
/// that has gone is no failure.
pub(crate) fn show_usage(error: &clap::Error) -> ExitCode {
    if let Err(unwritten) = error.print() {
        return Failure::from(unwritten).show();
    }
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}

/// A closed standard error leaves nowhere to say so.
fn write_error(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Sampling, stop strings, constraints, kernels, sizes and windows are what the command line asks for: an error there is wrong usage.
fn exit_of(error: &ballast::Error) -> Exit {
    use ballast::{Error, RuntimeError};
    let is_option = matches!(
        error,
        Error::Runtime(RuntimeError::Sampling(_) | RuntimeError::Stop(_))
            | Error::Constraint(_)
            | Error::KernelsUnavailable { .. }
            | Error::OptionTooLarge { .. }
            | Error::WindowTooShort { .. }
    );
    if is_option { Exit::Usage } else { Exit::of_kind(error.kind()) }
}

impl From<ballast::Error> for Failure {
    fn from(error: ballast::Error) -> Self {
        let exit = exit_of(&error);
        let next = match error.reason() {
            Some(ReasonCode::MemoryBudgetExceeded) => {
                Some("a smaller --ctx-size, a smaller model, a larger --memory-budget, or --memory-mode best-effort")
            }
            Some(ReasonCode::ContextLengthExceeded) => Some("a shorter prompt or a larger --ctx-size"),
            Some(ReasonCode::TokenizerPreTokenizerUnknown) => {
                Some("--allow-unknown-pretokenizer, if wrong splits are acceptable")
            }
            _ => None,
        };
        let mut failure = Self::new(exit, error.to_string());
        (failure.reason, failure.next) = (error.reason(), next.map(str::to_owned));
        failure
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = if error.is_usage() { Exit::Usage } else { Exit::Failed };
        Self::new(exit, error.to_string()).because(error.why()).try_this(error.next_step())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { is_broken_pipe, ..Self::failed(error.to_string()) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}
