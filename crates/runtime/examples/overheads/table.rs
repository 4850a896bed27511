//! The table of results, and how single calls are timed.

use crate::SystemClock;
use ballast_backend::Clock;

/// Calls of a row, unless it says otherwise.
pub(crate) const N_CALLS: usize = 20_000;

/// A figure that the prior system claims, in its own words; empty: none.
pub(crate) type Claim = &'static str;

/// Times of one thing.
struct Timing {
    name: String,
    n_calls: usize,
    median_ns: u64,
    p99_ns: u64,
    claim: Claim,
}

/// A share of one thing in another.
struct Share {
    name: String,
    percent: f64,
    claim: Claim,
}

/// Results so far.
#[derive(Default)]
pub(crate) struct Table {
    timings: Vec<Timing>,
    shares: Vec<Share>,
}

impl Table {
    /// Times `n_calls` of `call`, after a tenth as many that do not count. Returns the median in ns.
    pub(crate) fn time(&mut self, clock: &SystemClock, name: &str, claim: Claim, mut call: impl FnMut()) -> u64 {
        (0..N_CALLS / 10).for_each(|_| call());
        self.time_some(clock, (name, claim, N_CALLS), call)
    }

    /// Times calls without any before them.
    pub(crate) fn time_some(
        &mut self,
        clock: &SystemClock,
        (name, claim, n_calls): (&str, Claim, usize),
        mut call: impl FnMut(),
    ) -> u64 {
        let times = (0..n_calls).map(|_| {
            let begin = clock.now();
            call();
            clock.now().saturating_sub(begin)
        });
        let times = times.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect();
        self.add(name, claim, times)
    }

    /// Adds a row of times that were taken elsewhere, in ns. Returns the median.
    pub(crate) fn add(&mut self, name: &str, claim: Claim, mut times_ns: Vec<u64>) -> u64 {
        times_ns.sort_unstable();
        let at = |percent: usize| times_ns.get((times_ns.len() * percent / 100).min(times_ns.len().saturating_sub(1)));
        let (median_ns, p99_ns) = (at(50).copied().unwrap_or(0), at(99).copied().unwrap_or(0));
        self.timings.push(Timing { name: name.to_owned(), n_calls: times_ns.len(), median_ns, p99_ns, claim });
        median_ns
    }

    /// Adds a share, in percent.
    pub(crate) fn share(&mut self, name: &str, claim: Claim, percent: f64) {
        self.shares.push(Share { name: name.to_owned(), percent, claim });
    }

    /// Aligned for people.
    pub(crate) fn text(&self) -> String {
        let width = self.timings.iter().map(|row| row.name.len()).chain(self.shares.iter().map(|row| row.name.len()));
        let width = width.max().unwrap_or(0);
        let mut text = format!("{:width$}  {:>8}  {:>12}  {:>12}  seed\n", "what", "calls", "median ns", "p99 ns");
        for Timing { name, n_calls, median_ns, p99_ns, claim } in &self.timings {
            text += &format!("{name:width$}  {n_calls:>8}  {median_ns:>12}  {p99_ns:>12}  {claim}\n");
        }
        for Share { name, percent, claim } in &self.shares {
            text += &format!("{name:width$}  {:>8}  {:>12}  {:>12}  {claim}\n", "", format!("{percent:.1} %"), "");
        }
        text
    }

    /// For programs. Names and claims are ours and hold nothing that JSON would escape.
    pub(crate) fn json(&self) -> String {
        let timings = self.timings.iter().map(|Timing { name, n_calls, median_ns, p99_ns, claim }| {
            format!(
                "{{\"name\":\"{name}\",\"calls\":{n_calls},\"median_ns\":{median_ns},\"p99_ns\":{p99_ns},\"seed\":\"{claim}\"}}"
            )
        });
        let shares = self.shares.iter().map(|Share { name, percent, claim }| {
            format!("{{\"name\":\"{name}\",\"percent\":{percent:.2},\"seed\":\"{claim}\"}}")
        });
        format!("[{}]\n", timings.chain(shares).collect::<Vec<_>>().join(",\n "))
    }
}

/// What reading the clock twice takes.
pub(crate) fn measure(table: &mut Table, clock: &SystemClock) {
    table.time(clock, "nothing, the clock read twice", "", || ());
}
