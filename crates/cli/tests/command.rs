//! The `ballast` command as scripts meet it: the real binary, a tiny model, and what comes out of it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "command/exits.rs"]
mod exits;
#[path = "command/run.rs"]
mod run;
#[path = "command/support.rs"]
mod support;
#[path = "command/text.rs"]
mod text;
