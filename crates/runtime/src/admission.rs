//! Which requests are taken in: the queue is bounded by their number and by the tokens of their prompts.
//!
//! A place is a [`QueuePermit`]: taken here, freed by dropping it when the request first runs or ends. How long those
//! refused should stay away is reckoned from how fast the queue was served lately.

use crate::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// Most requests that wait.
    pub queue_max: usize,
    /// Most prompt tokens that wait, all requests together. A single request may have more if nobody else waits.
    pub queued_tokens_max: usize,
}

impl Default for AdmissionOptions {
    fn default() -> Self {
        Self { queue_max: 64, queued_tokens_max: 262_144 }
    }
}

/// Shortest and longest time that those refused are told to stay away.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Weight of the newest observation of how fast the queue is served.
const SERVED_WEIGHT: f64 = 0.1;
/// Time per queued token before anything was observed.
const NANOS_PER_TOKEN_FIRST: f64 = 1e6;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The runtime takes no requests any more.
    Draining,
    /// As many requests wait as may.
    Requests {
        /// When there may be room.
        retry_after: Duration,
    },
    /// As many tokens wait as may.
    Tokens {
        /// When there may be room.
        retry_after: Duration,
    },
}

#[derive(Debug, Default)]
struct Counts {
    n_requests: AtomicUsize,
    n_tokens: AtomicUsize,
    is_closed: AtomicBool,
    /// Bits of an f64: time per queued token, in nanoseconds.
    nanos_per_token: AtomicU64,
    /// When somebody was last served, in nanoseconds, and whether anybody waited then.
    last_served: AtomicU64,
}

/// The entrance. Clones are the same entrance.
#[derive(Clone, Debug)]
pub struct Admission {
    counts: Arc<Counts>,
    options: AdmissionOptions,
}

/// A request that has a place in the queue. Only [`Admission::admit`] makes one.
#[derive(Debug)]
pub struct Admitted {
    pub(crate) request: Request,
    pub(crate) permit: QueuePermit,
}

impl Admitted {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }
}

/// A place in the queue.
#[derive(Debug)]
pub struct QueuePermit {
    counts: Arc<Counts>,
    n_tokens: usize,
}

impl Admission {
    /// An open entrance.
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        let counts = Counts::default();
        counts.nanos_per_token.store(NANOS_PER_TOKEN_FIRST.to_bits(), Ordering::Relaxed);
        let options = AdmissionOptions { queue_max: options.queue_max.max(1), ..options };
        Self { counts: Arc::new(counts), options }
    }

    /// Gives a request a place.
    ///
    /// # Errors
    /// If there is none.
    pub fn admit(&self, request: Request) -> Result<Admitted, NoPlace> {
        let permit = self.place(request.prompt.len())?;
        Ok(Admitted { request, permit })
    }

    /// A place for a request of `n_tokens`.
    ///
    /// # Errors
    /// If there is none.
    pub fn place(&self, n_tokens: usize) -> Result<QueuePermit, NoPlace> {
        let Counts { n_requests, n_tokens: queued, is_closed, .. } = &*self.counts;
        if is_closed.load(Ordering::Acquire) {
            return Err(NoPlace::Draining);
        }
        let retry_after = || self.retry_after(n_tokens);
        let AdmissionOptions { queue_max, queued_tokens_max } = self.options;
        let one_more = |n| (n < queue_max).then_some(n + 1);
        if n_requests.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_err() {
            return Err(NoPlace::Requests { retry_after: retry_after() });
        }
        let more_tokens =
            |n: usize| (n == 0 || n.saturating_add(n_tokens) <= queued_tokens_max).then_some(n + n_tokens);
        if queued.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more_tokens).is_err() {
            n_requests.fetch_sub(1, Ordering::AcqRel);
            return Err(NoPlace::Tokens { retry_after: retry_after() });
        }
        Ok(QueuePermit { counts: Arc::clone(&self.counts), n_tokens })
    }

    /// Takes nothing more.
    pub fn close(&self) {
        self.counts.is_closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.counts.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn n_waiting(&self) -> usize {
        self.counts.n_requests.load(Ordering::Relaxed)
    }

    pub(crate) fn n_queued_tokens(&self) -> usize {
        self.counts.n_tokens.load(Ordering::Relaxed)
    }

    /// When a place for `n_tokens` can be hoped for: half of what waits has then been served.
    pub(crate) fn retry_after(&self, n_tokens: usize) -> Duration {
        let nanos_per_token = f64::from_bits(self.counts.nanos_per_token.load(Ordering::Relaxed));
        let n_ahead = (self.n_queued_tokens() / 2).max(n_tokens);
        let wait = Duration::try_from_secs_f64(n_ahead as f64 * nanos_per_token / 1e9).unwrap_or(RETRY_AFTER_MAX);
        wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }
}

impl QueuePermit {
    /// Notes that the request is served from now on, and frees the place.
    pub fn serve(self, now: Duration) {
        let Counts { n_requests, nanos_per_token, last_served, .. } = &*self.counts;
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let before = last_served.swap(now, Ordering::Relaxed);
        // Only while others wait does the time between two servings tell how fast the queue moves.
        if n_requests.load(Ordering::Relaxed) > 1 && before > 0 {
            let observed = now.saturating_sub(before) as f64 / self.n_tokens.max(1) as f64;
            let average = f64::from_bits(nanos_per_token.load(Ordering::Relaxed));
            let average = average + SERVED_WEIGHT * (observed - average);
            nanos_per_token.store(average.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.counts.n_tokens.fetch_sub(self.n_tokens, Ordering::AcqRel);
        self.counts.n_requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(queue_max: usize, queued_tokens_max: usize) -> Admission {
        Admission::new(AdmissionOptions { queue_max, queued_tokens_max })
    }

    #[test]
    fn places_are_bounded_by_requests_and_by_tokens() {
        let by_requests = entrance(2, 1000);
        let held = [by_requests.place(10).unwrap(), by_requests.place(10).unwrap()];
        assert!(matches!(by_requests.place(10), Err(NoPlace::Requests { .. })));
        drop(held);
        assert_eq!((by_requests.n_waiting(), by_requests.n_queued_tokens()), (0, 0));
        let by_tokens = entrance(9, 100);
        let _held = [by_tokens.place(60).unwrap(), by_tokens.place(40).unwrap()];
        assert!(matches!(by_tokens.place(1), Err(NoPlace::Tokens { .. })));
        assert_eq!((by_tokens.n_waiting(), by_tokens.n_queued_tokens()), (2, 100));
    }

    #[test]
    fn one_long_request_gets_an_empty_queue() {
        let entrance = entrance(9, 100);
        let _long = entrance.place(5000).unwrap();
        assert!(entrance.place(1).is_err());
    }

    #[test]
    fn a_closed_entrance_takes_nothing() {
        let entrance = entrance(9, 100);
        entrance.close();
        assert_eq!(entrance.place(1).unwrap_err(), NoPlace::Draining);
    }

    #[test]
    fn those_refused_stay_away_longer_where_the_queue_is_slow() {
        let wait_at = |pace: Duration| {
            let entrance = entrance(4, 100_000);
            for n in 1..100 {
                let _other = entrance.place(100).unwrap();
                entrance.place(100).unwrap().serve(pace * n);
            }
            let _held: Vec<_> = (0..4).map(|_| entrance.place(100).unwrap()).collect();
            match entrance.place(100) {
                Err(NoPlace::Requests { retry_after }) => retry_after,
                other => panic!("{other:?}"),
            }
        };
        let (quick, slow) = (wait_at(Duration::from_millis(10)), wait_at(Duration::from_secs(2)));
        assert_eq!(quick, RETRY_AFTER_MIN);
        assert!(slow > Duration::from_secs(2) && slow <= RETRY_AFTER_MAX, "{slow:?}");
    }
}
