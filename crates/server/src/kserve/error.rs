//! Errors in the protocol's words, with the statuses that Triton has for them.

use crate::api_error::Told;
use axum::http::StatusCode;
use ballast_backend::{ErrorKind, ReasonCode};
use serde_json::{Value, json};

pub(crate) fn error_body(told: &Told) -> Value {
    json!({ "error": told.message })
}

/// A queue that is full is a server that is not to be had now. What the caller has used up stays 429.
pub(crate) fn error_status(told: &Told) -> StatusCode {
    let is_full =
        told.reason == Some(ReasonCode::BackpressureQueueFull) || told.reason == Some(ReasonCode::PoolExhausted);
    if told.kind == ErrorKind::Overloaded && is_full { StatusCode::SERVICE_UNAVAILABLE } else { told.status }
}
