//! A client of our own server, as small as one can be: one streamed chat completion.

use crate::failure::Failure;
use crate::output;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

/// Time for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Asks one question, writes the answer to standard output as it comes, and returns a line about what it took.
pub(super) fn ask(address: SocketAddr, key: &str, model: &str, question: &str) -> Result<String, Failure> {
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": question }],
        "stream": true,
        "stream_options": { "include_usage": true },
        "temperature": 0,
        "max_tokens": 128,
    });
    // A proxy of the environment is not for the loopback address.
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(TIMEOUT)).build().into();
    let response = agent
        .post(format!("http://{address}/v1/chat/completions"))
        .header("authorization", format!("Bearer {key}"))
        .send_json(&body)
        .map_err(|error| Failure::failed("our own server refused the request").because(error.to_string()))?;
    let mut end = json!({});
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else { continue };
        let chunk: Value = serde_json::from_str(data)?;
        if let Some(error) = chunk["error"]["message"].as_str() {
            return Err(Failure::failed("the answer ended with an error").because(error));
        }
        output::write(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default())?;
        for key in ["usage", "timings"] {
            if !chunk[key].is_null() {
                end[key] = chunk[key].clone();
            }
        }
    }
    output::line("")?;
    Ok(summary(&end))
}

fn summary(end: &Value) -> String {
    let count = |key: &str| end["usage"][key].as_u64().unwrap_or_default();
    let rate =
        |key: &str| end["timings"][key].as_f64().map_or("not measured".into(), |rate| format!("{rate:.0} tokens/s"));
    format!(
        "{} prompt tokens ({}), {} generated ({})",
        count("prompt_tokens"),
        rate("prefill_tokens_per_second"),
        count("completion_tokens"),
        rate("decode_tokens_per_second")
    )
}
