//! What a caller has left, in the headers that its client reads.

use super::Standing;
use crate::wire::Wire;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use std::time::Duration;

/// Names of limit, what remains, and when it is full again.
type Names = [&'static str; 3];

const REQUESTS: Names = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: Names = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
const ANTHROPIC_REQUESTS: Names = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_TOKENS: Names =
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"];

/// What is left of each limit that a caller has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standings {
    pub(crate) requests: Option<Standing>,
    pub(crate) tokens: Option<Standing>,
}

impl Standings {
    /// Writes them as `wire` has them; `now` is in seconds since 1970.
    pub(crate) fn write(&self, wire: Wire, now: i64, headers: &mut HeaderMap) {
        let names = match wire {
            Wire::OpenAi | Wire::Ollama | Wire::LlamaCpp | Wire::KServe | Wire::Grpc => [REQUESTS, TOKENS],
            Wire::Anthropic => [ANTHROPIC_REQUESTS, ANTHROPIC_TOKENS],
        };
        for (standing, [limit, remaining, reset]) in [self.requests, self.tokens].into_iter().zip(names) {
            let Some(standing) = standing else { continue };
            let when = match wire {
                Wire::OpenAi | Wire::Ollama | Wire::LlamaCpp | Wire::KServe | Wire::Grpc => in_words(standing.reset),
                Wire::Anthropic => date(now, standing.reset),
            };
            headers.insert(HeaderName::from_static(limit), standing.limit.into());
            headers.insert(HeaderName::from_static(remaining), standing.remaining.into());
            let when = HeaderValue::try_from(when).expect("digits, letters, dots and dashes are fit for a header");
            headers.insert(HeaderName::from_static(reset), when);
        }
    }
}

/// A time as OpenAI says it: `120ms`, `1s`, `6m0s`, `1h0m3s`. Rounded up.
fn in_words(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_nanos().div_ceil(1_000_000));
    }
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The date after a time, as RFC 3339 says it, in whole seconds and rounded up.
fn date(now: i64, time: Duration) -> String {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    let date = now.saturating_add_unsigned(seconds);
    Timestamp::from_second(date).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_openai_says_them() {
        let cases = [
            (0, "0ms"),
            (1, "1ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1001, "2s"),
            (59_000, "59s"),
            (360_000, "6m0s"),
            (3_603_000, "1h0m3s"),
        ];
        for (millis, expected) in cases {
            assert_eq!(in_words(Duration::from_millis(millis)), expected, "{millis}");
        }
        assert_eq!(in_words(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn each_wire_has_its_own_names() {
        let standing = Standing { limit: 60, remaining: 5, reset: Duration::from_millis(1500) };
        let standings = Standings { requests: Some(standing), tokens: Some(standing) };
        let written = |wire| {
            let mut headers = HeaderMap::new();
            standings.write(wire, 1_700_000_000, &mut headers);
            headers
        };
        let openai = written(Wire::OpenAi);
        for kind in ["requests", "tokens"] {
            assert_eq!(openai[format!("x-ratelimit-limit-{kind}")], "60");
            assert_eq!(openai[format!("x-ratelimit-remaining-{kind}")], "5");
            assert_eq!(openai[format!("x-ratelimit-reset-{kind}")], "2s");
        }
        let anthropic = written(Wire::Anthropic);
        for kind in ["requests", "tokens"] {
            assert_eq!(anthropic[format!("anthropic-ratelimit-{kind}-limit")], "60");
            assert_eq!(anthropic[format!("anthropic-ratelimit-{kind}-remaining")], "5");
            assert_eq!(anthropic[format!("anthropic-ratelimit-{kind}-reset")], "2023-11-14T22:13:22Z");
        }
        assert_eq!((openai.len(), anthropic.len()), (6, 6));
    }
}
