//! What servers did under load: rows of loads and measures, columns of programs.

use super::super::figure::significant;
use super::super::load::{Arrivals, Outcome, percentile};
use super::super::statistics::Spread;
use super::super::table::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Percentiles that are told of times.
const PERCENTILES: [usize; 3] = [50, 95, 99];

/// One measure of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Requests,
    Tokens,
    /// Of the times to a first token.
    FirstToken(usize),
    /// Of the times between tokens.
    InterToken(usize),
}

impl Measure {
    fn all() -> impl Iterator<Item = Self> {
        let first = PERCENTILES.into_iter().map(Self::FirstToken);
        [Self::Requests, Self::Tokens].into_iter().chain(first).chain(PERCENTILES.into_iter().map(Self::InterToken))
    }

    /// Per second, or seconds.
    fn of(self, outcome: &Outcome) -> Option<f64> {
        let seconds = |times: &[_], percent| percentile(times, percent).map(|time| time.as_secs_f64());
        match self {
            Self::Requests => (outcome.n_done() > 0).then(|| outcome.requests_per_second()),
            Self::Tokens => (outcome.n_done() > 0).then(|| outcome.tokens_per_second()),
            Self::FirstToken(percent) => seconds(&outcome.first_tokens(), percent),
            Self::InterToken(percent) => seconds(&outcome.gaps(), percent),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Requests => "requests/s".to_owned(),
            Self::Tokens => "tokens/s together".to_owned(),
            Self::FirstToken(percent) => format!("first token p{percent}, ms"),
            Self::InterToken(percent) => format!("between tokens p{percent}, ms"),
        }
    }

    /// From the value to what the words count.
    fn scale(self) -> f64 {
        match self {
            Self::Requests | Self::Tokens => 1.0,
            Self::FirstToken(_) | Self::InterToken(_) => 1e3,
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::Requests => json!({ "measure": "requests", "unit": "1/s" }),
            Self::Tokens => json!({ "measure": "tokens", "unit": "tokens/s" }),
            Self::FirstToken(percent) => json!({ "measure": "first_token", "percentile": percent, "unit": "s" }),
            Self::InterToken(percent) => json!({ "measure": "inter_token", "percentile": percent, "unit": "s" }),
        }
    }
}

/// What a program told of itself.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) version: Option<String>,
}

/// What one program did in all rounds.
#[derive(Clone, Debug, Default)]
struct Told {
    /// By load: one outcome a round.
    outcomes: Vec<Vec<Outcome>>,
    /// Rounds without a server, and why.
    failures: Vec<String>,
    peak_bytes: Vec<f64>,
}

/// Every load's outcomes, by program; the first is ours.
#[derive(Debug)]
pub(super) struct Report {
    loads: Vec<Arrivals>,
    pub(super) columns: Vec<Column>,
    told: Vec<Told>,
}

impl Report {
    pub(super) fn new(loads: Vec<Arrivals>, columns: Vec<Column>) -> Self {
        let told = Told { outcomes: vec![Vec::new(); loads.len()], ..Told::default() };
        Self { told: vec![told; columns.len()], loads, columns }
    }

    pub(super) fn add(&mut self, load_idx: usize, column_idx: usize, outcome: Outcome) {
        self.told[column_idx].outcomes[load_idx].push(outcome);
    }

    pub(super) fn add_peak(&mut self, column_idx: usize, bytes: Option<u64>) {
        self.told[column_idx].peak_bytes.extend(bytes.map(|bytes| bytes as f64));
    }

    pub(super) fn add_failure(&mut self, column_idx: usize, why: String) {
        self.told[column_idx].failures.push(why);
    }

    /// Why ours has no outcome of a round.
    pub(super) fn our_failure(&self) -> Option<&str> {
        self.told[0].failures.first().map(String::as_str)
    }

    /// Prompt tokens of a request, as our server counted.
    pub(super) fn prompt_tokens(&self) -> Option<f64> {
        self.told[0].outcomes.iter().flatten().find_map(Outcome::prompt_tokens)
    }

    fn samples(&self, load_idx: usize, column_idx: usize, measure: Measure) -> Vec<f64> {
        self.told[column_idx].outcomes[load_idx].iter().filter_map(|outcome| measure.of(outcome)).collect()
    }

    fn errors(&self, load_idx: usize, column_idx: usize) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for outcome in &self.told[column_idx].outcomes[load_idx] {
            for (word, n) in outcome.errors() {
                *all.entry(word).or_default() += n;
            }
        }
        all
    }

    /// A column's cell and its ratio to ours.
    fn cells(&self, column_idx: usize, samples: impl Fn(usize) -> Vec<f64>, scale: f64) -> Vec<String> {
        let (ours, its) = (Spread::of(&samples(0)), Spread::of(&samples(column_idx)));
        let cell = match (its, self.told[column_idx].failures.first()) {
            (None, None) => "not measured".to_owned(),
            (None, Some(why)) => format!("failed: {why}"),
            (Some(spread), None) => show(spread, scale),
            (Some(spread), Some(why)) => {
                let n_failed = self.told[column_idx].failures.len();
                format!("{}, {n_failed} rounds failed: {why}", show(spread, scale))
            }
        };
        if column_idx == 0 {
            return vec![cell];
        }
        let ratio = ours.zip(its).map(|(ours, its)| format!("{:.2}", ours.median / its.median));
        vec![cell, ratio.unwrap_or_default()]
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["load", "", &self.columns[0].name]);
        for column in &self.columns[1..] {
            table.heading.extend([column.name.clone(), format!("{} / {}", self.columns[0].name, column.name)]);
        }
        let columns = 0..self.columns.len();
        for (load_idx, &load) in self.loads.iter().enumerate() {
            for measure in Measure::all() {
                let samples = |column_idx| self.samples(load_idx, column_idx, measure);
                let cells = columns.clone().flat_map(|idx| self.cells(idx, samples, measure.scale()));
                table.rows.push([words(load), measure.words()].into_iter().chain(cells).collect());
            }
            let errors = |idx: usize| {
                let cell = error_words(&self.errors(load_idx, idx));
                if idx == 0 { vec![cell] } else { vec![cell, String::new()] }
            };
            table
                .rows
                .push([words(load), "errors".to_owned()].into_iter().chain(columns.clone().flat_map(errors)).collect());
        }
        let peaks = |idx: usize| self.told[idx].peak_bytes.clone();
        let cells = columns.flat_map(|idx| self.cells(idx, peaks, 1.0 / f64::from(1 << 20)));
        table.rows.push(["all".to_owned(), "peak memory, MiB".to_owned()].into_iter().chain(cells).collect());
        table
    }

    pub(super) fn to_json(&self) -> Value {
        let programs = self.columns.iter().map(|column| json!({ "name": column.name, "version": column.version }));
        let mut rows = Vec::new();
        for (load_idx, load) in self.loads.iter().enumerate() {
            for measure in Measure::all() {
                let mut row = load_json(load);
                merge(&mut row, measure.to_json());
                row["programs"] = self.programs_json(|idx| self.samples(load_idx, idx, measure));
                rows.push(row);
            }
            let mut row = load_json(load);
            let errors = |idx| json!({ "errors": self.errors(load_idx, idx) });
            merge(&mut row, json!({ "measure": "errors", "unit": "requests" }));
            row["programs"] = (0..self.columns.len()).map(errors).collect();
            rows.push(row);
        }
        let peaks = self.programs_json(|idx| self.told[idx].peak_bytes.clone());
        rows.push(json!({ "measure": "peak_memory", "unit": "bytes", "programs": peaks }));
        json!({ "programs": programs.collect::<Vec<_>>(), "rows": rows, "prompt_tokens": self.prompt_tokens() })
    }

    fn programs_json(&self, samples: impl Fn(usize) -> Vec<f64>) -> Value {
        let ours = Spread::of(&samples(0));
        let program = |idx: usize| {
            let spread = Spread::of(&samples(idx));
            let ratio = ours.zip(spread).filter(|_| idx > 0).map(|(ours, its)| ours.median / its.median);
            json!({
                "samples": samples(idx),
                "spread": spread.map(Spread::to_json),
                "failures": self.told[idx].failures,
                "ratio_ours_to_it": ratio,
            })
        };
        (0..self.columns.len()).map(program).collect()
    }
}

fn show(spread: Spread, scale: f64) -> String {
    let number = |value: f64| significant(value * scale);
    format!("{} ({} to {})", number(spread.median), number(spread.min), number(spread.max))
}

fn words(load: Arrivals) -> String {
    match load {
        Arrivals::Closed { clients: 1 } => "1 client".to_owned(),
        Arrivals::Closed { clients } => format!("{clients} clients"),
        Arrivals::Open { per_second } => format!("{per_second} requests/s"),
    }
}

fn error_words(errors: &BTreeMap<String, u64>) -> String {
    let words: Vec<_> = errors.iter().map(|(word, n)| format!("{n} x {word}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn load_json(load: &Arrivals) -> Value {
    match load {
        Arrivals::Closed { clients } => json!({ "clients": clients }),
        Arrivals::Open { per_second } => json!({ "rate": per_second }),
    }
}

fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::client::{End, Exchange};
    use super::*;
    use std::time::Duration;

    fn outcome(seconds: u64) -> Outcome {
        let exchange = |end| Exchange {
            end,
            begin: Duration::ZERO,
            pieces: vec![Duration::from_millis(20), Duration::from_millis(30)],
            prompt_tokens: 9,
            generated_tokens: 2,
        };
        let exchanges = vec![exchange(End::Done), exchange(End::Refused { status: 503, hint: None })];
        Outcome { exchanges, time: Duration::from_secs(seconds), not_sent: 0 }
    }

    fn report() -> Report {
        let column = |name: &str| Column { name: name.to_owned(), version: None };
        let mut report = Report::new(vec![Arrivals::Closed { clients: 1 }], vec![column("a"), column("b")]);
        report.add(0, 0, outcome(1));
        report.add(0, 1, outcome(2));
        report
    }

    #[test]
    fn a_table_has_every_measure_beside_its_ratio() {
        let mut report = report();
        let table = report.table();
        assert_eq!(table.heading, ["load", "", "a", "b", "a / b"]);
        let tokens = ["1 client", "tokens/s together", "2.00 (2.00 to 2.00)", "1.00 (1.00 to 1.00)", "2.00"];
        assert_eq!(table.rows[1], tokens);
        assert_eq!(table.rows[2][..3], ["1 client", "first token p50, ms", "20.0 (20.0 to 20.0)"]);
        assert_eq!(table.rows[8], ["1 client", "errors", "1 x 503", "1 x 503", ""]);
        assert_eq!(table.rows[9][2], "not measured");
        report.add_failure(1, "gone".to_owned());
        assert!(report.table().rows[0][3].ends_with("1 rounds failed: gone"), "{:?}", report.table().rows[0]);
        assert_eq!(report.our_failure(), None);
    }

    #[test]
    fn json_has_the_samples_and_the_ratio() {
        let json = report().to_json();
        let row = &json["rows"][1];
        assert_eq!((&row["clients"], &row["measure"]), (&json!(1), &json!("tokens")));
        assert_eq!(row["programs"][1]["samples"], json!([1.0]));
        assert_eq!(
            (&row["programs"][0]["ratio_ours_to_it"], &row["programs"][1]["ratio_ours_to_it"]),
            (&Value::Null, &json!(2.0))
        );
        assert_eq!(json["rows"][8]["programs"][0]["errors"], json!({ "503": 1 }));
        assert_eq!(json["prompt_tokens"], 9.0);
    }
}
