//! What an answer must look like, as a person asks for it.

use crate::failure::Failure;
use crate::options::read_text;
use crate::output;
use ballast::tokens::Constraint;
use clap::Args;
use std::path::PathBuf;

/// At most one of them.
#[derive(Args, Debug)]
pub(crate) struct ConstraintArgs {
    /// Answer with JSON that is valid by the schema in this file, `-` for standard input.
    #[arg(long, value_name = "FILE", group = "constraint", help_heading = "Sampling")]
    json_schema: Option<PathBuf>,
    /// Answer with text of the grammar in this file: llama.cpp's format where rules are `a ::= b`, else Lark's.
    #[arg(long, value_name = "FILE", group = "constraint", help_heading = "Sampling")]
    grammar: Option<PathBuf>,
    /// Answer with text that matches this regular expression from its beginning to its end.
    #[arg(long, value_name = "RE", group = "constraint", help_heading = "Sampling")]
    regex: Option<String>,
}

impl ConstraintArgs {
    /// Whether the schema is read from standard input, which the prompt is not then.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.json_schema.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// Reads the file that was named.
    pub(crate) fn read(&self) -> Result<Option<Constraint>, Failure> {
        if let Some(path) = &self.json_schema {
            let text = if self.reads_stdin() { output::read_stdin()? } else { read_text(path)? };
            let schema = serde_json::from_str(&text);
            let schema = schema.map_err(|error| Failure::usage("the schema is not JSON").because(error.to_string()))?;
            return Ok(Some(Constraint::JsonSchema(schema)));
        }
        if let Some(path) = &self.grammar {
            let text = read_text(path)?;
            let is_gbnf = text.contains("::=");
            return Ok(Some(if is_gbnf { Constraint::Gbnf(text) } else { Constraint::Lark(text) }));
        }
        Ok(self.regex.clone().map(Constraint::Regex))
    }
}
