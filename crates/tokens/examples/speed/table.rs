//! The table of results, and how a figure is taken.

use std::time::Instant;

/// Rounds of every figure. Many and short, so that on a machine that is shared some of them are not disturbed.
pub(crate) const N_ROUNDS: usize = 31;

struct Row {
    name: String,
    figure: f64,
    unit: &'static str,
    best: f64,
}

/// Results so far.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// Seconds of each round, sorted; one round before them does not count. `prepare` is not timed.
pub(crate) fn rounds<T>(mut prepare: impl FnMut() -> T, mut work: impl FnMut(&mut T)) -> Vec<f64> {
    let mut seconds: Vec<f64> = (0..=N_ROUNDS)
        .map(|_| {
            let mut input = prepare();
            #[expect(clippy::disallowed_methods, reason = "a measurement begins with the time")]
            let begin = Instant::now();
            work(&mut input);
            begin.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

impl Table {
    /// Nanoseconds of one of `n` things done in each round.
    pub(crate) fn add_ns(&mut self, name: &str, n: usize, seconds: &[f64]) {
        let each: Vec<f64> = seconds.iter().map(|seconds| seconds * 1e9 / n as f64).collect();
        self.add(name, "ns", &each);
    }

    /// Megabytes (10^6) per second, of `n_bytes` in each round.
    pub(crate) fn add_rate(&mut self, name: &str, n_bytes: usize, seconds: &[f64]) {
        let each: Vec<f64> = seconds.iter().map(|seconds| n_bytes as f64 / seconds / 1e6).collect();
        self.add(name, "MB/s", &each);
    }

    /// Figures of each round, the best first.
    fn add(&mut self, name: &str, unit: &'static str, sorted: &[f64]) {
        self.rows.push(Row { name: name.to_owned(), figure: sorted[sorted.len() / 2], unit, best: sorted[0] });
    }

    /// Aligned for people: the median and the best round.
    pub(crate) fn text(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let line = |Row { name, figure, unit, best }: &Row| {
            format!("{name:width$}  {figure:>10.1} {unit:<4}  best {best:>10.1}\n")
        };
        self.rows.iter().map(line).collect()
    }
}
