//! Errors in OpenAI's shape.

use crate::api_error::Told;
use ballast_backend::ErrorKind;
use serde_json::{Value, json};

/// The error as a JSON object: the body of an answer, or an event of a stream that had begun.
pub(crate) fn error_body(told: &Told) -> Value {
    json!({ "error": {
        "message": told.message,
        "type": error_type(told.kind),
        "param": told.param,
        "code": told.code,
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
