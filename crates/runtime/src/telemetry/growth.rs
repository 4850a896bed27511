//! How fast memory grows: the slope of a line through samples, by least squares. Pure: time and samples come in.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of the `_mb` figures: 2^20.
const MB_BYTES: f64 = 1_048_576.0;

/// Seconds of an hour.
const HOUR_S: f64 = 3600.0;

/// How much is looked at before a slope is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowthOptions {
    /// How far back samples count. Default: one hour.
    pub window: Duration,
    /// Most samples that are kept; closer ones than `window / samples_max` are passed over. Default: 360.
    pub samples_max: u16,
    /// Fewest samples of a slope. Default: 10.
    pub samples_min: u16,
    /// Least time between the first and the last sample. Default: five minutes.
    pub time_min: Duration,
    /// Fewest inferences between the first and the last sample, for the slope by inferences. Default: 100.
    pub inferences_min: u64,
}

impl Default for GrowthOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3600),
            samples_max: 360,
            samples_min: 10,
            time_min: Duration::from_secs(300),
            inferences_min: 100,
        }
    }
}

/// How fast memory grows, in units of 2^20 bytes; negative if it shrinks. `None`: not enough was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    /// By time.
    pub mb_per_hour: Option<f64>,
    /// By work.
    pub mb_per_1000_inferences: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    bytes: u64,
    n_inferences: u64,
}

/// Keeps samples of memory in use and tells how fast it grows.
#[derive(Clone, Debug)]
pub struct GrowthMeter {
    options: GrowthOptions,
    samples: VecDeque<Sample>,
}

impl GrowthMeter {
    /// A meter that has seen nothing.
    #[must_use]
    pub fn new(options: GrowthOptions) -> Self {
        Self { options, samples: VecDeque::new() }
    }

    /// Notes the memory in use and how many inferences there have been. Time does not go back, nor does their number.
    pub fn add(&mut self, now: Duration, bytes: u64, n_inferences: u64) {
        let GrowthOptions { window, samples_max, .. } = self.options;
        while self.samples.front().is_some_and(|sample| now.saturating_sub(sample.at) > window) {
            self.samples.pop_front();
        }
        let spacing = window.checked_div(u32::from(samples_max)).unwrap_or(Duration::MAX);
        let is_spaced = self.samples.back().is_none_or(|last| now.saturating_sub(last.at) >= spacing);
        if is_spaced && self.samples.len() < usize::from(samples_max) {
            self.samples.push_back(Sample { at: now, bytes, n_inferences });
        }
    }

    /// Samples that are kept.
    #[must_use]
    pub fn n_samples(&self) -> usize {
        self.samples.len()
    }

    /// How fast memory grew over the samples that are kept.
    #[must_use]
    pub fn growth(&self) -> Growth {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return Growth::default() };
        if self.samples.len() < usize::from(self.options.samples_min)
            || last.at.saturating_sub(first.at) < self.options.time_min
        {
            return Growth::default();
        }
        let mb = |sample: &Sample| (sample.bytes as f64 - first.bytes as f64) / MB_BYTES;
        let hours = |sample: &Sample| sample.at.saturating_sub(first.at).as_secs_f64() / HOUR_S;
        let thousands = |sample: &Sample| sample.n_inferences.saturating_sub(first.n_inferences) as f64 / 1000.0;
        let has_worked = last.n_inferences.saturating_sub(first.n_inferences) >= self.options.inferences_min;
        let by_work = || slope(self.samples.iter().map(|sample| (thousands(sample), mb(sample))));
        Growth {
            mb_per_hour: slope(self.samples.iter().map(|sample| (hours(sample), mb(sample)))),
            mb_per_1000_inferences: has_worked.then(by_work).flatten(),
        }
    }
}

/// The slope of the line with the least squared vertical distances to the points; `None` if all have the same `x`.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let (n, sum_x, sum_y) = points.clone().fold((0.0, 0.0, 0.0), |(n, sx, sy), (x, y)| (n + 1.0, sx + x, sy + y));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut sum_xx, mut sum_xy) = (0.0, 0.0);
    for (x, y) in points {
        sum_xx += (x - mean_x) * (x - mean_x);
        sum_xy += (x - mean_x) * (y - mean_y);
    }
    (sum_xx > 0.0).then(|| sum_xy / sum_xx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const MB: u64 = 1 << 20;

    /// A meter that has seen a sample each minute.
    fn fed(n_samples: u32, bytes: impl Fn(u64) -> u64, inferences_each: u64) -> GrowthMeter {
        let mut meter = GrowthMeter::new(GrowthOptions::default());
        for minute in 0..n_samples {
            meter.add(MINUTE * minute, bytes(u64::from(minute)), u64::from(minute) * inferences_each);
        }
        meter
    }

    fn is_close(got: Option<f64>, expected: f64) -> bool {
        got.is_some_and(|got| (got - expected).abs() < 1e-6 * expected.abs().max(1.0))
    }

    #[test]
    fn memory_on_a_line_gives_the_slope_of_the_line() {
        let growth = fed(30, |minute| 100 * MB + minute * MB, 50).growth();
        assert!(is_close(growth.mb_per_hour, 60.0), "{growth:?}");
        assert!(is_close(growth.mb_per_1000_inferences, 20.0), "{growth:?}");
        let growth = fed(30, |minute| 100 * MB - minute * MB, 50).growth();
        assert!(is_close(growth.mb_per_hour, -60.0), "{growth:?}");
        let growth = fed(30, |_| 100 * MB, 50).growth();
        assert_eq!((growth.mb_per_hour, growth.mb_per_1000_inferences), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_sawtooth_that_does_not_rise_has_almost_no_slope() {
        let growth = fed(60, |minute| (100 + minute % 2) * MB, 50).growth();
        assert!(growth.mb_per_hour.is_some_and(|slope| slope.abs() < 0.1), "{growth:?}");
    }

    #[test]
    fn too_little_seen_gives_no_slope() {
        assert_eq!(GrowthMeter::new(GrowthOptions::default()).growth(), Growth::default());
        assert_eq!(fed(9, |minute| minute * MB, 50).growth(), Growth::default());
        assert!(fed(10, |minute| minute * MB, 50).growth().mb_per_hour.is_some());
        let mut quick = GrowthMeter::new(GrowthOptions { window: MINUTE * 4, ..GrowthOptions::default() });
        (0..100).for_each(|n| quick.add(MINUTE / 10 * n, u64::from(n) * MB, 0));
        assert_eq!(quick.growth(), Growth::default(), "less than five minutes are seen");
    }

    #[test]
    fn without_work_there_is_no_slope_by_inferences() {
        let growth = fed(30, |minute| minute * MB, 0).growth();
        assert!(growth.mb_per_hour.is_some() && growth.mb_per_1000_inferences.is_none());
        assert!(
            fed(30, |minute| minute * MB, 3).growth().mb_per_1000_inferences.is_none(),
            "87 inferences are too few"
        );
    }

    #[test]
    fn points_above_each_other_have_no_slope() {
        let options =
            GrowthOptions { samples_min: 0, time_min: Duration::ZERO, inferences_min: 0, ..GrowthOptions::default() };
        let mut meter = GrowthMeter::new(options);
        meter.add(MINUTE, MB, 5);
        assert_eq!(meter.growth(), Growth::default());
        meter.add(MINUTE * 2, 2 * MB, 5);
        assert_eq!(meter.growth().mb_per_1000_inferences, None);
        assert!(is_close(meter.growth().mb_per_hour, 60.0));
    }

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let grows_at_first = |minute: u64| 100 * MB + minute.min(60) * MB;
        let growth = fed(180, grows_at_first, 50).growth();
        assert_eq!(growth.mb_per_hour, Some(0.0));
    }

    #[test]
    fn samples_are_bounded_and_still_span_the_window() {
        let options = GrowthOptions { samples_max: 20, ..GrowthOptions::default() };
        let mut meter = GrowthMeter::new(options);
        for second in 0..7200 {
            meter.add(Duration::from_secs(second), second * MB, second);
            assert!(meter.n_samples() <= 20, "{second}");
        }
        assert!(meter.n_samples() >= 19);
        assert!(is_close(meter.growth().mb_per_hour, 3600.0));
        let mut none = GrowthMeter::new(GrowthOptions { samples_max: 0, ..options });
        none.add(MINUTE, MB, 1);
        assert_eq!(none.n_samples(), 0);
    }

    proptest! {
        #[test]
        fn a_slope_does_not_depend_on_where_the_line_begins(
            start_mb in 0_u64..100_000,
            per_minute in 0_u64..1000,
        ) {
            let growth = fed(20, |minute| (start_mb + minute * per_minute) * MB, 10).growth();
            prop_assert!(is_close(growth.mb_per_hour, per_minute as f64 * 60.0), "{:?}", growth);
        }
    }
}
