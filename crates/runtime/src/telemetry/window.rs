//! How many of the last minutes' calls went well. Pure: the time comes in.

use std::time::Duration;

/// Counts of the last stretch of time, in buckets of equal length. The oldest bucket goes as a whole, so what is
/// counted lies between one bucket less than the span and the span.
#[derive(Clone, Debug)]
pub struct RollingWindow {
    bucket_nanos: u128,
    /// Bucket `n` of all time is in slot `n % len`.
    buckets: Box<[Bucket]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which bucket of all time is in the slot.
    number: u128,
    totals: WindowTotals,
}

/// What a window counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowTotals {
    /// All calls.
    pub n_all: u64,
    /// Those that went well.
    pub n_success: u64,
}

impl WindowTotals {
    /// Share of calls that went well, in percent; `None` without calls.
    #[must_use]
    pub fn success_pct(&self) -> Option<f64> {
        (self.n_all > 0).then(|| self.n_success as f64 / self.n_all as f64 * 100.0)
    }
}

impl RollingWindow {
    /// Counts the last `span` in `n_buckets`.
    ///
    /// # Panics
    /// If there are no buckets, or they would be shorter than a nanosecond.
    #[must_use]
    pub fn new(span: Duration, n_buckets: u16) -> Self {
        let bucket_nanos = span.as_nanos().checked_div(u128::from(n_buckets)).expect("a window has buckets");
        assert!(bucket_nanos > 0, "span: expected at least {n_buckets} ns, got {span:?}");
        Self { bucket_nanos, buckets: vec![Bucket::default(); usize::from(n_buckets)].into() }
    }

    /// Counts a call that went well.
    pub fn add_success(&mut self, now: Duration) {
        self.add(now, WindowTotals { n_all: 1, n_success: 1 });
    }

    /// Counts a call that failed.
    pub fn add_failure(&mut self, now: Duration) {
        self.add(now, WindowTotals { n_all: 1, n_success: 0 });
    }

    fn add(&mut self, now: Duration, more: WindowTotals) {
        let number = self.number(now);
        let slot = number % self.buckets.len() as u128;
        let bucket = &mut self.buckets[usize::try_from(slot).expect("a remainder is below the number of buckets")];
        if bucket.number != number {
            *bucket = Bucket { number, totals: WindowTotals::default() };
        }
        bucket.totals.n_all += more.n_all;
        bucket.totals.n_success += more.n_success;
    }

    /// What is in the window that ends now.
    #[must_use]
    pub fn totals(&self, now: Duration) -> WindowTotals {
        let newest = self.number(now);
        let oldest = newest.saturating_sub(self.buckets.len() as u128 - 1);
        let within = self.buckets.iter().filter(|bucket| (oldest..=newest).contains(&bucket.number));
        within.fold(WindowTotals::default(), |sum, Bucket { totals, .. }| WindowTotals {
            n_all: sum.n_all + totals.n_all,
            n_success: sum.n_success + totals.n_success,
        })
    }

    fn number(&self, now: Duration) -> u128 {
        now.as_nanos() / self.bucket_nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_older_than_the_span_no_longer_counts() {
        let mut window = RollingWindow::new(SECOND * 10, 10);
        window.add_failure(Duration::ZERO);
        window.add_success(SECOND * 5);
        assert_eq!(window.totals(SECOND * 9).success_pct(), Some(50.0));
        assert_eq!(window.totals(SECOND * 10).success_pct(), Some(100.0));
        assert_eq!(window.totals(SECOND * 15).success_pct(), None);
    }

    #[test]
    fn a_slot_is_emptied_before_it_is_used_again() {
        let mut window = RollingWindow::new(SECOND * 3, 3);
        (0..100).for_each(|second| window.add_success(SECOND * second));
        assert_eq!(window.totals(SECOND * 99), WindowTotals { n_all: 3, n_success: 3 });
    }

    #[test]
    #[should_panic(expected = "a window has buckets")]
    fn a_window_without_buckets_is_refused() {
        drop(RollingWindow::new(SECOND, 0));
    }

    #[test]
    #[should_panic(expected = "span: expected at least 2 ns, got 1ns")]
    fn buckets_without_length_are_refused() {
        drop(RollingWindow::new(Duration::from_nanos(1), 2));
    }

    proptest! {
        #[test]
        fn a_window_counts_what_a_list_of_calls_would(
            calls in prop::collection::vec((0_u64..400, any::<bool>()), 0..200),
            n_buckets in 1_u16..8,
        ) {
            let bucket = Duration::from_millis(100);
            let mut window = RollingWindow::new(bucket * u32::from(n_buckets), n_buckets);
            let (mut now, mut list) = (Duration::ZERO, VecDeque::new());
            for (wait_ms, is_success) in calls {
                now += Duration::from_millis(wait_ms);
                if is_success { window.add_success(now) } else { window.add_failure(now) }
                list.push_back((now.as_millis() / 100, is_success));
                list.retain(|(number, _)| number + u128::from(n_buckets) > now.as_millis() / 100);
                let n_success = list.iter().filter(|(_, is_success)| *is_success).count() as u64;
                prop_assert_eq!(window.totals(now), WindowTotals { n_all: list.len() as u64, n_success });
            }
        }
    }
}
