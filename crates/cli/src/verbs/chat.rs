//! `ballast chat`: a conversation at the terminal.

mod command;

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg, SamplingArgs};
use crate::verbs::run::stats;
use crate::{environment, output, signals};
use ballast::{ChatSession, FinishReason, Generate, Prompt};
use clap::Args as ClapArgs;
use command::{Command, Outcome};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::IsTerminal;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// A system message at the beginning.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Print timings after every answer, to standard error.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let engine = self.load.load(&self.model.model)?;
        let defaults = Generate { prompt: Prompt::Chat(Vec::new()), ..self.sampling.generate() };
        let mut session = engine.chat_session(defaults);
        session.set_system(self.system.as_deref().unwrap_or_default());
        let mut lines = Lines::open()?;
        if lines.is_terminal() {
            output::note("/help lists commands, Ctrl-C ends an answer, Ctrl-D ends the chat");
        }
        let mut show_stats = self.stats;
        while let Some(line) = lines.next()? {
            match Command::parse(&line) {
                None if line.trim().is_empty() => {}
                None => answer(&mut session, &line, show_stats)?,
                Some(command) => match command.run(&mut session, &mut show_stats) {
                    Outcome::Said(text) => output::note(&text),
                    Outcome::Quit => break,
                },
            }
        }
        lines.save();
        Ok(())
    }
}

/// Sends one message and shows the answer as it comes. A message that cannot be answered is told, and the chat goes on.
fn answer(session: &mut ChatSession, message: &str, show_stats: bool) -> Result<(), Failure> {
    let mut reply = match session.send(message) {
        Ok(reply) => reply,
        Err(error) => {
            Failure::from(error).show();
            return Ok(());
        }
    };
    let _watch = signals::watch(reply.canceller());
    for piece in reply.by_ref() {
        output::write(&piece)?;
    }
    let answer = reply.finish();
    output::line("")?;
    if answer.finish_reason != FinishReason::Stop {
        let why = answer.reason.map_or(answer.finish_reason.as_str(), |code| code.as_str());
        output::note(&format!("[{why}]"));
    }
    if show_stats {
        output::note(&stats(&answer));
    }
    Ok(())
}

/// What the person types: edited lines at a terminal, plain ones from a pipe.
enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe(std::io::Lines<std::io::StdinLock<'static>>),
}

impl Lines {
    fn open() -> Result<Self, Failure> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe(std::io::stdin().lines()));
        }
        let mut editor = DefaultEditor::new().map_err(|error| Failure::failed(error.to_string()))?;
        // No history yet is the usual case at first.
        drop(editor.load_history(&history_file()));
        Ok(Self::Terminal(Box::new(editor)))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line; `None` at the end of input.
    fn next(&mut self) -> Result<Option<String>, Failure> {
        let editor = match self {
            Self::Pipe(lines) => return Ok(lines.next().transpose()?),
            Self::Terminal(editor) => editor,
        };
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    drop(editor.add_history_entry(&line));
                    return Ok(Some(line));
                }
                Err(ReadlineError::Interrupted) => output::note("Ctrl-D or /quit ends the chat"),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(Failure::failed(error.to_string())),
            }
        }
    }

    /// Keeps the lines for the next chat; a directory that cannot be written costs only that.
    fn save(&mut self) {
        if let Self::Terminal(editor) = self {
            drop(std::fs::create_dir_all(environment::data_dir()));
            drop(editor.save_history(&history_file()));
        }
    }
}

fn history_file() -> std::path::PathBuf {
    environment::data_dir().join("chat_history")
}
