//! Addresses that present keys which open nothing: each may do so a number of times, which come back with time.
//!
//! ```text
//! unknown   => counted    a key that opens nothing was presented
//! counted   => throttled  as many as may be: no key is looked at until one has come back
//! throttled => counted    time passes
//! counted   => unknown    all have come back, and there is no place for all
//! ```
//!
//! Only the address itself is throttled. Where more addresses are known than are told apart, further ones are not: a
//! stranger's failures must not keep a good key from anywhere else out.

use super::CALLERS_MAX;
use super::accounts::Account;
use super::bucket::{Bucket, Empty, Flow};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Shortest time between two looks for addresses that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Failures of every address.
pub(crate) struct Logins {
    failures: Mutex<Failures>,
    origin: Instant,
    per_minute: Option<NonZeroU32>,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failures of {} addresses", self.failures().buckets.len())
    }
}

impl Logins {
    /// `per_minute` failures are each address's; `None`: any number.
    pub(crate) fn new(per_minute: Option<NonZeroU32>) -> Self {
        Self { failures: Mutex::default(), origin: Instant::now(), per_minute }
    }

    /// Whether a key from there is looked at.
    ///
    /// # Errors
    /// If too many were wrong: how long it is to wait.
    pub(crate) fn check(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let (Some(address), Some(per_minute)) = (address, self.per_minute) else { return Ok(()) };
        self.failures().check(&Account::of_address(address), flow(per_minute), self.origin.elapsed())
    }

    /// A key from there opened nothing.
    pub(crate) fn note_failure(&self, address: Option<IpAddr>) {
        let (Some(address), Some(per_minute)) = (address, self.per_minute) else { return };
        self.failures().note(Account::of_address(address), flow(per_minute), self.origin.elapsed());
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flow(per_minute: NonZeroU32) -> Flow {
    Flow { capacity: per_minute.get().into(), fill: MINUTE }
}

#[derive(Debug, Default)]
struct Failures {
    buckets: BTreeMap<Account, Bucket>,
    swept: Option<Duration>,
}

impl Failures {
    fn check(&self, account: &Account, flow: Flow, now: Duration) -> Result<(), Duration> {
        // Drawn from a copy: what is looked at only is not used up.
        let mut bucket = self.buckets.get(account).copied().unwrap_or_default();
        match bucket.draw(flow, 1, now) {
            Ok(()) | Err(Empty::Never) => Ok(()),
            Err(Empty::Until(wait)) => Err(wait),
        }
    }

    fn note(&mut self, account: Account, flow: Flow, now: Duration) {
        if self.has_place_for(&account, now) {
            // Requests at the same time may fail one more than there are: there is no less than none.
            self.buckets.entry(account).or_default().draw(flow, 1, now).unwrap_or_default();
        }
    }

    fn has_place_for(&mut self, account: &Account, now: Duration) -> bool {
        if self.buckets.len() < CALLERS_MAX || self.buckets.contains_key(account) {
            return true;
        }
        if self.swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        self.buckets.len() < CALLERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const FLOW: Flow = Flow { capacity: 3, fill: MINUTE };

    fn account(n: u32) -> Account {
        Account::of_address(Ipv4Addr::from(n).into())
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_that_fails_often_waits_and_no_other_does() {
        let mut failures = Failures::default();
        for _ in 0..3 {
            assert_eq!(failures.check(&account(1), FLOW, at(10)), Ok(()));
            failures.note(account(1), FLOW, at(10));
        }
        assert_eq!(failures.check(&account(1), FLOW, at(10)), Err(at(20)));
        assert_eq!(failures.check(&account(2), FLOW, at(10)), Ok(()));
        assert_eq!(failures.check(&account(1), FLOW, at(30)), Ok(()), "one has come back");
        failures.note(account(1), FLOW, at(30));
        assert_eq!(failures.check(&account(1), FLOW, at(30)), Err(at(20)));
    }

    #[test]
    fn there_are_not_more_addresses_than_are_told_apart_and_further_ones_are_let_through() {
        let mut failures = Failures::default();
        let n = u32::try_from(CALLERS_MAX).unwrap();
        for address in 0..n + 10 {
            for _ in 0..3 {
                failures.note(account(address), FLOW, at(0));
            }
        }
        assert_eq!(failures.buckets.len(), CALLERS_MAX);
        assert_eq!(failures.check(&account(n + 5), FLOW, at(0)), Ok(()));
        assert!(failures.check(&account(5), FLOW, at(0)).is_err());
        failures.note(account(n + 5), FLOW, at(61));
        assert_eq!(failures.buckets.len(), 1, "those whose failures have come back are forgotten");
    }

    proptest! {
        /// Whatever others do, an address that never failed is let through; and in no minute are more keys of one
        /// address looked at and found wrong than twice what it may.
        #[test]
        fn failures_are_bounded_for_each_address_alone(steps in prop::collection::vec((0_u32..4, 0_u64..40_000), 0..200)) {
            let (mut failures, mut now) = (Failures::default(), Duration::ZERO);
            let mut wrong: Vec<Duration> = Vec::new();
            for (who, wait) in steps {
                now += Duration::from_millis(wait);
                prop_assert_eq!(failures.check(&account(99), FLOW, now), Ok(()));
                if failures.check(&account(who), FLOW, now).is_ok() {
                    failures.note(account(who), FLOW, now);
                    if who == 0 {
                        wrong.push(now);
                    }
                }
                let n = wrong.iter().filter(|at| now - **at < MINUTE).count();
                prop_assert!(n <= 6, "{n} in a minute");
            }
        }
    }
}
