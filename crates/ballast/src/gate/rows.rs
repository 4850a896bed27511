//! What a gate found, row by row.

use crate::soak::{GateRow as Figure, Limit, Verdict};
use std::time::Duration;

/// Rows of the differences from a reference.
pub(super) const DELTA_L_INF: &str = "difference from the reference, L-inf";
pub(super) const DELTA_RMSE: &str = "difference from the reference, RMSE";

/// Which gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Opened again and again.
    A,
    /// Right and in time.
    B,
    /// Accelerator against CPU.
    C,
    /// For long.
    D,
}

impl Gate {
    /// Every gate.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// Its letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        }
    }

    /// Openings or predictions, where nothing else is asked for: of the last gate about what an hour has.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::A | Self::B | Self::C => 1000,
            Self::D => 100_000,
        }
    }
}

/// One figure and its limit, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct GateRow {
    /// The figure.
    pub figure: Figure,
    /// Why it was not measured.
    pub why_not: Option<String>,
}

impl GateRow {
    pub(super) fn new(name: &'static str, limit: Option<Limit>, value: f64) -> Self {
        Self { figure: Figure::new(name, limit, Some(value)), why_not: None }
    }

    pub(super) fn unmeasured(name: &'static str, limit: Option<Limit>, why: impl Into<String>) -> Self {
        Self { figure: Figure::new(name, limit, None), why_not: Some(why.into()) }
    }

    /// A value, or why there is none.
    pub(super) fn of(name: &'static str, limit: Option<Limit>, value: Result<f64, &str>) -> Self {
        match value {
            Ok(value) => Self::new(name, limit, value),
            Err(why) => Self::unmeasured(name, limit, why),
        }
    }

    /// The value in words, or why there is none.
    #[must_use]
    pub fn value_text(&self) -> String {
        match (&self.why_not, self.figure.value) {
            (Some(why), None) => format!("not measured: {why}"),
            // Differences of outputs are far below what two digits show.
            (_, Some(value)) if value != 0.0 && value.abs() < 0.01 => format!("{value:.2e}"),
            (_, _) => self.figure.value_text(),
        }
    }
}

/// How far a model's answers are from its reference's, the worst of its outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delta {
    /// Largest difference.
    pub l_inf: f64,
    /// Root mean square of the differences.
    pub rmse: f64,
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq)]
pub struct GateReport {
    /// Which gate.
    pub gate: Gate,
    /// Openings or predictions that it was asked for.
    pub count: usize,
    /// How long it took.
    pub took: Duration,
    /// Every figure.
    pub rows: Vec<GateRow>,
}

impl GateReport {
    /// Whether no figure is beyond its limit.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.failed().next().is_none()
    }

    /// How far the model is from its reference; `None`: it was not compared with one.
    #[must_use]
    pub fn delta(&self) -> Option<Delta> {
        let value = |name: &str| self.rows.iter().find(|row| row.figure.name == name)?.figure.value;
        Some(Delta { l_inf: value(DELTA_L_INF)?, rmse: value(DELTA_RMSE)? })
    }

    /// The figures beyond their limits.
    pub fn failed(&self) -> impl Iterator<Item = &GateRow> {
        self.rows.iter().filter(|row| row.figure.verdict == Verdict::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_says_why_and_fails_nothing() {
        let rows = vec![
            GateRow::unmeasured("speed-up", Some(Limit::AtLeast(2.8)), "no accelerator"),
            GateRow::new("parity", Some(Limit::AtMost(0.01)), 0.000_8),
        ];
        let mut report = GateReport { gate: Gate::C, count: 1, took: Duration::ZERO, rows };
        assert!(report.passes());
        assert_eq!(report.rows[0].value_text(), "not measured: no accelerator");
        assert_eq!(report.rows[1].value_text(), "8.00e-4");
        report.rows.push(GateRow::of("p99", Some(Limit::AtMost(20.0)), Ok(21.5)));
        assert_eq!(report.failed().map(|row| row.value_text()).collect::<Vec<_>>(), ["21.50"]);
        assert!(!report.passes());
    }
}
