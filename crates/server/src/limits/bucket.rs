//! A bucket that fills evenly and is drawn from: the generic cell rate algorithm. (ITU-T I.371, virtual scheduling)
//!
//! All its state is one time, at which it will be full again. No clock, no lock.
//!
//! ```text
//! full      => draining   units are drawn: the time moves on by what they take to come back
//! draining  => full       that time passes
//! draining  => draining   more is drawn, or some is given back: the time moves on or back
//! ```

use std::time::Duration;

/// How much a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Units of a full bucket; at least 1.
    pub(super) capacity: u64,
    /// The time a bucket of `capacity` units takes to fill.
    pub(super) fill: Duration,
}

/// What is left, for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Units of a full bucket.
    pub(crate) limit: u64,
    /// Units that can be drawn now.
    pub(crate) remaining: u64,
    /// Time until it is full.
    pub(crate) reset: Duration,
}

/// Why units were not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// There will be enough after this time.
    Until(Duration),
    /// There is never as much.
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Draws `n` units.
    ///
    /// # Errors
    /// If there are not as many: nothing was drawn.
    pub(super) fn draw(&mut self, flow: Flow, n: u64, now: Duration) -> Result<(), Empty> {
        if n > flow.capacity {
            return Err(Empty::Never);
        }
        let full_at = self.full_at.max(now).saturating_add(flow.time_of(n));
        let earliest = full_at.saturating_sub(flow.fill);
        if earliest > now {
            return Err(Empty::Until(earliest - now));
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Puts right what was drawn before as `drawn` and turned out to be `used`: what was not used comes back, what was
    /// used beyond is owed.
    pub(super) fn settle(&mut self, flow: Flow, drawn: u64, used: u64) {
        let time = flow.time_of(drawn.abs_diff(used));
        self.full_at = if used > drawn { self.full_at.saturating_add(time) } else { self.full_at.saturating_sub(time) };
    }

    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }

    pub(super) fn standing(&self, flow: Flow, now: Duration) -> Standing {
        let reset = self.full_at.saturating_sub(now);
        let there = flow.fill.saturating_sub(reset);
        let remaining = (there.as_nanos() * u128::from(flow.capacity)).checked_div(flow.fill.as_nanos());
        let remaining = remaining.and_then(|units| u64::try_from(units).ok()).unwrap_or(flow.capacity);
        Standing { limit: flow.capacity, remaining, reset }
    }
}

impl Flow {
    /// How long `n` units take to come, rounded up: nobody gets more than the rate.
    fn time_of(self, n: u64) -> Duration {
        let nanos = (self.fill.as_nanos() * u128::from(n)).div_ceil(u128::from(self.capacity.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const FLOW: Flow = Flow { capacity: 60, fill: MINUTE };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_drawn_comes_back_evenly() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.draw(FLOW, 60, at(0)), Ok(()));
        assert_eq!(bucket.draw(FLOW, 1, at(0)), Err(Empty::Until(at(1))));
        assert_eq!(bucket.standing(FLOW, at(10)), Standing { limit: 60, remaining: 10, reset: at(50) });
        assert_eq!(bucket.draw(FLOW, 11, at(10)), Err(Empty::Until(at(1))));
        assert_eq!(bucket.draw(FLOW, 10, at(10)), Ok(()));
        assert!(!bucket.is_full(at(69)) && bucket.is_full(at(70)));
        assert_eq!(bucket.standing(FLOW, at(1000)), Standing { limit: 60, remaining: 60, reset: at(0) });
    }

    #[test]
    fn more_than_it_holds_is_never_there() {
        assert_eq!(Bucket::default().draw(FLOW, 61, at(0)), Err(Empty::Never));
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_beyond_is_owed() {
        let mut bucket = Bucket::default();
        bucket.draw(FLOW, 50, at(0)).unwrap();
        bucket.settle(FLOW, 50, 20);
        assert_eq!(bucket.standing(FLOW, at(0)).remaining, 40);
        bucket.settle(FLOW, 20, 80);
        assert_eq!(bucket.standing(FLOW, at(0)), Standing { limit: 60, remaining: 0, reset: at(80) });
        assert_eq!(bucket.draw(FLOW, 1, at(20)), Err(Empty::Until(at(1))));
    }

    #[test]
    fn giving_back_never_makes_it_hold_more() {
        let mut bucket = Bucket::default();
        bucket.draw(FLOW, 30, at(0)).unwrap();
        bucket.settle(FLOW, 30, 0);
        bucket.settle(FLOW, 30, 0);
        assert_eq!(bucket.draw(FLOW, 61, at(100)), Err(Empty::Never));
        assert_eq!(bucket.draw(FLOW, 60, at(100)), Ok(()));
        assert!(bucket.draw(FLOW, 1, at(100)).is_err());
    }

    proptest! {
        /// However it is asked, in any stretch of time no more is drawn than it holds and what came in that time.
        #[test]
        fn no_stretch_of_time_gives_more_than_the_rate(
            capacity in 1_u64..500, fill_ms in 1_u64..120_000,
            asks in prop::collection::vec((0_u64..5_000, 1_u64..600), 1..60),
        ) {
            let flow = Flow { capacity, fill: Duration::from_millis(fill_ms) };
            let (mut bucket, mut now, mut drawn) = (Bucket::default(), Duration::ZERO, Vec::new());
            for (wait_ms, n) in asks {
                now += Duration::from_millis(wait_ms);
                match bucket.draw(flow, n, now) {
                    Ok(()) => drawn.push((now, n)),
                    Err(Empty::Never) => prop_assert!(n > capacity),
                    Err(Empty::Until(wait)) => {
                        prop_assert!(!wait.is_zero());
                        let mut later = bucket;
                        prop_assert!(later.draw(flow, n, now + wait).is_ok(), "the wait was long enough");
                    }
                }
            }
            for (idx, (from, _)) in drawn.iter().enumerate() {
                for until in idx..drawn.len() {
                    let n: u64 = drawn[idx..=until].iter().map(|(_, n)| n).sum();
                    let came = (drawn[until].0 - *from).as_nanos() * u128::from(capacity) / flow.fill.as_nanos();
                    prop_assert!(u128::from(n) <= u128::from(capacity) + came + 1, "{n} in one stretch");
                }
            }
        }
    }
}
