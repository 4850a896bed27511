//! The server over real sockets, with an engine that follows a script.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "server/anthropic.rs"]
mod anthropic;
#[path = "server/chat.rs"]
mod chat;
#[path = "server/client.rs"]
mod client;
#[path = "server/completions.rs"]
mod completions;
#[path = "server/connections.rs"]
mod connections;
#[path = "server/house.rs"]
mod house;
#[path = "server/leaving.rs"]
mod leaving;
#[path = "server/llamacpp.rs"]
mod llamacpp;
#[path = "server/logs.rs"]
mod logs;
#[path = "server/metrics.rs"]
mod metrics;
#[path = "server/models.rs"]
mod models;
#[path = "server/ollama.rs"]
mod ollama;
#[path = "server/routes.rs"]
mod routes;
#[path = "server/slots.rs"]
mod slots;
