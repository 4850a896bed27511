//! `ballast bench serve`: a server under load, and a peer's under the same in the same rounds: requests and tokens a
//! second, times to the first token and between tokens, errors by status.
//!
//! Every round is a fresh process of each program, in turn. The load comes from this process, on one thread.

mod report;

use super::client::{Asked, Target};
use super::load::{self, Arrivals};
use super::peer::Program;
use super::prompts::{PromptPlan, Prompts};
use super::server::{Scratch, Server, ServerCommand, ServerPlan};
use super::{Format, print};
use crate::failure::Failure;
use crate::options::{locate, open_gguf, positive};
use crate::progress;
use crate::verbs::serve::key::new_key;
use ballast::SystemClock;
use ballast::machine::Machine;
use ballast::tokens::{Tokenizer, TokenizerOptions};
use clap::Args as ClapArgs;
use report::{Column, Report};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Most loads of one run.
const LOADS_MAX: usize = 64;
/// Most clients of a load, and most requests of one.
const CLIENTS_MAX: usize = load::IN_FLIGHT_MAX;
const REQUESTS_MAX: usize = 1 << 20;
/// Longest prompt and answer.
const TOKENS_MAX: usize = 1 << 20;
/// Positions that a chat template adds at most.
const TEMPLATE_TOKENS: usize = 256;
/// Positions to which a sequence's context is rounded up.
const CONTEXT_STEP: usize = 256;

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example, the table beside llama.cpp's server and arrivals at random:\n  \
    ballast bench serve default --peer llama:build/bin/llama-server\n  \
    ballast bench serve default --rate 0.5,1,2 --requests 60 --rounds 3")]
pub(super) struct Args {
    /// A path, an alias (`default`), `hf:user/repo[:QUANT]`, or a name in Ollama's store.
    model: String,
    #[command(flatten)]
    traffic: TrafficArgs,
    /// Rounds; figures are medians over them.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(5).expect("five is not zero"))]
    rounds: NonZeroUsize,
    /// A server to run in the same rounds: llama:PATH of llama-server, or ballast:PATH; may be given several times.
    #[arg(long, value_name = "[KIND:]PATH", value_parser = Program::parse)]
    peer: Vec<Program>,
    #[command(flatten)]
    size: SizeArgs,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json.
    #[arg(long)]
    json: bool,
    /// Further options of our own server, behind --, such as: -- --isolation process.
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<String>,
}

/// How many requests come, how, and how long they are.
#[derive(Debug, ClapArgs)]
struct TrafficArgs {
    /// Clients that ask again as soon as they are answered.
    #[arg(long, value_name = "N,N..", value_delimiter = ',', value_parser = positive, default_value = "1,4,8,16,32")]
    clients: Vec<usize>,
    /// Requests a second that come at random whether or not others are answered, instead of clients.
    #[arg(long, value_name = "R,R..", value_delimiter = ',', value_parser = rate, conflicts_with = "clients")]
    rate: Vec<f64>,
    /// Requests of each client, or of each rate altogether.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 4)]
    requests: usize,
    #[command(flatten)]
    lengths: LengthArgs,
    /// The same seed asks the same at the same times.
    #[arg(short = 's', long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// How long prompts and answers are.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(super) struct LengthArgs {
    /// Length of a prompt, besides what the chat template adds.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 128)]
    pub(super) prompt_tokens: usize,
    /// Length of an answer.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 64)]
    pub(super) max_tokens: usize,
    /// Share of a prompt, 0 to 1, that all prompts begin with.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.0)]
    pub(super) shared: f64,
}

/// How large servers are.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(super) struct SizeArgs {
    /// Compute threads [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Sequences that a server generates at a time [default: as many as the most clients, 16 for rates].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) parallel: Option<usize>,
}

/// Sequences at a time where no number of clients says it.
pub(super) const PARALLEL: usize = 16;

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| format!("expected a number above 0, got {text:?}"))
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| format!("expected 0 to 1, got {text:?}"))
}

impl LengthArgs {
    /// # Errors
    /// If a prompt or answer is longer than any model's context.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let got = self.prompt_tokens.max(self.max_tokens);
        if got > TOKENS_MAX {
            let what = format!("--prompt-tokens, --max-tokens: expected at most {TOKENS_MAX}, got {got}");
            return Err(Failure::usage(what));
        }
        Ok(())
    }

    /// Positions that a sequence needs.
    pub(super) fn context_len(&self) -> usize {
        (self.prompt_tokens + self.max_tokens + TEMPLATE_TOKENS).next_multiple_of(CONTEXT_STEP)
    }

    /// What prompts are like.
    pub(super) fn plan(&self, seed: u64) -> PromptPlan {
        PromptPlan { n_tokens: self.prompt_tokens, shared: self.shared, seed }
    }
}

impl TrafficArgs {
    fn loads(&self) -> Result<Vec<Arrivals>, Failure> {
        let loads: Vec<_> = match self.rate.as_slice() {
            [] => self.clients.iter().map(|&clients| Arrivals::Closed { clients }).collect(),
            rates => rates.iter().map(|&per_second| Arrivals::Open { per_second }).collect(),
        };
        let bounds = [
            ("--clients, --rate", loads.len(), LOADS_MAX),
            ("--clients", self.clients.iter().copied().max().unwrap_or(1), CLIENTS_MAX),
            ("--requests", self.requests, REQUESTS_MAX / CLIENTS_MAX),
        ];
        match bounds.into_iter().find(|(_, got, max)| got > max) {
            Some((option, got, max)) => Err(Failure::usage(format!("{option}: expected at most {max}, got {got}"))),
            None => self.lengths.check().map(|()| loads),
        }
    }
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        let bench = Bench::new(&self)?;
        let report = bench.run(self.rounds.get())?;
        let mut json = report.to_json();
        json["n_rounds"] = json!(self.rounds);
        json["setting"] = bench.to_json();
        print(self.format.or_json(self.json), &json, &bench.caption(&report, self.rounds.get()), &report.table())?;
        report.our_failure().map_or(Ok(()), |why| Err(Failure::failed("a round of ours failed").because(why)))
    }
}

/// A model and its tokenizer.
pub(super) struct Subject {
    pub(super) path: PathBuf,
    pub(super) tokenizer: Tokenizer,
}

impl Subject {
    pub(super) fn open(model: &str) -> Result<Self, Failure> {
        let path = locate(model)?.path().to_owned();
        let options = TokenizerOptions { allow_unknown_pretokenizer: true, allow_fallback: true };
        let (tokenizer, _) =
            Tokenizer::from_gguf(open_gguf(&path)?.metadata(), &options).map_err(ballast::Error::from)?;
        Ok(Self { path, tokenizer })
    }

    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The thread that clients run on.
pub(super) fn client_thread() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

struct Bench<'a> {
    args: &'a Args,
    subject: Subject,
    loads: Vec<Arrivals>,
    /// Ours first.
    programs: Vec<Program>,
    machine: Machine,
    n_threads: usize,
    n_parallel: usize,
    key: String,
    thread: tokio::runtime::Runtime,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args) -> Result<Self, Failure> {
        let loads = args.traffic.loads()?;
        let mut programs = vec![Program::ourselves()?];
        for peer in &args.peer {
            programs.push(server_of(peer)?);
        }
        let machine = Machine::read();
        let n_threads = args.size.threads.map_or(machine.usable_cpus, NonZeroUsize::get);
        let clients = |load: &Arrivals| match load {
            Arrivals::Closed { clients } => *clients,
            Arrivals::Open { .. } => PARALLEL,
        };
        let n_parallel = args.size.parallel.or(loads.iter().map(clients).max()).unwrap_or(PARALLEL);
        let (subject, key, thread) = (Subject::open(&args.model)?, new_key()?, client_thread()?);
        Ok(Self { args, subject, loads, programs, machine, n_threads, n_parallel, key, thread })
    }

    fn run(&self, n_rounds: usize) -> Result<Report, Failure> {
        let columns = self
            .programs
            .iter()
            .map(|program| Column { name: program.name().to_owned(), version: version(program.path()) });
        let mut report = Report::new(self.loads.clone(), columns.collect());
        let bar = progress::steps("bench serve", n_rounds * self.programs.len() * self.loads.len());
        for round_idx in 0..n_rounds {
            for turn in 0..self.programs.len() {
                let column_idx = (turn + round_idx) % self.programs.len();
                if let Err(why) = self.round(round_idx, column_idx, &mut report, &bar) {
                    report.add_failure(column_idx, why);
                }
            }
        }
        bar.finish_and_clear();
        Ok(report)
    }

    /// One program under every load.
    fn round(
        &self,
        round_idx: usize,
        column_idx: usize,
        report: &mut Report,
        bar: &indicatif::ProgressBar,
    ) -> Result<(), String> {
        let (home, plan) = (Scratch::new(), self.plan());
        let command = match &self.programs[column_idx] {
            Program::Llama(path) => ServerCommand::llama(path, &plan),
            Program::Ballast(path) | Program::Candle(path) => ServerCommand::ballast(path, &plan, home.path()),
        };
        let server = Server::start(command)?;
        let target = Target { address: server.address(), key: self.key.clone(), clock: SystemClock::start() };
        let traffic = &self.args.traffic;
        let seed = traffic.seed.wrapping_add(round_idx as u64);
        // All programs of a round are asked the same, and no two loads ask the same of one.
        let mut prompts = Prompts::new(&self.subject.tokenizer, traffic.lengths.plan(seed));
        let asked = Asked { max_tokens: traffic.lengths.max_tokens, streamed: true };
        let mut requests = |n: usize| -> Vec<_> { (0..n).map(|_| target.chat(&prompts.next(), asked)).collect() };
        // The first answer touches memory that later ones find warm.
        let warm_up = self.thread.block_on(load::run(&target, Arrivals::Closed { clients: 1 }, requests(1), seed));
        if warm_up.n_done() == 0 {
            return Err(format!("no answer to the first request: {:?}", warm_up.errors()));
        }
        for (load_idx, &arrivals) in self.loads.iter().enumerate() {
            let n_clients = if let Arrivals::Closed { clients } = arrivals { clients } else { 1 };
            let requests = requests(n_clients * traffic.requests);
            report.add(load_idx, column_idx, self.thread.block_on(load::run(&target, arrivals, requests, seed)));
            bar.inc(1);
        }
        report.add_peak(column_idx, server.peak_bytes());
        Ok(())
    }

    fn plan(&self) -> ServerPlan<'_> {
        ServerPlan {
            model: &self.subject.path,
            n_threads: self.n_threads,
            n_parallel: self.n_parallel,
            context_len: self.args.traffic.lengths.context_len(),
            key: Some(&self.key),
            kernels: None,
            more: &self.args.more,
        }
    }

    fn caption(&self, report: &Report, n_rounds: usize) -> String {
        let machine = self.machine.cpu_model.as_deref().unwrap_or("unknown processor");
        let program = |c: &Column| format!("{} {}", c.name, c.version.as_deref().unwrap_or("of unknown version"));
        let programs = report.columns.iter().map(program).collect::<Vec<_>>().join(", ");
        let prompt = report.prompt_tokens().map_or("of unknown length".to_owned(), |n| format!("of {n:.0} tokens"));
        let LengthArgs { max_tokens, shared, .. } = self.args.traffic.lengths;
        format!(
            "{} on {machine}, {} threads, {} sequences at a time; {programs}; prompts {prompt} with their template, \
            {:.0} % of each shared, answers of {max_tokens} tokens, greedy; median (least to most) of {n_rounds} \
            interleaved rounds",
            self.subject.name(),
            self.n_threads,
            self.n_parallel,
            shared * 100.0,
        )
    }

    fn to_json(&self) -> Value {
        let traffic = &self.args.traffic;
        json!({
            "model": self.subject.name(),
            "machine": self.machine.cpu_model,
            "threads": self.n_threads,
            "parallel": self.n_parallel,
            "requests": traffic.requests,
            "prompt_tokens": traffic.lengths.prompt_tokens,
            "max_tokens": traffic.lengths.max_tokens,
            "shared": traffic.lengths.shared,
            "seed": traffic.seed,
        })
    }
}

/// The server among a peer's programs.
fn server_of(peer: &Program) -> Result<Program, Failure> {
    let program = match peer {
        Program::Llama(path) => Program::Llama(path.with_file_name("llama-server")),
        Program::Ballast(path) => Program::Ballast(path.clone()),
        Program::Candle(_) => return Err(Failure::usage("--peer: candle has no server")),
    };
    if program.path().exists() {
        return Ok(program);
    }
    Err(Failure::failed(format!("{} is not there", program.path().display())))
}

/// What a program says of its version, in its own first words about it.
fn version(path: &Path) -> Option<String> {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.starts_with("version:") || line.starts_with("ballast "))?;
    let words = line.trim_start_matches("version:").trim_start_matches("ballast ").trim();
    Some(words.chars().take(60).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares_are_numbers_in_their_range() {
        assert_eq!((rate("2.5"), share("1")), (Ok(2.5), Ok(1.0)));
        for bad in ["0", "-1", "nan", "inf", "often"] {
            assert!(rate(bad).is_err() && (bad == "0" || share(bad).is_err()), "{bad}");
        }
        assert!(share("1.1").is_err());
    }

    #[test]
    fn a_peer_is_told_by_its_server() {
        let missing = Program::Llama("/nowhere/llama-bench".into());
        assert!(server_of(&missing).unwrap_err().what.contains("llama-server"));
        assert!(server_of(&Program::Candle("/bin/sh".into())).is_err());
    }
}
