//! A long run under load and faults, and what it shows: whether every request ends once, memory stays, and what was
//! lost comes back. What `ballast soak` prints.
//!
//! ```text
//! warm up ──► calibrate (only for a multiple of the peak) ──► load, by arrivals that wait for nobody ──► drain ──► probes
//! ```
//!
//! One thread polls every reader; what is measured are real time and this process. Nothing is asserted here: a
//! [`GateRow`] says what was found, and whether that is within its limit.

mod client;
mod driver;
mod gates;
mod ledger;
mod probes;
mod processes;
mod traffic;

pub use gates::{GateRow, Limit, Verdict};
pub use processes::workers;

use crate::{Engine, RuntimeOptions, SystemClock};
use ballast_runtime::retry::Backoff;
use ballast_runtime::watchdog::WatchdogOptions;
use driver::Driver;
use gates::Findings;
use std::fmt;
use std::time::Duration;

/// Tokens a reader may be behind: few, so that slow readers do make their sequences wait.
const BUFFERED_TOKENS_MAX: usize = 8;
/// How long a reader may make its sequence wait.
const SLOW_READER_MAX: Duration = Duration::from_secs(10);
/// Without a beat for this long a worker is given up.
const STALL_AFTER: Duration = Duration::from_secs(5);
/// Longest wait before a lost worker is replaced. Workers are struck often here, and each blow is news.
const RESTART_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long the peak is measured.
const CALIBRATION: Duration = Duration::from_secs(20);

/// How often requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many a second.
    PerSecond(f64),
    /// So many times what the engine can answer, which is measured first.
    TimesPeak(f64),
}

/// What a soak does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoakOptions {
    /// How long requests come.
    pub duration: Duration,
    /// How often.
    pub rate: Rate,
    /// Share of requests, 0 to 1, whose readers cancel, leave, read slowly, stop reading or have no time.
    pub faults: f64,
    /// Workers killed or stopped in a minute; needs an engine that is isolated in a process.
    pub strikes_per_minute: f64,
    /// What the traffic is drawn from.
    pub seed: u64,
}

impl Default for SoakOptions {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(120),
            rate: Rate::PerSecond(2.0),
            faults: 0.2,
            strikes_per_minute: 0.0,
            seed: 1,
        }
    }
}

/// How far a soak is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoakProgress {
    /// What it does.
    pub stage: &'static str,
    /// Since when, in the whole soak.
    pub elapsed: Duration,
    /// Requests that were taken in this stage.
    pub n_admitted: u64,
    /// Requests with a whole answer.
    pub n_answered: u64,
    /// Requests refused.
    pub n_refused: u64,
    /// Requests in flight.
    pub n_in_flight: usize,
    /// Workers struck so far.
    pub n_struck: u64,
    /// Memory that is resident; `None`: not measured.
    pub resident_bytes: Option<u64>,
}

impl fmt::Display for SoakProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, n_admitted, n_answered, n_refused, n_in_flight, n_struck, .. } = self;
        write!(f, "{:>6} s  {stage}: {n_admitted} taken, {n_answered} answered, ", self.elapsed.as_secs())?;
        write!(f, "{n_refused} refused, {n_in_flight} in flight, {n_struck} workers struck, memory ")?;
        match self.resident_bytes {
            Some(bytes) => write!(f, "{} MB", bytes >> 20),
            None => f.write_str("not measured"),
        }
    }
}

/// What a soak found.
#[derive(Clone, Debug, PartialEq)]
pub struct SoakReport {
    /// Each gate, in the order they are told.
    pub rows: Vec<GateRow>,
    /// How requests ended: finish reason, reason code or `-`, and how many.
    pub ends: Vec<EndRow>,
}

/// Requests that ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndRow {
    /// Why.
    pub finish_reason: &'static str,
    /// The reason code; `-` where there is none.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// Which gates decide whether a soak passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// All.
    All,
    /// Those that a slow or shared machine cannot fail by itself: nothing lost, stuck or held, and the like.
    Counts,
}

impl SoakReport {
    /// Whether no gate failed that `judged` counts.
    #[must_use]
    pub fn passes(&self, judged: Judged) -> bool {
        self.failed(judged).next().is_none()
    }

    /// The gates that failed, of those that `judged` counts.
    pub fn failed(&self, judged: Judged) -> impl Iterator<Item = &GateRow> {
        let counts = move |row: &&GateRow| judged == Judged::All || !row.of_the_machine;
        self.rows.iter().filter(|row| row.verdict == Verdict::Fail).filter(counts)
    }
}

/// The runtime's options that a soak needs: small buffers and short waits, so that in minutes it comes to what takes
/// hours otherwise.
#[must_use]
pub fn soak_runtime() -> RuntimeOptions {
    let mut options = RuntimeOptions {
        buffered_tokens_max: BUFFERED_TOKENS_MAX,
        slow_reader_max: SLOW_READER_MAX,
        ..RuntimeOptions::default()
    };
    options.supervision.watchdog = WatchdogOptions { stall_after: STALL_AFTER, ..WatchdogOptions::default() };
    options.supervision.restart = Backoff { max: RESTART_WAIT_MAX, ..Backoff::default() };
    options
}

/// Runs a soak on an engine that was loaded with [`soak_runtime`] and answers nobody else.
pub fn soak(engine: &Engine, options: &SoakOptions, on_progress: &mut dyn FnMut(&SoakProgress)) -> SoakReport {
    let clock = SystemClock::start();
    probes::fill_kv(engine, &clock);
    let mut driver = Driver::new(engine, options, clock, on_progress);
    let peak = match options.rate {
        Rate::PerSecond(_) => None,
        Rate::TimesPeak(_) => Some(driver.calibrate(CALIBRATION)),
    };
    let per_second = match (options.rate, peak) {
        (Rate::TimesPeak(times), Some(peak)) => times * peak.requests_per_second,
        (Rate::PerSecond(rate) | Rate::TimesPeak(rate), _) => rate,
    };
    let load = driver.load(per_second, options.duration);
    let probes = probes::run(engine, &clock);
    Findings { options, per_second, peak, load, probes, metrics: engine.metrics() }.report()
}
