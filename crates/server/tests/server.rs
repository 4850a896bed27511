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
#[path = "server/constrained.rs"]
mod constrained;
#[path = "server/departures.rs"]
mod departures;
#[path = "server/embeddings.rs"]
mod embeddings;
#[path = "server/fuzz.rs"]
mod fuzz;
#[path = "server/guards.rs"]
mod guards;
#[path = "server/h2.rs"]
mod h2;
#[path = "server/house.rs"]
mod house;
#[path = "server/keys.rs"]
mod keys;
#[path = "server/kserve.rs"]
mod kserve;
#[path = "server/kserve_grpc.rs"]
mod kserve_grpc;
#[path = "server/leaving.rs"]
mod leaving;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/llamacpp.rs"]
mod llamacpp;
#[path = "server/logins.rs"]
mod logins;
#[path = "server/logs.rs"]
mod logs;
#[path = "server/manage.rs"]
mod manage;
#[path = "server/metrics.rs"]
mod metrics;
#[path = "server/models.rs"]
mod models;
#[path = "server/ollama.rs"]
mod ollama;
#[path = "server/on_demand.rs"]
mod on_demand;
#[path = "server/response_tools.rs"]
mod response_tools;
#[path = "server/responses.rs"]
mod responses;
#[path = "server/routes.rs"]
mod routes;
#[path = "server/slots.rs"]
mod slots;
#[path = "server/tensors.rs"]
mod tensors;
#[path = "server/thinking.rs"]
mod thinking;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/tools.rs"]
mod tools;
