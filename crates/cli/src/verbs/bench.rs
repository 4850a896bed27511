//! `ballast bench`: how fast a model runs here, and how fast a peer runs it in the same rounds.
//!
//! Every round is a fresh process, ours and the peer's in turn, so that both see the same machine in the same minutes
//! and peak memory is a whole process's. What is printed are medians over the rounds, with the spread.

mod peer;
mod process;
mod report;
mod round;

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg};
use crate::{output, progress};
use clap::{Args as ClapArgs, ValueEnum};
use report::Report;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Tokens of the prompt in the prefill phase.
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    prompt_tokens: usize,
    /// Tokens generated in the decode phases.
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    decode_tokens: usize,
    /// Sequences of the batched decode phase.
    #[arg(long, value_name = "N", default_value_t = 8)]
    sequences: usize,
    /// Rounds; figures are medians over them.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// llama.cpp's `llama-bench`, to measure side by side.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json.
    #[arg(long)]
    json: bool,
    /// Run one round in this process and print it as JSON: what the parent process calls.
    #[arg(long, hide = true)]
    one_round: bool,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.check()?;
        let located = self.model.locate()?;
        let options = self.load.options()?;
        let phases = round::Phases {
            prompt_tokens: self.prompt_tokens,
            decode_tokens: self.decode_tokens,
            n_sequences: self.sequences,
        };
        if self.one_round {
            return output::json(&round::run(located.path(), &options, phases)?);
        }
        let mut report = Report::new(located.path(), &options, phases)?;
        let bar = progress::steps("bench", self.rounds);
        for _ in 0..self.rounds {
            report.add_ours(process::run_ourselves()?)?;
            if let Some(peer) = &self.peer {
                report.add_peer(peer::run(peer, located.path(), report.n_threads(), phases)?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        match self.format {
            _ if self.json => output::json(&report.to_json()),
            Format::Json => output::json(&report.to_json()),
            Format::Markdown => output::write(&report.to_markdown()),
            Format::Text => output::write(&report.to_text()),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let figures = [
            ("--prompt-tokens", self.prompt_tokens),
            ("--decode-tokens", self.decode_tokens),
            ("--sequences", self.sequences),
            ("--rounds", self.rounds),
        ];
        match figures.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Failure::usage(format!("{name}: expected at least 1, got 0"))),
            None => Ok(()),
        }
    }
}
