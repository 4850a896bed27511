//! HTTP: wire formats, keys, limits, streaming, health. Is given a built runtime, never an engine.
//!
//! ```text
//! socket -> connection cap, header timeout, stall guard     connection.rs, stall.rs
//!        -> request id -> key -> rate                       request_id.rs, keys.rs, limits.rs
//!        -> the route's row: its scope, class and handler   routes/table.rs
//!           /health, /livez, .. (need no key)               health.rs
//!           /v1/chat/completions, /v1/models, ..            openai.rs
//!           /v1/messages, ..                                anthropic.rs
//!           /api/chat, ..                                   ollama.rs
//!           /completion, /tokenize, ..                      llamacpp.rs
//!           /metrics                                        metrics.rs
//! errors are put into the words of the route's wire          wire.rs
//! ```
//!
//! Every wire format has a folder of its own and shares the rest. A request is parsed once: what is not known, not
//! supported or out of range is refused by name, and nothing that was sent is ignored. A client that goes away stops
//! the work done for it, streamed or not. Text of prompts and answers is never logged.
//!
//! ```no_run
//! # async fn example(runtime: ballast_runtime::Runtime, format: ballast_tokens::PromptFormat) {
//! use ballast_server::{ApiKeys, Generator, ModelFacts, ModelKind, ServedModel, ServedModels, ServerOptions, serve};
//! use std::sync::Arc;
//!
//! let model = ServedModel {
//!     id: "smollm2".into(),
//!     aliases: vec!["default".into()],
//!     kind: ModelKind::Generator(Generator { runtime, format }),
//!     fingerprint: "generic".into(),
//!     created: 0,
//!     facts: ModelFacts::default(),
//! };
//! let models = ServedModels::new(vec![model]).expect("it has a name");
//! let mut options = ServerOptions::new(Arc::new(|| 4), Arc::new(|| 1_700_000_000));
//! options.keys = Some(ApiKeys::new(vec!["a-key-nobody-guesses".to_owned()]).expect("the key is good"));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await.expect("the port is free");
//! serve(listener, models, options, std::future::pending()).await.expect("the server ends without error");
//! # }
//! ```
#![forbid(unsafe_code)]

mod anthropic;
mod api_error;
mod body;
#[cfg(test)]
mod broken;
mod connection;
mod error;
mod fields;
mod generation;
mod health;
mod incoming;
mod json;
mod keys;
mod limits;
mod llamacpp;
mod metrics;
mod models;
mod ollama;
mod openai;
mod openapi;
mod options;
mod params;
mod request_id;
mod routes;
mod scope;
mod security_headers;
mod stall;
mod state;
mod stream;
mod wire;

pub use connection::{ACCEPT_FAILURES_MAX, HEADER_BYTES_MAX, serve};
pub use error::{ApiKeyError, ServerError};
pub use json::JSON_DEPTH_MAX;
pub use keys::{ApiKeys, KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX};
pub use limits::{CALLERS_MAX, RateLimit};
pub use llamacpp::{INFILL_FILES_MAX, SLOT_FILE_NAME_BYTES_MAX};
pub use models::{Generator, MODELS_MAX, ModelFacts, ModelKind, ServedModel, ServedModels};
pub use openai::{
    COMPLETION_TOKENS_DEFAULT, LABEL_BYTES_MAX, MESSAGES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX,
    METADATA_VALUE_BYTES_MAX, PARTS_MAX, PROMPTS_MAX,
};
pub use openapi::openapi;
pub use options::{RandomSource, Reasoning, ServerOptions, UnixTime};
pub use params::CHOICES_MAX;
pub use request_id::REQUEST_ID_BYTES_MAX;
pub use routes::{Route, RouteClass, RouteMethod, routes};
pub use scope::{Scope, ScopeUnknown};
