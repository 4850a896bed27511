//! Times the loops of `ballast_kernels::limits` on all threads of a pool.

use super::product::Product;
use super::statistics::Spread;
use ballast::SystemClock;
use ballast_backend::Clock;
use ballast_kernels::limits::{Peak, PeakLoop, ReadLoop};
use ballast_threads::{ComputePool, part_range};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Samples of one limit. The best counts: what hinders a loop is not the machine's limit.
const N_SAMPLES: usize = 5;

/// Words of a cache line: threads begin their parts at lines of their own.
const LINE_WORDS: usize = 8;

/// A limit as measured, of something a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) best: f64,
    pub(super) spread: Spread,
}

impl Limit {
    fn of(samples: &[f64], best: fn(f64, f64) -> f64) -> Self {
        let spread = Spread::of(samples).expect("at least one sample was taken");
        Self { best: best(spread.min, spread.max), spread }
    }

    pub(super) fn to_json(self) -> Value {
        let mut json = self.spread.to_json();
        json["best"] = json!(self.best);
        json
    }
}

/// Compute threads and a clock.
#[derive(Debug)]
pub(super) struct Meter {
    pool: ComputePool,
    clock: SystemClock,
    /// How long one sample takes at least.
    sample_min: Duration,
}

impl Meter {
    pub(super) fn new(n_threads: NonZeroUsize, sample_min: Duration) -> Self {
        Self { pool: ComputePool::new(n_threads), clock: SystemClock::start(), sample_min }
    }

    /// Operations a second, all threads together.
    pub(super) fn peak(&mut self, peak_loop: &PeakLoop) -> Limit {
        let n_threads = self.pool.n_threads();
        let operations = peak_loop.operations_per_round() as f64 * n_threads as f64;
        self.rate(operations, |pool, n| pool.run(&mut vec![(); n_threads], |()| peak_loop.run(n)))
    }

    /// The greatest of the loops for `peak`, and the instruction; `None` where this CPU has none.
    pub(super) fn best_peak(&mut self, peak: Peak) -> Option<(&'static str, Limit)> {
        // The widest comes first, and is the fastest on every CPU that has it, or as fast.
        let peak_loop = PeakLoop::available().into_iter().find(|found| found.peak() == peak)?;
        Some((peak_loop.instruction(), self.peak(&peak_loop)))
    }

    /// Bytes a second read from `data`, which the threads share.
    pub(super) fn read(&mut self, data: &[u64]) -> Limit {
        let n_threads = self.pool.n_threads();
        let parts: Vec<&[u64]> =
            (0..n_threads).map(|idx| &data[part_range(data.len(), LINE_WORDS, n_threads, idx)]).collect();
        let read_loop = ReadLoop::detect();
        self.rate(size_of_val(data) as f64, |pool, n| {
            pool.run(&mut parts.clone(), |part| (0..n).for_each(|_| read_loop.run(part)));
        })
    }

    /// Operations a second of a square product of f32 with `n` rows, which the threads share.
    pub(super) fn product(&mut self, n: usize) -> Limit {
        let mut product = Product::new(n, self.pool.n_threads());
        self.rate(product.operations(), |pool, n_rounds| (0..n_rounds).for_each(|_| product.run(pool)))
    }

    /// Seconds from giving the threads something to do until all have done nothing; `None` for one thread, which
    /// neither forks nor joins.
    pub(super) fn fork_join(&mut self) -> Option<Limit> {
        let n_threads = self.pool.n_threads();
        if n_threads == 1 {
            return None;
        }
        let mut parts = vec![(); n_threads];
        let rates = self.samples(1.0, |pool, n| (0..n).for_each(|_| pool.run(&mut parts, |()| {})));
        Some(Limit::of(&rates.map(f64::recip), |min, _| min))
    }

    fn rate(&mut self, amount: f64, work: impl FnMut(&mut ComputePool, u64)) -> Limit {
        Limit::of(&self.samples(amount, work), |_, max| max)
    }

    /// `amount` per round divided by the time of a round. How many rounds make a sample is found by doubling.
    fn samples(&mut self, amount: f64, mut work: impl FnMut(&mut ComputePool, u64)) -> [f64; N_SAMPLES] {
        let mut n_rounds = 1;
        // One sample may be long because the CPU was taken away. Only where all are, the rounds are enough.
        while (0..N_SAMPLES).any(|_| self.time(&mut work, n_rounds) < self.sample_min) {
            n_rounds *= 2;
        }
        std::array::from_fn(|_| amount * n_rounds as f64 / self.time(&mut work, n_rounds).as_secs_f64().max(1e-9))
    }

    fn time(&mut self, work: &mut impl FnMut(&mut ComputePool, u64), n_rounds: u64) -> Duration {
        let begin = self.clock.now();
        work(&mut self.pool, n_rounds);
        self.clock.now() - begin
    }
}

/// Memory to read. Every word is written once: pages that never were would all be the same one.
pub(super) fn readable(n_bytes: usize) -> Vec<u64> {
    (0..(n_bytes / size_of::<u64>()) as u64).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).collect()
}

#[cfg(test)]
mod tests {
    use super::{Meter, readable};
    use ballast_kernels::limits::Peak;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    #[test]
    fn one_thread_has_nothing_to_join() {
        assert!(Meter::new(NonZeroUsize::MIN, Duration::from_micros(100)).fork_join().is_none());
    }

    #[test]
    fn every_limit_is_above_nothing() {
        let mut meter = Meter::new(NonZeroUsize::new(2).unwrap(), Duration::from_micros(100));
        let data = readable(1 << 14);
        assert_eq!(data.len(), 1 << 11);
        let (_, peak) = meter.best_peak(Peak::F32).unwrap();
        for limit in [meter.read(&data), meter.fork_join().unwrap(), peak] {
            assert!(limit.best > 0.0 && limit.best.is_finite(), "{limit:?}");
            assert!(limit.spread.min <= limit.best && limit.best <= limit.spread.max, "{limit:?}");
        }
    }
}
