//! Whether the figures are as they should be: each against two limits, and the worst of all.

use super::{Growth, MetricsSnapshot};
use serde::Serialize;

/// How good a figure is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Healthy,
    /// Look at it soon.
    Warning,
    /// Look at it now.
    Critical,
}

impl Grade {
    /// Lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Two limits of a figure. On a limit and between them is [`Grade::Warning`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Strictly better than this is healthy.
    pub healthy: f64,
    /// Strictly worse than this is critical.
    pub critical: f64,
}

/// Limits of each figure; `None`: the figure is not graded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthLimits {
    /// Share of calls that went well, in percent: more is better. Default: 99 and 95.
    pub success_pct: Option<Limits>,
    /// 99th percentile of a call in milliseconds: less is better. Default: 20 and 50.
    pub infer_p99_ms: Option<Limits>,
    /// Share of work on the neural engine, in percent: more is better. Default: 70 and 50. `None` for a model that was
    /// not given the neural engine.
    pub ane_dispatch_pct: Option<Limits>,
    /// Growth of memory per hour, in units of 2^20 bytes: less is better. Default: 10 and 50.
    pub memory_growth_mb_per_hour: Option<Limits>,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            success_pct: Some(Limits { healthy: 99.0, critical: 95.0 }),
            infer_p99_ms: Some(Limits { healthy: 20.0, critical: 50.0 }),
            ane_dispatch_pct: Some(Limits { healthy: 70.0, critical: 50.0 }),
            memory_growth_mb_per_hour: Some(Limits { healthy: 10.0, critical: 50.0 }),
        }
    }
}

/// What is graded. `None`: not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthFigures {
    /// Share of calls that went well, in percent.
    pub success_pct: Option<f64>,
    /// 99th percentile of a call, in milliseconds.
    pub infer_p99_ms: Option<f64>,
    /// Share of work on the neural engine, in percent.
    pub ane_dispatch_pct: Option<f64>,
    /// Growth of memory per hour, in units of 2^20 bytes.
    pub memory_growth_mb_per_hour: Option<f64>,
}

impl HealthFigures {
    /// The figures of everything since the start. Put those of a window in place where there is one
    /// ([`super::RollingWindow`], [`super::HistogramSnapshot::since`]).
    #[must_use]
    pub fn new(snapshot: &MetricsSnapshot, growth: Growth) -> Self {
        Self {
            success_pct: snapshot.infer_success_pct(),
            infer_p99_ms: snapshot.infer_p99_ms,
            ane_dispatch_pct: snapshot.ane_dispatch_pct.map(f64::from),
            memory_growth_mb_per_hour: growth.mb_per_hour,
        }
    }
}

/// A figure and its grade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Graded {
    /// The figure; `None`: not measured.
    pub value: Option<f64>,
    /// Its grade; `None`: not measured, or no limits.
    pub grade: Option<Grade>,
}

/// Every figure with its grade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// Share of calls that went well, in percent.
    pub success_pct: Graded,
    /// 99th percentile of a call, in milliseconds.
    pub infer_p99_ms: Graded,
    /// Share of work on the neural engine, in percent.
    pub ane_dispatch_pct: Graded,
    /// Growth of memory per hour, in units of 2^20 bytes.
    pub memory_growth_mb_per_hour: Graded,
    /// The worst grade; `None` if nothing was graded.
    pub overall: Option<Grade>,
}

impl HealthLimits {
    /// Grades each figure.
    #[must_use]
    pub fn grade(&self, figures: &HealthFigures) -> HealthReport {
        let more_is_better = |value: f64, limit: f64| value > limit;
        let less_is_better = |value: f64, limit: f64| value < limit;
        let success_pct = graded(figures.success_pct, self.success_pct, more_is_better);
        let infer_p99_ms = graded(figures.infer_p99_ms, self.infer_p99_ms, less_is_better);
        let ane_dispatch_pct = graded(figures.ane_dispatch_pct, self.ane_dispatch_pct, more_is_better);
        let memory_growth_mb_per_hour =
            graded(figures.memory_growth_mb_per_hour, self.memory_growth_mb_per_hour, less_is_better);
        let all = [success_pct, infer_p99_ms, ane_dispatch_pct, memory_growth_mb_per_hour];
        let overall = all.iter().filter_map(|figure| figure.grade).max();
        HealthReport { success_pct, infer_p99_ms, ane_dispatch_pct, memory_growth_mb_per_hour, overall }
    }
}

fn graded(value: Option<f64>, limits: Option<Limits>, is_better: impl Fn(f64, f64) -> bool) -> Graded {
    let value = value.filter(|value| !value.is_nan());
    let grade = value.zip(limits).map(|(value, Limits { healthy, critical })| {
        if is_better(value, healthy) {
            Grade::Healthy
        } else if is_better(critical, value) {
            Grade::Critical
        } else {
            Grade::Warning
        }
    });
    Graded { value, grade }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Grade::{Critical, Healthy, Warning};

    type Figure = fn(f64) -> HealthFigures;

    const SUCCESS: Figure = |value| HealthFigures { success_pct: Some(value), ..HealthFigures::default() };
    const P99: Figure = |value| HealthFigures { infer_p99_ms: Some(value), ..HealthFigures::default() };
    const ANE: Figure = |value| HealthFigures { ane_dispatch_pct: Some(value), ..HealthFigures::default() };
    const GROWTH: Figure = |value| HealthFigures { memory_growth_mb_per_hour: Some(value), ..HealthFigures::default() };

    #[test]
    fn figures_are_graded_by_the_table_of_the_prior_system() {
        let cases: [(Figure, [(f64, Grade); 5]); 4] = [
            (SUCCESS, [(99.1, Healthy), (99.0, Warning), (97.0, Warning), (95.0, Warning), (94.9, Critical)]),
            (P99, [(19.9, Healthy), (20.0, Warning), (35.0, Warning), (50.0, Warning), (50.1, Critical)]),
            (ANE, [(70.1, Healthy), (70.0, Warning), (60.0, Warning), (50.0, Warning), (49.9, Critical)]),
            (GROWTH, [(9.9, Healthy), (10.0, Warning), (30.0, Warning), (50.0, Warning), (50.1, Critical)]),
        ];
        for (row, (figure, points)) in cases.into_iter().enumerate() {
            for (value, expected) in points {
                let report = HealthLimits::default().grade(&figure(value));
                assert_eq!(report.overall, Some(expected), "row {row}: {value}");
            }
        }
    }

    #[test]
    fn the_worst_grade_is_the_overall_one_and_values_are_kept() {
        let figures = HealthFigures { success_pct: Some(99.9), infer_p99_ms: Some(30.0), ..ANE(10.0) };
        let report = HealthLimits::default().grade(&figures);
        assert_eq!(report.success_pct, Graded { value: Some(99.9), grade: Some(Healthy) });
        assert_eq!(report.infer_p99_ms, Graded { value: Some(30.0), grade: Some(Warning) });
        assert_eq!(report.ane_dispatch_pct, Graded { value: Some(10.0), grade: Some(Critical) });
        assert_eq!(report.memory_growth_mb_per_hour, Graded { value: None, grade: None });
        assert_eq!(report.overall, Some(Critical));
    }

    #[test]
    fn what_was_not_measured_does_not_count() {
        assert_eq!(HealthLimits::default().grade(&HealthFigures::default()).overall, None);
        assert_eq!(HealthLimits::default().grade(&SUCCESS(f64::NAN)).overall, None);
    }

    #[test]
    fn limits_are_obeyed_and_a_figure_without_limits_does_not_count() {
        let limits = HealthLimits {
            infer_p99_ms: Some(Limits { healthy: 200.0, critical: 500.0 }),
            ane_dispatch_pct: None,
            ..HealthLimits::default()
        };
        assert_eq!(limits.grade(&P99(199.0)).overall, Some(Healthy));
        assert_eq!(limits.grade(&P99(501.0)).overall, Some(Critical));
        let report = limits.grade(&ANE(0.0));
        assert_eq!((report.ane_dispatch_pct.value, report.overall), (Some(0.0), None));
    }
}
