//! Counts over the last stretch of time: a ring of buckets, so that memory is bounded whatever the rate.

use std::time::Duration;

/// Buckets of a window. A count is forgotten when it is between `BUCKETS - 1` and `BUCKETS` twelfths of the window old.
const BUCKETS: usize = 12;

/// `K` counters over a sliding window.
#[derive(Clone, Debug)]
pub(crate) struct Window<const K: usize> {
    buckets: [[u32; K]; BUCKETS],
    /// Sums over all buckets, kept so that a decision adds nothing up.
    totals: [u64; K],
    /// The bucket that counts go to: the time of the last call divided by the length of a bucket.
    epoch: u64,
    bucket_nanos: u64,
}

impl<const K: usize> Window<K> {
    /// An empty window of `length`, at least 12 ns.
    pub(crate) fn new(length: Duration) -> Self {
        let bucket_nanos = (nanos(length) / BUCKETS as u64).max(1);
        Self { buckets: [[0; K]; BUCKETS], totals: [0; K], epoch: 0, bucket_nanos }
    }

    /// Adds one to counter `idx`. A `now` older than the newest seen counts as the newest.
    pub(crate) fn add(&mut self, idx: usize, now: Duration) {
        self.advance(now);
        let count = &mut self.buckets[bucket_of(self.epoch)][idx];
        if let Some(next) = count.checked_add(1) {
            *count = next;
            self.totals[idx] += 1;
        }
    }

    /// The counters over the window that ends now.
    pub(crate) fn totals(&mut self, now: Duration) -> [u64; K] {
        self.advance(now);
        self.totals
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.buckets = [[0; K]; BUCKETS];
        self.totals = [0; K];
    }

    fn advance(&mut self, now: Duration) {
        let epoch = nanos(now) / self.bucket_nanos;
        if epoch <= self.epoch {
            return;
        }
        for passed in 0..(epoch - self.epoch).min(BUCKETS as u64) {
            let bucket = &mut self.buckets[bucket_of(epoch - passed)];
            for (total, count) in self.totals.iter_mut().zip(bucket.iter_mut()) {
                *total -= u64::from(std::mem::take(count));
            }
        }
        self.epoch = epoch;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of buckets")]
fn bucket_of(epoch: u64) -> usize {
    (epoch % BUCKETS as u64) as usize
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Window};
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn counts_what_is_young_and_forgets_what_is_old(
            gaps in prop::collection::vec((prop_oneof![9 => 0_u64..50, 1 => 100_u64..300], 0_usize..2), 1..200),
        ) {
            let length = 120_u64;
            let bucket = length / BUCKETS as u64;
            let mut window = Window::<2>::new(Duration::from_nanos(length));
            let (mut now, mut added) = (0_u64, Vec::new());
            for (gap, idx) in gaps {
                now += gap;
                window.add(idx, Duration::from_nanos(now));
                added.push((now, idx));
                for idx in 0..2 {
                    let within = |age_max: u64| {
                        added.iter().filter(|&&(at, which)| which == idx && now - at < age_max).count() as u64
                    };
                    let total = window.totals(Duration::from_nanos(now))[idx];
                    prop_assert!(within(length - bucket + 1) <= total && total <= within(length));
                }
            }
        }
    }

    #[test]
    fn time_that_seems_to_go_back_is_counted_as_now() {
        let mut window = Window::<1>::new(Duration::from_secs(12));
        window.add(0, Duration::from_secs(30));
        window.add(0, Duration::from_secs(3));
        assert_eq!(window.totals(Duration::from_secs(30)), [2]);
        window.clear();
        assert_eq!(window.totals(Duration::from_secs(30)), [0]);
    }
}
