//! Which route is whose, and what every request passes on its way there.

use crate::api_error::{ApiError, Refusal};
use crate::state::Server;
use crate::{anthropic, health, keys, llamacpp, metrics, ollama, openai, request_id, security_headers, wire};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use std::sync::Arc;

/// The whole server behind the socket. Read from the bottom: the last layer is the first to see a request.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    let keyed = Router::new()
        .route("/v1/chat/completions", post(openai::chat_completions))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/models", get(openai::list_models))
        .route("/v1/models/{*id}", get(openai::show_model))
        .route("/v1/messages", post(anthropic::messages))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/completion", post(llamacpp::completion))
        .route("/completions", post(llamacpp::completion))
        .route("/tokenize", post(llamacpp::tokenize))
        .route("/detokenize", post(llamacpp::detokenize))
        .route("/apply-template", post(llamacpp::apply_template))
        .route("/props", get(llamacpp::props))
        .route("/metrics", get(metrics::metrics))
        .route("/health/metrics", get(metrics::metrics))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/tags", get(ollama::list))
        .route("/api/ps", get(ollama::running))
        .route("/api/show", post(ollama::show))
        .route("/api/version", get(ollama::version))
        .fallback(async || ApiError::from(Refusal::Route))
        .method_not_allowed_fallback(async || ApiError::from(Refusal::Method))
        .layer(from_fn_with_state(Arc::clone(server), keys::require_key));
    // Whether the server lives and is ready alone needs no key: it is added after the layer that asks for one.
    keyed
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/healthz", get(health::live))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .layer(from_fn(wire::shape_errors))
        .layer(from_fn(security_headers::add))
        .layer(from_fn_with_state(Arc::clone(server), request_id::name_request))
        .with_state(Arc::clone(server))
}
