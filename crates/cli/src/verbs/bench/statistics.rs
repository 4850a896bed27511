//! Medians with their range, and the laws that curves are held against.

use serde_json::{Value, json};

/// The middle of some samples and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// The spread of at least one sample.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let is_odd = sorted.len() % 2 == 1;
        let median = if is_odd { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, min, max })
    }

    pub(super) fn to_json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A law that a cost follows: `y = intercept + slope x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) intercept: f64,
    pub(super) slope: f64,
}

/// Share of the law by which a point may miss it.
pub(super) const OFF_LAW_MAX: f64 = 0.2;

impl Line {
    /// The line with the least sum of squared relative errors, so that short contexts count as much as long ones.
    /// `None` for fewer than two places, or costs that are not above 0.
    pub(super) fn fit(points: &[Point]) -> Option<Self> {
        if points.iter().any(|point| point.y <= 0.0) {
            return None;
        }
        // Weighted least squares with weights 1/y^2: the normal equations of two unknowns.
        let sum = |term: fn(&Point) -> f64| points.iter().map(|point| term(point) / (point.y * point.y)).sum::<f64>();
        let (w, wx, wxx) = (sum(|_| 1.0), sum(|p| p.x), sum(|p| p.x * p.x));
        let (wy, wxy) = (sum(|p| p.y), sum(|p| p.x * p.y));
        let determinant = w * wxx - wx * wx;
        if points.len() < 2 || determinant <= f64::EPSILON * w * wxx {
            return None;
        }
        let slope = (w * wxy - wx * wy) / determinant;
        Some(Self { intercept: (wy - slope * wx) / w, slope })
    }

    /// The line through the origin with the least sum of squared relative errors.
    pub(super) fn fit_through_origin(points: &[Point]) -> Option<Self> {
        let sum = |power: i32| points.iter().map(|point| (point.x / point.y).powi(power)).sum::<f64>();
        let slope = sum(1) / sum(2);
        slope.is_finite().then_some(Self { intercept: 0.0, slope })
    }

    pub(super) fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }

    /// The first point that misses the law by more than [`OFF_LAW_MAX`], and its ratio to the law.
    pub(super) fn bend(&self, points: &[Point]) -> Option<(Point, f64)> {
        let ratio = |point: &Point| point.y / self.at(point.x);
        let off = points.iter().find(|point| (ratio(point) - 1.0).abs() > OFF_LAW_MAX)?;
        Some((*off, ratio(off)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Point, Spread};

    fn points(pairs: &[(f64, f64)]) -> Vec<Point> {
        pairs.iter().map(|&(x, y)| Point { x, y }).collect()
    }

    #[test]
    fn a_spread_is_the_median_and_the_range() {
        let spread = Some(Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), spread);
        assert_eq!(Spread::of(&[3.0, 1.0]), spread);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_line_is_found_again_from_its_points() {
        let line = Line { intercept: 3.0, slope: 0.5 };
        let exact = points(&[1.0, 2.0, 64.0, 4096.0].map(|x| (x, line.at(x))));
        let found = Line::fit(&exact).unwrap();
        assert!((found.intercept - 3.0).abs() < 1e-9 && (found.slope - 0.5).abs() < 1e-9, "{found:?}");
        assert_eq!(found.bend(&exact), None);
        let through = Line::fit_through_origin(&points(&[(1.0, 2.0), (10.0, 20.0)])).unwrap();
        assert!((through.slope - 2.0).abs() < 1e-12, "{through:?}");
    }

    #[test]
    fn short_places_count_as_much_as_long_ones() {
        let found =
            Line::fit(&points(&[(1.0, 1.0), (2.0, 2.0), (4.0, 4.0), (100.0, 130.0), (1000.0, 1300.0)])).unwrap();
        // By absolute errors the line would be a quarter off at the first point.
        assert!((found.at(1.0) - 1.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn there_is_no_line_where_points_do_not_give_one() {
        for bad in [&[][..], &[(1.0, 1.0)], &[(1.0, 1.0), (1.0, 2.0)], &[(1.0, 1.0), (2.0, 0.0)]] {
            assert_eq!(Line::fit(&points(bad)), None, "{bad:?}");
        }
        assert_eq!(Line::fit_through_origin(&[]), None);
    }

    #[test]
    fn the_bend_is_the_first_point_more_than_a_fifth_off() {
        let line = Line { intercept: 0.0, slope: 1.0 };
        let (bend, ratio) = line.bend(&points(&[(1.0, 1.19), (2.0, 1.61), (3.0, 3.9), (4.0, 9.0)])).unwrap();
        assert_eq!(bend.x, 3.0);
        assert!((ratio - 1.3).abs() < 1e-12);
        assert!(line.bend(&points(&[(2.0, 1.5)])).is_some(), "below the law is off it, too");
    }
}
