//! A curve of times for each program, the law it is held against, and where it bends.

use super::super::figure::{Figure, significant};
use super::super::plot::{Axis, Chart, Scale, Series};
use super::super::report::Report;
use super::super::statistics::{Line, Point, Spread};
use super::super::table::Table;
use serde_json::{Value, json};

/// What times are expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Law {
    /// A constant and a share for each unit.
    Linear,
    /// A multiple of what is expected.
    Proportional,
}

/// Where a figure lies on the curve, and the tokens of one of its steps; `None` for those of other curves.
pub(super) type Place<'a> = &'a dyn Fn(Figure) -> Option<(f64, f64)>;

/// Times of all programs along one axis.
#[derive(Debug)]
pub(super) struct Curve {
    name: &'static str,
    law: Law,
    lines: Vec<ProgramCurve>,
}

#[derive(Debug)]
struct ProgramCurve {
    program: String,
    /// By place.
    times: Vec<Time>,
    /// Places without a time, and why.
    failed: Vec<(f64, String)>,
    fit: Option<Line>,
}

/// Seconds of a step at a place.
#[derive(Debug)]
struct Time {
    x: f64,
    samples: Vec<f64>,
    spread: Spread,
}

impl Curve {
    pub(super) fn of(name: &'static str, law: Law, parts: &[(&Report, Place<'_>)]) -> Self {
        let columns = parts.first().map(|(report, _)| report.columns.as_slice()).unwrap_or_default();
        let line = |(column_idx, program): (usize, String)| {
            let (mut times, mut failed) = (Vec::new(), Vec::new());
            for (report, place) in parts {
                for row in &report.rows {
                    let Some((x, n_tokens)) = place(row.figure) else { continue };
                    let samples: Vec<f64> = row.values(column_idx).iter().map(|rate| n_tokens / rate).collect();
                    match Spread::of(&samples) {
                        Some(spread) => times.push(Time { x, samples, spread }),
                        None => failed.extend(row.reason(column_idx).map(|why| (x, why.to_owned()))),
                    }
                }
            }
            times.sort_by(|a, b| a.x.total_cmp(&b.x));
            let points: Vec<Point> = times.iter().map(Time::point).collect();
            let fit = match law {
                Law::Linear => Line::fit(&points),
                Law::Proportional => Line::fit_through_origin(&points),
            };
            ProgramCurve { program, times, failed, fit }
        };
        let names = columns.iter().map(|column| column.name.clone()).enumerate();
        Self { name, law, lines: names.map(line).collect() }
    }

    /// What the axis counts.
    fn unit(&self) -> &'static str {
        match self.name {
            "context" | "prefill" => "tokens of context",
            "batch" => "sequences",
            _ => "ms to read the weights at measured bandwidth",
        }
    }

    /// A place on the axis as people read it.
    fn place(&self, x: f64) -> f64 {
        match self.law {
            Law::Linear => x,
            Law::Proportional => x * 1e3,
        }
    }

    /// A sentence for each program with a law.
    pub(super) fn laws_in_words(&self) -> Vec<String> {
        let words = |line: &ProgramCurve| {
            let fit = line.fit?;
            let law = match self.law {
                Law::Linear => {
                    let (constant, share) = (significant(fit.intercept * 1e3), significant(fit.slope * 1e6));
                    format!("{constant} ms and {share} us for each of the {}", self.unit())
                }
                Law::Proportional => format!("{} times the {}", significant(fit.slope), self.unit()),
            };
            let bend = match fit.bend(&line.points()) {
                None => "no bend".to_owned(),
                Some((at, ratio)) => {
                    format!("bends at {}, {ratio:.2} times the law", significant(self.place(at.x)))
                }
            };
            Some(format!("{}, {}: {law}; {bend}", self.name, line.program))
        };
        self.lines.iter().filter_map(words).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let time = |time: &Time| json!({ "x": time.x, "seconds": time.spread.to_json(), "samples": time.samples });
        let program = |line: &ProgramCurve| {
            let law = line.fit.map(|fit| json!({ "intercept": fit.intercept, "slope": fit.slope }));
            let bend = line.fit.and_then(|fit| fit.bend(&line.points()));
            json!({
                "program": line.program,
                "points": line.times.iter().map(time).collect::<Vec<_>>(),
                "failed": line.failed.iter().map(|(x, why)| json!({ "x": x, "why": why })).collect::<Vec<_>>(),
                "law": law,
                "bend": bend.map(|(at, ratio)| json!({ "x": at.x, "times_the_law": ratio })),
            })
        };
        let lines: Vec<Value> = self.lines.iter().map(program).collect();
        json!({ "curve": self.name, "x": self.unit(), "programs": lines })
    }

    pub(super) fn chart(&self) -> Chart {
        let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::Log };
        let shown = |point: Point| Point { x: self.place(point.x), y: point.y * 1e3 };
        let mut series = Vec::new();
        for line in &self.lines {
            let points = line.points();
            let law = line.fit.map(|fit| points.iter().map(|p| shown(Point { x: p.x, y: fit.at(p.x) })).collect());
            let measured = points.into_iter().map(shown).collect();
            series.push(Series { name: line.program.clone(), points: measured, is_law: false });
            series.extend(law.map(|points| Series { name: format!("{}, law", line.program), points, is_law: true }));
        }
        let what = if self.name == "batch" { "step" } else { "token" };
        let title = format!("{}: time of a {what}", self.name);
        Chart { title, x: axis(self.unit()), y: axis("ms"), series }
    }
}

impl Time {
    fn point(&self) -> Point {
        Point { x: self.x, y: self.spread.median }
    }
}

impl ProgramCurve {
    fn points(&self) -> Vec<Point> {
        self.times.iter().map(Time::point).collect()
    }
}

/// All points of all curves.
pub(super) fn table(curves: &[Curve]) -> Table {
    let mut table = Table::new(&["curve", "at", "program", "ms (least to most)", "law, ms", "times the law"]);
    for curve in curves {
        for line in &curve.lines {
            let start = |x: f64| {
                let axis = format!("{}, {}", curve.name, curve.unit());
                vec![axis, significant(curve.place(x)), line.program.clone()]
            };
            for Time { x, spread, .. } in &line.times {
                let ms = |seconds: f64| significant(seconds * 1e3);
                let shown = format!("{} ({} to {})", ms(spread.median), ms(spread.min), ms(spread.max));
                let law = line.fit.map(|fit| fit.at(*x));
                let ratio = law.map_or(String::new(), |law| format!("{:.2}", spread.median / law));
                let mut row = start(*x);
                row.extend([shown, law.map_or(String::new(), ms), ratio]);
                table.rows.push(row);
            }
            for (x, why) in &line.failed {
                let mut row = start(*x);
                row.extend([format!("failed: {why}"), String::new(), String::new()]);
                table.rows.push(row);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Curve, Figure, Law, Report, table};
    use crate::verbs::bench::figure::RoundTold;
    use crate::verbs::bench::report::{Column, Setting};

    /// A report of decoding at these batches, at these seconds a step.
    fn report(times: &[(usize, f64)]) -> Report {
        let column = Column { name: "ballast".to_owned(), version: None };
        let setting = Setting { n_threads: 1, kernels: "generic".to_owned(), n_foreign: 0 };
        let mut report = Report::new(vec![setting], vec![column]);
        for &(sequences, seconds) in times {
            let figure = Figure::Decode { sequences, depth: 0, tokens: 4 };
            let samples = vec![(figure, Ok(sequences as f64 / seconds))];
            report.add(0, 0, RoundTold { version: None, samples });
        }
        report
    }

    fn batch(times: &[(usize, f64)]) -> Curve {
        let place = |figure| {
            if let Figure::Decode { sequences, .. } = figure {
                Some((sequences as f64, sequences as f64))
            } else {
                None
            }
        };
        Curve::of("batch", Law::Linear, &[(&report(times), &place)])
    }

    #[test]
    fn an_affine_curve_is_told_with_its_law_and_without_a_bend() {
        let curve = batch(&[(8, 0.010), (1, 0.003), (4, 0.006)]);
        let words = curve.laws_in_words();
        assert_eq!(words, ["batch, ballast: 2.00 ms and 1000 us for each of the sequences; no bend"]);
        let rows = table(&[curve]).rows;
        assert_eq!(rows[0][1..], ["1.00", "ballast", "3.00 (3.00 to 3.00)", "3.00", "1.00"]);
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_curve_that_leaves_its_law_bends() {
        let curve = batch(&[(1, 0.002), (2, 0.003), (4, 0.005), (8, 0.009), (16, 0.017), (32, 0.033), (64, 0.5)]);
        assert!(curve.laws_in_words()[0].contains("bends at"), "{:?}", curve.laws_in_words());
        let bend = &curve.to_json()["programs"][0]["bend"];
        assert!(bend["times_the_law"].as_f64().is_some_and(|ratio| (ratio - 1.0).abs() > 0.2), "{bend}");
    }

    #[test]
    fn sizes_are_held_against_a_multiple_of_what_is_expected() {
        let reports = [report(&[(1, 0.004)]), report(&[(1, 0.040)])];
        let (small, large) = (|_: Figure| Some((0.002, 1.0)), |_: Figure| Some((0.020, 1.0)));
        let curve = Curve::of("size", Law::Proportional, &[(&reports[0], &small), (&reports[1], &large)]);
        let words = curve.laws_in_words();
        assert_eq!(words, ["size, ballast: 2.00 times the ms to read the weights at measured bandwidth; no bend"]);
        let chart = curve.chart();
        assert_eq!((chart.series.len(), chart.series[1].is_law), (2, true));
    }

    #[test]
    fn a_place_that_failed_tells_why() {
        let mut failing = report(&[(1, 0.002)]);
        failing.add(0, 0, RoundTold::failed(&[Figure::Decode { sequences: 2, depth: 0, tokens: 4 }], "no memory"));
        let curve = Curve::of("size", Law::Linear, &[(&failing, &|_| Some((1.0, 1.0)))]);
        let cells: Vec<_> = table(std::slice::from_ref(&curve)).rows.into_iter().map(|mut row| row.remove(3)).collect();
        assert_eq!(cells, ["2.00 (2.00 to 2.00)", "failed: no memory"]);
        assert_eq!(curve.to_json()["programs"][0]["failed"][0]["why"], "no memory");
    }

    #[test]
    fn one_point_has_no_law() {
        assert_eq!(batch(&[(1, 0.002)]).laws_in_words(), [""; 0]);
        assert_eq!(Curve::of("batch", Law::Linear, &[]).laws_in_words(), [""; 0]);
    }
}
