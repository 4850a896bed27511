//! Request bodies: JSON, of bounded length, in bounded time.

use crate::ServerOptions;
use crate::api_error::{ApiError, Refusal};
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// Reads the body of a request that says it is JSON.
///
/// # Errors
/// If it is not JSON by its content type, too long, too slow or broken off.
pub(crate) async fn read(request: Request, options: &ServerOptions) -> Result<Bytes, ApiError> {
    // A page in a browser can send anything else across origins without asking first.
    if !is_json(request.headers()) {
        return Err(Refusal::ContentType.into());
    }
    let max = options.body_bytes_max;
    let body = Limited::new(request.into_body(), max).collect();
    let read = tokio::time::timeout(options.body_timeout, body).await.map_err(|_| Refusal::BodyTimeout)?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLong { max }.into()),
        Err(_) => Err(Refusal::BodyBroken.into()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}
