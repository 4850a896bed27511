//! How times are distributed: log-linear buckets of atomics, so that recording takes no lock and loses nothing.
//!
//! Each power of two between 512 ns and one hour is split into 32 buckets of equal width, after HdrHistogram
//! (Tene, "HdrHistogram: a high dynamic range histogram"). A time is reported as the middle of its bucket, so its
//! relative error is at most 1/64, 1.6 %. Memory is fixed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of one power of two, as a power of two.
const SPLIT_BITS: u32 = 5;

/// The power of two (of nanoseconds) at which the split buckets begin. What is shorter shares the first bucket.
const FIRST_BITS: u32 = 9;

/// The power of two (of nanoseconds) that the longest time lies in.
const LAST_BITS: u32 = 41;

/// The longest time that is told apart; what is longer counts as this.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// One bucket for what is shorter than the first power of two, then each power split.
const N_BUCKETS: usize = 1 + (((LAST_BITS - FIRST_BITS + 1) as usize) << SPLIT_BITS);

/// Times recorded by any number of threads.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
    max_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(N_BUCKETS).collect();
        Self { buckets, sum_nanos: AtomicU64::default(), max_nanos: AtomicU64::default() }
    }
}

impl Histogram {
    /// Longest time that is told apart; longer ones count as this.
    pub const LONGEST: Duration = Duration::from_nanos(NANOS_MAX);

    /// Largest relative error of a quantile, for times between a microsecond and [`Histogram::LONGEST`].
    pub const RELATIVE_ERROR_MAX: f64 = 1.0 / 64.0;

    /// Records one time.
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(NANOS_MAX).min(NANOS_MAX);
        self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        // Most times are not the longest yet: reading is cheaper than the exchange.
        if nanos > self.max_nanos.load(Ordering::Relaxed) {
            self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// What was recorded. Times that are being recorded meanwhile may be in it or not.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_nanos: self.sum_nanos.load(Ordering::Relaxed),
            max_nanos: self.max_nanos.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// The bucket of a time of at most [`NANOS_MAX`].
fn bucket_of(nanos: u64) -> usize {
    let Some(bits) = nanos.checked_ilog2().filter(|bits| *bits >= FIRST_BITS) else { return 0 };
    let split = ((nanos >> (bits - SPLIT_BITS)) & ((1 << SPLIT_BITS) - 1)) as usize;
    1 + (((bits - FIRST_BITS) as usize) << SPLIT_BITS) + split
}

/// The middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let Some(at) = bucket.checked_sub(1) else { return 1 << (FIRST_BITS - 1) };
    let (power, split) = (at >> SPLIT_BITS, at & ((1 << SPLIT_BITS) - 1));
    let half_widths = (2 * ((1 << SPLIT_BITS) + split) + 1) as u64;
    half_widths << (power + (FIRST_BITS - SPLIT_BITS) as usize) >> 1
}

/// A histogram as it was at some time.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: Box<[u64]>,
    sum_nanos: u64,
    max_nanos: u64,
}

impl HistogramSnapshot {
    /// How many times were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many times were at most as long as `bound`, which is as exact as [`Histogram::RELATIVE_ERROR_MAX`] says.
    #[must_use]
    pub fn at_most(&self, bound: Duration) -> u64 {
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let n_buckets = (0..self.buckets.len()).take_while(|bucket| middle_of(*bucket) <= bound).count();
        self.buckets[..n_buckets].iter().sum()
    }

    /// All times together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// The longest time, exactly; `None` if there is none.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.max_nanos))
    }

    /// The mean; `None` without times.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum_nanos.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// The quantile in parts of a thousand, by nearest rank: 500 is the median. `None` without times.
    #[must_use]
    pub fn permille(&self, permille: u16) -> Option<Duration> {
        let count = self.count();
        // A rank is at most the count, so it fits.
        let rank = u64::try_from((u128::from(count) * u128::from(permille.min(1000))).div_ceil(1000)).ok()?.max(1);
        let mut n_passed = 0;
        let reaches = |bucket_count: &u64| {
            n_passed += bucket_count;
            n_passed >= rank
        };
        let bucket = self.buckets.iter().position(reaches)?;
        Some(Duration::from_nanos(middle_of(bucket).min(self.max_nanos)))
    }

    /// Adds what another histogram recorded.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(count, more)| *count += more);
        self.sum_nanos += other.sum_nanos;
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// What was recorded after `earlier`, a snapshot of the same histogram. The longest time stays that of the whole.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: counts.map(|(count, before)| count.saturating_sub(*before)).collect(),
            sum_nanos: self.sum_nanos.saturating_sub(earlier.sum_nanos),
            max_nanos: self.max_nanos,
        }
    }
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = |permille| self.permille(permille);
        f.debug_struct("HistogramSnapshot")
            .field("count", &self.count())
            .field("p50", &quantile(500))
            .field("p95", &quantile(950))
            .field("p99", &quantile(990))
            .field("max", &self.max())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(times: &[Duration]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        times.iter().for_each(|time| histogram.record(*time));
        histogram.snapshot()
    }

    #[test]
    fn buckets_follow_each_other_and_hold_their_middle() {
        assert_eq!(bucket_of(NANOS_MAX), bucket_of(NANOS_MAX).min(N_BUCKETS - 1));
        let mut last = 0;
        for bucket in 0..N_BUCKETS {
            let middle = middle_of(bucket);
            assert_eq!(bucket_of(middle), bucket);
            assert!(bucket == 0 || middle > last, "{bucket}");
            last = middle;
        }
        for bits in FIRST_BITS..=LAST_BITS {
            assert_eq!(bucket_of(1 << bits), bucket_of((1 << bits) - 1) + 1, "2^{bits}");
        }
    }

    #[test]
    fn nothing_recorded_is_not_measured() {
        let none = recorded(&[]);
        assert_eq!((none.count(), none.max(), none.mean(), none.permille(500)), (0, None, None, None));
    }

    #[test]
    fn what_takes_over_an_hour_counts_as_an_hour() {
        let snapshot = recorded(&[Duration::MAX, Histogram::LONGEST + Duration::from_nanos(1)]);
        assert_eq!((snapshot.max(), snapshot.mean()), (Some(Histogram::LONGEST), Some(Histogram::LONGEST)));
        assert_eq!(snapshot.permille(0), snapshot.permille(1000));
    }

    #[test]
    fn threads_that_record_at_once_lose_nothing() {
        let (histogram, n_threads, n_each) = (Histogram::default(), 4_u64, 20_000_u64);
        std::thread::scope(|scope| {
            for thread in 0..n_threads {
                let histogram = &histogram;
                scope.spawn(move || {
                    (0..n_each)
                        .for_each(|idx| histogram.record(Duration::from_micros(1 + (idx * n_threads + thread) % 500)));
                });
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), n_threads * n_each);
        let rounds = n_threads * n_each / 500;
        assert_eq!(snapshot.sum(), Duration::from_micros(rounds * 500 * 501 / 2));
        assert_eq!(snapshot.max(), Some(Duration::from_micros(500)));
    }

    #[test]
    fn since_gives_what_was_recorded_in_between() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(1));
        let before = histogram.snapshot();
        histogram.record(Duration::from_millis(3));
        let between = histogram.snapshot().since(&before);
        assert_eq!((between.count(), between.sum()), (1, Duration::from_millis(3)));
        assert!(between.permille(990).unwrap() < Duration::from_millis(4));
    }

    fn time() -> impl Strategy<Value = Duration> {
        // Uniform in the logarithm, so that every power of two is met.
        (0_f64..1.0).prop_map(|x| Duration::from_secs_f64(1e-6 * 3.6e9_f64.powf(x)))
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_times_within_the_error(
            mut times in prop::collection::vec(time(), 1..300),
            permille in 0_u16..=1000,
        ) {
            let snapshot = recorded(&times);
            times.sort();
            let rank = (times.len() * usize::from(permille)).div_ceil(1000).max(1);
            let exact = times[rank - 1].as_secs_f64();
            let got = snapshot.permille(permille).unwrap().as_secs_f64();
            prop_assert!((got - exact).abs() <= exact * Histogram::RELATIVE_ERROR_MAX, "exact {exact}, got {got}");
            prop_assert_eq!(snapshot.max(), times.last().copied());
        }

        #[test]
        fn merging_gives_what_one_histogram_would_have_recorded(
            a in prop::collection::vec(time(), 0..50),
            b in prop::collection::vec(time(), 0..50),
        ) {
            let mut merged = recorded(&a);
            merged.merge(&recorded(&b));
            prop_assert!(merged == recorded(&[a, b].concat()));
        }
    }
}
