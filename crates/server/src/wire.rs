//! Which wire a route belongs to, and errors in its shape.
//!
//! Whatever goes wrong, whoever finds it, the answer carries [`Told`]; the outermost layer puts it into the words of
//! the route's wire.

use crate::api_error::{ApiError, Told};
use crate::{anthropic, kserve, llamacpp, ollama, openai};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ballast_backend::ErrorKind;

/// A wire format. Routes that belong to none answer in OpenAI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    OpenAi,
    Anthropic,
    Ollama,
    /// OpenAI's shape, with llama.cpp's names of types.
    LlamaCpp,
    /// The Open Inference Protocol by HTTP.
    KServe,
    /// gRPC, whatever the service.
    Grpc,
}

/// What llama.cpp's own paths begin with.
const LLAMA_CPP: [&str; 11] = [
    "/completion",
    "/completions",
    "/chat",
    "/infill",
    "/slots",
    "/models",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/props",
    "/metrics",
];

impl Wire {
    pub(crate) fn of(path: &str) -> Self {
        let is_under =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_under("/v2") && !is_under("/v2/rerank") {
            Self::KServe
        } else if path.starts_with("/inference.") || path.starts_with("/grpc.") {
            Self::Grpc
        } else if is_under("/v1/messages") {
            Self::Anthropic
        } else if is_under("/api") {
            Self::Ollama
        } else if LLAMA_CPP.iter().any(|root| is_under(root)) {
            Self::LlamaCpp
        } else {
            Self::OpenAi
        }
    }
}

/// The stable code of an answer that is an error, for whoever keeps the books.
#[derive(Clone, Debug)]
pub(crate) struct Code(pub(crate) String);

const REASON: HeaderName = HeaderName::from_static("x-ballast-reason");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

impl IntoResponse for ApiError {
    /// Status and headers, which all wires share; [`Wire::shape_errors`] gives it a body.
    fn into_response(self) -> Response {
        let told = Told::from(&self);
        tracing::debug!(code = told.code, status = told.status.as_u16(), "request refused");
        (told.status, headers(&self), Extension(told)).into_response()
    }
}

fn headers(error: &ApiError) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(reason) = error.reason() {
        headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    }
    match error.kind() {
        ErrorKind::Overloaded | ErrorKind::Unavailable => match error.retry_after() {
            Some(wait) => {
                let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                headers.insert(RETRY_AFTER, millis.div_ceil(1000).into());
                headers.insert(RETRY_AFTER_MS, millis.into());
            }
            None => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
        },
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

impl Wire {
    /// Gives errors the shape of this wire.
    pub(crate) fn shape_errors(self, mut response: Response) -> Response {
        let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
        let (status, body) = match self {
            Self::Grpc => return noted(kserve::grpc_error(&told, std::mem::take(response.headers_mut())), told),
            Self::OpenAi => (told.status, openai::error_body(&told)),
            Self::LlamaCpp => (told.status, llamacpp::error_body(&told)),
            Self::Anthropic => (anthropic::error_status(&told), anthropic::error_body(&told)),
            Self::Ollama => (told.status, ollama::error_body(&told)),
            Self::KServe => (kserve::error_status(&told), kserve::error_body(&told)),
        };
        let mut headers = std::mem::take(response.headers_mut());
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_LENGTH);
        noted((status, headers, Json(body)).into_response(), told)
    }
}

/// The answer, with what whoever keeps the books and whoever guards needs to know of it.
fn noted(mut shaped: Response, told: Told) -> Response {
    shaped.extensions_mut().insert(Code(told.code));
    if let Some(event) = told.security {
        shaped.extensions_mut().insert(event);
    }
    shaped
}

#[cfg(test)]
mod tests {
    use super::Wire;

    #[test]
    fn routes_belong_to_their_wires() {
        let cases = [
            ("/v1/messages", Wire::Anthropic),
            ("/v1/messages/count_tokens", Wire::Anthropic),
            ("/v1/messages_of_others", Wire::OpenAi),
            ("/api/chat", Wire::Ollama),
            ("/apiary", Wire::OpenAi),
            ("/v1/chat/completions", Wire::OpenAi),
            ("/", Wire::OpenAi),
            ("/completion", Wire::LlamaCpp),
            ("/chat/completions", Wire::LlamaCpp),
            ("/slots/1", Wire::LlamaCpp),
            ("/v2", Wire::KServe),
            ("/v2/models/m/infer", Wire::KServe),
            ("/v2/rerank", Wire::OpenAi),
            ("/inference.GRPCInferenceService/ModelInfer", Wire::Grpc),
            ("/grpc.health.v1.Health/Check", Wire::Grpc),
        ];
        for (path, wire) in cases {
            assert_eq!(Wire::of(path), wire, "{path}");
        }
    }
}
