//! Errors in Anthropic's shape, with its own status for a server that is too busy.

use crate::api_error::Told;
use axum::http::StatusCode;
use ballast_backend::ErrorKind;
use serde_json::{Value, json};

/// The status on this wire.
pub(crate) fn error_status(told: &Told) -> StatusCode {
    match told.kind {
        ErrorKind::Overloaded => StatusCode::from_u16(529).expect("it is a number of three digits"),
        ErrorKind::Invalid
        | ErrorKind::Denied
        | ErrorKind::Unavailable
        | ErrorKind::Cancelled
        | ErrorKind::Internal => told.status,
    }
}

/// The error as a JSON object: the body of an answer, or an event of a stream that had begun.
pub(crate) fn error_body(told: &Told) -> Value {
    json!({ "type": "error", "error": { "type": error_type(told), "message": told.message } })
}

fn error_type(told: &Told) -> &'static str {
    match (told.kind, told.status) {
        (ErrorKind::Invalid, StatusCode::NOT_FOUND) => "not_found_error",
        (ErrorKind::Invalid, StatusCode::PAYLOAD_TOO_LARGE) => "request_too_large",
        (ErrorKind::Invalid, _) => "invalid_request_error",
        (ErrorKind::Denied, StatusCode::UNAUTHORIZED) => "authentication_error",
        (ErrorKind::Denied, _) => "permission_error",
        (ErrorKind::Overloaded, _) => "overloaded_error",
        (ErrorKind::Cancelled, _) => "timeout_error",
        (ErrorKind::Unavailable | ErrorKind::Internal, _) => "api_error",
    }
}
