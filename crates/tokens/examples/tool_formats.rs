//! Says how chat templates write calls of tools.
//!
//! Usage: `tool_formats FILE..`. Writes one line for each template: its file's name, then two calls as the template
//! writes them, in JSON, or `unknown: ` and why.
#![expect(clippy::print_stdout, reason = "the answer of a program goes to its standard output")]

use ballast_tokens::{ChatTemplate, ToolFormat};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let name = Path::new(&file).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let source = std::fs::read_to_string(&file)?;
        match ChatTemplate::new(&source, "<s>", "</s>").map(|template| ToolFormat::of(&template)) {
            Ok(Ok(format)) => println!("{name}: {}", serde_json::Value::from(written(&format))),
            Ok(Err(error)) => println!("{name}: unknown: {error}"),
            Err(error) => println!("{name}: unknown: {error}"),
        }
    }
    Ok(())
}

fn written(format: &ToolFormat) -> String {
    let calls = [("first", "{\"a\": 1}"), ("second", "{}")];
    format.write(if format.takes_several() { &calls } else { &calls[..1] })
}
