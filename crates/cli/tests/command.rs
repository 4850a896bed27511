//! The `ballast` command as scripts meet it: the real binary, a tiny model, and what comes out of it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "command/bench.rs"]
mod bench;
#[path = "command/bounds.rs"]
mod bounds;
#[path = "command/chat.rs"]
mod chat;
#[path = "command/compile.rs"]
mod compile;
#[path = "command/config.rs"]
mod config;
#[path = "command/exits.rs"]
mod exits;
#[path = "command/http.rs"]
mod http;
#[path = "command/inspect.rs"]
mod inspect;
#[path = "command/key.rs"]
mod key;
#[path = "command/lifecycle.rs"]
mod lifecycle;
#[path = "command/load.rs"]
mod load;
#[path = "command/parity.rs"]
mod parity;
#[path = "command/places.rs"]
mod places;
#[path = "command/predict.rs"]
mod predict;
#[path = "command/run.rs"]
mod run;
#[path = "command/serve.rs"]
mod serve;
#[path = "command/signals.rs"]
mod signals;
#[path = "command/soak.rs"]
mod soak;
#[path = "command/support.rs"]
mod support;
#[path = "command/tensors.rs"]
mod tensors;
#[path = "command/text.rs"]
mod text;
