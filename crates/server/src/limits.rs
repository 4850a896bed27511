//! How often, how much, and how many at a time one caller may ask.
//!
//! A caller is a key, a token's subject, or an address where no key is asked for. Requests and tokens are drawn from
//! buckets; tokens are reserved before the work, for the prompt and the longest answer, and what was not used comes
//! back at the end.

mod accounts;
mod bucket;
mod headers;
mod live;
mod logins;

pub(crate) use accounts::{Account, Refused};
pub(crate) use bucket::Standing;
pub(crate) use headers::Standings;
pub use live::LiveLimits;
pub(crate) use logins::Logins;

use accounts::Accounts;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Callers that are told apart; when there are more, those whose buckets are full and who have nothing at work are
/// forgotten, and if that is not enough, strangers share one account.
pub const CALLERS_MAX: usize = 65_536;

/// How often a caller may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Time from one request to the next, on average; more than none.
    pub interval: Duration,
    /// Requests that may come at once.
    pub burst: NonZeroU32,
}

/// What one caller may use up. `None` is no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// How often it may ask.
    pub requests: Option<RateLimit>,
    /// Tokens of prompts and answers together, in a minute; as many may come at once.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Requests at a time.
    pub concurrency: Option<NonZeroU32>,
}

impl CallerLimits {
    /// These, and where there is none, `others`.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            requests: self.requests.or(others.requests),
            tokens_per_minute: self.tokens_per_minute.or(others.tokens_per_minute),
            concurrency: self.concurrency.or(others.concurrency),
        }
    }
}

/// What every caller has left.
pub(crate) struct Limits {
    accounts: Mutex<Accounts>,
    origin: Instant,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} callers", self.accounts().len())
    }
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self { accounts: Mutex::default(), origin: Instant::now() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// If its caller has used up its requests, or has as many at work as it may.
    pub(crate) fn enter(self: &Arc<Self>, account: Account, limits: CallerLimits) -> Result<Seat, Refused> {
        let account = self.accounts().enter(account, limits, self.now())?;
        Ok(Seat { limits: Arc::clone(self), account, of: limits })
    }

    /// What `account` has left of `limits`.
    pub(crate) fn standings(&self, account: &Account, limits: CallerLimits) -> Standings {
        let (accounts, now) = (self.accounts(), self.now());
        Standings {
            requests: limits.requests.map(|limit| accounts.requests(account, limit, now)),
            tokens: limits.tokens_per_minute.map(|limit| accounts.tokens(account, limit, now)),
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has entered. Dropping it makes place for the caller's next.
#[derive(Debug)]
pub(crate) struct Seat {
    limits: Arc<Limits>,
    account: Account,
    of: CallerLimits,
}

impl Seat {
    /// Reserves the tokens of a prompt, and those its answer may have.
    ///
    /// # Errors
    /// If the caller has not as many.
    pub(crate) fn reserve(self: Arc<Self>, prompt: u64, answer: u64) -> Result<Reservation, Refused> {
        let reserved = match self.of.tokens_per_minute {
            None => 0,
            Some(limit) => {
                let now = self.limits.now();
                self.limits.accounts().reserve(&self.account, limit, (prompt, answer), now)?
            }
        };
        Ok(Reservation { seat: self, reserved, used: 0 })
    }

    pub(crate) fn standings(&self) -> Standings {
        self.limits.standings(&self.account, self.of)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.limits.accounts().leave(&self.account);
    }
}

/// Tokens that are set aside. Dropping it gives back what was not used.
#[derive(Debug)]
pub(crate) struct Reservation {
    seat: Arc<Seat>,
    reserved: u64,
    used: u64,
}

impl Reservation {
    /// So many more were used.
    pub(crate) fn note(&mut self, n_tokens: u64) {
        self.used = self.used.saturating_add(n_tokens);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(limit) = self.seat.of.tokens_per_minute {
            self.seat.limits.accounts().settle(&self.seat.account, limit, self.reserved, self.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(tokens_per_minute: u64, concurrency: u32) -> CallerLimits {
        CallerLimits {
            requests: None,
            tokens_per_minute: NonZeroU64::new(tokens_per_minute),
            concurrency: NonZeroU32::new(concurrency),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn limits_hold_however_many_ask_at_once() {
        const N_TASKS: usize = 200;
        let all = Arc::new(Limits::new());
        let account = Account::Key("a".into());
        let barrier = Arc::new(tokio::sync::Barrier::new(N_TASKS));
        let tasks: Vec<_> = (0..N_TASKS)
            .map(|_| {
                let (all, account, barrier) = (Arc::clone(&all), account.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    let seat = Arc::new(all.enter(account, limits(1000, 50)).ok()?);
                    Some((Arc::clone(&seat).reserve(40, 60).ok(), seat))
                })
            })
            .collect();
        let mut held = Vec::new();
        for task in tasks {
            held.extend(task.await.unwrap());
        }
        assert_eq!(held.len(), 50, "no more are at work than may be");
        assert_eq!(held.iter().filter(|(reservation, _)| reservation.is_some()).count(), 10, "1000 tokens, 100 each");
        for reservation in held.iter_mut().filter_map(|(reservation, _)| reservation.as_mut()) {
            reservation.note(50);
        }
        drop(held);
        let left = all.standings(&account, limits(1000, 50)).tokens.unwrap().remaining;
        assert!((500..=510).contains(&left), "{left}");
        assert!(all.enter(account, limits(1000, 1)).is_ok(), "all have left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_fails_before_it_begins_costs_no_tokens() {
        let all = Arc::new(Limits::new());
        let account = Account::Key("a".into());
        let seat = Arc::new(all.enter(account.clone(), limits(100, 9)).unwrap());
        drop(Arc::clone(&seat).reserve(10, 90).unwrap());
        assert_eq!(seat.standings().tokens.unwrap().remaining, 100);
        let whole = Arc::clone(&seat).reserve(10, 90).unwrap();
        assert_eq!(Arc::clone(&seat).reserve(1, 0).err(), Some(Refused::Until(Duration::from_millis(600))));
        drop((whole, seat));
    }

    #[test]
    fn a_keys_own_limits_come_before_the_servers() {
        let merged = limits(5, 0).or(limits(7, 3));
        assert_eq!((merged.tokens_per_minute, merged.concurrency), (NonZeroU64::new(5), NonZeroU32::new(3)));
    }
}
