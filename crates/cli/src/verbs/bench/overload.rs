//! `ballast bench overload`: our server under more than it can take: what it still does, what it tells those it
//! refuses, whether readers that hardly read slow the others, and how soon a client that leaves is forgotten.
//!
//! Everything is seen from outside: by what clients get, by `/metrics`, and by the memory of the process.

mod departures;
mod gauges;

use super::client::{Asked, Connection, End, Target};
use super::load::{self, Arrivals, Outcome};
use super::prompts::{PromptPlan, Prompts};
use super::serve::{LengthArgs, Subject, client_thread, rate, share};
use super::server::{Scratch, Server, ServerCommand, ServerPlan};
use crate::failure::Failure;
use crate::options::{positive, seconds};
use crate::output;
use crate::verbs::serve::{key::new_key, server_options};
use ballast::machine::Machine;
use ballast::soak::{GateRow, Limit, Verdict};
use ballast::{RuntimeOptions, SystemClock};
use clap::Args as ClapArgs;
use departures::{DEPARTURES, Departure};
use gauges::Gauges;
use serde_json::json;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::task::JoinSet;

/// Sequences at a time.
const PARALLEL: usize = 8;
/// Most readers that hardly read: they and the load stay below the server's connections.
const SLOW_READERS_MAX: usize = 200;
/// Most requests of an overload.
const REQUESTS_MAX: usize = 1 << 16;
/// Bytes of a slow reader's window: the system gives its least.
const WINDOW_BYTES: u32 = 1;
/// Time from one byte of a slow reader to the next.
const BYTE_INTERVAL: Duration = Duration::from_secs(1);
/// How long slow readers' answers may take to be generated before the others are measured beside them.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// How often the server is looked at under load.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, ClapArgs)]
#[command(after_help = "The exit code is 1 if a gate fails.")]
pub(super) struct Args {
    /// A path, an alias (`default`), `hf:user/repo[:QUANT]`, or a name in Ollama's store.
    model: String,
    /// Arrivals, as a multiple of what the server did at its peak.
    #[arg(long, value_name = "X", value_parser = rate, default_value_t = 4.0)]
    times: f64,
    /// How long they come.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "20")]
    time: Duration,
    /// Requests of each client of the peak.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 4)]
    requests: usize,
    /// Clients that read a byte a second.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 32)]
    slow_readers: usize,
    #[command(flatten)]
    lengths: LengthArgs,
    /// Positions of a sequence: long prompts and answers, of clients that leave, take most of them.
    #[arg(long, value_name = "TOKENS", value_parser = positive, default_value_t = 2048)]
    context: usize,
    /// Compute threads [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Sequences that the server generates at a time.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = PARALLEL)]
    parallel: usize,
    #[command(flatten)]
    gates: GateArgs,
    /// The same seed asks the same at the same times.
    #[arg(short = 's', long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Further options of the server, behind --.
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<String>,
}

/// What decides the exit code.
#[derive(Clone, Copy, Debug, ClapArgs)]
struct GateArgs {
    /// Least share of the peak's tokens a second that an overloaded server still does.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.9)]
    goodput_min: f64,
    /// Most growth of the server's memory under overload, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = rate, default_value_t = 10.0)]
    growth_max: f64,
    /// Least share of its tokens a second that a load keeps beside slow readers.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.9)]
    beside_slow_min: f64,
    /// Most milliseconds until a client that left holds nothing.
    #[arg(long, value_name = "MS", value_parser = rate, default_value_t = 250.0)]
    free_max: f64,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.lengths.check()?;
        if self.slow_readers > SLOW_READERS_MAX {
            let got = self.slow_readers;
            return Err(Failure::usage(format!("--slow-readers: expected at most {SLOW_READERS_MAX}, got {got}")));
        }
        let subject = Subject::open(&self.model)?;
        let (home, key, thread) = (Scratch::new(), new_key()?, client_thread()?);
        let n_threads = self.threads.map_or(Machine::read().usable_cpus, NonZeroUsize::get);
        let plan = ServerPlan {
            model: &subject.path,
            n_threads,
            n_parallel: self.parallel,
            context_len: self.context.max(self.lengths.context_len()),
            key: Some(&key),
            kernels: None,
            more: &self.more,
        };
        let program = std::env::current_exe()?;
        let server = Server::start(ServerCommand::ballast(&program, &plan, home.path())).map_err(Failure::failed)?;
        let target = Target { address: server.address(), key: key.clone(), clock: SystemClock::start() };
        let rows = thread.block_on(Trial { args: &self, subject: &subject, server: &server, target }.rows());
        self.tell(&subject, n_threads, &rows.map_err(Failure::failed)?)
    }

    fn tell(&self, subject: &Subject, n_threads: usize, rows: &[GateRow]) -> Result<(), Failure> {
        let failed: Vec<_> = rows.iter().filter(|row| row.verdict == Verdict::Fail).map(|row| row.name).collect();
        if self.json {
            let gates = rows.iter().map(|row| {
                let limit = row.limit.map(|limit| limit.to_string());
                json!({ "name": row.name, "limit": limit, "value": row.value, "verdict": row.verdict.as_str() })
            });
            output::json(&json!({
                "model": subject.name(), "threads": n_threads, "parallel": self.parallel,
                "passes": failed.is_empty(), "gates": gates.collect::<Vec<_>>(),
            }))?;
        } else {
            output::write(&self.text(subject, n_threads, rows))?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        let (n, n_all) = (failed.len(), rows.len());
        Err(Failure::failed(format!("{n} of {n_all} gates failed: {}", failed.join("; "))))
    }

    fn text(&self, subject: &Subject, n_threads: usize, rows: &[GateRow]) -> String {
        let machine = Machine::read().cpu_model.unwrap_or_else(|| "unknown processor".to_owned());
        let mut text = format!(
            "{} on {machine}, {n_threads} threads, {} sequences at a time, ballast {}\n{:<52} {:>12} {:>14}  {}\n",
            subject.name(),
            self.parallel,
            env!("CARGO_PKG_VERSION"),
            "gate",
            "limit",
            "value",
            "verdict"
        );
        for row in rows {
            let (limit, value) = (row.limit_text(), row.value_text());
            text += &format!("{:<52} {limit:>12} {value:>14}  {}\n", row.name, row.verdict.as_str());
        }
        text
    }
}

/// The most that was seen of a server under load; `None`: it was not seen.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    /// Resident.
    bytes: Option<u64>,
    /// Requests that waited.
    waiting: Option<f64>,
}

/// A server and everything it is put through.
struct Trial<'a> {
    args: &'a Args,
    subject: &'a Subject,
    server: &'a Server,
    target: Target,
}

impl Trial<'_> {
    /// # Errors
    /// If the server answers nobody at all.
    async fn rows(&self) -> Result<Vec<GateRow>, String> {
        let warm_up = self.closed(1, self.args.seed).await;
        if warm_up.n_done() == 0 {
            return Err(format!("no answer to the first request: {:?}", warm_up.errors()));
        }
        let mut rows = facts();
        rows.extend(self.overload().await);
        rows.extend(self.beside_slow_readers().await);
        for departure in DEPARTURES {
            rows.push(self.departure(departure).await);
        }
        let held = gauges::read(&self.target).await.map(|Gauges { running, waiting, .. }| running + waiting);
        rows.push(GateRow::new("running or waiting at the end", Some(Limit::Is(0.0)), held));
        Ok(rows)
    }

    fn requests(&self, n: usize, plan: PromptPlan, asked: Asked) -> Vec<Vec<u8>> {
        let mut prompts = Prompts::new(&self.subject.tokenizer, plan);
        (0..n).map(|_| self.target.chat(&prompts.next(), asked)).collect()
    }

    fn usual(&self, n: usize, seed: u64) -> Vec<Vec<u8>> {
        let asked = Asked { max_tokens: self.args.lengths.max_tokens, streamed: true };
        self.requests(n, self.args.lengths.plan(seed), asked)
    }

    /// Clients that fill the server and no more.
    async fn closed(&self, n_each: usize, seed: u64) -> Outcome {
        let clients = self.args.parallel;
        load::run(&self.target, Arrivals::Closed { clients }, self.usual(clients * n_each, seed), seed).await
    }

    /// Has every block of the KV cache used once: memory that the server planned for and touches when it is needed.
    async fn fill(&self) {
        let positions = self.args.context.max(self.args.lengths.context_len());
        let n_each = positions.div_ceil(self.args.lengths.context_len().max(1)) + 1;
        self.closed(n_each, self.args.seed.wrapping_add(5)).await;
    }

    async fn overload(&self) -> Vec<GateRow> {
        let seed = self.args.seed.wrapping_add(1);
        self.fill().await;
        let peak = self.closed(self.args.requests, seed).await;
        let before = self.server.resident_bytes();
        let per_second = peak.requests_per_second() * self.args.times;
        // As many as come in the time, and never none.
        let wanted = per_second * self.args.time.as_secs_f64();
        let n_requests = (1..=REQUESTS_MAX).rfind(|&n| n as f64 <= wanted).unwrap_or(1);
        let requests = self.usual(n_requests, seed.wrapping_add(1));
        let overload = load::run(&self.target, Arrivals::Open { per_second }, requests, seed);
        let (overload, most) = self.watched(overload).await;
        let growth = before.zip(most.bytes).map(|(before, most)| (most as f64 / before as f64 - 1.0) * 100.0);
        let goodput = overload.tokens_per_second() / peak.tokens_per_second();
        let refused = overload.exchanges.iter().filter(|exchange| matches!(exchange.end, End::Refused { .. }));
        let unfit = refused.clone().filter(|exchange| !is_for_clients(&exchange.end));
        let broken = overload.exchanges.iter().filter(|exchange| matches!(exchange.end, End::Failed(_)));
        let count = |n: usize| Some(n as f64);
        vec![
            GateRow::new("peak, requests/s", None, Some(peak.requests_per_second())),
            GateRow::new("peak, tokens/s", None, Some(peak.tokens_per_second())),
            GateRow::new("overload, requests/s that came", None, Some(per_second)),
            GateRow::new("overload, requests", None, count(overload.exchanges.len())),
            GateRow::new(
                "overload, tokens/s over peak",
                Some(Limit::AtLeast(self.args.gates.goodput_min)),
                Some(goodput),
            ),
            GateRow::new("overload, most requests that waited", Some(Limit::AtMost(queue_max() as f64)), most.waiting),
            GateRow::new("overload, refused", None, count(refused.count())),
            GateRow::new("overload, refused otherwise than clients retry", Some(Limit::Is(0.0)), count(unfit.count())),
            GateRow::new("overload, broken off", Some(Limit::Is(0.0)), count(broken.count())),
            GateRow::new(
                "overload, most memory over before, %",
                Some(Limit::AtMost(self.args.gates.growth_max)),
                growth,
            ),
        ]
    }

    /// Looks at the server while it is under load.
    async fn watched(&self, load: impl Future<Output = Outcome>) -> (Outcome, Most) {
        let mut load = std::pin::pin!(load);
        let mut most = Most::default();
        loop {
            tokio::select! {
                outcome = &mut load => return (outcome, most),
                () = tokio::time::sleep(WATCH_INTERVAL) => {
                    most.bytes = most.bytes.max(self.server.resident_bytes());
                    let waiting = gauges::read(&self.target).await.map(|gauges| gauges.waiting);
                    most.waiting = waiting.into_iter().chain(most.waiting).reduce(f64::max);
                }
            }
        }
    }

    async fn beside_slow_readers(&self) -> Vec<GateRow> {
        let n_readers = self.args.slow_readers;
        let seed = self.args.seed.wrapping_add(3);
        let alone = self.closed(self.args.requests, seed).await;
        let before = gauges::read(&self.target).await.map_or(0.0, |gauges| gauges.generated);
        let wanted = before + (n_readers * self.args.lengths.max_tokens) as f64;
        let mut readers = JoinSet::new();
        for request in self.usual(n_readers, seed.wrapping_add(1)) {
            let target = self.target.clone();
            readers.spawn(async move {
                let mut connection = Connection::open(&target, Some(WINDOW_BYTES)).await?;
                connection.send(&request).await?;
                while connection.take_byte().await {
                    tokio::time::sleep(BYTE_INTERVAL).await;
                }
                Ok::<_, &'static str>(())
            });
        }
        // Their answers cost what answers cost; the question is what it costs to get rid of them.
        let (settled, _) =
            gauges::wait(&self.target, SETTLE_MAX, |gauges| gauges.generated >= wanted && gauges.running == 0.0).await;
        let held = gauges::read(&self.target).await.map(|gauges| gauges.running + gauges.waiting);
        let beside = self.closed(self.args.requests, seed.wrapping_add(2)).await;
        let n_reading = std::iter::from_fn(|| readers.try_join_next()).fold(n_readers, |n, _| n - 1);
        let ratio = beside.tokens_per_second() / alone.tokens_per_second();
        readers.shutdown().await;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        vec![
            GateRow::new("slow readers, still reading at the end", None, Some(n_reading as f64)),
            GateRow::new("slow readers, their answers generated after, ms", None, settled.map(ms)),
            GateRow::new("slow readers, sequences they hold then", None, held),
            GateRow::new(
                "tokens/s beside slow readers over alone",
                Some(Limit::AtLeast(self.args.gates.beside_slow_min)),
                Some(ratio),
            ),
        ]
    }

    async fn departure(&self, departure: Departure) -> GateRow {
        let limit = Some(Limit::AtMost(self.args.gates.free_max));
        let time = departure.time(self).await;
        GateRow::new(departure.name, limit, time.map(|time| time.as_secs_f64() * 1e3))
    }
}

/// Requests that may wait: there is no option for it.
fn queue_max() -> usize {
    RuntimeOptions::default().admission.queue_max
}

/// What the server takes before it refuses: sequences at a time are an option, and told above.
fn facts() -> Vec<GateRow> {
    let admission = RuntimeOptions::default().admission;
    let connections = server_options(None).connections_max;
    let told = |name, n: usize| GateRow::new(name, None, Some(n as f64));
    vec![
        told("connections at a time", connections),
        told("requests that may wait", admission.queue_max),
        told("prompt tokens that may wait", admission.queued_tokens_max),
    ]
}

/// Whether official clients ask again after it, and when the server says. (openai-python, anthropic-sdk)
fn is_for_clients(end: &End) -> bool {
    match end {
        End::Refused { status, hint } => (matches!(status, 408 | 409 | 429) || *status >= 500) && hint.is_some(),
        End::Done | End::Failed(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_such_as_clients_retry() {
        let hint = Some(Duration::from_secs(1));
        for (status, hint, fits) in [(429, hint, true), (503, hint, true), (429, None, false), (400, hint, false)] {
            assert_eq!(is_for_clients(&End::Refused { status, hint }), fits, "{status} {hint:?}");
        }
    }
}
