//! HTTP: wire formats, keys, limits, streaming, health. Is given a built runtime, never an engine.
//!
//! ```text
//! socket -> connection cap, header timeout, stall guard     connection.rs
//!        -> request id -> key -> rate                       request_id.rs, keys.rs, limits.rs
//!        -> the route's row: its scope, class and handler   routes/table.rs
//!           /health, /livez, .. (need no key)               health.rs
//!           /v1/chat/completions, /v1/models, ..            openai.rs
//!           /v1/messages, ..                                anthropic.rs
//!           /api/chat, ..                                   ollama.rs
//!           /completion, /tokenize, ..                      llamacpp.rs
//!           /v2/models/{model}/infer, .. (and by gRPC)      kserve.rs
//!           /metrics                                        metrics.rs
//! errors are put into the words of the route's wire          wire.rs
//! ```
//!
//! Every wire format has a folder of its own and shares the rest. A request is parsed once: what is not known, not
//! supported or out of range is refused by name, and nothing that was sent is ignored. A client that goes away stops
//! the work done for it, streamed or not. Text of prompts and answers is never logged.
//!
//! ```no_run
//! # use ballast_backend::Clock;
//! # async fn example(runtime: ballast_runtime::Runtime, format: ballast_tokens::PromptFormat, clock: std::sync::Arc<dyn Clock>) {
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
//! let models = ServedModels::loaded(vec![model], clock).expect("it has a name");
//! let mut options = ServerOptions::new(Arc::new(|| 4), Arc::new(|| 1_700_000_000));
//! options.keys = Some(ApiKeys::new(vec!["a-key-nobody-guesses".to_owned()]).expect("the key is good"));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await.expect("the port is free");
//! serve(listener, models, options, std::future::pending()).await.expect("the server ends without error");
//! # }
//! ```
#![forbid(unsafe_code)]

mod anthropic;
mod api_error;
mod audit;
mod body;
#[cfg(test)]
mod broken;
mod bulkheads;
mod caller;
mod connection;
mod constraint;
mod cors;
mod digest;
mod encoding;
mod error;
mod fields;
mod generation;
mod guard;
mod health;
mod hex;
mod incoming;
mod json;
mod jwt;
mod keeper;
mod key_store;
mod keys;
mod kserve;
mod leaving;
mod limits;
mod llamacpp;
mod metrics;
mod models;
mod ollama;
mod openai;
mod openapi;
mod options;
mod params;
mod progress;
mod reload;
mod request_id;
mod rerank;
mod routes;
mod scope;
mod security;
mod security_headers;
mod state;
mod stream;
mod tensors;
mod thinking;
mod tls;
mod tools;
mod trace_context;
mod trail;
mod wire;

pub use audit::{AUDIT_QUEUE_MAX, AuditLog};
pub use bulkheads::BulkheadOptions;
pub use connection::{
    ACCEPT_FAILURES_MAX, HEADER_BYTES_MAX, HEADERS_MAX, Listener, RESET_STREAMS_MAX, STREAMS_MAX, serve,
};
pub use constraint::CHOICES_OF_TEXT_MAX;
pub use cors::{CORS_ORIGINS_MAX, CorsOrigin, CorsOriginError};
pub use encoding::{INPUTS_MAX, TEXT_BYTES_MAX};
pub use error::{ApiKeyError, ServerError};
pub use json::JSON_DEPTH_MAX;
pub use jwt::{
    JWKS_KEYS_MAX, JwtAlgorithm, JwtAlgorithmUnknown, JwtError, JwtOptions, JwtVerifier, SECRET_BYTES_MIN,
    TOKEN_BYTES_MAX,
};
pub use key_store::{
    CERTIFICATE_NAME_BYTES_MAX, CertificateName, CertificateNameError, KEY_FILE_BYTES_MAX, KEY_ID_BYTES,
    KEY_NAME_BYTES_MAX, KEY_RECORDS_MAX, KEY_SECRET_BYTES, KeyFile, KeyFileError, KeyRecord, KeyStore, KeyTerms,
    MODELS_PER_KEY_MAX, NewKey,
};
pub use keys::{ApiKeys, KEY_BYTES_MAX, KEY_BYTES_MIN, KEYS_MAX};
pub use limits::{CALLERS_MAX, CallerLimits, LiveLimits, RateLimit};
pub use llamacpp::{INFILL_FILES_MAX, SLOT_FILE_NAME_BYTES_MAX};
pub use models::{
    ALIASES_MAX, Generator, HouseOptions, KnownModel, LoadMeter, LoadModel, MODELS_MAX, ModelFacts, ModelKind,
    ModelStock, PULL_STEPS_MAX, PullStep, PullWatch, ServedModel, ServedModels, StockError,
};
pub use ollama::PULLS_MAX;
pub use openai::{
    BACKGROUND_MAX, COMPLETION_TOKENS_DEFAULT, LABEL_CHARS_MAX, MESSAGES_MAX, METADATA_ENTRIES_MAX,
    METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX, PARTS_MAX, PROMPTS_MAX, RESPONSE_EVENTS_BYTES_MAX,
    ResponseStoreOptions,
};
pub use openapi::openapi;
pub use options::{PhaseHook, RandomSource, Reasoning, ServerOptions, ServerPhase, UnixTime};
pub use params::CHOICES_MAX;
pub use request_id::REQUEST_ID_BYTES_MAX;
pub use routes::{Route, RouteClass, RouteMethod, RouteTime, grpc_routes, routes};
pub use scope::{Scope, ScopeUnknown};
pub use tensors::{
    Batching, ServedTensors, TENSOR_MODELS_MAX, TENSOR_NAME_BYTES_MAX, TensorHouseOptions, TensorModel,
    TensorModelError, TensorStock, VERSIONS_MAX,
};
pub use thinking::TEMPLATE_VARIABLES_MAX;
pub use tls::{PEM_BYTES_MAX, TlsError, TlsFile, TlsFiles, TlsStore};
pub use tools::{TOOL_SCHEMAS_BYTES_MAX, TOOLS_MAX};
