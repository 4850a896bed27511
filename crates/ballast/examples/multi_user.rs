//! Several users share one engine. Each has a conversation, a tenant and a correlation id of their own; answers go to
//! standard output, events as JSON lines to standard error, and every line says whose it is.
//!
//! ```sh
//! cargo run --release --example multi_user -- model.gguf 2> events.jsonl
//! ```

#[path = "multi_user/conversations.rs"]
mod conversations;

use ballast::{Engine, LoadOptions};
use std::error::Error;
use std::io::{stderr, stdout};
use std::path::PathBuf;

/// Tokens of each answer.
const MAX_TOKENS: usize = 48;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("usage: multi_user MODEL.gguf")?.into();
    let options = LoadOptions { telemetry: conversations::json_events(stderr()), ..LoadOptions::default() };
    let engine = Engine::load(&path, &options)?;
    conversations::hold(&engine, &conversations::USERS, MAX_TOKENS, stdout())?;
    Ok(())
}
