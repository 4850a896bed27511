//! The verbs, one file each.

mod bench;
mod chat;
mod check;
mod compile;
mod completions;
mod config;
mod convert;
mod demo;
mod detokenize;
mod embed;
mod facts;
mod gate;
mod gguf;
mod info;
mod inspect;
mod key;
mod list;
mod logits;
mod parity;
mod perplexity;
mod predict;
mod ps;
mod pull;
mod rm;
mod run;
mod serve;
mod show;
mod soak;
mod stop;
mod tokenize;
mod verify_mac;

use crate::failure::Failure;
use clap::Subcommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Answer one prompt, streamed.
    Run(run::Args),
    /// Fetch the default model, serve it, ask it something: the whole job in one command.
    Demo(demo::Args),
    /// Serve a model over HTTP, for OpenAI's clients.
    Serve(Box<serve::Args>),
    /// List servers on this machine, and the models that they have loaded.
    Ps(ps::Args),
    /// Ask a server on this machine to finish its answers and end.
    Stop(stop::Args),
    /// Make, list and revoke keys that open a server.
    Key(key::Args),
    /// Talk with a model.
    Chat(chat::Args),
    /// Download a model.
    Pull(pull::Args),
    /// List the models on this machine.
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Delete a downloaded model.
    Rm(rm::Args),
    /// Print what a model is.
    Show(show::Args),
    /// Pack a model ahead of its first start, or look at what is packed.
    Compile(compile::Args),
    /// Turn an encoder's folder (safetensors) into a GGUF file.
    Convert(convert::Args),
    /// Turn texts into vectors.
    Embed(embed::Args),
    /// Run a tensor model on pictures, sounds, texts or arrays.
    Predict(Box<predict::Args>),
    /// Print what a model file is made of, and what would run where.
    Inspect(inspect::Args),
    /// Run a gate of the prior system on a tensor model.
    Gate(gate::Args),
    /// Measure a Core ML package on this Mac.
    VerifyMac(Box<verify_mac::Args>),
    /// Print what this machine offers and what a model would take.
    Info(info::Args),
    /// Check that this machine is ready.
    Check(check::Args),
    /// Split text into a model's tokens.
    Tokenize(tokenize::Args),
    /// Turn tokens back into text.
    Detokenize(detokenize::Args),
    /// Print a model's raw logits for given tokens.
    Logits(logits::Args),
    /// Compare two ways of running a model.
    Parity(parity::Args),
    /// Measure a model's perplexity on a text.
    Perplexity(perplexity::Args),
    /// Measure speed and memory, alone or beside a peer.
    Bench(bench::Args),
    /// Run for long under load and faults, and print the gates.
    Soak(soak::Args),
    /// Check or show the settings of `serve`.
    Config(config::Args),
    /// Look into GGUF files.
    Gguf(gguf::Args),
    /// Print a shell's completion script.
    Completions(completions::Args),
}

impl Verb {
    /// Does it. `command` builds the whole command line, for those who describe it.
    pub(crate) fn run(self, command: fn() -> clap::Command) -> Result<(), Failure> {
        match self {
            Self::Run(args) => args.run(),
            Self::Demo(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Ps(args) => args.run(),
            Self::Stop(args) => args.run(),
            Self::Key(args) => args.run(),
            Self::Chat(args) => args.run(),
            Self::Pull(args) => args.run(),
            Self::List(args) => args.run(),
            Self::Rm(args) => args.run(),
            Self::Show(args) => args.run(),
            Self::Compile(args) => args.run(),
            Self::Convert(args) => args.run(),
            Self::Embed(args) => args.run(),
            Self::Predict(args) => args.run(),
            Self::Inspect(args) => args.run(),
            Self::Gate(args) => args.run(),
            Self::VerifyMac(args) => args.run(),
            Self::Info(args) => args.run(),
            Self::Check(args) => args.run(),
            Self::Tokenize(args) => args.run(),
            Self::Detokenize(args) => args.run(),
            Self::Logits(args) => args.run(),
            Self::Parity(args) => args.run(),
            Self::Perplexity(args) => args.run(),
            Self::Bench(args) => args.run(),
            Self::Soak(args) => args.run(),
            Self::Config(args) => args.run(),
            Self::Gguf(args) => args.run(),
            Self::Completions(args) => args.run(command()),
        }
    }
}
