//! How often, how much, and how many at a time clients may ask.

use ballast_server::{CallerLimits, LiveLimits, RateLimit, ServerOptions};
use clap::Args as ClapArgs;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

/// Requests a second of a client without a key.
const ANONYMOUS_RATE: f64 = 5.0;
/// Longest time between two requests that a rate may come to.
const INTERVAL_MAX: f64 = 86_400.0;

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct RateArgs {
    /// Requests a second that each key may ask, or each address where no key is asked for; 0 is no limit
    /// [default: 0 with keys, 5 without].
    #[arg(long, value_name = "RPS", value_parser = parse_rate)]
    rate_limit: Option<f64>,
    /// Requests of one client that may come at once.
    #[arg(long, value_name = "N", default_value = "20")]
    rate_burst: NonZeroU32,
    /// Tokens a minute, of prompts and answers, of each client [default: no limit].
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU64>,
    /// Requests of one client at a time [default: no limit].
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroU32>,
    /// Wrong keys that an address may present in a minute before none of its keys is looked at for a while; 0 for any
    /// number, as behind a proxy, where all clients are one address.
    #[arg(long, value_name = "N", default_value_t = 30)]
    failed_logins: u32,
}

impl RateArgs {
    /// Sets the limits, for clients with keys or without. What is returned changes them later.
    pub(crate) fn apply(self, keyed: bool, options: &mut ServerOptions) -> Arc<LiveLimits> {
        options.failed_logins_per_minute = NonZeroU32::new(self.failed_logins);
        let live = Arc::new(LiveLimits::new(self.limits(keyed)));
        options.live_limits = Some(Arc::clone(&live));
        live
    }

    /// What every client may use up, with keys or without.
    pub(crate) fn limits(self, keyed: bool) -> CallerLimits {
        CallerLimits {
            requests: self.limit(keyed),
            tokens_per_minute: self.tokens_per_minute,
            concurrency: self.concurrency,
        }
    }

    /// The limit, for clients with keys or without.
    fn limit(self, keyed: bool) -> Option<RateLimit> {
        let rate = self.rate_limit.unwrap_or(if keyed { 0.0 } else { ANONYMOUS_RATE });
        let interval = (rate > 0.0).then(|| Duration::from_secs_f64((1.0 / rate).min(INTERVAL_MAX)))?;
        Some(RateLimit { interval: interval.max(Duration::from_nanos(1)), burst: self.rate_burst })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| rate.is_finite() && *rate >= 0.0).ok_or_else(|| "expected a number, 0 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_keys_there_is_a_limit_unless_it_is_taken_away() {
        let args = |rate_limit| RateArgs {
            rate_limit,
            rate_burst: NonZeroU32::MIN,
            tokens_per_minute: None,
            concurrency: None,
            failed_logins: 0,
        };
        let interval = |rate, keyed| args(rate).limit(keyed).map(|limit| limit.interval);
        assert_eq!(interval(None, false), Some(Duration::from_millis(200)));
        assert_eq!((interval(None, true), interval(Some(0.0), false)), (None, None));
        assert_eq!(interval(Some(2.0), true), Some(Duration::from_millis(500)));
        assert_eq!(interval(Some(1e300), true), Some(Duration::from_nanos(1)));
        assert_eq!(interval(Some(1e-300), true), Some(Duration::from_secs(86_400)));
        let mut options = crate::verbs::serve::server_options(None);
        args(None).apply(true, &mut options);
        assert_eq!(options.failed_logins_per_minute, None);
        RateArgs { failed_logins: 7, ..args(None) }.apply(true, &mut options);
        assert_eq!(options.failed_logins_per_minute, NonZeroU32::new(7));
        assert!(parse_rate("-1").is_err() && parse_rate("often").is_err() && parse_rate("inf").is_err());
    }
}
