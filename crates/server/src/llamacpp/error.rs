//! Errors in llama.cpp's words.

use crate::api_error::Told;
use crate::openai;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// OpenAI's shape, with llama.cpp's names of types, and what it tells of a prompt that is too long.
pub(crate) fn error_body(told: &Told) -> Value {
    let mut body = openai::error_body(told);
    if told.status == StatusCode::NOT_IMPLEMENTED {
        body["error"]["type"] = json!("not_supported_error");
    }
    if let Some((n_prompt_tokens, n_ctx)) = told.too_long {
        body["error"]["type"] = json!("exceed_context_size_error");
        body["error"]["n_prompt_tokens"] = json!(n_prompt_tokens);
        body["error"]["n_ctx"] = json!(n_ctx);
    }
    body
}
