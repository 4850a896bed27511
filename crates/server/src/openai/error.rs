//! Errors in OpenAI's shape. Routes that belong to no wire answer in it, too.

use crate::api_error::ApiError;
use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ballast_backend::ErrorKind;
use serde_json::{Value, json};

const REASON: HeaderName = HeaderName::from_static("x-ballast-reason");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The error as a JSON object: the body of an answer, or an event of a stream that had begun.
pub(super) fn body(error: &ApiError) -> Value {
    json!({ "error": {
        "message": error.message(),
        "type": error_type(error.kind()),
        "param": error.param(),
        "code": error.code(),
    }})
}

fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid_request_error",
        ErrorKind::Denied => "authentication_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Unavailable => "unavailable_error",
        ErrorKind::Cancelled => "timeout_error",
        ErrorKind::Internal => "server_error",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        tracing::debug!(code, status = self.status().as_u16(), "request refused");
        (self.status(), headers(&self), Json(body(&self))).into_response()
    }
}

fn headers(error: &ApiError) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(reason) = error.reason() {
        headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    }
    match error.kind() {
        ErrorKind::Overloaded | ErrorKind::Unavailable => {
            let millis = u64::try_from(error.retry_after().as_millis()).unwrap_or(u64::MAX);
            headers.insert(RETRY_AFTER, millis.div_ceil(1000).into());
            headers.insert(RETRY_AFTER_MS, millis.into());
        }
        // The work was begun: asking again by itself would do it again.
        ErrorKind::Cancelled | ErrorKind::Internal => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        ErrorKind::Invalid | ErrorKind::Denied => {}
    }
    match error.status() {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The rest of the body is still on its way and nobody will read it.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    headers
}
