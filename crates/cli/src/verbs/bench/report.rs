//! The samples of a comparison, their medians, spread, ratios and shares of the roof, as a table and as JSON.

use super::figure::{Figure, RoundTold};
use super::roofline::Roof;
use super::statistics::Spread;
use super::table::Table;
use serde_json::{Value, json};

/// What all programs of a row run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) n_threads: usize,
    /// Our kernel set; peers choose theirs.
    pub(super) kernels: String,
    /// Busy threads of another program on the same cores.
    pub(super) n_foreign: usize,
}

/// A part of a setting, as tables show it.
type Part = fn(&Setting) -> String;

/// The parts of a setting, with their headings.
const PARTS: [(&str, Part); 3] = [
    ("threads", |setting| setting.n_threads.to_string()),
    ("kernels", |setting| setting.kernels.clone()),
    ("foreign threads", |setting| setting.n_foreign.to_string()),
];

/// A program and what it said of itself.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) version: Option<String>,
}

/// A figure in a setting, and every program's samples of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) setting_idx: usize,
    pub(super) figure: Figure,
    /// Of each column: values, and reasons where there are none.
    pub(super) samples: Vec<Vec<Result<f64, String>>>,
    pub(super) roof: Option<Roof>,
}

/// Rows of figures, columns of programs; the first is ours.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) settings: Vec<Setting>,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    pub(super) n_rounds: usize,
}

impl Row {
    pub(super) fn spread(&self, column_idx: usize) -> Option<Spread> {
        Spread::of(&self.values(column_idx))
    }

    /// The values of a column, in the order of the rounds.
    pub(super) fn values(&self, column_idx: usize) -> Vec<f64> {
        self.samples[column_idx].iter().filter_map(|sample| sample.as_ref().ok().copied()).collect()
    }

    /// Why a column lacks a value.
    pub(super) fn reason(&self, column_idx: usize) -> Option<&str> {
        self.samples[column_idx].iter().find_map(|sample| sample.as_ref().err()).map(String::as_str)
    }

    fn cell(&self, column_idx: usize) -> String {
        let unit = self.figure.unit();
        match (self.spread(column_idx), self.reason(column_idx)) {
            (None, None) => "not measured".to_owned(),
            (None, Some(why)) => format!("failed: {why}"),
            (Some(spread), None) => unit.show(spread),
            (Some(spread), Some(why)) => {
                let n_rounds = self.samples[column_idx].len();
                let n_failed = n_rounds - self.values(column_idx).len();
                format!("{}, {n_failed} of {n_rounds} failed: {why}", unit.show(spread))
            }
        }
    }

    /// Ours over the column's.
    fn ratio(&self, column_idx: usize) -> Option<f64> {
        Some(self.spread(0)?.median / self.spread(column_idx)?.median)
    }

    /// Share of the roof that the first column reaches.
    fn share(&self) -> Option<f64> {
        Some(self.spread(0)?.median / self.roof?.tokens_per_second)
    }
}

impl Report {
    pub(super) fn new(settings: Vec<Setting>, columns: Vec<Column>) -> Self {
        Self { settings, columns, rows: Vec::new(), n_rounds: 0 }
    }

    /// Adds what a program told of a round.
    pub(super) fn add(&mut self, setting_idx: usize, column_idx: usize, told: RoundTold) {
        if told.version.is_some() {
            self.columns[column_idx].version = told.version;
        }
        for (figure, value) in told.samples {
            self.row(setting_idx, figure).samples[column_idx].push(value);
        }
    }

    /// The row of a figure; a new one comes behind those of its setting.
    pub(super) fn row(&mut self, setting_idx: usize, figure: Figure) -> &mut Row {
        let found = self.rows.iter().position(|row| row.setting_idx == setting_idx && row.figure == figure);
        let idx = found.unwrap_or_else(|| {
            let idx = self.rows.iter().rposition(|row| row.setting_idx <= setting_idx).map_or(0, |idx| idx + 1);
            let samples = vec![Vec::new(); self.columns.len()];
            self.rows.insert(idx, Row { setting_idx, figure, samples, roof: None });
            idx
        });
        &mut self.rows[idx]
    }

    /// Whether a program of ours has failed at anything.
    pub(super) fn our_failure(&self) -> Option<&str> {
        self.rows.iter().find_map(|row| row.reason(0))
    }

    pub(super) fn table(&self) -> Table {
        // What is the same in every row is in the caption.
        let differs =
            |value: fn(&Setting) -> String| self.settings.iter().any(|s| value(s) != value(&self.settings[0]));
        let parts: Vec<_> = PARTS.into_iter().filter(|(_, value)| differs(*value)).collect();
        let mut table = Table::new(&[""]);
        table.heading.extend(parts.iter().map(|(name, _)| (*name).to_owned()));
        table.heading.extend([self.columns[0].name.clone(), "share of roof".to_owned()]);
        for column in &self.columns[1..] {
            table.heading.extend([column.name.clone(), format!("{} / {}", self.columns[0].name, column.name)]);
        }
        for row in &self.rows {
            let setting = &self.settings[row.setting_idx];
            let mut cells = vec![row.figure.words()];
            cells.extend(parts.iter().map(|(_, value)| value(setting)));
            cells.extend([row.cell(0), row.share().map_or(String::new(), |share| format!("{:.0} %", share * 100.0))]);
            for column_idx in 1..self.columns.len() {
                let ratio = row.ratio(column_idx).map_or(String::new(), |ratio| format!("{ratio:.2}"));
                cells.extend([row.cell(column_idx), ratio]);
            }
            table.rows.push(cells);
        }
        table
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "n_rounds": self.n_rounds,
            "programs": self.columns.iter().map(|c| json!({ "name": c.name, "version": c.version })).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(|row| self.row_json(row)).collect::<Vec<_>>(),
        })
    }

    fn row_json(&self, row: &Row) -> Value {
        let setting = &self.settings[row.setting_idx];
        let program = |column_idx: usize| {
            let samples = row.samples[column_idx].iter();
            let sample = |sample: &Result<f64, String>| match sample {
                Ok(value) => json!(value),
                Err(why) => json!({ "failed": why }),
            };
            json!({
                "samples": samples.map(sample).collect::<Vec<_>>(),
                "spread": row.spread(column_idx).map(Spread::to_json),
                "ratio_ours_to_it": (column_idx > 0).then(|| row.ratio(column_idx)).flatten(),
            })
        };
        let mut fields = row.figure.to_json();
        fields["unit"] = json!(row.figure.unit().name());
        fields["threads"] = json!(setting.n_threads);
        fields["kernels"] = json!(setting.kernels);
        fields["foreign_threads"] = json!(setting.n_foreign);
        fields["roof_tokens_per_second"] = json!(row.roof.map(|roof| roof.tokens_per_second));
        fields["roof_is_memory"] = json!(row.roof.map(|roof| roof.is_memory));
        fields["share_of_roof"] = json!(row.share());
        fields["programs"] = (0..self.columns.len()).map(program).collect();
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Report, Setting};
    use crate::verbs::bench::figure::{Figure, RoundTold};
    use crate::verbs::bench::roofline::Roof;

    const LOAD: Figure = Figure::Load;
    const PREFILL: Figure = Figure::Prefill { depth: 0, tokens: 64 };

    fn report() -> Report {
        let setting = |n_threads| Setting { n_threads, kernels: "generic".to_owned(), n_foreign: 0 };
        let column = |name: &str| Column { name: name.to_owned(), version: None };
        Report::new(vec![setting(1), setting(2)], vec![column("ballast"), column("llama.cpp")])
    }

    fn told(samples: &[(Figure, Result<f64, String>)]) -> RoundTold {
        RoundTold { version: Some("1".to_owned()), samples: samples.to_vec() }
    }

    #[test]
    fn rows_keep_together_what_was_run_with_one_setting() {
        let mut report = report();
        report.add(0, 0, told(&[(PREFILL, Ok(10.0))]));
        report.add(1, 0, told(&[(PREFILL, Ok(20.0))]));
        report.add(0, 1, told(&[(LOAD, Ok(1.0))]));
        let order: Vec<_> = report.rows.iter().map(|row| (row.setting_idx, row.figure)).collect();
        assert_eq!(order, [(0, PREFILL), (0, LOAD), (1, PREFILL)]);
        assert_eq!(report.columns[1].version.as_deref(), Some("1"));
    }

    #[test]
    fn ratio_and_share_are_of_medians() {
        let mut report = report();
        for (ours, theirs) in [(10.0, 4.0), (30.0, 5.0), (20.0, 30.0)] {
            report.add(0, 0, told(&[(PREFILL, Ok(ours))]));
            report.add(0, 1, told(&[(PREFILL, Ok(theirs))]));
        }
        report.rows[0].roof = Some(Roof { tokens_per_second: 80.0, is_memory: true });
        let cells = &report.table().rows[0];
        let expected = ["prefill 64, tokens/s", "1", "20.0 (10.0 to 30.0)", "25 %", "5.00 (4.00 to 30.0)", "4.00"];
        assert_eq!(cells[..], expected);
        let row = &report.to_json()["rows"][0];
        assert_eq!((&row["share_of_roof"], &row["programs"][1]["ratio_ours_to_it"]), (&0.25.into(), &4.0.into()));
        assert_eq!(row["programs"][0]["samples"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_program_that_fails_keeps_its_cell_and_tells_why() {
        let mut report = report();
        report.add(0, 0, told(&[(PREFILL, Ok(10.0))]));
        report.add(0, 1, RoundTold::failed(&[PREFILL], "crashed"));
        assert_eq!(report.table().rows[0][4..], ["failed: crashed", ""]);
        assert_eq!(report.our_failure(), None);
        report.add(0, 1, told(&[(PREFILL, Ok(5.0))]));
        assert_eq!(report.table().rows[0][4..], ["5.00 (5.00 to 5.00), 1 of 2 failed: crashed", "2.00"]);
        report.add(0, 0, RoundTold::failed(&[PREFILL], "no"));
        assert_eq!(report.our_failure(), Some("no"));
    }

    #[test]
    fn what_a_program_does_not_tell_is_not_measured() {
        let mut report = report();
        report.add(0, 0, told(&[(LOAD, Ok(1.0))]));
        assert_eq!(report.table().rows[0][3..], ["", "not measured", ""]);
    }
}
