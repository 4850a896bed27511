//! What every caller has used up: requests, tokens, requests at a time. No clock, no lock.
//!
//! ```text
//! unknown => at work    a request enters
//! at work => resting    its last request leaves
//! resting => unknown    its buckets are full again, and there is no place for all
//! ```

use super::bucket::{Bucket, Empty, Flow, Standing};
use super::{CALLERS_MAX, CallerLimits, RateLimit};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// A rate of tokens is meant over this time.
const MINUTE: Duration = Duration::from_secs(60);
/// Shortest time between two looks for callers that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Whose account it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// A key or a token's subject.
    Key(Arc<str>),
    /// Where no key is asked for.
    Address(IpAddr),
    /// More than are told apart, all together.
    Others,
}

impl Account {
    /// An address's account. Whoever has one address of IPv6 has its network of 64 bits.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Address(address),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self::Address(v4.into()),
                None => Self::Address(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into()),
            },
        }
    }
}

/// Why a request does not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It may enter after this time.
    Until(Duration),
    /// It asks for more than it can ever have.
    Never {
        /// What it can have.
        limit: u64,
    },
    /// So many of the caller's requests are at work.
    AtOnce {
        /// As many as may be.
        limit: u32,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    requests: Bucket,
    tokens: Bucket,
    n_active: u32,
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    states: BTreeMap<Account, State>,
    swept: Option<Duration>,
}

impl Accounts {
    /// Lets a request of `account` enter; it is to leave by the account that is returned.
    ///
    /// # Errors
    /// If the caller has used up its requests, or has as many at work as it may.
    pub(super) fn enter(&mut self, account: Account, limits: CallerLimits, now: Duration) -> Result<Account, Refused> {
        let account = if self.has_place_for(&account, now) { account } else { Account::Others };
        let state = self.states.entry(account.clone()).or_default();
        if let Some(limit) = limits.concurrency
            && state.n_active >= limit.get()
        {
            return Err(Refused::AtOnce { limit: limit.get() });
        }
        if let Some(limit) = limits.requests {
            state.requests.draw(request_flow(limit), 1, now).map_err(|empty| refused(empty, 1))?;
        }
        state.n_active = state.n_active.saturating_add(1);
        Ok(account)
    }

    /// A request that entered is over.
    pub(super) fn leave(&mut self, account: &Account) {
        if let Some(state) = self.states.get_mut(account) {
            state.n_active = state.n_active.saturating_sub(1);
        }
    }

    /// Reserves tokens for a request that has entered: `prompt`, which it uses for sure, and as many of the `answer`
    /// it may have as fit a full bucket. Returns how many.
    ///
    /// # Errors
    /// If there are not as many now, or the prompt has more than there ever are.
    pub(super) fn reserve(
        &mut self,
        account: &Account,
        limit: NonZeroU64,
        (prompt, answer): (u64, u64),
        now: Duration,
    ) -> Result<u64, Refused> {
        let flow = token_flow(limit);
        // A caller who does not say how long an answer may be must not be refused for ever.
        let n = if prompt > flow.capacity { prompt } else { prompt.saturating_add(answer).min(flow.capacity) };
        let state = self.states.entry(account.clone()).or_default();
        state.tokens.draw(flow, n, now).map_err(|empty| refused(empty, flow.capacity))?;
        Ok(n)
    }

    /// Of `reserved` tokens, or beyond, `used` were.
    pub(super) fn settle(&mut self, account: &Account, limit: NonZeroU64, reserved: u64, used: u64) {
        if let Some(state) = self.states.get_mut(account) {
            state.tokens.settle(token_flow(limit), reserved, used);
        }
    }

    pub(super) fn requests(&self, account: &Account, limit: RateLimit, now: Duration) -> Standing {
        self.state(account).requests.standing(request_flow(limit), now)
    }

    pub(super) fn tokens(&self, account: &Account, limit: NonZeroU64, now: Duration) -> Standing {
        self.state(account).tokens.standing(token_flow(limit), now)
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    fn state(&self, account: &Account) -> State {
        self.states.get(account).copied().unwrap_or_default()
    }

    fn has_place_for(&mut self, account: &Account, now: Duration) -> bool {
        if self.states.len() < CALLERS_MAX || self.states.contains_key(account) {
            return true;
        }
        // Looking through all of them with every request of a stranger would be work for an attacker to cause.
        if self.swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.states
                .retain(|_, state| state.n_active > 0 || !state.requests.is_full(now) || !state.tokens.is_full(now));
        }
        self.states.len() < CALLERS_MAX
    }
}

fn refused(empty: Empty, limit: u64) -> Refused {
    match empty {
        Empty::Until(wait) => Refused::Until(wait),
        Empty::Never => Refused::Never { limit },
    }
}

fn request_flow(limit: RateLimit) -> Flow {
    Flow { capacity: limit.burst.get().into(), fill: limit.interval.saturating_mul(limit.burst.get()) }
}

fn token_flow(limit: NonZeroU64) -> Flow {
    Flow { capacity: limit.get(), fill: MINUTE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const NOW: Duration = Duration::from_secs(1000);

    fn key(name: &str) -> Account {
        Account::Key(name.into())
    }

    fn tokens(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }

    fn at_most(concurrency: u32) -> CallerLimits {
        CallerLimits { concurrency: NonZeroU32::new(concurrency), ..CallerLimits::default() }
    }

    #[test]
    fn every_caller_has_its_own_and_waits_its_time() {
        let interval = Duration::from_secs(3600);
        let requests = RateLimit { interval, burst: NonZeroU32::new(2).unwrap() };
        let limits = CallerLimits { requests: Some(requests), ..CallerLimits::default() };
        let mut accounts = Accounts::default();
        assert!(accounts.enter(key("a"), limits, NOW).is_ok());
        assert_eq!(accounts.requests(&key("a"), requests, NOW).remaining, 1);
        assert!(accounts.enter(key("a"), limits, NOW).is_ok());
        assert_eq!(accounts.enter(key("a"), limits, NOW), Err(Refused::Until(interval)));
        assert!(accounts.enter(key("b"), limits, NOW).is_ok(), "another has its own");
        assert!(accounts.enter(key("a"), limits, NOW + interval).is_ok());
    }

    #[test]
    fn as_many_as_may_are_at_work_and_no_more() {
        let mut accounts = Accounts::default();
        accounts.enter(key("a"), at_most(2), NOW).unwrap();
        accounts.enter(key("a"), at_most(2), NOW).unwrap();
        assert_eq!(accounts.enter(key("a"), at_most(2), NOW), Err(Refused::AtOnce { limit: 2 }));
        assert!(accounts.enter(key("b"), at_most(2), NOW).is_ok());
        accounts.leave(&key("a"));
        assert!(accounts.enter(key("a"), at_most(2), NOW).is_ok());
    }

    #[test]
    fn tokens_are_reserved_and_what_is_not_used_comes_back() {
        let (mut accounts, account, limit) = (Accounts::default(), key("a"), tokens(600));
        assert_eq!(accounts.reserve(&account, limit, (100, 200), NOW), Ok(300));
        assert_eq!(accounts.reserve(&account, limit, (100, 201), NOW), Err(Refused::Until(Duration::from_millis(100))));
        accounts.settle(&account, limit, 300, 150);
        assert_eq!(accounts.tokens(&account, limit, NOW).remaining, 450);
        assert_eq!(accounts.reserve(&account, limit, (100, 201), NOW), Ok(301));
    }

    #[test]
    fn an_answer_of_any_length_takes_the_whole_bucket_and_a_prompt_beyond_it_is_refused_for_good() {
        let (mut accounts, account, limit) = (Accounts::default(), key("a"), tokens(600));
        assert_eq!(accounts.reserve(&account, limit, (601, 0), NOW), Err(Refused::Never { limit: 600 }));
        assert_eq!(accounts.reserve(&account, limit, (10, u64::MAX), NOW), Ok(600));
    }

    #[test]
    fn strangers_beyond_the_bound_share_one_account_until_others_are_forgotten() {
        let burst = NonZeroU32::MIN;
        let requests = Some(RateLimit { interval: Duration::from_secs(60), burst });
        let limits = CallerLimits { requests, ..CallerLimits::default() };
        let mut accounts = Accounts::default();
        for idx in 0..CALLERS_MAX {
            let account = accounts.enter(key(&idx.to_string()), limits, NOW).unwrap();
            accounts.leave(&account);
        }
        assert_eq!(accounts.enter(key("stranger"), limits, NOW), Ok(Account::Others));
        assert!(accounts.enter(key("other"), limits, NOW).is_err(), "they share what one has");
        assert!(accounts.len() <= CALLERS_MAX + 1);
        let later = NOW + Duration::from_secs(61);
        assert_eq!(accounts.enter(key("stranger"), limits, later), Ok(key("stranger")));
        assert_eq!(accounts.len(), 2, "those at rest are forgotten, those at work are not");
    }

    #[test]
    fn addresses_of_one_network_are_one_caller() {
        let account = |text: &str| Account::of_address(text.parse().unwrap());
        assert_eq!(account("2001:db8::1"), account("2001:db8::2:3:4:5"));
        assert_ne!(account("2001:db8::1"), account("2001:db8:0:1::1"));
        assert_eq!(account("::ffff:192.0.2.1"), account("192.0.2.1"));
        assert_ne!(account("192.0.2.1"), account("192.0.2.2"));
    }
}
