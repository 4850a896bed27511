//! What the server costs beside HTTP itself: every layer of it in front of an engine that knows its answer, and a bare
//! axum handler that returns the same bytes, in alternating rounds of one run.
//!
//!     cargo run --release -p ballast-server --example overhead [-- ROUNDS [SECONDS]]
//!
//! Key, rate limit and metrics are on. Saturation is so many clients as ask without a pause; half load is the same
//! clients at half of that rate. The exit code is 1 if a gate is missed. For counting instructions,
//! `-- only ours N` and `-- only bare N` answer N requests and nothing else.

mod bare;
mod client;
mod ours;

use ballast_backend::Clock;
use client::{Load, Outcome};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Connections that ask.
const CLIENTS: usize = 64;
/// Least share of the bare handler's requests a second.
const SHARE_MIN: f64 = 0.5;
/// Longest time that 99 of 100 answers take at half load.
const P99_MAX: Duration = Duration::from_millis(5);
/// What the prior system claims: requests a second, and the time that 95 of 100 answers take.
const SEED: (f64, Duration) = (1_000.0, Duration::from_millis(50));

/// Time since the program began.
#[derive(Clone, Copy, Debug)]
struct SystemClock(Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What is asked of the program.
#[derive(Debug)]
enum Asked {
    Compare { n_rounds: usize, time: Duration },
    Only { is_bare: bool, n_requests: usize },
}

impl Asked {
    fn parse(args: &[String]) -> Option<Self> {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let rounds = |n: &str| n.parse().ok().filter(|n| (1..=1_000).contains(n));
        let time =
            |seconds: &str| Duration::try_from_secs_f64(seconds.parse().ok()?).ok().filter(|time| !time.is_zero());
        let one = Duration::from_secs(1);
        match words.as_slice() {
            [] => Some(Self::Compare { n_rounds: 5, time: one }),
            [n] => Some(Self::Compare { n_rounds: rounds(n)?, time: one }),
            ["only", which @ ("ours" | "bare"), n] => {
                Some(Self::Only { is_bare: *which == "bare", n_requests: n.parse().ok()? })
            }
            [n, seconds] => Some(Self::Compare { n_rounds: rounds(n)?, time: time(seconds)? }),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(asked) = Asked::parse(&args) else {
        drop(writeln!(std::io::stderr(), "overhead: expected [ROUNDS [SECONDS]] or only ours|bare N, got {args:?}"));
        return ExitCode::from(2);
    };
    #[expect(clippy::disallowed_methods, reason = "a measurement begins with the time")]
    let clock = SystemClock(Instant::now());
    let ours = ours::Server::start(clock);
    let answer = client::answer(ours.address, &ours::request());
    let bare = bare::Server::start(&answer);
    let text = match asked {
        Asked::Only { is_bare, n_requests } => {
            let address = if is_bare { bare.address } else { ours.address };
            let outcome = client::run(address, clock, Load::Count(n_requests));
            format!("{} requests answered\n", outcome.latencies.len())
        }
        Asked::Compare { n_rounds, time } => {
            let rounds = measure([ours.address, bare.address], clock, n_rounds, time);
            let (text, passes) = table(&rounds, answer.len());
            drop(std::io::stdout().write_all(text.as_bytes()));
            return if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    drop(std::io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

/// Both servers in one round: ours, then the bare handler.
struct Round {
    saturated: [Outcome; 2],
    half: [Outcome; 2],
}

fn measure(addresses: [SocketAddr; 2], clock: SystemClock, n_rounds: usize, time: Duration) -> Vec<Round> {
    // The first second of each is for warming up.
    drop(addresses.map(|address| client::run(address, clock, Load::Saturated { time })));
    let round = |_| {
        let saturated = addresses.map(|address| client::run(address, clock, Load::Saturated { time }));
        let rates = [saturated[0].per_second() / 2.0, saturated[1].per_second() / 2.0];
        let half = [0, 1].map(|idx| client::run(addresses[idx], clock, Load::Paced { time, per_second: rates[idx] }));
        Round { saturated, half }
    };
    (0..n_rounds).map(round).collect()
}

fn table(rounds: &[Round], answer_bytes: usize) -> (String, bool) {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    let mut text = format!(
        "{CLIENTS} clients, answers of {answer_bytes} bytes with their heads, {} rounds: median (least to most)\n\
        {:<28}{:>38}{:>38}\n",
        rounds.len(),
        "",
        "ballast",
        "bare axum",
    );
    let mut row = |name: &str, of: &dyn Fn(&Round, usize) -> f64| {
        let cells = [0, 1].map(|idx| {
            let (middle, least, most) = median(&|round| of(round, idx));
            (middle, format!("{middle:.2} ({least:.2} to {most:.2})"))
        });
        writeln!(text, "{name:<28}{:>38}{:>38}", cells[0].1, cells[1].1).expect("a string takes any text");
        cells.map(|(middle, _)| middle)
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let [rate, _] = row("saturated, requests/s", &|round, idx| round.saturated[idx].per_second());
    row("saturated, p99, ms", &|round, idx| ms(round.saturated[idx].percentile(99)));
    row("half load, p50, ms", &|round, idx| ms(round.half[idx].percentile(50)));
    let [p95, _] = row("half load, p95, ms", &|round, idx| ms(round.half[idx].percentile(95)));
    let [p99, _] = row("half load, p99, ms", &|round, idx| ms(round.half[idx].percentile(99)));
    let (share, ..) = median(&|round| round.saturated[0].per_second() / round.saturated[1].per_second());
    let gates = [
        (format!("requests/s over bare axum's: {share:.2}, at least {SHARE_MIN}"), share >= SHARE_MIN),
        (format!("p99 at half load: {p99:.2} ms, under {} ms", ms(P99_MAX)), p99 < ms(P99_MAX)),
        (format!("requests/s: {rate:.0}, the seed's {}", SEED.0), rate >= SEED.0 * 10.0),
        (format!("p95 at half load: {p95:.2} ms, the seed's {} ms", ms(SEED.1)), p95 <= ms(SEED.1) / 10.0),
    ];
    for (gate, passes) in &gates {
        writeln!(text, "{} {gate}", if *passes { "pass" } else { "FAIL" }).expect("a string takes any text");
    }
    (text, gates.iter().all(|(_, passes)| *passes))
}
