//! What a soak found, row by row, beside the limits. What was not measured says so and fails nothing.

use super::driver::{Load, Peak};
use super::probes::Probes;
use super::{EndRow, Rate, SoakOptions, SoakReport};
use crate::ReasonCode;
use crate::telemetry::MetricsSnapshot;
use std::fmt;
use std::time::Duration;

/// Longest that a step or a cancelled request may keep the engine.
const CANCEL_MAX: Duration = Duration::from_millis(250);
/// Longest that a refusal may take, tokenizing included, on a machine that is busy with answers.
const REFUSAL_MAX: Duration = Duration::from_millis(250);

/// What a row says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the limit.
    Pass,
    /// Beyond it.
    Fail,
    /// There is no limit.
    Told,
    /// There is no value.
    NotMeasured,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Told => "-",
            Self::NotMeasured => "not measured",
        }
    }
}

/// One figure and its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct GateRow {
    /// What it is, with its unit.
    pub name: &'static str,
    /// What it must be; `None`: nothing is demanded.
    pub limit: Option<Limit>,
    /// What it is; `None`: not measured.
    pub value: Option<f64>,
    /// Whether that is well.
    pub verdict: Verdict,
    /// Whether times, the memory of a shared machine or the chance of strikes are in it.
    pub of_the_machine: bool,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// More than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Exactly this.
    Is(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
            Self::Is(limit) => value.to_bits() == limit.to_bits(),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(limit) => write!(f, "> {}", figure(*limit)),
            Self::Below(limit) => write!(f, "< {}", figure(*limit)),
            Self::AtLeast(limit) => write!(f, ">= {}", figure(*limit)),
            Self::AtMost(limit) => write!(f, "<= {}", figure(*limit)),
            Self::Is(limit) => write!(f, "= {}", figure(*limit)),
        }
    }
}

/// A number as it is told: whole ones without, others with two digits.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

impl GateRow {
    /// A row that a slow or shared machine can fail by itself.
    fn of_the_machine(name: &'static str, limit: Option<Limit>, value: Option<f64>) -> Self {
        Self { of_the_machine: true, ..Self::new(name, limit, value) }
    }

    /// A row with its verdict.
    #[must_use]
    pub fn new(name: &'static str, limit: Option<Limit>, value: Option<f64>) -> Self {
        let verdict = match (limit, value) {
            (_, None) => Verdict::NotMeasured,
            (None, Some(_)) => Verdict::Told,
            (Some(limit), Some(value)) if limit.holds(value) => Verdict::Pass,
            (Some(_), Some(_)) => Verdict::Fail,
        };
        Self { name, limit, value, verdict, of_the_machine: false }
    }

    /// The value in words.
    #[must_use]
    pub fn value_text(&self) -> String {
        self.value.map_or_else(|| "not measured".to_owned(), figure)
    }

    /// The limit in words; empty where there is none.
    #[must_use]
    pub fn limit_text(&self) -> String {
        self.limit.map_or_else(String::new, |limit| limit.to_string())
    }
}

/// Everything that a soak found.
pub(super) struct Findings<'a> {
    pub(super) options: &'a SoakOptions,
    /// Requests a second that came.
    pub(super) per_second: f64,
    pub(super) peak: Option<Peak>,
    pub(super) load: Load,
    pub(super) probes: Probes,
    pub(super) metrics: Option<MetricsSnapshot>,
}

impl Findings<'_> {
    pub(super) fn report(&self) -> SoakReport {
        let rows = [self.requests(), self.times(), self.memory(), self.engines(), self.overload(), self.probes()];
        let ends = self.load.ledger.ends.iter();
        let ends = ends.map(|(&(finish_reason, reason), &count)| EndRow { finish_reason, reason, count });
        SoakReport { rows: rows.concat(), ends: ends.collect() }
    }

    fn requests(&self) -> Vec<GateRow> {
        let ledger = &self.load.ledger;
        let [queue, prefill, decode] = ledger.n_cancelled;
        // A worker that is struck three times before its request has its next token costs that request: it is told.
        let success = GateRow::new("success, wished ends aside, %", Some(Limit::Above(99.0)), ledger.success_pct());
        vec![
            told("requests taken", ledger.n_admitted),
            told("whole answers", ledger.n_answered),
            told("ended as their readers wished", ledger.n_intended),
            told("  cut while they waited", queue),
            told("  cut in prefill", prefill),
            told("  cut in decode", decode),
            told("  left by their readers", ledger.n_left),
            told("failed and told", ledger.n_failed),
            GateRow { of_the_machine: self.options.strikes_per_minute > 0.0, ..success },
            count("lost", Limit::Is(0.0), ledger.n_lost),
            count("stuck", Limit::Is(0.0), ledger.n_stuck),
            count("not counted exactly once", Limit::Is(0.0), u64::from(!ledger.adds_up())),
            GateRow::new("taken less ended, by the runtime's count", Some(Limit::Is(0.0)), self.unended()),
        ]
    }

    /// Requests that the runtime took and has not seen end. Those that got a place and then met no engine that may be
    /// asked were refused: they count as taken there, and do not end.
    fn unended(&self) -> Option<f64> {
        let requests = &self.metrics.as_ref()?.requests;
        let n_ended: u64 = requests.ended.iter().map(|end| end.count).sum();
        let refused = |reason: ReasonCode| requests.refused.get(reason.as_str()).copied().unwrap_or(0);
        let n_unasked = refused(ReasonCode::CircuitOpen) + refused(ReasonCode::EngineCrashed);
        Some(requests.admitted as f64 - (n_ended + n_unasked) as f64)
    }

    fn is_overload(&self) -> bool {
        matches!(self.options.rate, Rate::TimesPeak(_))
    }

    fn times(&self) -> Vec<GateRow> {
        let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        // Who waits in a queue that is full waits long; that is what was asked for.
        let ttft_max = (!self.is_overload()).then_some(Limit::Below(10_000.0));
        let gaps = self.load.inter_token.as_ref();
        let ttft = self.load.ledger.ttft.snapshot();
        vec![
            GateRow::new("time to first token p50, ms", None, ms(ttft.permille(500))),
            GateRow::of_the_machine("time to first token p99, ms", ttft_max, ms(ttft.permille(990))),
            GateRow::new("inter-token p50, ms", None, ms(gaps.and_then(|gaps| gaps.permille(500)))),
            GateRow::of_the_machine(
                "inter-token p99, ms",
                Some(Limit::Below(1000.0)),
                ms(gaps.and_then(|gaps| gaps.permille(990))),
            ),
        ]
    }

    fn memory(&self) -> Vec<GateRow> {
        let Load { growth, growth_by_work, more_memory_pct, has_workers, .. } = &self.load;
        let by_time = if *has_workers { "memory growth, MB/h" } else { "memory growth, workers aside, MB/h" };
        vec![
            GateRow::of_the_machine(by_time, Some(Limit::Below(10.0)), growth.mb_per_hour),
            GateRow::of_the_machine(
                "memory growth, MB per 1000",
                Some(Limit::Below(100.0)),
                growth_by_work.mb_per_1000_inferences,
            ),
            GateRow::of_the_machine("memory after over before, % more", Some(Limit::AtMost(5.0)), *more_memory_pct),
        ]
    }

    fn engines(&self) -> Vec<GateRow> {
        let Load { ledger, n_struck, n_restarts, n_trips, .. } = &self.load;
        let resources = self.metrics.as_ref().map(|metrics| &metrics.resources);
        let share = |of: fn(&MetricsSnapshot) -> Option<f32>| self.metrics.as_ref().and_then(of).map(f64::from);
        let hit_rate =
            (ledger.prompt_tokens > 0).then(|| ledger.cached_tokens as f64 * 100.0 / ledger.prompt_tokens as f64);
        let buffers = resources.and_then(|resources| resources.buffer_hit_rate).map(|rate| rate * 100.0);
        // Strikes that tell many requests at once open the breaker, and should.
        let trips = count("breaker trips", Limit::Is(0.0), *n_trips);
        // One worker may be struck twice, and one that is stopped while nothing runs is missed with the next request.
        let reopened = Some(Limit::AtLeast(*n_struck as f64));
        vec![
            GateRow { of_the_machine: self.options.strikes_per_minute > 0.0, ..trips },
            told("workers killed or stopped", *n_struck),
            GateRow::of_the_machine("engines opened again", reopened, Some(*n_restarts as f64)),
            told("requests run again", ledger.n_retried),
            GateRow::new("prompt tokens found cached, %", None, hit_rate),
            GateRow::new("buffer hit rate, %", Some(Limit::Above(80.0)), buffers),
            GateRow::new("dispatch to the neural engine, %", None, share(|metrics| metrics.ane_dispatch_pct)),
            GateRow::new("dispatch to the GPU, %", None, share(|metrics| metrics.gpu_dispatch_pct)),
            GateRow::new("dispatch to the CPU, %", None, share(|metrics| metrics.cpu_dispatch_pct)),
        ]
    }

    fn overload(&self) -> Vec<GateRow> {
        let Load { ledger, good_tokens_per_second, n_waiting_max, queue_max, .. } = &self.load;
        let refusal = (ledger.n_refused() > 0).then_some(ledger.refusal_max.as_secs_f64() * 1e3);
        let goodput = self.peak.map(|peak| good_tokens_per_second / peak.tokens_per_second);
        vec![
            GateRow::new("requests a second that came", None, Some(self.per_second)),
            GateRow::new("peak, requests/s", None, self.peak.map(|peak| peak.requests_per_second)),
            GateRow::new("peak, tokens/s of whole answers", None, self.peak.map(|peak| peak.tokens_per_second)),
            GateRow::new("tokens/s of whole answers", None, Some(*good_tokens_per_second)),
            GateRow::of_the_machine("goodput over peak", Some(Limit::AtLeast(0.9)), goodput),
            count("most requests that waited", Limit::AtMost(*queue_max as f64), *n_waiting_max as u64),
            told("requests refused", ledger.n_refused()),
            count("refused without a retry hint", Limit::Is(0.0), ledger.n_without_hint),
            GateRow::of_the_machine(
                "longest refusal, ms",
                Some(Limit::Below(REFUSAL_MAX.as_secs_f64() * 1e3)),
                refusal,
            ),
        ]
    }

    fn probes(&self) -> Vec<GateRow> {
        let Probes { cancel: [queue, prefill, decode], step, idle_cpu_pct, recomputed_pct, cached, is_idle } =
            self.probes;
        let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        let limit = Limit::AtMost(CANCEL_MAX.max(step.unwrap_or_default()).as_secs_f64() * 1e3);
        vec![
            GateRow::new("one full step, ms", None, ms(step)),
            GateRow::of_the_machine("cancelled in the queue: place free, ms", Some(limit), ms(queue)),
            GateRow::of_the_machine("cancelled in prefill: all free, ms", Some(limit), ms(prefill)),
            GateRow::of_the_machine("cancelled in decode: all free, ms", Some(limit), ms(decode)),
            GateRow::of_the_machine("CPU while nothing runs, % of one", Some(Limit::Below(5.0)), idle_cpu_pct),
            count("slots or blocks held at the end", Limit::Is(0.0), u64::from(!is_idle)),
            GateRow::new("20 turns: known tokens run again, %", Some(Limit::Below(5.0)), recomputed_pct),
            GateRow::new(
                "cached for the same tenant, tokens",
                Some(Limit::Above(0.0)),
                cached.map(|cached| cached.same_tenant as f64),
            ),
            GateRow::new(
                "cached for another tenant, tokens",
                Some(Limit::Is(0.0)),
                cached.map(|cached| cached.other_tenant as f64),
            ),
        ]
    }
}

fn told(name: &'static str, n: u64) -> GateRow {
    GateRow::new(name, None, Some(n as f64))
}

fn count(name: &'static str, limit: Limit, n: u64) -> GateRow {
    GateRow::new(name, Some(limit), Some(n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::Judged;

    #[test]
    fn a_row_says_whether_its_limit_holds() {
        let verdict = |limit, value| GateRow::new("x", limit, value).verdict;
        for (limit, good, bad) in [
            (Limit::Above(99.0), 99.1, 99.0),
            (Limit::Below(10.0), 9.9, 10.0),
            (Limit::AtLeast(0.9), 0.9, 0.89),
            (Limit::AtMost(5.0), 5.0, 5.1),
            (Limit::Is(0.0), 0.0, 1.0),
        ] {
            assert_eq!(verdict(Some(limit), Some(good)), Verdict::Pass, "{limit}");
            assert_eq!(verdict(Some(limit), Some(bad)), Verdict::Fail, "{limit}");
            assert_eq!(verdict(Some(limit), None), Verdict::NotMeasured, "{limit}");
        }
        assert_eq!(verdict(None, Some(1.0)), Verdict::Told);
    }

    #[test]
    fn one_failed_row_fails_the_report() {
        let report = |limit| SoakReport { rows: vec![GateRow::new("x", Some(limit), Some(1.0))], ends: Vec::new() };
        assert!(report(Limit::Is(1.0)).passes(Judged::All));
        assert!(!report(Limit::Is(0.0)).passes(Judged::All));
        let rows = |row| SoakReport { rows: vec![row], ends: Vec::new() };
        assert!(rows(GateRow::new("x", Some(Limit::Is(0.0)), None)).passes(Judged::All));
        let slow = rows(GateRow::of_the_machine("x", Some(Limit::Is(0.0)), Some(1.0)));
        assert_eq!((slow.passes(Judged::All), slow.passes(Judged::Counts)), (false, true));
        assert!(!report(Limit::Is(0.0)).passes(Judged::Counts));
    }
}
