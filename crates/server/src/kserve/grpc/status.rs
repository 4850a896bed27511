//! Errors as gRPC has them, and how long a call may take.

use crate::api_error::Told;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use ballast_backend::{ErrorKind, ReasonCode};
use std::time::Duration;
use tonic::{Code, Status};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The code of an error. Where HTTP has a word of its own, it is that one's, else the kind decides.
fn code(told: &Told) -> Code {
    match told.status {
        StatusCode::UNAUTHORIZED => return Code::Unauthenticated,
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => return Code::Unimplemented,
        StatusCode::NOT_FOUND if told.code == "route_not_found" => return Code::Unimplemented,
        StatusCode::NOT_FOUND => return Code::NotFound,
        _ => {}
    }
    match told.kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Overloaded if told.reason == Some(ReasonCode::RateLimited) => Code::ResourceExhausted,
        ErrorKind::Overloaded | ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Cancelled if told.reason == Some(ReasonCode::CancelledByTimeout) => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Internal => Code::Internal,
    }
}

/// What a caller is told.
pub(crate) fn status(told: &Told) -> Status {
    Status::new(code(told), told.message.clone())
}

/// An answer that is only that, with the headers it has besides.
pub(crate) fn only(told: &Told, mut headers: HeaderMap) -> Response {
    headers.remove(CONTENT_LENGTH);
    let mut response = status(told).into_http::<tonic::body::Body>().map(Body::new);
    let own = std::mem::replace(response.headers_mut(), headers);
    response.headers_mut().extend(own);
    response
}

/// How long the caller waits; `None`: it does not say. What cannot be read says nothing.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // At most eight digits, as the protocol says.
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let of = |text: &str| timeout(&[(TIMEOUT, text.parse().unwrap())].into_iter().collect());
        let cases = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999n", None),
            ("1", None),
            ("S", None),
            ("-1S", None),
            ("1 S", None),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), expected, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
