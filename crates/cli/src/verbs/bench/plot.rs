//! Charts as SVG, written by hand: axes, a line for each program, a legend; readable on light and dark ground.

use super::figure::significant;
use super::statistics::Point;
use std::fmt::Write as _;

/// Ends of a chart in user units: the page, and the field inside of the axes.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 330.0;

/// Room for one entry of the legend.
const LEGEND_WIDTH: f64 = 205.0;
const LEGEND_PER_ROW: usize = 3;
const LEGEND_ROW_HEIGHT: f64 = 18.0;

/// Hues of middle lightness, told apart by people who see few colours, too (Okabe and Ito, 2008; black left out).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const STYLE: &str = "<style>text{font:13px sans-serif;fill:#222}.title{font-size:15px}.axis{stroke:#222}\
    .grid{stroke:#222;stroke-opacity:.15}.line{fill:none;stroke-width:2}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#ddd}.grid{stroke:#ddd}}</style>\n";

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0 on.
    Linear,
    /// By powers.
    Log,
}

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
}

/// The points of one program.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    /// A law instead of a measurement: dashed, without marks, in the colour of the program before it.
    pub(super) is_law: bool,
}

/// One chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// An axis with its range, and where it lies on the page.
struct Ruler {
    scale: Scale,
    min: f64,
    max: f64,
    from: f64,
    to: f64,
}

/// The charts below each other, as a file.
pub(super) fn svg(charts: &[Chart]) -> String {
    let height = HEIGHT * charts.len().max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n{STYLE}"
    );
    for (idx, chart) in charts.iter().enumerate() {
        let _infallible = writeln!(svg, "<g transform=\"translate(0 {})\">", HEIGHT * idx as f64);
        chart.draw(&mut svg);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

impl Chart {
    fn draw(&self, svg: &mut String) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Ruler::new(self.x.scale, points().map(|point| point.x), (LEFT, RIGHT));
        let y = Ruler::new(self.y.scale, points().map(|point| point.y), (BOTTOM, TOP));
        *svg += &text((LEFT, 24.0), "start", "title", &self.title);
        for value in x.ticks() {
            let at = x.place(value);
            *svg += &line("grid", (at, TOP), (at, BOTTOM));
            *svg += &text((at, BOTTOM + 18.0), "middle", "tick", &number(value));
        }
        for value in y.ticks() {
            let at = y.place(value);
            *svg += &line("grid", (LEFT, at), (RIGHT, at));
            *svg += &text((LEFT - 8.0, at + 4.0), "end", "tick", &number(value));
        }
        *svg += &line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        *svg += &line("axis", (LEFT, TOP), (LEFT, BOTTOM));
        *svg += &text(((LEFT + RIGHT) / 2.0, BOTTOM + 36.0), "middle", "label", &self.x.label);
        *svg += &text((LEFT - 70.0, TOP - 8.0), "start", "label", &self.y.label);
        let mut n_programs = 0;
        for (idx, series) in self.series.iter().filter(|series| !series.points.is_empty()).enumerate() {
            n_programs += usize::from(!series.is_law);
            // A law has the colour of the program before it.
            let colour = COLOURS[n_programs.saturating_sub(1) % COLOURS.len()];
            series.draw(colour, (&x, &y), svg);
            legend(idx, series, colour, svg);
        }
    }
}

impl Series {
    fn draw(&self, colour: &str, (x, y): (&Ruler, &Ruler), svg: &mut String) {
        let points = || self.points.iter().filter(|point| point.x.is_finite() && point.y.is_finite());
        let place = |point: &Point| format!("{:.1},{:.1}", x.place(point.x), y.place(point.y));
        let places: Vec<String> = points().map(place).collect();
        *svg += &format!("<polyline class=\"line\" {} points=\"{}\"/>\n", self.stroke(colour), places.join(" "));
        if self.is_law {
            return;
        }
        for point in points() {
            let (cx, cy) = (x.place(point.x), y.place(point.y));
            *svg += &format!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n");
        }
    }

    fn stroke(&self, colour: &str) -> String {
        let dashes = if self.is_law { " stroke-dasharray=\"6 5\"" } else { "" };
        format!("stroke=\"{colour}\"{dashes}")
    }
}

fn legend(idx: usize, series: &Series, colour: &str, svg: &mut String) {
    let left = LEFT + LEGEND_WIDTH * (idx % LEGEND_PER_ROW) as f64;
    let y = BOTTOM + 52.0 + LEGEND_ROW_HEIGHT * (idx / LEGEND_PER_ROW) as f64;
    let stroke = series.stroke(colour);
    let right = left + 24.0;
    *svg += &format!("<line class=\"line\" {stroke} x1=\"{left}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\"/>\n");
    *svg += &text((right + 6.0, y + 4.0), "start", "key", &series.name);
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n")
}

fn text((x, y): (f64, f64), anchor: &str, class: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n")
}

/// A number of an axis: `2048`, `0.5`, `1.5e6`.
fn number(value: f64) -> String {
    let is_whole = (value - value.round()).abs() < 1e-9 * value.abs().max(1.0);
    match value.abs() {
        v if v >= 1e6 => format!("{:.1}e6", value / 1e6),
        _ if is_whole => format!("{value:.0}"),
        _ => significant(value),
    }
}

impl Ruler {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let usable = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (mut min, mut max) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if min > max {
            (min, max) = (1.0, 2.0);
        }
        match scale {
            Scale::Linear => (min, max) = (0.0, if max > 0.0 { max * 1.05 } else { 1.0 }),
            // Whole powers of two, so that both ends have a tick.
            Scale::Log => {
                (min, max) = (min.log2().floor().exp2(), max.log2().ceil().exp2());
                max = max.max(2.0 * min);
            }
        }
        Self { scale, min, max, from, to }
    }

    /// Where a value lies on the page.
    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log => (value.max(self.min) / self.min).ln() / (self.max / self.min).ln(),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values along the axis, a handful.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.max - self.min) / 5.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough).unwrap_or(rough);
                (0..=10_u32).map(|n| f64::from(n) * step).filter(|&value| value <= self.max).collect()
            }
            Scale::Log => {
                // Powers of two, of which every second or third or so is shown where there are many.
                let (first, last) = ((self.min.log2() - 1e-9).ceil(), (self.max.log2() + 1e-9).floor());
                let stride = ((last - first) / 8.0).ceil().max(1.0);
                let exponents = (0..=8_u32).map(|n| first + f64::from(n) * stride);
                exponents.filter(|&exponent| exponent <= last).map(f64::exp2).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
