//! `ballast pull`: bring a model to this machine.

use crate::failure::Failure;
use crate::options::{ModelArg, parse_name};
use crate::progress::Bar;
use crate::{environment, output, signals};
use ballast_store::{Located, Progress};
use clap::Args as ClapArgs;
use serde_json::json;
use std::sync::atomic::AtomicBool;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Print progress as JSON lines in Ollama's shape.
    #[arg(long)]
    json: bool,
    /// Fetch nothing; succeed only if the model is here.
    #[arg(long)]
    offline: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut lines = Lines::default();
        let progress: &mut dyn Progress = if self.json { &mut lines } else { &mut Bar::default() };
        let located = pull(&self.model.model, self.offline, progress)?;
        if self.json {
            return output::json(&json!({ "status": "success", "path": located.path() }));
        }
        output::line(&located.path().display().to_string())
    }
}

/// Brings a model here unless it is; Ctrl-C ends the download, and a later call goes on from there.
pub(crate) fn pull(name: &str, offline: bool, progress: &mut dyn Progress) -> Result<Located, Failure> {
    static CANCEL: AtomicBool = AtomicBool::new(false);
    let _watch = signals::watch_flag(&CANCEL);
    Ok(environment::store(offline).pull(&parse_name(name)?, progress, &CANCEL)?)
}

/// Progress as JSON lines. A reader that has gone is noticed when the result is written.
#[derive(Debug, Default)]
struct Lines {
    label: String,
    total: Option<u64>,
}

impl Lines {
    fn line(&self, completed: Option<u64>) {
        let line = json!({ "status": self.label, "total": self.total, "completed": completed });
        drop(output::json(&line));
    }
}

impl Progress for Lines {
    fn start(&mut self, label: &str, total: Option<u64>) {
        (self.label, self.total) = (label.to_owned(), total);
        self.line(None);
    }

    fn advance_to(&mut self, done: u64) {
        self.line(Some(done));
    }

    fn finish(&mut self) {}
}
