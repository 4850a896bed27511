//! Which pages of browsers may read answers: none, unless their origins are named. (Fetch Standard, CORS protocol)
//!
//! A browser asks before it sends what is not simple; it is answered without a key, in the same words whatever the
//! route, so that the answer tells nothing but whether the origin is allowed. Credentials that browsers send by themselves
//! are never asked for: a page must know a key.

use crate::state::Server;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::str::FromStr;

/// Most origins that may be named.
pub const CORS_ORIGINS_MAX: usize = 64;

const METHODS: &str = "GET, POST, DELETE, OPTIONS";
const HEADERS: &str = "authorization, content-type, x-api-key, x-request-id, x-ballast-priority, traceparent, \
    anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, x-stainless-arch, x-stainless-lang, \
    x-stainless-os, x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, \
    x-stainless-runtime-version, x-stainless-timeout";
const EXPOSED: &str = "x-request-id, x-ballast-reason, retry-after, retry-after-ms, x-should-retry, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
    x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";
/// Seconds that a browser may remember the answer.
const MAX_AGE: &str = "600";

/// Whose pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Those of one origin: a scheme, a host and perhaps a port, exactly as a browser sends it.
    Exactly(HeaderValue),
    /// Those that come from the browser's own machine, by any port.
    Localhost,
    /// Everybody's.
    Any,
}

/// The text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an origin such as https://app.example or http://localhost:3000, in lower case, without a path; localhost for \
     all of this machine, * for all"
)]
pub struct CorsOriginError;

impl CorsOrigin {
    fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Exactly(known) => known == origin,
            Self::Localhost => origin.to_str().is_ok_and(is_local),
            Self::Any => true,
        }
    }
}

/// Whether an origin is of the browser's own machine, by a name that no other can have.
fn is_local(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    ["localhost", "127.0.0.1", "[::1]"].into_iter().filter_map(|name| host?.strip_prefix(name)).any(|rest| {
        let port = rest.strip_prefix(':');
        rest.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_ok())
    })
}

impl FromStr for CorsOrigin {
    type Err = CorsOriginError;

    fn from_str(text: &str) -> Result<Self, CorsOriginError> {
        match text {
            "*" => return Ok(Self::Any),
            "localhost" => return Ok(Self::Localhost),
            _ => {}
        }
        let (scheme, rest) = text.split_once("://").ok_or(CorsOriginError)?;
        let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(&byte);
        let is_good =
            !scheme.is_empty() && scheme.bytes().all(is_scheme) && !rest.is_empty() && rest.bytes().all(is_host);
        if is_good {
            HeaderValue::from_str(text).map(Self::Exactly).map_err(|_| CorsOriginError)
        } else {
            Err(CorsOriginError)
        }
    }
}

/// Answers what browsers ask for allowed origins, and lets their pages read what `answer` makes of the rest.
pub(crate) async fn allow(
    server: &Server,
    request: Request,
    answer: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let origins = &server.options.cors_origins;
    if origins.is_empty() {
        return answer(request).await;
    }
    let origin =
        request.headers().get(ORIGIN).filter(|origin| origins.iter().any(|known| known.allows(origin))).cloned();
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&origin, is_preflight) {
        (Some(_), true) => {
            let allowed = [
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ];
            (StatusCode::OK, allowed).into_response()
        }
        (None, true) => StatusCode::OK.into_response(),
        (Some(_) | None, false) => answer(request).await,
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        for good in ["https://app.example", "http://localhost:3000", "http://[::1]:8080", "chrome-extension://abc"] {
            assert!(good.parse::<CorsOrigin>().is_ok(), "{good}");
        }
        for bad in [
            "null",
            "",
            "LOCALHOST",
            "https://",
            "app.example",
            "https://App.example",
            "https://a/",
            "https://*.a",
            "://a",
        ] {
            assert_eq!(bad.parse::<CorsOrigin>(), Err(CorsOriginError), "{bad}");
        }
    }

    #[test]
    fn pages_of_this_machine_have_names_that_no_other_can_have() {
        for local in
            ["http://localhost", "https://localhost:8080", "http://127.0.0.1:3000", "http://[::1]", "http://[::1]:1"]
        {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "http://localhost.evil.example",
            "http://notlocalhost",
            "http://localhost:",
            "http://localhost:x",
            "localhost",
            "http://127.0.0.10",
            "file://localhost",
        ] {
            assert!(!is_local(other), "{other}");
        }
        let allows = |origins: &str, page: &str| {
            origins.parse::<CorsOrigin>().unwrap().allows(&HeaderValue::from_str(page).unwrap())
        };
        assert!(
            allows("*", "https://a.example")
                && allows("localhost", "http://localhost:1")
                && !allows("localhost", "https://a.example")
        );
    }
}
