//! The `ballast` command: reads the command line and the environment, runs one verb, answers with an exit code.
//!
//! The answer goes to standard output, everything else to standard error. Exit codes are in `failure.rs`.
#![forbid(unsafe_code)]

mod configuration;
mod environment;
mod failure;
mod logging;
mod options;
mod output;
mod progress;
mod running;
mod signals;
mod verbs;

use clap::{CommandFactory, Parser};
use configuration::Unread;
use logging::LogOptions;
use std::process::ExitCode;
use verbs::Verb;

/// Runs language models on machines you own.
#[derive(Debug, Parser)]
#[command(name = "ballast", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by policy or budget.\n\
    A MODEL is a path, an alias (`default`), hf:user/repo[:QUANT], or a name in Ollama's store.")]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    ballast::worker_main();
    let cli = match configuration::read(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(Unread::Line(error)) => return failure::show_usage(&error),
        Err(Unread::Source(failure)) => return failure.show(),
    };
    cli.log.start();
    match cli.verb.run(Cli::command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.show(),
    }
}
