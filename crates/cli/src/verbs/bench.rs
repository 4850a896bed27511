//! `ballast bench`: how fast a model runs here, how fast a peer runs it in the same rounds, and what this machine could
//! do at most.
//!
//! Every round is a fresh process, ours and the peers' in turn, so that all see the same machine in the same minutes
//! and peak memory is a whole process's. What is printed are medians over the rounds, with the spread.

mod client;
mod compare;
mod constraint;
mod figure;
mod foreign;
mod growth;
mod limits;
mod load;
mod make_model;
mod meter;
mod overload;
mod peer;
mod phases;
mod plot;
mod process;
mod product;
mod prompts;
mod random;
mod report;
mod roofline;
mod round;
mod serve;
mod server;
mod startup;
mod statistics;
mod table;

use crate::failure::Failure;
use crate::output;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde_json::Value;
use std::path::Path;
use table::Table;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples, a sweep beside a peer and the same against another build:\n  \
    ballast bench default --prompt 64,512,4096 --batch 1,8,32 --peer llama-bench --plot sweep.svg\n  \
    ballast bench default --threads 1,2 --peer ballast:old/ballast --json\n\
    A model called like one of the commands is told by its path: ./limits")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    compare: compare::CompareArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure what this machine can do at most: bandwidth, arithmetic, fork and join.
    Limits(limits::Args),
    /// Measure how the time of a token grows with context, batch and model, and where it leaves its law.
    Growth(growth::Args),
    /// Put servers under load, ours and peers': requests and tokens a second, latencies, errors.
    Serve(serve::Args),
    /// Put our server under more than it can take, and judge what it still does.
    Overload(overload::Args),
    /// Measure what it costs to keep answers to a schema: the time of masks, and the speed with and without.
    Constraint(constraint::Args),
    /// Write a model of a given shape with random weights.
    MakeModel(make_model::Args),
    /// Run one round in this process and print it as JSON: what the other verbs start.
    #[command(hide = true)]
    Round(round::Args),
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for a terminal.
    Text,
    /// One JSON object with every sample.
    Json,
    /// A table for a document.
    Markdown,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.verb {
            None => self.compare.run(),
            Some(Verb::Limits(args)) => args.run(),
            Some(Verb::Growth(args)) => args.run(),
            Some(Verb::Serve(args)) => args.run(),
            Some(Verb::Overload(args)) => args.run(),
            Some(Verb::Constraint(args)) => args.run(),
            Some(Verb::MakeModel(args)) => args.run(),
            Some(Verb::Round(args)) => args.run(),
        }
    }
}

impl Format {
    /// `--json` is short for `--format json`.
    fn or_json(self, json: bool) -> Self {
        if json { Self::Json } else { self }
    }
}

fn print(format: Format, json: &Value, caption: &str, table: &Table) -> Result<(), Failure> {
    match format {
        Format::Json => output::json(json),
        Format::Text => output::write(&format!("{caption}\n{}", table.to_text())),
        Format::Markdown => output::write(&format!("{caption}\n\n{}", table.to_markdown())),
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::failed(format!("{} cannot be written", path.display())).because(error.to_string()))
}
