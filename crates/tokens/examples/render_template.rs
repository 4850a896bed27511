//! Renders chat templates for comparison with other engines.
//!
//! Reads one JSON object a line: `template`, `messages`, `tools`, `add_generation_prompt`, `bos_token`, `eos_token`,
//! `extra` and `now`, all but the first two optional. Writes one a line: `text`, or `error` and `line`, with `raised`
//! true where the template itself refused the conversation.
#![expect(clippy::print_stdout, reason = "the answer of a program goes to its standard output")]

use ballast_tokens::{ChatTemplate, RenderOptions, TemplateError};
use serde_json::{Value, json};
use std::io::{BufRead, stdin};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        println!("{}", answer(&request));
    }
    Ok(())
}

fn answer(request: &Value) -> Value {
    match render(request) {
        Ok(text) => json!({ "text": text }),
        Err(TemplateError::Raised { line, message }) => json!({ "error": message, "line": line, "raised": true }),
        Err(error) => json!({ "error": error.to_string(), "line": error.line(), "raised": false }),
    }
}

fn render(request: &Value) -> Result<String, TemplateError> {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let options = RenderOptions {
        add_generation_prompt: request["add_generation_prompt"].as_bool().unwrap_or(false),
        tools: request.get("tools").filter(|tools| !tools.is_null()).cloned(),
        extra: request["extra"].as_object().cloned().unwrap_or_default(),
        now: request["now"].as_i64(),
    };
    let template = ChatTemplate::new(text("template"), text("bos_token"), text("eos_token"))?;
    template.render_value(&request["messages"], &options)
}
