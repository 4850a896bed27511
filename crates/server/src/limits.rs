//! How often one caller may ask: requests leak through one by one, and so many may come at once. (The generic cell rate
//! algorithm, ITU-T I.371)
//!
//! A caller is a key's tenant, or an address where no key is asked for.

use crate::api_error::ApiError;
use crate::connection::PeerAddress;
use crate::state::Server;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ballast_runtime::TenantId;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// Callers that are told apart; when there are more, those that have not asked for a while are forgotten.
pub const CALLERS_MAX: usize = 65_536;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");

/// How often a caller may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Time from one request to the next, on average; more than none.
    pub interval: Duration,
    /// Requests that may come at once.
    pub burst: NonZeroU32,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Tenant(TenantId),
    Address(IpAddr),
    /// More than are told apart, all together.
    Others,
}

type Limiter = RateLimiter<Caller, HashMapStateStore<Caller>, MonotonicClock, StateInformationMiddleware>;

/// What every caller has left.
pub(crate) struct Limits(Limiter);

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} callers", self.0.len())
    }
}

impl Limits {
    /// `None` for an interval of no time.
    pub(crate) fn new(limit: RateLimit) -> Option<Self> {
        let quota = Quota::with_period(limit.interval)?.allow_burst(limit.burst);
        Some(Self(RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock)))
    }

    /// Requests that are left after this one, and those there are when none was used.
    ///
    /// # Errors
    /// How long to wait, if there is none left.
    fn take(&self, caller: Caller) -> Result<(u32, u32), Duration> {
        if self.0.len() >= CALLERS_MAX {
            self.0.retain_recent();
        }
        let caller = if self.0.len() >= CALLERS_MAX { Caller::Others } else { caller };
        match self.0.check_key(&caller) {
            Ok(state) => Ok((state.remaining_burst_capacity(), state.quota().burst_size().get())),
            Err(until) => Err(until.wait_time_from(MonotonicClock.now())),
        }
    }
}

/// Lets a request through if its caller has one left.
pub(crate) async fn take_one(server: &Server, request: Request, next: Next) -> Response {
    let Some(limits) = &server.limits else { return next.run(request).await };
    let extensions = request.extensions();
    let tenant = extensions.get::<TenantId>().cloned().map(Caller::Tenant);
    let address = || extensions.get::<PeerAddress>().map(|address| Caller::Address(address.0));
    match limits.take(tenant.or_else(address).unwrap_or(Caller::Others)) {
        Err(retry_after) => ApiError::RateLimited { retry_after }.into_response(),
        Ok((remaining, limit)) => {
            let mut response = next.run(request).await;
            response.headers_mut().insert(LIMIT, HeaderValue::from(limit));
            response.headers_mut().insert(REMAINING, HeaderValue::from(remaining));
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_has_its_own_and_waits_its_time() {
        let hour = Duration::from_secs(3600);
        let limits = Limits::new(RateLimit { interval: hour, burst: NonZeroU32::new(2).unwrap() }).unwrap();
        let caller = |last: u8| Caller::Address(IpAddr::from([127, 0, 0, last]));
        assert_eq!((limits.take(caller(1)), limits.take(caller(1))), (Ok((1, 2)), Ok((0, 2))));
        let wait = limits.take(caller(1)).unwrap_err();
        assert!(wait <= hour && wait > hour / 2, "{wait:?}");
        assert_eq!(limits.take(caller(2)), Ok((1, 2)));
        assert!(Limits::new(RateLimit { interval: Duration::ZERO, burst: NonZeroU32::MIN }).is_none());
    }

    #[test]
    fn more_callers_than_are_told_apart_share_one_limit() {
        let hour = Duration::from_secs(3600);
        let limits = Limits::new(RateLimit { interval: hour, burst: NonZeroU32::MIN }).unwrap();
        let caller = |n: u32| Caller::Address(IpAddr::from(n.to_be_bytes()));
        let n_told_apart = u32::try_from(CALLERS_MAX).unwrap();
        (0..n_told_apart).for_each(|n| assert!(limits.take(caller(n)).is_ok()));
        assert!(limits.take(caller(n_told_apart)).is_ok(), "the first of all others");
        assert!(limits.take(caller(n_told_apart + 1)).is_err());
        assert!(limits.0.len() <= CALLERS_MAX + 1);
    }
}
