//! llama.cpp's `llama-bench` as a peer.

use super::process;
use super::round::Phases;
use crate::failure::Failure;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// One round of the peer, in the shape of our own; what it does not report is null.
pub(super) fn run(peer: &Path, model: &Path, n_threads: usize, phases: Phases) -> Result<Value, Failure> {
    let mut command = Command::new(peer);
    command.arg("-m").arg(model).args(["-r", "1", "-o", "json"]);
    command.args(["-t", &n_threads.to_string()]);
    command.args(["-p", &phases.prompt_tokens.to_string(), "-n", &phases.decode_tokens.to_string()]);
    let outcome = process::run(command)?;
    let tests: Vec<Value> = serde_json::from_str(&outcome.stdout)
        .map_err(|error| Failure::failed("the peer's output is not JSON").because(error.to_string()))?;
    let rate = |key: &str| {
        let test = tests.iter().find(|test| test[key].as_u64().is_some_and(|n| n > 0));
        test.map_or(Value::Null, |test| test["avg_ts"].clone())
    };
    Ok(json!({
        "prefill_tokens_per_second": rate("n_prompt"),
        "decode_tokens_per_second": rate("n_gen"),
        "peak_memory_bytes": outcome.peak_bytes,
        "version": tests.first().map(|test| test["build_commit"].clone()),
    }))
}
