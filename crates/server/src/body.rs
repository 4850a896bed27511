//! Request bodies: JSON, of bounded length, in bounded time.

use crate::ServerOptions;
use crate::api_error::{ApiError, Refusal};
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// Reads the body of a request that says it is JSON, or does not say what it is.
///
/// # Errors
/// If it is not JSON by its content type, too long, too slow or broken off.
pub(crate) async fn read(request: Request, options: &ServerOptions) -> Result<Bytes, ApiError> {
    if !may_be(&["application/json"], request.headers()) {
        return Err(Refusal::ContentType.into());
    }
    read_at_most(options.body_bytes_max, request, options).await
}

/// Reads the body of a request of tensors: JSON, or JSON with the tensors' bytes behind it.
///
/// # Errors
/// If it is something else by its content type, too long, too slow or broken off.
pub(crate) async fn read_tensors(request: Request, options: &ServerOptions) -> Result<Bytes, ApiError> {
    if !may_be(&["application/json", "application/octet-stream"], request.headers()) {
        return Err(Refusal::ContentType.into());
    }
    read_at_most(options.tensor_body_bytes_max, request, options).await
}

async fn read_at_most(max: usize, request: Request, options: &ServerOptions) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), max).collect();
    let read = tokio::time::timeout(options.body_timeout, body).await.map_err(|_| Refusal::BodyTimeout)?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLong { max }.into()),
        Err(_) => Err(Refusal::BodyBroken.into()),
    }
}

/// A page in a browser can send texts and forms across origins without asking first, something without a type, too; but
/// browsers say the origin of whatever pages post. Programs need not say a type: Ollama's server asks for none, and litellm
/// sends it none.
fn may_be(known: &[&str], headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return !headers.contains_key(ORIGIN) };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    known.iter().any(|known| media_type.trim().eq_ignore_ascii_case(known))
}
